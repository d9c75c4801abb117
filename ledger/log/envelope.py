"""Envelopes of events: position, ids, times, actor, cause. Encoding, decoding, and upgrades of old versions."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any, Final, NamedTuple
from uuid import UUID

from pydantic import ValidationError

from ledger.errors import DaybookError
from ledger.events import EVENTS, Event
from ledger.values import time_text, utc_time


class UnknownEvent(DaybookError):
    """The log contains an event type or version unknown to this program: a newer one wrote it."""


class BadEvent(DaybookError):
    """A stored payload does not match its type and version."""


@dataclass(frozen=True, slots=True)
class NewEvent:
    """An event to append. `correlation_id` groups the events of one story, `causation_id` is the direct cause.

    `metadata` is canonical JSON about the origin of the event: covered by the hash chain, ignored by all rules.
    """

    event: Event
    event_id: UUID
    occurred_at: datetime
    actor: str
    correlation_id: UUID
    causation_id: UUID | None = None
    metadata: str = "{}"

    def __post_init__(self) -> None:
        object.__setattr__(self, "occurred_at", utc_time(self.occurred_at))
        for name, text in (("actor", self.actor), ("metadata", self.metadata)):
            if "\x00" in text or not _is_unicode(text):
                raise ValueError(f"the {name} {text[:40]!r} contains a character that cannot be stored")


def _is_unicode(text: str) -> bool:
    """Return whether the text can be encoded in UTF-8: a lone surrogate cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


@dataclass(frozen=True)
class Envelope:
    """A stored event. `payload` and `metadata` are the exact stored texts; `hash` covers them and the previous hash.

    `occurred_at` is the time of the fact, `recorded_at` the time of storage, which never decreases along positions.
    """

    portfolio_id: UUID
    position: int
    event_id: UUID
    type: str
    version: int
    occurred_at: datetime
    recorded_at: datetime
    actor: str
    correlation_id: UUID
    causation_id: UUID | None
    payload: str
    metadata: str
    hash: bytes

    @cached_property
    def event(self) -> Event:
        """The decoded event, upgraded to the newest version of its type. Raises UnknownEvent or BadEvent."""
        return decode(self.type, self.version, self.payload)


def canonical_json(value: object) -> str:
    """Return JSON with sorted keys, no spaces and no NaN: equal values give equal text. Money must be text already."""
    return _encoder.encode(value)


_encoder: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def encode(event: Event) -> str:
    """Return the stored text of an event: canonical JSON, decimals and times as text, None values left out."""
    return canonical_json(event.model_dump(mode="json", exclude_none=True))


Lift = Callable[[Mapping[str, Any]], Mapping[str, Any]]
LIFTS: Final[dict[tuple[str, int], Lift]] = {
    ("OrderRequested", 1): lambda payload: payload,
    ("PortfolioOpened", 1): lambda payload: {**payload, "allow_short": False},
    ("SignalRejected", 1): lambda payload: {**payload, "not_yet": False},
}
"""Upgrade of a payload from (type, version) to (type, version + 1)."""


def decode(type_name: str, version: int, payload: str) -> Event:
    """Decode a stored payload into the newest version of its event type.

    Raises UnknownEvent for an unknown type or version, BadEvent for a payload that does not match it.
    """
    lift = LIFTS.get((type_name, version))
    if lift is not None:
        return decode(type_name, version + 1, canonical_json(lift(json.loads(payload))))
    kind = EVENTS.get((type_name, version))
    if kind is None:
        raise UnknownEvent(
            f"event type {type_name} version {version} is unknown here: upgrade Daybook to read this log"
        )
    try:
        return kind.model_validate_json(payload)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "payload"
        raise BadEvent(f"{type_name} version {version} cannot be read: {where}: {first['msg']}") from None


# --- the stored form ---


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
        """Return the envelope of this event at its position in the portfolio's log."""
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
    """Return the event in its stored form."""
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
    """Raise ValueError when two events of one batch have the same id."""
    if len({event.event_id for event in events}) != len(events):
        raise ValueError("two events of one batch have the same id")


def batch_text(events: Sequence[EncodedEvent]) -> str:
    """Return the batch as the JSON argument of the database function `append_events`."""
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
