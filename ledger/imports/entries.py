"""The rows of a file as entries for one portfolio: each is a pending event, ignored, or invalid with a reason."""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final
from uuid import UUID

from ledger.imports.csv_trades import VENUE, stated
from ledger.imports.facts import ONE, BadRow, Fact, StatedFill, Worth, event_id_of, event_of, unknown
from ledger.imports.fast_csv import FastParser
from ledger.imports.files import Table, csv_row, found_in
from ledger.imports.formats.format import Found, Ignored, InvalidRow, Stated
from ledger.imports.formats.registry import columns_of
from ledger.imports.pending import Origin, PendingEvent, pending_event
from ledger.imports.reentry import own_fill_id
from ledger.values import Asset, time_text

AHEAD: Final = timedelta(minutes=5)
"""Tolerance for a clock ahead of ours; later times are invalid."""
NEAR: Final = timedelta(minutes=1)
"""Largest time difference of a trade in the same file whose price values a fee or a quote currency."""


Entry = PendingEvent | InvalidRow | Ignored


class FileEntries:
    """The entries of a file, read again on each iteration; `rows` and `accounts` (with their venues) are set afterwards."""

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
            return self._of_export()
        return self._of_json() if self.table.is_json else self._of_csv()

    def _of_csv(self) -> Iterator[Entry]:
        names = columns_of(self.table.header)
        fast = FastParser(names, self._portfolio_id, self._base, self._origin)
        for line, cells in self.table.cells():
            self._count()
            quick = fast.parse(cells, line)
            if quick is None or self._is_future(quick.time):
                yield self._entry(stated(csv_row(line, names, cells), self._base), unknown)
            else:
                yield quick
        self.accounts |= fast.accounts()

    def _of_json(self) -> Iterator[Entry]:
        for found in found_in(self.table, self._base):
            self._count()
            yield self._entry(found, unknown)

    def _of_export(self) -> Iterator[Entry]:
        """The entries of an export, which is read whole: a row may state a market value for another."""
        everything = list(found_in(self.table, self._base))
        self.rows = len({line for found in everything for line in found.lines})
        worth = _worth_in(everything, self._base)
        for found in everything:
            self._progress(len(found.lines))
            yield self._entry(found, worth)

    def _entry(self, found: Found, worth: Worth) -> Entry:
        if not isinstance(found, Stated):
            return found
        fact, line = found.fact, found.lines[0]
        try:
            if self._now is not None and self._is_future(fact.time):
                raise BadRow(f"time {time_text(fact.time)} is in the future: it is {time_text(self._now)}: correct it")
            one = self._event(fact, line, worth)
        except BadRow as bad:
            unvalued = self._unvalued(fact, line, worth) if self.table.export else None
            return InvalidRow(found.lines, fact.id, str(bad), unvalued=unvalued)
        self.accounts[fact.account] = fact.venue
        return one

    def _unvalued(self, fact: Fact, line: int, worth: Worth) -> PendingEvent | None:
        """The event with 1 for each unknown market value, to be compared without it; None if more is missing."""
        try:
            return self._event(fact, line, lambda asset, time: worth(asset, time) or ONE)
        except BadRow:
            return None

    def _event(self, fact: Fact, line: int, worth: Worth) -> PendingEvent:
        guessed: set[Asset] = set()

        def guess(asset: Asset, time: datetime) -> Decimal | None:
            guessed.add(asset)
            return worth(asset, time)

        event = event_of(fact, self._base, guess)
        metadata = self._origin.metadata(line, fact.order_id if isinstance(fact, StatedFill) else None)
        one = pending_event(event, event_id_of(self._portfolio_id, fact), fact.time, metadata, line, fact.id)
        one = one._replace(guessed=tuple(sorted(guessed))) if guessed else one
        if isinstance(fact, StatedFill) and fact.venue != VENUE:
            return one._replace(own_fill=own_fill_id(fact.venue, fact.account, fact.instrument, fact.id))
        return one

    def _is_future(self, time: datetime) -> bool:
        return self._latest is not None and time > self._latest

    def _count(self) -> None:
        self.rows += 1
        if self.rows % 1000 == 0:
            self._progress(1000)


def _worth_in(everything: Sequence[Found], base: Asset) -> Worth:
    """Prices of the file's own trades against `base`: the nearest in time, within `NEAR`."""
    prices: Mapping[Asset, list[tuple[datetime, Decimal]]] = defaultdict(list)
    for found in everything:
        if isinstance(found, Stated) and isinstance(found.fact, StatedFill) and found.fact.instrument.quote == base:
            prices[found.fact.instrument.base].append((found.fact.time, found.fact.price))

    def worth(asset: Asset, time: datetime) -> Decimal | None:
        near = [(abs(then - time), then, price) for then, price in prices.get(asset, ()) if abs(then - time) <= NEAR]
        return min(near)[2] if near else None

    return worth
