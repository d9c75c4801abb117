"""The rows of a file as events of one portfolio: each row is an event on its way, set aside, or refused with a reason."""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final
from uuid import UUID

from ledger.imports.csv_trades import VENUE, fill_of, shown
from ledger.imports.facts import ONE, BadRow, Fact, StatedFill, Worth, event_id_of, event_of, nobody_knows
from ledger.imports.fast_csv import FastParser
from ledger.imports.files import Row, Table, csv_row, lines_of
from ledger.imports.formats.format import Export, Found, Ignored, Stated, Unusable, found_in
from ledger.imports.formats.registry import columns_of
from ledger.imports.pending import Origin, PendingEvent, pending_event
from ledger.imports.reentry import own_fill_id
from ledger.values import Asset, time_text

AHEAD: Final = timedelta(minutes=5)
"""So far may the clock of whoever wrote the file be ahead of ours: what lies further ahead is a mistake."""
NEAR: Final = timedelta(minutes=1)
"""A trade of the same file that is at most so far away in time may say what a fee or a quote was worth."""


@dataclass(frozen=True, slots=True)
class InvalidRow:
    """Lines that become no event, and why; `conflict` when the log or an earlier row says something else under their id.

    Where nothing but a worth is missing, `unvalued` is the event without it: the log may hold that already.
    """

    lines: tuple[int, ...]
    id: str
    error: str
    conflict: bool = False
    unvalued: PendingEvent | None = None


Entry = PendingEvent | InvalidRow | Ignored


class FileEntries:
    """Reads the file anew each time it is gone through; afterwards `rows` and `accounts` (with their venues) are known."""

    def __init__(
        self,
        table: Table,
        portfolio_id: UUID,
        base: Asset,
        content: bytes,
        progress: Callable[[int], None],
        now: datetime | None = None,
    ) -> None:
        self.table = table
        self.rows = 0
        self.accounts: dict[str, str] = {}
        self._portfolio_id, self._base, self._progress = portfolio_id, base, progress
        self._now, self._latest = now, None if now is None else now + AHEAD
        place = "index" if table.is_json else "line"
        name = table.path.name.encode("utf-8", "replace").decode()
        self._origin = Origin(name, hashlib.sha256(content).hexdigest(), place)

    def __iter__(self) -> Iterator[Entry]:
        self.rows = 0
        if self.table.export is not None:
            return self._of_export(self.table.export)
        return self._of_json() if self.table.is_json else self._of_csv()

    def _of_csv(self) -> Iterator[Entry]:
        names = columns_of(self.table.header)
        fast = FastParser(names, self._portfolio_id, self._base, self._origin)
        for line, cells in self.table.cells():
            self._count()
            quick = fast.parse(cells, line)
            if quick is None or self._lies_ahead(quick.time):
                yield self._of_row(csv_row(line, names, cells))
            else:
                yield quick
        self.accounts |= fast.accounts()

    def _of_json(self) -> Iterator[Entry]:
        for row in self.table.rows():
            self._count()
            yield self._of_row(row)

    def _of_row(self, row: Row) -> Entry:
        try:
            if row.flaw:
                raise BadRow(row.flaw)
            fill = fill_of(row.fields, self._base)
            return self._ready(fill, row.number, nobody_knows)
        except BadRow as bad:
            return InvalidRow((row.number,), shown(row.fields.get("id")), str(bad))

    def _of_export(self, export: Export) -> Iterator[Entry]:
        """All at once: what one row leaves open may be told by another."""
        everything = list(found_in(export, lines_of(self.table)))
        self.rows = len({line for found in everything for line in found.lines})
        worth = _worth_in(everything, self._base)
        for found in everything:
            self._progress(len(found.lines))
            match found:
                case Ignored():
                    yield found
                case Unusable():
                    yield InvalidRow(found.lines, found.id, found.why)
                case Stated():
                    try:
                        yield self._ready(found.fact, found.lines[0], worth)
                    except BadRow as bad:
                        yield InvalidRow(found.lines, found.fact.id, str(bad), unvalued=self._unvalued(found, worth))

    def _ready(self, fact: Fact, line: int, worth: Worth) -> PendingEvent:
        if self._now is not None and self._lies_ahead(fact.time):
            raise BadRow(f"time {time_text(fact.time)} lies in the future: it is {time_text(self._now)}: correct it")
        one = self._event(fact, line, worth)
        self.accounts[fact.account] = fact.venue
        return one

    def _unvalued(self, stated: Stated, worth: Worth) -> PendingEvent | None:
        """The event with 1 for each worth that nobody tells, to be compared without it; None where that is not all."""
        try:
            return self._event(stated.fact, stated.lines[0], lambda asset, time: worth(asset, time) or ONE)
        except BadRow:
            return None

    def _event(self, fact: Fact, line: int, worth: Worth) -> PendingEvent:
        guessed: set[Asset] = set()

        def told(asset: Asset, time: datetime) -> Decimal | None:
            guessed.add(asset)
            return worth(asset, time)

        event = event_of(fact, self._base, told)
        metadata = self._origin.metadata(line, fact.order_id if isinstance(fact, StatedFill) else None)
        one = pending_event(event, event_id_of(self._portfolio_id, fact), fact.time, metadata, line, fact.id)
        one = one._replace(guessed=tuple(sorted(guessed))) if guessed else one
        if isinstance(fact, StatedFill) and fact.venue != VENUE:
            return one._replace(own_fill=own_fill_id(fact.venue, fact.account, fact.instrument, fact.id))
        return one

    def _lies_ahead(self, time: datetime) -> bool:
        return self._latest is not None and time > self._latest

    def _count(self) -> None:
        self.rows += 1
        if self.rows % 1000 == 0:
            self._progress(1000)


def _worth_in(everything: Sequence[Found], base: Asset) -> Worth:
    """What an asset was worth by the nearest trade of it for `base` in the file, if that is at most a minute away."""
    prices: Mapping[Asset, list[tuple[datetime, Decimal]]] = defaultdict(list)
    for found in everything:
        if isinstance(found, Stated) and isinstance(found.fact, StatedFill) and found.fact.instrument.quote == base:
            prices[found.fact.instrument.base].append((found.fact.time, found.fact.price))

    def worth(asset: Asset, time: datetime) -> Decimal | None:
        near = [(abs(then - time), then, price) for then, price in prices.get(asset, ()) if abs(then - time) <= NEAR]
        return min(near)[2] if near else None

    return worth
