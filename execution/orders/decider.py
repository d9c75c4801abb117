"""Deciding from the stored rows: look, decide, store; and anew when the log moved meanwhile."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final
from uuid import UUID

from execution.orders.leadership import Leadership
from execution.review.state import Desk
from ledger.log.envelope import NewEvent
from ledger.log.event_log import Conflict, PositionConflict
from ledger.projections.book import Book, Reading
from ledger.values import Clock

TRIES: Final = 50
"""How often a decision is made anew because the log moved meanwhile, before giving up."""

Record = Callable[[Sequence[NewEvent], int], object]
"""Stores events if the log stands at the given position, together with whatever the caller wants stored with them."""


class Decider:
    """Decides for one portfolio, as long as `leadership` holds."""

    def __init__(self, book: Book, portfolio_id: UUID, clock: Clock, leadership: Leadership) -> None:
        self._book = book
        self._portfolio_id = portfolio_id
        self._clock = clock
        self._leadership = leadership

    def _decide(self, decide: Callable[[Desk], list[NewEvent]], record: Record | None = None) -> list[NewEvent]:
        """What `decide` makes of the desk is stored, and returned; it decides anew when the log moved meanwhile.

        Raises Conflict when the log refuses a second time what `decide` holds to be new, or moves `TRIES` times.
        """
        refused: Conflict | None = None
        for _ in range(TRIES):
            with self._desk() as desk:
                events = decide(desk)
            if not events:
                return []
            if refused is not None and not isinstance(refused, PositionConflict):
                raise refused
            try:
                (record or self._record)(events, desk.position)
            except Conflict as conflict:
                refused = conflict
            else:
                return events
        assert refused is not None
        raise refused

    def _record(self, events: Sequence[NewEvent], position: int) -> None:
        self._leadership.record(events, position)

    @contextmanager
    def _desk(self) -> Iterator[Desk]:
        with self._book.reading(self._portfolio_id) as reading:
            yield Desk(reading.rows, reading.position, self._clock(), _stopped(reading))


def _stopped(reading: Reading) -> str | None:
    stopped = reading.stopped
    return None if stopped is None else f"views stopped at position {stopped.position}: {stopped.reason}"
