"""The log: the port every store fulfils, and the one in memory."""

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


def _same_content(stored: Envelope, event: EncodedEvent) -> bool:
    """Whether appending `event` again would store what is stored (the time of recording aside)."""
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
    # Before anyone has seen it: the hash covers the rest, and the event is what decoding its own text would give again.
    previous = log[-1].hash if log else genesis_hash(portfolio_id)
    object.__setattr__(envelope, "hash", event_hash(previous, envelope))
    if EVENTS.get((event.type, event.version)) is type(new.event):
        envelope.__dict__["event"] = new.event
    log.append(envelope)
