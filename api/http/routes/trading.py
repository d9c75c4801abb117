"""The kill switch: halting and resuming trading."""

from collections.abc import Sequence
from typing import Annotated
from uuid import UUID

import structlog
from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.params import JSONBody
from pydantic import Field

from api.http.commands import Commands
from api.http.errors import Problem
from api.http.requests import Snapshot
from api.http.schemas import PRINTABLE, Answer, Request
from execution.halts import store_halt
from ledger.events import TradingHalted, TradingResumed
from ledger.log.envelope import NewEvent
from ledger.log.point_in_time import PointInTime
from ledger.postgres.book import StoredReading
from ledger.postgres.log import read_events
from ledger.projections.policy import halt_reason
from ledger.values import UtcTime

log = structlog.get_logger()


class TradingReason(Request):
    """Reason for halting or resuming, one line, kept in the log."""

    reason: Annotated[str, Field(min_length=1, max_length=500, pattern=PRINTABLE)]


class TradingAnswer(Answer):
    """State of the kill switch; `reason`, `since` and `actor` are null if it was never used.

    `views_stopped` is the reason why nothing is traded although trading is not halted: the views lag behind the log.
    """

    portfolio_id: UUID
    halted: bool
    reason: str | None
    since: UtcTime | None
    actor: str | None
    views_stopped: str | None


class TradingController(Controller):
    path = "/api/v1/trading"
    tags = ("trading",)

    @get("/", operation_id="getTrading", sync_to_thread=True)
    def get_trading(self, latest: NamedDependency[Snapshot]) -> TradingAnswer:
        """State of the kill switch: halted or not, since when, why and by whom."""
        with latest.reading() as reading:
            return _state(reading)

    @post("/halt", operation_id="haltTrading", status_code=200, sync_to_thread=True)
    def halt(self, commands: NamedDependency[Commands], data: JSONBody[TradingReason]) -> Response[TradingAnswer]:
        """Halts trading: once this is answered, no order is sent until trading is resumed.

        Orders sent before stay at their venue, and their fills are still recorded. Halting twice is allowed.
        """
        command = commands.unchecked(data)
        system, portfolio_id = command.system, command.portfolio_id

        def record(events: Sequence[NewEvent]) -> None:
            system.book.record(portfolio_id, events, alongside=command.claim)

        def act() -> None:
            event = command.event(TradingHalted(reason=data.reason))
            if not store_halt(system.book, system.halt_lock, portfolio_id, event, record):
                log.warning("trading was halted while an order was still being sent", portfolio_id=str(portfolio_id))

        return command.run(act, _state)

    @post("/resume", operation_id="resumeTrading", status_code=200, sync_to_thread=True)
    def resume(self, commands: NamedDependency[Commands], data: JSONBody[TradingReason]) -> Response[TradingAnswer]:
        """Resumes trading. The same cause does not halt it again: an order of unknown outcome halts trading once."""
        command = commands.unchecked(data)

        def decide(reading: StoredReading) -> list[NewEvent]:
            if halt_reason(reading.rows) is None:
                raise Problem(409, "not-halted", "trading is not halted: there is nothing to resume")
            return [command.event(TradingResumed(reason=data.reason))]

        return command.record(decide, _state)


def _state(reading: StoredReading) -> TradingAnswer:
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
