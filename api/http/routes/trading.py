"""The kill switch: trading is halted, goes on again, and says how it stands."""

from collections.abc import Sequence

import structlog
from litestar import Controller, Response, get, post
from litestar.params import JSONBody

from api.http.auth import caller_of
from api.http.commands import IdempotencyKey, Running
from api.http.errors import Problem
from api.http.reading import (
    AnyRequest,
    InPortfolio,
    clock_of,
    commands_of,
    only_parameters,
    portfolio_of,
    reading_of,
    system_of,
)
from api.http.trading_schemas import TradingAnswer, TradingReason
from execution.halts import store_halt
from ledger.entries.recording import record_checked
from ledger.events import TradingHalted, TradingResumed
from ledger.log.envelope import NewEvent
from ledger.log.point_in_time import PointInTime
from ledger.postgres.book import StoredReading
from ledger.postgres.log import read_events
from ledger.projections.policy import halt_reason

log = structlog.get_logger()


class TradingController(Controller):
    path = "/api/v1/trading"
    tags = ("trading",)

    @get("/", operation_id="getTrading", sync_to_thread=True)
    def get_trading(self, request: AnyRequest, portfolio: InPortfolio = None) -> TradingAnswer:
        """Whether trading is halted, since when, why and by whom."""
        only_parameters(request, "portfolio")
        with reading_of(request, portfolio) as reading:
            return trading_state(reading)

    @post("/halt", operation_id="haltTrading", status_code=200, sync_to_thread=True)
    def halt(
        self,
        request: AnyRequest,
        data: JSONBody[TradingReason],
        idempotency_key: IdempotencyKey = None,
        portfolio: InPortfolio = None,
    ) -> Response[TradingAnswer]:
        """Halts trading: when this is answered, no order begins to be sent until trading is resumed.

        What was sent before goes on at its venue, and its fills are still recorded. Halting twice is no mistake.
        """
        only_parameters(request, "portfolio")
        system = system_of(request)
        portfolio_id = portfolio_of(system, portfolio)

        def act(running: Running) -> None:
            now, story = clock_of(system, portfolio_id)(), running.event_id()
            event = NewEvent(TradingHalted(reason=data.reason), story, now, caller_of(request).actor, story)

            def record(events: Sequence[NewEvent]) -> None:
                system.book.record(portfolio_id, events, alongside=running.claim)

            if not store_halt(system.book, system.halt_lock, portfolio_id, event, record):
                log.warning("trading was halted while an order was still being sent", portfolio_id=str(portfolio_id))

        command = ("POST /trading/halt", data)

        def answer(_running: Running) -> TradingAnswer:
            with system.book.reading(portfolio_id) as reading:
                return trading_state(reading)

        return commands_of(request).run(portfolio_id, idempotency_key, command, act, answer)

    @post("/resume", operation_id="resumeTrading", status_code=200, sync_to_thread=True)
    def resume(
        self,
        request: AnyRequest,
        data: JSONBody[TradingReason],
        idempotency_key: IdempotencyKey = None,
        portfolio: InPortfolio = None,
    ) -> Response[TradingAnswer]:
        """Trading goes on. What halted it is not looked at again: an order that is still unknown halts once only."""
        only_parameters(request, "portfolio")
        system = system_of(request)
        portfolio_id = portfolio_of(system, portfolio)

        def act(running: Running) -> None:
            def prepare(reading: StoredReading) -> list[NewEvent]:
                if halt_reason(reading.rows) is None:
                    raise Problem(409, "not-halted", "trading is not halted: there is nothing to resume")
                now, story = clock_of(system, portfolio_id)(), running.event_id()
                return [NewEvent(TradingResumed(reason=data.reason), story, now, caller_of(request).actor, story)]

            record_checked(system.book, portfolio_id, prepare, running.claim)

        command = ("POST /trading/resume", data)

        def answer(_running: Running) -> TradingAnswer:
            with system.book.reading(portfolio_id) as reading:
                return trading_state(reading)

        return commands_of(request).run(portfolio_id, idempotency_key, command, act, answer)


def trading_state(reading: StoredReading) -> TradingAnswer:
    """How trading stands in the portfolio."""
    types = (TradingHalted.type, TradingResumed.type)
    last = next(iter(read_events(reading.connection, reading.portfolio_id, PointInTime(), types=types, limit=1)), None)
    event = last.event if last else None
    return TradingAnswer(
        portfolio_id=reading.portfolio_id,
        halted=isinstance(event, TradingHalted),
        reason=event.reason if isinstance(event, TradingHalted | TradingResumed) else None,
        since=last.occurred_at if last else None,
        actor=last.actor if last else None,
        views_stopped=reading.stopped.reason if reading.stopped else None,
    )
