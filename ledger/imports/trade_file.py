"""The trades of a file, read for a report without a portfolio."""

from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from ledger.events import TradeExecuted
from ledger.imports.facts import ONE, BadRow, Movement, StatedFee, StatedFill, event_of, source_flaw
from ledger.imports.files import found_in, read_bytes, table_of
from ledger.imports.formats.format import Ignored, InvalidRow
from ledger.values import Asset, decimal_text, round18


class FileError(TypedDict):
    """An error or note on one trade of a file; `id` and `instrument` are empty where the row has none."""

    id: str
    instrument: str
    error: str


@dataclass(frozen=True, slots=True)
class FileTrade:
    """A trade as the file states it, and its event in a portfolio kept in its quote currency.

    `number` orders the trades of one file and time.
    """

    number: int
    fill: StatedFill
    event: TradeExecuted

    @property
    def instrument(self) -> str:
        """The instrument as the file writes it."""
        return self.fill.symbol or str(self.fill.instrument)


@dataclass(frozen=True, slots=True)
class TradeFile:
    """The trades of a file by time, those of one time in the order of the file; each id once.

    `errors` name each row that was not used exactly as written; `unreadable` counts the rows that were not used at all.
    """

    trades: tuple[FileTrade, ...]
    errors: tuple[FileError, ...]
    unreadable: int


def read_trades(path: Path, base: str = "USD") -> TradeFile:
    """Read the trades of a file in our own format or of an export. A bare symbol is quoted in `base`.

    Raises:
        BadFile: the file as a whole cannot be used.
        ValueError: `base` is not an asset.
    """
    quote = Asset(base)
    table = table_of(path, read_bytes(path))
    trades: dict[Hashable, FileTrade] = {}
    errors: list[FileError] = []
    others: Counter[str] = Counter()
    unreadable = 0
    for number, found in enumerate(found_in(table, quote)):
        if isinstance(found, Ignored):
            others[found.why] += 1
            continue
        place = table.place(found.lines[0])
        if isinstance(found, InvalidRow):
            unreadable += 1
            errors.append(_error(found.id, found.instrument, f"{place}: {found.error}"))
            continue
        if isinstance(found.fact, Movement):
            others[f"no trade ({found.fact.kind})"] += 1
            continue
        fill = found.fact
        try:
            event, note = _event(fill, quote)
        except BadRow as bad:
            unreadable += 1
            errors.append(_error(fill.id, fill.symbol, f"{place}: {bad}"))
            continue
        trade = FileTrade(number, fill, event)
        first = trades.setdefault(fill.id if table.export is None else (fill.instrument, fill.id), trade)
        if first.fill != fill:
            note = "this id was already used with other content: the first one stands, this row is left out"
        if note and (first is trade or first.fill != fill):
            errors.append(_error(fill.id, trade.instrument, f"{place}: {note}"))
    for why, count in sorted(others.items()):
        left_out = "1 row is not" if count == 1 else f"{count} rows are not"
        errors.append(_error("", "", f"{left_out} in this report: {why}"))
    return TradeFile(tuple(sorted(trades.values(), key=lambda one: one.fill.time)), tuple(errors), unreadable)


def _event(fill: StatedFill, base: Asset) -> tuple[TradeExecuted, str]:
    """The trade in its quote currency, and a note on any statement the event omits. Raises BadRow.

    An unknown source affects no figure. A fee in a third asset needs a value that can be converted: `fee_value`, which is
    in `base`, and the rate of the quote currency.
    """
    traded, quote = fill.instrument.base, fill.instrument.quote
    rate = fill.quote_rate or (ONE if quote == base else None)
    fees: list[StatedFee] = []
    notes: list[str] = []
    for fee in fill.fees:
        if fee.asset in (traded, quote):
            fees.append(fee)
        elif fee.value is not None and rate is not None:
            fees.append(StatedFee(quote, round18(fee.value / rate)))
        else:
            notes.append(
                f"the fee of {decimal_text(fee.amount)} {fee.asset} has no stated value in {quote}: "
                "the trade is computed without it"
            )
    source = fill.triggered_by
    if flaw := source_flaw(source):
        notes.append(f"{flaw}: it is left out")
        source = "import"
    event = event_of(fill._replace(fees=tuple(fees), quote_rate=None, triggered_by=source), quote)
    assert isinstance(event, TradeExecuted)
    return event, "; ".join(notes)


def _error(trade_id: str, instrument: str, sentence: str) -> FileError:
    return {"id": trade_id, "instrument": instrument, "error": sentence}
