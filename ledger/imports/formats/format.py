"""An exchange's export: the columns that identify it, and how its rows become fills and movements."""

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

from ledger.imports.facts import BadRow, Fact, StatedFee, StatedFill
from ledger.imports.pending import PendingEvent
from ledger.values import Asset, Instrument, Side, exact_decimal


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a file before it is interpreted: its line (in JSON its index, from 0) and its fields by column.

    `flaw` is why the fields cannot be trusted, if they cannot. `row_id` identifies a row of an export without ids by its
    content; equal rows are numbered.
    """

    number: int
    fields: Mapping[str, object]
    flaw: str = ""
    row_id: str = ""

    def text(self, *names: str) -> str:
        """The stripped cell of the first of these columns that exists, empty if none does."""
        return next((str(self.fields[name]).strip() for name in names if name in self.fields), "")


@dataclass(frozen=True, slots=True)
class Stated:
    """A fill or movement and the lines that state it."""

    lines: tuple[int, ...]
    fact: Fact


@dataclass(frozen=True, slots=True)
class Ignored:
    """Lines that change no balance, and why."""

    why: str
    lines: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class InvalidRow:
    """Lines that become no event, and why; a `conflict` if the log or an earlier row has other content under their id.

    `unvalued` is the event without a market value, where only that is missing: the log may hold the event already.
    """

    lines: tuple[int, ...]
    id: str
    error: str
    conflict: bool = False
    unvalued: PendingEvent | None = None
    instrument: str = ""


Found = Stated | Ignored | InvalidRow
Group = Sequence[Row]


def one_by_one(rows: Iterable[Row]) -> Iterator[Group]:
    """Each row as a group of its own."""
    for row in rows:
        yield (row,)


@dataclass(frozen=True, slots=True)
class Export:
    """A kind of file, identified by a header that holds all of `columns`.

    `facts` interprets a group of rows or raises BadRow; `groups` puts rows together that state one fact.
    """

    name: str
    columns: frozenset[str]
    facts: Callable[[Group], Sequence[Fact] | Ignored]
    groups: Callable[[Iterable[Row]], Iterator[Group]] = one_by_one


ADDED: Final = ("quote_rate", "fee_value", "income_value", "reason")
"""Columns that the file's owner may add for values the export omits. They are not part of a row's content."""


def facts_of(export: Export, rows: Iterable[Row]) -> Iterator[Found]:
    """The facts of an export. Every row is covered by at least one of the results."""
    for group in export.groups(_identified(export, rows)):
        numbers = tuple(row.number for row in group)
        try:
            flaw = next((row.flaw for row in group if row.flaw), "")
            if flaw:
                raise BadRow(flaw)
            facts = export.facts(group)
            if not isinstance(facts, Ignored):
                facts = [_completed(fact, group[0]) for fact in facts]
        except BadRow as bad:
            yield InvalidRow(numbers, group[0].text("txid", "id", "trade id", "reference"), str(bad))
            continue
        if isinstance(facts, Ignored):
            yield replace(facts, lines=numbers)
        else:
            yield from (Stated(numbers, fact) for fact in facts)


def _completed(fact: Fact, row: Row) -> Fact:
    """The fact with the values that the file's owner added in `ADDED` columns. Raises BadRow."""
    if isinstance(fact, StatedFill):
        rate, worth = number_or_none(row, "quote_rate"), number_or_none(row, "fee_value")
        inside = (fact.instrument.base, fact.instrument.quote)
        fees = (fee._replace(value=worth) if fee.asset not in inside else fee for fee in fact.fees)
        return fact._replace(quote_rate=rate, fees=tuple(fees)) if rate or worth is not None else fact
    worth = number_or_none(row, "fee_value" if fact.kind == "fee" else "income_value")
    return fact if worth is None else replace(fact, value=worth, value_currency=None)


def _identified(export: Export, rows: Iterable[Row]) -> Iterator[Row]:
    seen: Counter[bytes] = Counter()
    for row in rows:
        own = sorted((name, row.text(name)) for name in row.fields if name not in ADDED)
        content = "\x1f".join((export.name, *(f"{name}\x1e{cell}" for name, cell in own)))
        digest = hashlib.sha256(content.encode()).digest()
        ordinal = seen[digest]
        seen[digest] += 1
        yield replace(row, row_id=f"row-{digest.hex()[:32]}" + (f"-{ordinal}" if ordinal else ""))


# --- reading cells ----------------------------------------------------------------------------------------------------

_NUMBER: Final = re.compile(
    r"([+-]?)[$€£¥]?([+-]?)(\d{1,3}(?:,\d{3})+|\d{1,60}|)((?:\.\d{1,60})?(?:[eE][+-]?\d{1,3})?)", re.ASCII
)
_SHORT_YEAR: Final = re.compile(r"\d\d-\d\d-\d\d[ T]", re.ASCII)


def decimal_of(text: str, name: str) -> Decimal:
    """The exact number, without a currency sign and the commas between thousands. Raises BadRow."""
    found = _NUMBER.fullmatch(text.strip())
    if found is None or not (found[3] or found[4]) or (found[1] and found[2]):
        raise BadRow(f"{name}: {text[:60]!r} is not a number" if text.strip() else f"{name} is missing")
    try:
        return exact_decimal(Decimal(f"{found[1]}{found[2]}{found[3].replace(',', '')}{found[4]}"))
    except (ValueError, ArithmeticError) as error:
        raise BadRow(f"{name}: {error}") from None


def number(row: Row, *names: str) -> Decimal:
    """The number in the first of these columns that exists. Raises BadRow."""
    return decimal_of(row.text(*names), names[0])


def number_or_none(row: Row, *names: str) -> Decimal | None:
    """The number in the first of these columns that exists, None if it is empty. Raises BadRow."""
    return number(row, *names) if row.text(*names) else None


def utc(row: Row, *names: str) -> datetime:
    """The time in the first of these columns that exists, in UTC unless it has a zone. Raises BadRow."""
    text = row.text(*names).removesuffix(" UTC")
    try:
        time = datetime.fromisoformat(f"20{text}" if _SHORT_YEAR.match(text) else text)
    except ValueError:
        raise BadRow(f"{names[0]}: {text[:40]!r} is not a time such as 2026-01-31 12:00:00") from None
    return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)


def side_of(text: str, name: str) -> Side:
    """The side of a trade, in any case. Raises BadRow."""
    try:
        return Side(text.lower())
    except ValueError:
        raise BadRow(f"{name}: {text[:40]!r} is neither buy nor sell") from None


def asset(text: str, name: str) -> Asset:
    """The asset symbol, in any case. Raises BadRow."""
    try:
        return Asset(text.strip().upper())
    except ValueError as error:
        raise BadRow(f"{name}: {error}") from None


def pair(base: str, quote: str, name: str) -> Instrument:
    """The instrument of two asset symbols, in any case. Raises BadRow."""
    try:
        return Instrument(f"{base.upper()}-{quote.upper()}")
    except ValueError as error:
        raise BadRow(f"{name}: {error}") from None


def split_market(market: str, quotes: Sequence[str], name: str) -> tuple[str, str]:
    """Base and quote of a market such as BTCUSDT, split at the first of `quotes` that it ends with. Raises BadRow."""
    for quote in quotes:
        if market.endswith(quote) and len(market) > len(quote):
            return market.removesuffix(quote), quote
    raise BadRow(f"{name}: {market[:40]!r} ends with no known quote currency")


def fee_of(amount: Decimal, unit: str, name: str) -> tuple[StatedFee, ...]:
    """The one fee of a fill, none if its amount is 0. Raises BadRow."""
    return (StatedFee(asset(unit, name), amount),) if amount else ()
