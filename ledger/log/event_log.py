"""The log: the port every store fulfils, and the one in memory."""

import threading
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Protocol
from uuid import UUID

from ledger.errors import DaybookError
from ledger.events import EVENTS, PortfolioOpened
from ledger.log.envelope import Envelope, NewEvent, encode
from ledger.log.hash_chain import Head, event_hash, genesis_hash
from ledger.values import Clock


class Conflict(DaybookError):
    """The log already says something else: another event under this id, or another position than expected."""


class PositionConflict(Conflict):
    """The log stands elsewhere than the caller expected: look again, and decide anew from what it says now."""


class NoSuchPortfolio(DaybookError):
    """No portfolio with this id was ever opened."""


class EventLog(Protocol):
    """An append-only, gapless, chained log for each portfolio."""

    def append(
        self, portfolio_id: UUID, events: Sequence[NewEvent], expected_position: int | None = None
    ) -> list[Envelope]:
        """All of `events` are stored, in this order and at consecutive positions, or none is.

        An event whose id and content are already stored is answered with its old envelope and not stored again.
        Raises Conflict for a known id with other content, PositionConflict when the head is not at
        `expected_position` (asked only when something new is stored), and NoSuchPortfolio unless the first event ever
        is PortfolioOpened.
        """

    def read(self, portfolio_id: UUID, after: int = 0, limit: int | None = None) -> Iterator[Envelope]:
        """The stored envelopes at positions above `after`, in order, at most `limit`."""

    def head(self, portfolio_id: UUID) -> Head:
        """Where the log ends now. Raises NoSuchPortfolio."""

    def portfolios(self) -> list[UUID]:
        """The ids of all portfolios, in order of their text."""


class MemoryLog:
    """A log in memory, with the same rules and the same chain as the stored one. Safe to use from several threads."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._logs: dict[UUID, list[Envelope]] = {}
        self._positions: dict[UUID, dict[UUID, int]] = {}

    def append(
        self, portfolio_id: UUID, events: Sequence[NewEvent], expected_position: int | None = None
    ) -> list[Envelope]:
        check_batch(events)
        with self._lock:
            log = self._opened(portfolio_id, events)
            positions = self._positions.setdefault(portfolio_id, {})
            fresh = [new for new in events if new.event_id not in positions]
            for new in events if len(fresh) < len(events) else ():
                at = positions.get(new.event_id)
                if at is not None and not same_content(log[at - 1], new):
                    raise Conflict(f"event {new.event_id} is already stored with other content")
            if fresh and expected_position is not None and expected_position != len(log):
                raise PositionConflict(f"expected position {expected_position}, but the log stands at {len(log)}")
            recorded_at = max(self._clock(), log[-1].recorded_at) if log else self._clock()
            for new in fresh:
                _extend(log, portfolio_id, new, recorded_at)
                positions[new.event_id] = len(log)
            self._logs[portfolio_id] = log
            return [log[positions[new.event_id] - 1] for new in events]

    def read(self, portfolio_id: UUID, after: int = 0, limit: int | None = None) -> Iterator[Envelope]:
        log = self._logs.get(portfolio_id, [])
        end = len(log) if limit is None else min(len(log), after + limit)
        for index in range(after, end):
            yield log[index]

    def find(self, portfolio_id: UUID, event_id: UUID) -> Envelope | None:
        """The event with this id, if the log holds it."""
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


class Named(Protocol):
    """Anything that carries an event's id."""

    @property
    def event_id(self) -> UUID: ...


def check_batch(events: Sequence[Named]) -> None:
    """Raises ValueError when two events of one batch carry the same id."""
    if len({new.event_id for new in events}) != len(events):
        raise ValueError("two events of one batch carry the same id")


def same_content(stored: Envelope, new: NewEvent) -> bool:
    """Whether appending `new` again would store what is stored (the time of recording aside)."""
    return (
        stored.type == new.event.type
        and stored.version == new.event.version
        and stored.payload == encode(new.event)
        and stored.occurred_at == new.occurred_at
        and stored.actor == new.actor
        and stored.metadata == new.metadata
    )


def _extend(log: list[Envelope], portfolio_id: UUID, new: NewEvent, recorded_at: datetime) -> None:
    previous = log[-1].hash if log else genesis_hash(portfolio_id)
    envelope = Envelope(
        portfolio_id=portfolio_id,
        position=len(log) + 1,
        event_id=new.event_id,
        type=new.event.type,
        version=new.event.version,
        occurred_at=new.occurred_at,
        recorded_at=recorded_at,
        actor=new.actor,
        correlation_id=new.correlation_id,
        causation_id=new.causation_id,
        payload=encode(new.event),
        metadata=new.metadata,
        hash=b"",
    )
    # Before anyone has seen it: the hash covers the rest, and the event is what decoding its own text would give again.
    object.__setattr__(envelope, "hash", event_hash(previous, envelope))
    if EVENTS.get((new.event.type, new.event.version)) is type(new.event):
        envelope.__dict__["event"] = new.event
    log.append(envelope)
