"""The event log, and the verification of everything stored against it."""

import threading
from typing import Annotated, Final

from litestar import Controller, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter

from api.http.errors import Problem
from api.http.requests import Paging, Snapshot, portfolio_of
from api.http.schemas import Answer, EventAnswer, Page
from ledger.postgres.log import read_events, read_page
from ledger.replay.differences import Difference
from ledger.replay.verify import verify_portfolio
from ledger.values import UtcTime

LAST_POSITION: Final = 2**63 - 1
_one_at_a_time = threading.Lock()
"""A verification folds the whole log: two at once would only slow down each other and the market loop."""


class EventPage(Page):
    items: list[EventAnswer]


class VerificationAnswer(Answer):
    verified: bool
    events: int
    trades: int
    state_hash: str
    differences: list[str]
    checked_at: UtcTime


class JournalController(Controller):
    path = "/api/v1"
    tags = ("journal",)

    @get("/events", operation_id="listEvents", sync_to_thread=True)
    def list_events(
        self,
        snapshot: NamedDependency[Snapshot],
        paging: NamedDependency[Paging],
        type_: Annotated[str | None, QueryParameter(name="type")] = None,
    ) -> EventPage:
        """Events, newest first; `type` may name several, separated by commas."""
        types = type_.split(",") if type_ else []
        with snapshot.reading() as reading:
            connection, portfolio_id, past = reading.connection, reading.portfolio_id, snapshot.past
            found = read_events(
                connection, portfolio_id, past, types=types, before=paging.before, limit=paging.size + 1
            )
        return paging.answer(EventPage, found)

    @get("/events/{position:int}", operation_id="getEvent", sync_to_thread=True)
    def get_event(self, snapshot: NamedDependency[Snapshot], position: FromPath[int]) -> EventAnswer:
        """The event at a log position."""
        with snapshot.reading() as reading:
            possible = 0 < position <= LAST_POSITION
            found = read_page(reading.connection, reading.portfolio_id, position - 1, 1) if possible else []
        if not found or not snapshot.past.holds(found[0]):
            raise Problem(404, "unknown-event", f"the log has no position {position}")
        return EventAnswer.model_validate(found[0])

    @post("/verification", operation_id="verify", status_code=200, sync_to_thread=True)
    def verify(self, latest: NamedDependency[Snapshot]) -> VerificationAnswer:
        """Replays the portfolio's log and compares everything stored with the result.

        Stores nothing; a difference halts trading if this program trades in the portfolio.
        """
        system = latest.system
        portfolio_id = portfolio_of(system, latest.portfolio)
        system.book.log.head(portfolio_id)
        if not _one_at_a_time.acquire(blocking=False):
            raise Problem(409, "still-running", "a verification is already running: retry when it has ended")
        try:
            result = verify_portfolio(system.engine, portfolio_id)
        finally:
            _one_at_a_time.release()
        broken = [str(result.broken)] if result.broken else []
        found = broken + [_sentence(difference) for difference in result.differences]
        if found and portfolio_id == system.portfolio_id:
            system.loop.halts.unverified = found[0][:500]
        return VerificationAnswer(
            verified=not found,
            events=result.events,
            trades=result.trades,
            state_hash=result.state_hash,
            differences=found,
            checked_at=system.clock(),
        )


def _sentence(difference: Difference) -> str:
    return f"{difference.what}: stored {difference.stored}, replayed {difference.replayed}"
