"""Points in time: the log as of one time of occurrence (`as_of`), as known at one time of recording (`known_at`)."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from ledger.events import AccountOpened, PortfolioOpened, TradeReversed
from ledger.log.envelope import Envelope

OPENINGS: Final = (PortfolioOpened.type, AccountOpened.type)
"""Event types that count at every point in time, whatever their time of occurrence."""


@dataclass(frozen=True, slots=True)
class PointInTime:
    """Inclusive limits, in UTC, for the time of occurrence and the time of recording. None: no limit."""

    as_of: datetime | None = None
    known_at: datetime | None = None

    def __bool__(self) -> bool:
        return self.as_of is not None or self.known_at is not None

    def holds(self, envelope: Envelope) -> bool:
        """Return whether the event, taken by itself, had occurred and was recorded by then."""
        occurred = self.as_of is None or envelope.type in OPENINGS or envelope.occurred_at <= self.as_of
        return occurred and (self.known_at is None or envelope.recorded_at <= self.known_at)


class AsOfFilter:
    """Selects, in log order, the events that count at a time of occurrence.

    The openings of the portfolio and its accounts always count. An event that refers to another one (a verdict, the
    fill of an order) does not count before that one, and a reversal counts as soon as the event it reverses.
    """

    def __init__(self, moment: datetime | None) -> None:
        self.moment = moment
        self._left_out: dict[UUID, int] = {}
        self._too_early: set[UUID] = set()

    def counts(self, envelope: Envelope) -> bool:
        """Return whether the event counts; call once per event, in log order."""
        if self.moment is None or envelope.type in OPENINGS:
            return True
        in_time = envelope.occurred_at <= self.moment or envelope.type == TradeReversed.type
        if in_time and not self._refers_to_left_out(envelope):
            return True
        self.leave_out(envelope.event_id, envelope.position)
        if in_time:
            self._too_early.add(envelope.event_id)
        return False

    def leave_out(self, event_id: UUID, position: int) -> None:
        """Exclude the event at this position and all that refer to it."""
        self._left_out[event_id] = position

    def leaves_out(self, event_id: UUID) -> bool:
        """Return whether the event was seen and does not count."""
        return event_id in self._left_out

    @property
    def too_early(self) -> list[UUID]:
        """The events that had occurred by then but refer to an event that does not count."""
        return list(self._too_early)

    def later(self, moment: datetime | None, more: Iterable[Envelope]) -> tuple["AsOfFilter", list[Envelope]]:
        """Return the filter of the same events at a later moment, and those of `more` that count only then, in order.

        `more` must contain, in log order, all events left out so far that had occurred by the later moment.
        """
        moved = AsOfFilter(moment)
        moved._left_out = dict(self._left_out)
        left_out = (envelope for envelope in more if self.leaves_out(envelope.event_id))
        added = [envelope for envelope in left_out if moved.counts(envelope) and moved._left_out.pop(envelope.event_id)]
        return moved, added

    def _refers_to_left_out(self, envelope: Envelope) -> bool:
        left_out, here = self._left_out, envelope.position
        return bool(left_out) and any(left_out.get(one, here) < here for one in _referenced(envelope))

    def of(self, envelopes: Iterable[Envelope]) -> Iterator[Envelope]:
        """Yield the envelopes that count."""
        return (envelope for envelope in envelopes if self.counts(envelope))


def _referenced(envelope: Envelope) -> Iterator[UUID]:
    """Yield the ids of the events that this one refers to."""
    for name in ("signal_id", "order_id", "reverses"):
        event_id = getattr(envelope.event, name, None)
        if event_id is not None:
            yield event_id
