"""Cuts of a log: what was true at one time (`as_of`) as far as it was known at another (`known_at`)."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from ledger.events import AccountOpened, PortfolioOpened, TradeReversed
from ledger.log.envelope import Envelope

OPENINGS: Final = (PortfolioOpened.type, AccountOpened.type)
"""What always counts, whenever it is said to have happened."""


@dataclass(frozen=True, slots=True)
class PointInTime:
    """Two times in UTC, both inclusive: by occurrence and by record. None means "whatever happened" and "now"."""

    as_of: datetime | None = None
    known_at: datetime | None = None

    def __bool__(self) -> bool:
        return self.as_of is not None or self.known_at is not None

    def holds(self, envelope: Envelope) -> bool:
        """Whether the event, taken by itself, had occurred and was recorded by then."""
        occurred = self.as_of is None or envelope.type in OPENINGS or envelope.occurred_at <= self.as_of
        return occurred and (self.known_at is None or envelope.recorded_at <= self.known_at)


class AsOfFilter:
    """Which events, asked in the order of the log, count at a time of occurrence.

    The openings of the portfolio and of its accounts always do: without them there is nothing to tell. An event that
    answers another one (a verdict, the fill of an order) does not count before that one, and a reversal counts as soon
    as what it takes back.
    """

    def __init__(self, moment: datetime | None) -> None:
        self.moment = moment
        self._left_out: dict[UUID, int] = {}
        self._too_early: set[UUID] = set()

    def counts(self, envelope: Envelope) -> bool:
        """Whether the event happened by then."""
        if self.moment is None or envelope.type in OPENINGS:
            return True
        in_time = envelope.occurred_at <= self.moment or envelope.type == TradeReversed.type
        if in_time and not self._waits(envelope):
            return True
        self.leave_out(envelope.event_id, envelope.position)
        if in_time:
            self._too_early.add(envelope.event_id)
        return False

    def leave_out(self, event_id: UUID, position: int) -> None:
        """The event at this position, and what answers it, does not count."""
        self._left_out[event_id] = position

    def leaves_out(self, event_id: UUID) -> bool:
        """Whether the event was asked for and did not count."""
        return event_id in self._left_out

    @property
    def too_early(self) -> list[UUID]:
        """The events that had occurred by then and do not count because what they answer does not."""
        return list(self._too_early)

    def later(self, moment: datetime | None, more: Iterable[Envelope]) -> tuple["AsOfFilter", list[Envelope]]:
        """The same events asked at a later moment, and those of `more` that count then, in their order.

        Among `more` are, in the order of the log, all those left out that had occurred by the later moment.
        """
        asked = AsOfFilter(moment)
        asked._left_out = dict(self._left_out)
        left_out = (envelope for envelope in more if self.leaves_out(envelope.event_id))
        added = [envelope for envelope in left_out if asked.counts(envelope) and asked._left_out.pop(envelope.event_id)]
        return asked, added

    def _waits(self, envelope: Envelope) -> bool:
        """Whether it answers an event before it that does not count."""
        left_out, here = self._left_out, envelope.position
        return bool(left_out) and any(left_out.get(one, here) < here for one in _answered(envelope))

    def of(self, envelopes: Iterable[Envelope]) -> Iterator[Envelope]:
        """Those of `envelopes` that count."""
        return (envelope for envelope in envelopes if self.counts(envelope))


def _answered(envelope: Envelope) -> Iterator[UUID]:
    """The events without which this one cannot be told."""
    for name in ("signal_id", "order_id", "reverses"):
        event_id = getattr(envelope.event, name, None)
        if event_id is not None:
            yield event_id
