"""The hash chain: each event's hash covers its header, its exact stored texts, and the previous hash."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from ledger.errors import DaybookError
from ledger.log.envelope import Envelope

FORMAT_TAG: Final = b"daybook-1"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class BrokenLog(DaybookError):
    """The log is not as it was written. `position` is the first position at which that shows."""

    def __init__(self, portfolio_id: UUID, position: int, reason: str) -> None:
        super().__init__(f"portfolio {portfolio_id}, position {position}: {reason}")
        self.portfolio_id = portfolio_id
        self.position = position
        self.reason = reason

    def __reduce__(self) -> tuple[type["BrokenLog"], tuple[UUID, int, str]]:
        # Lets the exception cross process borders; the default would pass the message to __init__.
        return BrokenLog, (self.portfolio_id, self.position, self.reason)


@dataclass(frozen=True, slots=True)
class Head:
    """The end of a portfolio's log: its last position and hash (position 0 and the genesis hash when empty)."""

    position: int
    hash: bytes


def genesis_hash(portfolio_id: UUID) -> bytes:
    """Return the previous hash of position 1."""
    return hashlib.sha256(FORMAT_TAG + portfolio_id.bytes).digest()


def event_hash(previous: bytes, envelope: Envelope) -> bytes:
    """Return sha256(previous ‖ header ‖ payload ‖ metadata), each field prefixed by its length (4 bytes, big-endian).

    Times are microseconds since 1970 in UTC. The database function `append_events` computes the same hash.
    """
    causation = envelope.causation_id.bytes if envelope.causation_id else b""
    fields = (
        FORMAT_TAG,
        envelope.portfolio_id.bytes,
        envelope.position.to_bytes(8, "big"),
        envelope.event_id.bytes,
        envelope.type.encode(),
        envelope.version.to_bytes(2, "big", signed=True),
        _microseconds(envelope.occurred_at),
        _microseconds(envelope.recorded_at),
        envelope.actor.encode(),
        envelope.correlation_id.bytes,
        causation,
        envelope.payload.encode(),
        envelope.metadata.encode(),
    )
    body = b"".join([len(field).to_bytes(4, "big") + field for field in fields])
    return hashlib.sha256(previous + body).digest()


def verified(portfolio_id: UUID, envelopes: Iterable[Envelope], start: Head | None = None) -> Iterator[Envelope]:
    """Yield the same envelopes after verifying hash and position of each. Raises BrokenLog at the first mismatch."""
    position, previous = (start.position, start.hash) if start else (0, genesis_hash(portfolio_id))
    for envelope in envelopes:
        if envelope.position != position + 1:
            raise BrokenLog(
                portfolio_id, position + 1, f"the event is missing (the next one is at {envelope.position})"
            )
        if event_hash(previous, envelope) != envelope.hash:
            raise BrokenLog(portfolio_id, envelope.position, "the stored event does not match its hash")
        position, previous = envelope.position, envelope.hash
        yield envelope


def _microseconds(time: datetime) -> bytes:
    return ((time - _EPOCH) // timedelta(microseconds=1)).to_bytes(8, "big", signed=True)
