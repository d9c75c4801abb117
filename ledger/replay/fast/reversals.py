"""Reversals on the column road: which events count for nothing is known before the first of them is folded."""

from collections.abc import Iterable

from ledger.events import TradeReversed
from ledger.log.envelope import BadEvent, Envelope, UnknownEvent
from ledger.projections.reversals import Reversal
from ledger.replay.fast.fold import Unusual


class FastReversals:
    """The reversals of one log. `undone` are the ids that they name; the events of value pass by before their reversals.

    An event that is taken back leaves the rows of value as if it had never been, in whatever order both arrived: that is
    what `ledger/projections/holdings.py` gives when it folds again without it.
    """

    def __init__(self, undone: frozenset[bytes]) -> None:
        self._undone = undone
        self._met: set[bytes] = set()
        self._rows: dict[bytes, Reversal] = {}

    def undoes(self, event_id: bytes) -> bool:
        """Whether a reversal takes the event back, here or later in the log."""
        return event_id in self._undone

    def meet(self, event_id: bytes) -> bool:
        """The same of an event of value that passes by."""
        if event_id not in self._undone:
            return False
        self._met.add(event_id)
        return True

    def add(self, envelope: Envelope) -> None:
        """The reversal passes by. Raises Unusual for one that names nothing of value before it."""
        try:
            event = envelope.event
        except (BadEvent, UnknownEvent) as error:
            raise Unusual(str(error)) from error
        assert isinstance(event, TradeReversed)
        target = event.reverses.bytes
        if target not in self._met:
            raise Unusual(f"position {envelope.position} reverses nothing of value before it")
        known = self._rows.get(target)
        if known is None or envelope.event_id < known.reversed_by:
            self._rows[target] = Reversal(event.reverses, envelope.event_id, envelope.position, event.reason)

    def rows(self) -> Iterable[Reversal]:
        """What the fold of reversals gives for all of them. Raises Unusual where one that was expected did not come."""
        if self._rows.keys() != self._undone:
            raise Unusual("a reversal that cannot be read")
        return self._rows.values()
