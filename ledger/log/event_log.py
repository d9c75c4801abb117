"""The event log: the port of all stores, and the one in memory."""

import threading
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Protocol
from uuid import UUID

from ledger.errors import DaybookError
from ledger.events import EVENTS, PortfolioOpened
from ledger.log.envelope import EncodedEvent, Envelope, NewEvent, check_batch, encoded
from ledger.log.hash_chain import Head, event_hash, genesis_hash
from ledger.values import Clock


class Conflict(DaybookError):
    """The log contradicts an append: another event has this id, or the position is not the expected one."""


class PositionConflict(Conflict):
    """The log is not at the position the caller expected: read it and decide again."""


class NoSuchPortfolio(DaybookError):
    """No portfolio with this id exists."""


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
