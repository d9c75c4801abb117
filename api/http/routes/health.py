"""Health: is the program alive, can it store, may it trade? Never calls a venue."""

from typing import Final, Literal

from litestar import Controller, Response, get
from litestar.openapi import ResponseSpec
from pydantic import Field

from api.http.requests import AnyRequest, Snapshot, system_of
from api.http.schemas import Answer
from ledger.postgres.database import DATABASE_GONE, database_problems
from ledger.projections.orders import OrderView
from ledger.projections.policy import halt_reason
from signals.market.candle import FeedUnavailable


class HealthAnswer(Answer):
    """`ok`, and one sentence for each problem. `notes` are worth knowing but no problem."""

    ok: bool
    problems: list[str]
    notes: list[str] = Field(default_factory=list)


class TradingHealth(HealthAnswer):
    """Whether orders may be sent, how many are open or of unknown outcome, and the positions of log and views."""

    state: Literal["open", "halted"]
    mode: Literal["paper"]
    market: str
    open_orders: int
    unknown_orders: int
    log_position: int
    view_position: int


NOT_READY: Final = ResponseSpec(HealthAnswer, generate_examples=False, description="Not ready: see problems")


class HealthController(Controller):
    path = "/health"
    tags = ("health",)

    @get("/live", operation_id="healthLive", sync_to_thread=False)
    def live(self) -> HealthAnswer:
        """Liveness: the program runs."""
        return HealthAnswer(ok=True, problems=[])

    @get("/ready", operation_id="healthReady", sync_to_thread=True, responses={503: NOT_READY})
    def ready(self, request: AnyRequest) -> Response[HealthAnswer]:
        """Readiness: the database is writable, its schema and views are current, and the market moves.

        Otherwise status 503; see `problems`.
        """
        problems = [*_database(request), *_market(request)]
        notes = ["the recorded market has come to its end"] if system_of(request).feed.finished else []
        notifier = request.app.state.notifier
        notes += notifier.notes() if notifier else []
        answer = HealthAnswer(ok=not problems, problems=problems, notes=notes)
        return Response(answer, status_code=503 if problems else 200)


class TradingHealthController(Controller):
    path = "/health"
    tags = ("health",)

    @get("/trading", operation_id="healthTrading", sync_to_thread=True, opt={"any_query": True})
    def trading(self, request: AnyRequest) -> TradingHealth:
        """Whether orders may be sent now, and the reasons if not."""
        system = system_of(request)
        with Snapshot(request, None).reading() as reading:
            orders = list(reading.rows.where(OrderView))
            halted, stopped = halt_reason(reading.rows), reading.stopped
        reasons = [*([halted] if halted else []), *([stopped.reason] if stopped else [])]
        problems = [*reasons, *_market(request)]
        return TradingHealth(
            ok=not problems,
            problems=problems,
            state="halted" if reasons else "open",
            mode="paper",
            market=system.feed.label,
            open_orders=len(orders),
            unknown_orders=sum(1 for order in orders if order.status == "unknown"),
            log_position=system.book.log.head(system.portfolio_id).position,
            view_position=reading.position,
        )


def _database(request: AnyRequest) -> list[str]:
    system = system_of(request)
    try:
        problems = database_problems(system.engine)
        with system.book.reading(system.portfolio_id) as reading:
            stopped = reading.stopped
    except DATABASE_GONE:
        return ["the database cannot be reached: Daybook keeps trying"]
    if stopped:
        advice = "run daybook replay --verify for the reason, then daybook replay --rebuild"
        problems.append(f"the views stopped before position {stopped.position}: {advice}")
    return problems


def _market(request: AnyRequest) -> list[str]:
    """The kind of failure and no details: this is readable without a token."""
    system, failure = system_of(request), request.app.state.scheduler.last_failure
    if isinstance(failure, FeedUnavailable) or (failure is None and system.loop.unreached):
        return [f"the market cannot be reached ({system.feed.label}): Daybook keeps trying"]
    return (
        [] if failure is None else [f"the market loop fails ({type(failure).__name__}) and keeps trying: see the log"]
    )
