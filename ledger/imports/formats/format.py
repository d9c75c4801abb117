"""What every export is: columns that give it away, and how its rows become facts."""

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

from ledger.imports.facts import BadRow, Fact, StatedFill
from ledger.values import Asset, Instrument, exact_decimal


@dataclass(frozen=True, slots=True)
class Line:
    """A row of an export: its cells by lower-case column name. `flaw` says why they cannot be trusted, if they cannot.

    `row_id` stands for the row in an export without ids: the same content has the same, counted where it is repeated.
    """

    number: int
    cells: Mapping[str, str]
    flaw: str = ""
    row_id: str = ""

    def text(self, *names: str) -> str:
        """The cell of the first of these columns that there is; empty when there is none."""
        return next((self.cells[name].strip() for name in names if name in self.cells), "")


@dataclass(frozen=True, slots=True)
class Stated:
    """A fact and the lines that state it."""

    lines: tuple[int, ...]
    fact: Fact


@dataclass(frozen=True, slots=True)
class Ignored:
    """Lines that change nothing that a ledger keeps, and why."""

    lines: tuple[int, ...]
    why: str


@dataclass(frozen=True, slots=True)
class Unusable:
    """Lines that cannot be used, and the reason in one sentence."""

    lines: tuple[int, ...]
    id: str
    why: str


Found = Stated | Ignored | Unusable


@dataclass(frozen=True, slots=True)
class Left:
    """What `facts` answers for rows that are no event of value."""

    why: str


Group = Sequence[Line]


def one_by_one(lines: Iterable[Line]) -> Iterator[Group]:
    """Each row stands for itself."""
    for line in lines:
        yield (line,)


@dataclass(frozen=True, slots=True)
class Export:
    """One kind of file. `columns` are in its header whatever else is; `facts` reads a group of rows or raises BadRow."""

    name: str
    columns: frozenset[str]
    facts: Callable[[Group], Sequence[Fact] | Left]
    groups: Callable[[Iterable[Line]], Iterator[Group]] = one_by_one


ADDED: Final = ("quote_rate", "fee_value", "income_value", "reason")
"""Columns that the owner of a file may add: what the export leaves open. They are no part of what the row is."""


def found_in(export: Export, lines: Iterable[Line]) -> Iterator[Found]:
    """Everything the rows say; every line is in at least one of the answers."""
    for group in export.groups(_identified(export, lines)):
        numbers = tuple(line.number for line in group)
        try:
            flaw = next((line.flaw for line in group if line.flaw), "")
            if flaw:
                raise BadRow(flaw)
            facts = export.facts(group)
            if not isinstance(facts, Left):
                facts = [_completed(fact, group[0]) for fact in facts]
        except BadRow as bad:
            yield Unusable(numbers, group[0].text("txid", "id", "trade id", "reference"), str(bad))
            continue
        if isinstance(facts, Left):
            yield Ignored(numbers, facts.why)
        else:
            yield from (Stated(numbers, fact) for fact in facts)


def _completed(fact: Fact, line: Line) -> Fact:
    """With what the owner of the file added to it, in columns that no export has. Raises BadRow."""
    if isinstance(fact, StatedFill):
        rate, worth = number_or_none(line, "quote_rate"), number_or_none(line, "fee_value")
        inside = (fact.instrument.base, fact.instrument.quote)
        fees = (replace(fee, value=worth) if fee.asset not in inside else fee for fee in fact.fees)
        return replace(fact, quote_rate=rate, fees=tuple(fees)) if rate or worth is not None else fact
    worth = number_or_none(line, "fee_value" if fact.kind == "fee" else "income_value")
    return fact if worth is None else replace(fact, value=worth, value_currency=None)


def _identified(export: Export, lines: Iterable[Line]) -> Iterator[Line]:
    seen: Counter[bytes] = Counter()
    for line in lines:
        own = sorted((name, cell.strip()) for name, cell in line.cells.items() if name not in ADDED)
        content = "\x1f".join((export.name, *(f"{name}\x1e{cell}" for name, cell in own)))
        digest = hashlib.sha256(content.encode()).digest()
        ordinal = seen[digest]
        seen[digest] += 1
        yield replace(line, row_id=f"row-{digest.hex()[:32]}" + (f"-{ordinal}" if ordinal else ""))


# --- reading cells ----------------------------------------------------------------------------------------------------

_NUMBER: Final = re.compile(
    r"([+-]?)[$€£¥]?([+-]?)(\d{1,3}(?:,\d{3})+|\d{1,60}|)((?:\.\d{1,60})?(?:[eE][+-]?\d{1,3})?)", re.ASCII
)
_SHORT_YEAR: Final = re.compile(r"\d\d-\d\d-\d\d[ T]", re.ASCII)


def decimal_of(text: str, name: str) -> Decimal:
    """The number as written, without a currency sign and the commas between thousands. Raises BadRow."""
    found = _NUMBER.fullmatch(text.strip())
    if found is None or not (found[3] or found[4]) or (found[1] and found[2]):
        raise BadRow(f"{name}: {text[:60]!r} is not a number" if text.strip() else f"{name} is missing")
    try:
        return exact_decimal(Decimal(f"{found[1]}{found[2]}{found[3].replace(',', '')}{found[4]}"))
    except (ValueError, ArithmeticError) as error:
        raise BadRow(f"{name}: {error}") from None


def number(line: Line, *names: str) -> Decimal:
    """The number in the first of these columns that there is. Raises BadRow."""
    return decimal_of(line.text(*names), names[0])


def number_or_none(line: Line, *names: str) -> Decimal | None:
    """The same, None for an empty cell or no such column."""
    return number(line, *names) if line.text(*names) else None


def utc(line: Line, *names: str) -> datetime:
    """The time in the column, which the export states in UTC. Raises BadRow."""
    text = line.text(*names).removesuffix(" UTC")
    try:
        time = datetime.fromisoformat(f"20{text}" if _SHORT_YEAR.match(text) else text)
    except ValueError:
        raise BadRow(f"{names[0]}: {text[:40]!r} is not a time such as 2026-01-31 12:00:00") from None
    return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)


def asset(text: str, name: str) -> Asset:
    """Raises BadRow."""
    try:
        return Asset(text.strip().upper())
    except ValueError as error:
        raise BadRow(f"{name}: {error}") from None


def pair(base: str, quote: str, name: str) -> Instrument:
    """Raises BadRow."""
    try:
        return Instrument(f"{base.upper()}-{quote.upper()}")
    except ValueError as error:
        raise BadRow(f"{name}: {error}") from None
