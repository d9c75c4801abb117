"""Books: a log and its projections, updated together, so that readers see the effects of every recorded event."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Final, Protocol, TypeVar
from uuid import UUID

from ledger.events import Event
from ledger.log.envelope import Envelope, NewEvent
from ledger.log.event_log import Conflict, EventLog, MemoryLog, PositionConflict
from ledger.projections import PROJECTIONS
from ledger.rows import Change, MemoryRows, Projection, Rows
from ledger.values import Clock


@dataclass(frozen=True, slots=True)
class Stopped:
    """A portfolio's views stopped before `position`, because folding the event there failed with `reason`."""

    position: int
    reason: str


@dataclass(frozen=True, slots=True)
class Reading:
    """Rows of one portfolio as of `position`. `stopped` is set when a failed fold keeps them behind the log."""

    position: int
    stopped: Stopped | None
    rows: Rows


class Book(Protocol):
    """Storage, as trading sees it."""

    log: EventLog

    def record(
        self, portfolio_id: UUID, events: Sequence[NewEvent], expected_position: int | None = None
    ) -> list[Envelope]:
        """Append `events` and update the rows, both or neither. Raises the errors of `EventLog.append`.

        If a fold fails, the events are stored nevertheless, and the portfolio's rows stop before the failing one.
        """

    def reading(self, portfolio_id: UUID) -> AbstractContextManager[Reading]:
        """A consistent view of the portfolio's rows for as long as the context is open."""


TRIES: Final = 50
"""How often a decision is repeated because the log has moved, before giving up."""

Record = Callable[[Sequence[NewEvent], int], object]
"""Stores events if the log is at the given position, together with anything else the caller wants stored with them."""

R_co = TypeVar("R_co", bound=Reading, covariant=True)


class Decidable(Protocol[R_co]):
    """A book of which `decide_and_record` needs only these two methods."""

    def record(
        self, portfolio_id: UUID, events: Sequence[NewEvent], expected_position: int | None = None
    ) -> list[Envelope]: ...

    def reading(self, portfolio_id: UUID) -> AbstractContextManager[R_co]: ...


def decide_and_record(
    book: Decidable[R_co],
    portfolio_id: UUID,
    decide: Callable[[R_co], Sequence[NewEvent]],
    record: Record | None = None,
) -> list[NewEvent]:
    """Store the events that `decide` derives from the portfolio's rows, and return them.

    `record` gets the events and the position of the rows (default: `book.record`). When the log has moved since the rows
    were read, `decide` is called again with newer rows. Deciding on no events stores nothing.

    Raises:
        PositionConflict: the log moved during each of `TRIES` attempts.
        Conflict: an event id is already stored with other content, and `decide` still wants its events stored.
    """
    store = record or (lambda events, position: book.record(portfolio_id, events, position))
    refused: Conflict | None = None
    for _ in range(TRIES):
        with book.reading(portfolio_id) as reading:
            events = list(decide(reading))
        if not events:
            return []
        if refused is not None and not isinstance(refused, PositionConflict):
            raise refused
        try:
            store(events, reading.position)
        except Conflict as conflict:
            refused = conflict
        else:
            return events
    assert refused is not None
    raise refused


def changes_of(rows: Rows, envelope: Envelope, projections: Iterable[Projection] = PROJECTIONS) -> list[Change]:
    """Return the changes that `envelope` makes in all projections, each given the rows before it."""
    subscribed = _subscribed(tuple(projections), type(envelope.event))
    return [change for projection in subscribed for change in projection.fold(rows, envelope)]


@lru_cache(maxsize=1000)
def _subscribed(projections: tuple[Projection, ...], kind: type[Event]) -> tuple[Projection, ...]:
    return tuple(projection for projection in projections if kind in projection.events)


class MemoryBook:
    """A book in memory: for backtests, trade files, and as the reference model of the stored one."""

    def __init__(self, clock: Clock, projections: Iterable[Projection] = PROJECTIONS) -> None:
        self._memory = MemoryLog(clock)
        self.log: EventLog = self._memory
        self._projections = tuple(projections)
        self._rows: dict[UUID, MemoryRows] = {}
        self._positions: dict[UUID, int] = {}
        self._stopped: dict[UUID, Stopped] = {}

    def record(
        self, portfolio_id: UUID, events: Sequence[NewEvent], expected_position: int | None = None
    ) -> list[Envelope]:
        envelopes = self.log.append(portfolio_id, events, expected_position)
        for envelope in envelopes if len(envelopes) == 1 else sorted(envelopes, key=lambda one: one.position):
            if envelope.position > self._positions.get(portfolio_id, 0) and portfolio_id not in self._stopped:
                self._fold(portfolio_id, envelope)
        return envelopes

    def reading(self, portfolio_id: UUID) -> AbstractContextManager[Reading]:
        rows = self._rows_of(portfolio_id)
        return nullcontext(Reading(self._positions.get(portfolio_id, 0), self._stopped.get(portfolio_id), rows))

    def _rows_of(self, portfolio_id: UUID) -> MemoryRows:
        rows = self._rows.get(portfolio_id)
        if rows is None:
            rows = self._rows[portfolio_id] = MemoryRows(recorded=partial(self._memory.find, portfolio_id))
        return rows

    def _fold(self, portfolio_id: UUID, envelope: Envelope) -> None:
        rows = self._rows_of(portfolio_id)
        changes, failure = attempt_fold(rows, envelope, self._projections)
        if failure is not None:
            self._stopped[portfolio_id] = Stopped(envelope.position, failure)
            return
        rows.apply(changes)
        self._positions[portfolio_id] = envelope.position


def attempt_fold(
    rows: Rows, envelope: Envelope, projections: Iterable[Projection] = PROJECTIONS
) -> tuple[list[Change], str | None]:
    """Return the changes and None, or no changes and the reason of the failure.

    Any exception of a fold is caught, because it must not keep the event out of the log.
    """
    try:
        return changes_of(rows, envelope, projections), None
    except Exception as error:  # noqa: BLE001 - any failure of any fold stops the views, and none may lose the event
        return [], f"{type(error).__name__}: {error}"
