"""The log: an append-only chain of envelopes for each portfolio. The port of every store, the log in memory, and the hashes."""

import hashlib
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol
from uuid import UUID

from ledger.errors import DaybookError
from ledger.events import EVENTS, PortfolioOpened
from ledger.log.envelope import EncodedEvent, Envelope, NewEvent, check_batch, encoded
from ledger.values import Clock


class Conflict(DaybookError):
    """The log contradicts an append: another event has this id, or the position is not the expected one."""


class PositionConflict(Conflict):
    """The log is not at the position the caller expected: read it and decide again."""


class NoSuchPortfolio(DaybookError):
    """No portfolio with this id exists."""


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


class EventLog(Protocol):
    """An append-only, gapless, hash-chained log for each portfolio."""

    def append(
        self, portfolio_id: UUID, events: Sequence[NewEvent], expected_position: int | None = None
    ) -> list[Envelope]:
        """Store all of `events`, in this order and at consecutive positions, or none; return their envelopes.

        An event already stored with the same id and content is not stored again; its existing envelope is returned.

        Raises:
            Conflict: an id is already stored with other content.
            PositionConflict: the head is not at `expected_position`. Checked only when there is something new to store.
            NoSuchPortfolio: the log is empty and the first event is not PortfolioOpened.
        """

    def read(self, portfolio_id: UUID, after: int = 0, limit: int | None = None) -> Iterator[Envelope]:
        """Yield at most `limit` stored envelopes at positions above `after`, in order."""

    def head(self, portfolio_id: UUID) -> Head:
        """The last position and its hash. Raises NoSuchPortfolio."""

    def portfolios(self) -> list[UUID]:
        """The ids of all portfolios, sorted as text."""


class MemoryLog:
    """A log in memory with the same rules and hash chain as the stored one. Thread-safe."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._logs: dict[UUID, list[Envelope]] = {}
        self._positions: dict[UUID, dict[UUID, int]] = {}

    def append(
        self, portfolio_id: UUID, events: Sequence[NewEvent], expected_position: int | None = None
    ) -> list[Envelope]:
        texts = [encoded(new) for new in events]
        check_batch(texts)
        with self._lock:
            log = self._opened(portfolio_id, events)
            positions = self._positions.setdefault(portfolio_id, {})
            fresh = [pair for pair in zip(events, texts, strict=True) if pair[0].event_id not in positions]
            for event in texts if len(fresh) < len(events) else ():
                at = positions.get(event.event_id)
                if at is not None and not _same_content(log[at - 1], event):
                    raise Conflict(f"event {event.event_id} is already stored with other content")
            if fresh and expected_position is not None and expected_position != len(log):
                raise PositionConflict(f"expected position {expected_position}, but the log stands at {len(log)}")
            recorded_at = max(self._clock(), log[-1].recorded_at) if log else self._clock()
            for new, event in fresh:
                _extend(log, portfolio_id, new, event, recorded_at)
                positions[new.event_id] = len(log)
            self._logs[portfolio_id] = log
            return [log[positions[new.event_id] - 1] for new in events]

    def read(self, portfolio_id: UUID, after: int = 0, limit: int | None = None) -> Iterator[Envelope]:
        log = self._logs.get(portfolio_id, [])
        end = len(log) if limit is None else min(len(log), after + limit)
        for index in range(after, end):
            yield log[index]

    def find(self, portfolio_id: UUID, event_id: UUID) -> Envelope | None:
        """The event with this id, or None."""
        position = self._positions.get(portfolio_id, {}).get(event_id)
        return None if position is None else self._logs[portfolio_id][position - 1]

    def head(self, portfolio_id: UUID) -> Head:
        log = self._logs.get(portfolio_id)
        if not log:
            raise NoSuchPortfolio(f"there is no portfolio {portfolio_id}")
        return Head(log[-1].position, log[-1].hash)

    def portfolios(self) -> list[UUID]:
        return sorted(self._logs, key=str)

    def _opened(self, portfolio_id: UUID, events: Sequence[NewEvent]) -> list[Envelope]:
        log = self._logs.get(portfolio_id, [])
        if not log and not (events and isinstance(events[0].event, PortfolioOpened)):
            raise NoSuchPortfolio(f"there is no portfolio {portfolio_id}")
        return log


def _same_content(stored: Envelope, event: EncodedEvent) -> bool:
    """Return whether `event` equals the stored one, apart from the time of recording."""
    return (
        stored.type == event.type
        and stored.version == event.version
        and stored.payload == event.payload
        and stored.occurred_at == event.occurred_at
        and stored.actor == event.actor
        and stored.metadata == event.metadata
    )


def _extend(log: list[Envelope], portfolio_id: UUID, new: NewEvent, event: EncodedEvent, recorded_at: datetime) -> None:
    envelope = event.at(portfolio_id, len(log) + 1, recorded_at, b"")
    # The envelope is not shared yet. The cached event equals what decoding its payload would return.
    previous = log[-1].hash if log else genesis_hash(portfolio_id)
    object.__setattr__(envelope, "hash", event_hash(previous, envelope))
    if EVENTS.get((event.type, event.version)) is type(new.event):
        envelope.__dict__["event"] = new.event
    log.append(envelope)


# --- the hash chain: each hash covers the event's header, its exact stored texts, and the previous hash ---

FORMAT_TAG: Final = b"daybook-1"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


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
