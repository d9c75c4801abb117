"""Reversals in the fast replay: the reversed events are known before the first event is folded."""

from collections.abc import Iterable

from ledger.events import TradeReversed
from ledger.log.envelope import BadEvent, Envelope, UnknownEvent
from ledger.projections.reversals import Reversal
from ledger.replay.fast.fold import Unsupported


class FastReversals:
    """The reversals of one log; `undone` holds the ids of the reversed events.

    The value rows are folded as if a reversed event had never been recorded, which is the result of
    `ledger/projections/holdings.py` in any order of events.
    """

    def __init__(self, undone: frozenset[bytes]) -> None:
        self._undone = undone
        self._seen: set[bytes] = set()
        self._rows: dict[bytes, Reversal] = {}

    def undoes(self, event_id: bytes) -> bool:
        """Return True if the event is reversed anywhere in the log."""
        return event_id in self._undone

    def see(self, event_id: bytes) -> bool:
        """Return the same for a value event as it is folded, before its reversal."""
        if event_id not in self._undone:
            return False
        self._seen.add(event_id)
        return True

    def add(self, envelope: Envelope) -> None:
        """Add the row of a reversal. Raises Unsupported unless it reverses a value event before it."""
        try:
            event = envelope.event
        except (BadEvent, UnknownEvent) as error:
            raise Unsupported(str(error)) from error
        assert isinstance(event, TradeReversed)
        target = event.reverses.bytes
        if target not in self._seen:
            raise Unsupported(f"position {envelope.position} does not reverse a value event before it")
        known = self._rows.get(target)
        if known is None or envelope.event_id < known.reversed_by:
            self._rows[target] = Reversal(event.reverses, envelope.event_id, envelope.position, event.reason)

    def rows(self) -> Iterable[Reversal]:
        """The rows of all reversals. Raises Unsupported if one could not be decoded."""
        if self._rows.keys() != self._undone:
            raise Unsupported("a reversal that cannot be decoded")
        return self._rows.values()
