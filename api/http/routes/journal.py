"""The journal: the log itself, and the proof that everything follows from it."""

import threading
from typing import Annotated, Final

from litestar import Controller, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, QueryParameter

from api.http.errors import Problem
from api.http.reading import (
    PAST,
    AnyRequest,
    InPortfolio,
    cursor_of,
    limit_of_page,
    only_parameters,
    page_of,
    portfolio_of,
    reading_of,
    system_of,
)
from api.http.schemas import EventAnswer, EventPage, VerificationAnswer
from ledger.log.point_in_time import PointInTime
from ledger.postgres.log import read_events, read_page
from ledger.replay.differences import Difference
from ledger.replay.verify import verify_portfolio

LAST_POSITION: Final = 2**63 - 1


_one_at_a_time = threading.Lock()
"""A verification folds the whole log: two at once would only slow each other and the market down."""


class JournalController(Controller):
    path = "/api/v1"
    tags = ("journal",)

    @get("/events", operation_id="listEvents", sync_to_thread=True)
    def list_events(
        self,
        request: AnyRequest,
        past: NamedDependency[PointInTime],
        portfolio: InPortfolio = None,
        limit: FromQuery[int] = 50,
        cursor: FromQuery[str | None] = None,
        type_: Annotated[str | None, QueryParameter(name="type")] = None,
    ) -> EventPage:
        """Events, newest first; `type` may name several, comma-separated."""
        only_parameters(request, *PAST, "portfolio", "limit", "cursor", "type")
        size, types = limit_of_page(limit), type_.split(",") if type_ else []
        with reading_of(request, portfolio, past) as reading:
            found = read_events(
                reading.connection, reading.portfolio_id, past, types=types, before=cursor_of(cursor), limit=size + 1
            )
        page, following = page_of(found, size)
        return EventPage(items=[EventAnswer.model_validate(one) for one in page], next_cursor=following)

    @get("/events/{position:int}", operation_id="getEvent", sync_to_thread=True)
    def get_event(
        self,
        request: AnyRequest,
        past: NamedDependency[PointInTime],
        position: FromPath[int],
        portfolio: InPortfolio = None,
    ) -> EventAnswer:
        """The event at this position."""
        only_parameters(request, *PAST, "portfolio")
        with reading_of(request, portfolio, past) as reading:
            possible = 0 < position <= LAST_POSITION
            found = read_page(reading.connection, reading.portfolio_id, position - 1, 1) if possible else []
        if not found or not past.holds(found[0]):
            raise Problem(404, "unknown-event", f"the log has no position {position}")
        return EventAnswer.model_validate(found[0])

    @post("/verification", operation_id="verify", status_code=200, sync_to_thread=True)
    def verify(self, request: AnyRequest, portfolio: InPortfolio = None) -> VerificationAnswer:
        """Replays the portfolio's log and compares everything that is stored with it.

        Changes nothing stored; where this program trades in the portfolio, a difference halts trading.
        """
        only_parameters(request, "portfolio")
        system = system_of(request)
        portfolio_id = portfolio_of(system, portfolio)
        system.book.log.head(portfolio_id)
        if not _one_at_a_time.acquire(blocking=False):
            raise Problem(409, "still-running", "a verification is running already: wait for it, then ask again")
        try:
            result = verify_portfolio(system.engine, portfolio_id)
        finally:
            _one_at_a_time.release()
        broken = [str(result.broken)] if result.broken else []
        found = broken + [_sentence(difference) for difference in result.differences]
        if found and portfolio_id == system.portfolio_id:
            system.loop.halts.unverified = found[0][:500]
        return VerificationAnswer(
            verified=not result.differences and result.broken is None,
            events=result.events,
            trades=result.trades,
            state_hash=result.state_hash,
            differences=found,
            checked_at=system.clock(),
        )


def _sentence(difference: Difference) -> str:
    return f"{difference.what}: stored {difference.stored}, replayed {difference.replayed}"
