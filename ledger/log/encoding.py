"""Events in their stored form: encoded once, before they reach a log."""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from ledger.log.envelope import Envelope, NewEvent, encode
from ledger.values import time_text


class EncodedEvent(NamedTuple):
    """A new event with its stored texts: `payload` as `encode` writes it, `metadata` as canonical JSON."""

    event_id: UUID
    type: str
    version: int
    occurred_at: datetime
    actor: str
    correlation_id: UUID
    causation_id: UUID | None
    payload: str
    metadata: str = "{}"

    def at(self, portfolio_id: UUID, position: int, recorded_at: datetime, hash_: bytes) -> Envelope:
        """The envelope of this event at its place in the portfolio's log."""
        return Envelope(
            portfolio_id=portfolio_id,
            position=position,
            event_id=self.event_id,
            type=self.type,
            version=self.version,
            occurred_at=self.occurred_at,
            recorded_at=recorded_at,
            actor=self.actor,
            correlation_id=self.correlation_id,
            causation_id=self.causation_id,
            payload=self.payload,
            metadata=self.metadata,
            hash=hash_,
        )


def encoded(new: NewEvent) -> EncodedEvent:
    """The event in its stored form."""
    return EncodedEvent(
        new.event_id,
        new.event.type,
        new.event.version,
        new.occurred_at,
        new.actor,
        new.correlation_id,
        new.causation_id,
        encode(new.event),
        new.metadata,
    )


def check_batch(events: Sequence[EncodedEvent]) -> None:
    """Raises ValueError when two events of one batch carry the same id."""
    if len({event.event_id for event in events}) != len(events):
        raise ValueError("two events of one batch carry the same id")


def batch_text(events: Sequence[EncodedEvent]) -> str:
    """The batch as the JSON that the database function `append_events` takes."""
    entries = [_entry(ordinal, event) for ordinal, event in enumerate(events)]
    return json.dumps(entries, ensure_ascii=False, separators=(",", ":"))


def _entry(ordinal: int, event: EncodedEvent) -> dict[str, object]:
    return event._asdict() | {
        "ordinal": ordinal,
        "event_id": str(event.event_id),
        "occurred_at": time_text(event.occurred_at),
        "correlation_id": str(event.correlation_id),
        "causation_id": str(event.causation_id) if event.causation_id else None,
    }
