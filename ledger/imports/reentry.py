"""What was entered, taken back and entered again: under which id a fact from elsewhere stands in a log."""

from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from ledger.log.envelope import Envelope
from ledger.values import Instrument, derived_id


@dataclass(frozen=True, slots=True)
class Entered:
    """What the log says of a fact: `stands` counts there, `taken_back` did (the oldest first), `free` is its next id."""

    stands: Envelope | None
    taken_back: tuple[Envelope, ...]
    free: UUID


def entered(
    event_id: UUID, recorded: Callable[[UUID], Envelope | None], reversed_by: Callable[[UUID], UUID | None]
) -> Entered:
    """What became of the fact whose first id is `event_id`. After each reversal it has one more id."""
    taken_back: list[Envelope] = []
    while (envelope := recorded(event_id)) is not None:
        reversal = reversed_by(event_id)
        if reversal is None:
            return Entered(envelope, tuple(taken_back), event_id)
        taken_back.append(envelope)
        event_id = derived_id("entered again", event_id, reversal)
    return Entered(None, tuple(taken_back), event_id)


def own_fill_id(venue: str, account: str, instrument: Instrument, venue_trade_id: str) -> UUID:
    """The id under which a fill of an order of our own is recorded when the venue tells it."""
    return derived_id("fill", venue, account, instrument, venue_trade_id)
