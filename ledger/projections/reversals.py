"""Reversals: events declared void, with the reason."""

from dataclasses import dataclass
from typing import ClassVar
from uuid import UUID

from ledger.booking.legs import MOVING
from ledger.errors import DaybookError
from ledger.events import Event, SplitRecorded, TradeReversed
from ledger.log.envelope import Envelope
from ledger.rows import Change, PastRow, Row, Rows


class NothingToReverse(DaybookError):
    """A reversal names no movement of value before it in the log."""


@dataclass(frozen=True, slots=True)
class Reversal(PastRow):
    """The event `event_id` is void because of the event `reversed_by`.

    Of several reversals the one with the smallest id counts, so that arrival order does not matter.
    """

    table: ClassVar[str] = "reversals"
    key: ClassVar[tuple[str, ...]] = ("event_id",)
    event_id: UUID
    reversed_by: UUID
    position: int
    reason: str


class ReversalsProjection:
    name = "reversals"
    version = 1
    events: tuple[type[Event], ...] = (TradeReversed,)
    rows: tuple[type[Row], ...] = (Reversal,)

    def fold(self, rows: Rows, envelope: Envelope) -> list[Change]:
        event = envelope.event
        assert isinstance(event, TradeReversed)
        known = rows.get(Reversal, event.reverses)
        if known is None:
            newly_reversed(rows, envelope)
        elif known.reversed_by < envelope.event_id:
            return []
        return [Reversal(event.reverses, envelope.event_id, envelope.position, event.reason)]


def newly_reversed(rows: Rows, envelope: Envelope) -> Envelope | None:
    """Return the event that the reversal in `envelope` voids, or None if it is void already. Raises NothingToReverse."""
    event = envelope.event
    assert isinstance(event, TradeReversed)
    if rows.get(Reversal, event.reverses) is not None:
        return None
    target = rows.recorded(event.reverses)
    if target is None or target.position >= envelope.position:
        raise NothingToReverse(f"there is no earlier event {event.reverses} to reverse")
    if not reversible(target):
        raise NothingToReverse(f"{target.type} {event.reverses} moves no value: nothing to reverse")
    return target


def reversible(envelope: Envelope) -> bool:
    """Return whether the event moves value, so that it can be reversed."""
    return isinstance(envelope.event, (*MOVING, SplitRecorded))
