"""Cuts of a log: what was true at one time (`as_of`) as far as it was known at another (`known_at`)."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from ledger.envelope import Envelope
from ledger.events import AccountOpened, PortfolioOpened, TradeReversed

OPENINGS: Final = (PortfolioOpened.type, AccountOpened.type)
"""What always counts, whenever it is said to have happened."""


@dataclass(frozen=True, slots=True)
class Cut:
    """Two times in UTC, both inclusive: by occurrence and by record. None means "whatever happened" and "now"."""

    as_of: datetime | None = None
    known_at: datetime | None = None

    def __bool__(self) -> bool:
        return self.as_of is not None or self.known_at is not None

    def holds(self, envelope: Envelope) -> bool:
        """Whether the event, taken by itself, had occurred and was recorded by then."""
        occurred = self.as_of is None or envelope.type in OPENINGS or envelope.occurred_at <= self.as_of
        return occurred and (self.known_at is None or envelope.recorded_at <= self.known_at)


class AsOf:
    """Which events, asked in the order of the log, count at a time of occurrence.

    The openings of the portfolio and of its accounts always do: without them there is nothing to tell. An event that
    answers another one (a verdict, the fill of an order) does not count before that one, and a reversal counts as soon
    as what it takes back.
    """

    def __init__(self, as_of: datetime | None) -> None:
        self._as_of = as_of
        self._left_out: set[UUID] = set()

    def counts(self, envelope: Envelope) -> bool:
        """Whether the event happened by then."""
        if self._as_of is None or envelope.type in OPENINGS:
            return True
        in_time = envelope.occurred_at <= self._as_of or envelope.type == TradeReversed.type
        if in_time and (not self._left_out or self._left_out.isdisjoint(_answered(envelope))):
            return True
        self._left_out.add(envelope.event_id)
        return False

    def of(self, envelopes: Iterable[Envelope]) -> Iterator[Envelope]:
        """Those of `envelopes` that count."""
        return (envelope for envelope in envelopes if self.counts(envelope))


def _answered(envelope: Envelope) -> Iterator[UUID]:
    """The events without which this one cannot be told."""
    for name in ("signal_id", "order_id", "reverses"):
        event_id = getattr(envelope.event, name, None)
        if event_id is not None:
            yield event_id
