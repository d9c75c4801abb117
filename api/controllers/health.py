"""Health: is the program alive, can it store, may it trade. Never calls a venue."""

from litestar import Controller, Response, get

from api.reading import AnyRequest, system_of
from api.schemas import HealthAnswer, TradingHealth
from ledger.projections.orders import OrderView
from ledger.projections.policy import halt_reason


class HealthController(Controller):
    path = "/health"
    tags = ("health",)

    @get("/live", operation_id="healthLive", sync_to_thread=False)
    def live(self) -> HealthAnswer:
        """The program runs."""
        return HealthAnswer(ok=True, problems=[])

    @get("/ready", operation_id="healthReady", sync_to_thread=True)
    def ready(self, request: AnyRequest) -> Response[HealthAnswer]:
        """The database answers, the views keep up with the log, and the market moves."""
        problems = _problems(request)
        return Response(HealthAnswer(ok=not problems, problems=problems), status_code=503 if problems else 200)


class TradingHealthController(Controller):
    path = "/health"
    tags = ("health",)

    @get("/trading", operation_id="healthTrading", sync_to_thread=True)
    def trading(self, request: AnyRequest) -> TradingHealth:
        """Whether orders may be sent now, and why not."""
        system = system_of(request)
        with system.book.reading(system.portfolio_id) as reading:
            orders = list(reading.rows.where(OrderView))
            halted = halt_reason(reading.rows)
            stopped = reading.stopped
        reasons = [*([halted] if halted else []), *([stopped.reason] if stopped else [])]
        return TradingHealth(
            ok=not reasons,
            problems=reasons,
            state="halted" if reasons else "open",
            mode="paper",
            market=system.feed.label,
            open_orders=len(orders),
            unknown_orders=sum(1 for order in orders if order.status == "unknown"),
            log_position=system.book.log.head(system.portfolio_id).position,
            view_position=reading.position,
        )


def _problems(request: AnyRequest) -> list[str]:
    system = system_of(request)
    with system.book.reading(system.portfolio_id) as reading:
        stopped = reading.stopped
    problems = [f"the views stopped before position {stopped.position}: {stopped.reason}"] if stopped else []
    failure = request.app.state.scheduler.last_failure
    if failure is not None:
        problems.append(f"the market loop fails: {failure}")
    if system.feed.finished:
        problems.append("the recorded market has come to its end")
    return problems
