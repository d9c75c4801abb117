"""Events as they are sent to the log: their stored texts made, ready for the database's functions."""

import json
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from ledger.log.envelope import NewEvent, encode
from ledger.values import time_text


class EncodedEvent(NamedTuple):
    """An event whose stored texts are made already: `payload` is what `encode` gives for it, `metadata` canonical JSON."""

    event_id: UUID
    type: str
    version: int
    occurred_at: datetime
    actor: str
    correlation_id: UUID
    causation_id: UUID | None
    payload: str
    metadata: str = "{}"


def encoded(new: NewEvent) -> EncodedEvent:
    """The event with its texts made."""
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


def sent(ordinal: int, new: NewEvent, payload: str) -> dict[str, object]:
    """The event as one entry of the batch that `append_events` takes."""
    return {
        "ordinal": ordinal,
        "event_id": str(new.event_id),
        "type": new.event.type,
        "version": new.event.version,
        "occurred_at": time_text(new.occurred_at),
        "actor": new.actor,
        "correlation_id": str(new.correlation_id),
        "causation_id": str(new.causation_id) if new.causation_id else None,
        "payload": payload,
        "metadata": new.metadata,
    }


def sent_encoded(ordinal: int, event: EncodedEvent) -> dict[str, object]:
    """The same for an event whose texts are made."""
    causation_id = str(event.causation_id) if event.causation_id else None
    return event._asdict() | {
        "ordinal": ordinal,
        "event_id": str(event.event_id),
        "occurred_at": time_text(event.occurred_at),
        "correlation_id": str(event.correlation_id),
        "causation_id": causation_id,
    }


def dumps(value: object) -> str:
    """The batch as JSON."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
