"""Ids of entries that were reversed and entered again."""

from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from ledger.log.envelope import Envelope
from ledger.values import Instrument, derived_id


@dataclass(frozen=True, slots=True)
class Entered:
    """A fact's events in the log: the valid one, the reversed ones (oldest first), and the id of the next."""

    valid: Envelope | None
    reversed: tuple[Envelope, ...]
    next_id: UUID


def entered(
    event_id: UUID, recorded: Callable[[UUID], Envelope | None], reversed_by: Callable[[UUID], UUID | None]
) -> Entered:
    """Look up the fact whose first id is `event_id`. Each reversal gives it a further id."""
    earlier: list[Envelope] = []
    while (envelope := recorded(event_id)) is not None:
        reversal = reversed_by(event_id)
        if reversal is None:
            return Entered(envelope, tuple(earlier), event_id)
        earlier.append(envelope)
        event_id = derived_id("entered again", event_id, reversal)
    return Entered(None, tuple(earlier), event_id)


def own_fill_id(venue: str, account: str, instrument: Instrument, venue_trade_id: str) -> UUID:
    """Id of a fill of our own order, as recorded when the venue reports it."""
    return derived_id("fill", venue, account, instrument, venue_trade_id)
