"""Limits: the numbers that review's rules compare with."""

from litestar import Controller, Response, get, put
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from api.http.auth import caller_of
from api.http.commands import IdempotencyKey, Running
from api.http.errors import Problem
from api.http.policy_schemas import LimitAnswer, NewValue
from api.http.reading import (
    PAST,
    AnyRequest,
    InPortfolio,
    clock_of,
    commands_of,
    only_parameters,
    reading_of,
    system_of,
)
from ledger.entries.recording import record_checked
from ledger.events import LimitSet
from ledger.log.envelope import NewEvent
from ledger.log.point_in_time import PointInTime
from ledger.postgres.book import StoredReading
from ledger.projections.policy import LIMITS, limit_of
from ledger.rows import Rows


class LimitController(Controller):
    path = "/api/v1/limits"
    tags = ("review",)

    @get("/", operation_id="listLimits", sync_to_thread=True)
    def list_limits(
        self, request: AnyRequest, past: NamedDependency[PointInTime], portfolio: InPortfolio = None
    ) -> list[LimitAnswer]:
        """Every limit with the value in force."""
        only_parameters(request, *PAST, "portfolio")
        with reading_of(request, portfolio, past) as reading:
            return [_limit(reading.rows, name) for name in LIMITS]

    @put("/{name:str}", operation_id="setLimit", status_code=200, sync_to_thread=True)
    def set_limit(
        self,
        request: AnyRequest,
        data: JSONBody[NewValue],
        name: FromPath[str],
        idempotency_key: IdempotencyKey = None,
        portfolio: InPortfolio = None,
    ) -> Response[LimitAnswer]:
        """Sets a limit; verdicts from now on are given with it."""
        only_parameters(request, "portfolio")
        system = system_of(request)
        with reading_of(request, portfolio) as reading:
            portfolio_id = reading.portfolio_id

        def act(running: Running) -> None:
            if name not in LIMITS:
                raise Problem(404, "unknown-limit", f"there is no limit {name[:40]!r}: there are {', '.join(LIMITS)}")

            def prepare(_reading: StoredReading) -> list[NewEvent]:
                event_id, now = running.event_id(), clock_of(system, portfolio_id)()
                event = LimitSet(limit=name, value=data.value)
                return [NewEvent(event, event_id, now, caller_of(request).actor, event_id)]

            record_checked(system.book, portfolio_id, prepare, running.claim)

        def answer(_running: Running) -> LimitAnswer:
            with system.book.reading(portfolio_id) as reading:
                return _limit(reading.rows, name)

        return commands_of(request).run(portfolio_id, idempotency_key, (f"PUT /limits/{name}", data), act, answer)


def _limit(rows: Rows, name: str) -> LimitAnswer:
    return LimitAnswer(limit=name, value=limit_of(rows, name), default=LIMITS[name])
