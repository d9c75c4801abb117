"""Modes: whether a bot's signals are traded, a person is asked first, or nothing comes of them."""

from litestar import Controller, Response, get, put
from litestar.di import NamedDependency
from litestar.params import JSONBody

from api.http.auth import caller_of
from api.http.commands import IdempotencyKey, Running
from api.http.errors import Problem
from api.http.policy_schemas import ModeAnswer, NewMode
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
from ledger.events import BotModeSet
from ledger.log.envelope import NewEvent
from ledger.log.point_in_time import PointInTime
from ledger.postgres.book import StoredReading
from ledger.projections.bots import BotView, Mode


class ModeController(Controller):
    path = "/api/v1/modes"
    tags = ("review",)

    @get("/", operation_id="listModes", sync_to_thread=True)
    def list_modes(
        self, request: AnyRequest, past: NamedDependency[PointInTime], portfolio: InPortfolio = None
    ) -> list[ModeAnswer]:
        """Every mode that was set; all other bots are automatic."""
        only_parameters(request, *PAST, "portfolio")
        with reading_of(request, portfolio, past) as reading:
            return [ModeAnswer.model_validate(one) for one in reading.rows.where(Mode)]

    @put("/", operation_id="setMode", status_code=200, sync_to_thread=True)
    def set_mode(
        self,
        request: AnyRequest,
        data: JSONBody[NewMode],
        idempotency_key: IdempotencyKey = None,
        portfolio: InPortfolio = None,
    ) -> Response[ModeAnswer]:
        """Sets a bot's mode; it holds for signals that wait as well. A name with a colon is a source outside."""
        only_parameters(request, "portfolio")
        system = system_of(request)
        with reading_of(request, portfolio) as reading:
            portfolio_id = reading.portfolio_id

        def act(running: Running) -> None:
            def prepare(reading: StoredReading) -> list[NewEvent]:
                if ":" not in data.bot_id and reading.rows.get(BotView, data.bot_id) is None:
                    raise Problem(404, "unknown-bot", f"there is no bot called {data.bot_id}")
                event_id, now = running.event_id(), clock_of(system, portfolio_id)()
                event = BotModeSet(bot_id=data.bot_id, mode=data.mode)
                return [NewEvent(event, event_id, now, caller_of(request).actor, event_id)]

            record_checked(system.book, portfolio_id, prepare, running.claim)

        def answer(_running: Running) -> ModeAnswer:
            with system.book.reading(portfolio_id) as reading:
                return ModeAnswer.model_validate(reading.rows.get(Mode, data.bot_id))

        return commands_of(request).run(portfolio_id, idempotency_key, ("PUT /modes", data), act, answer)
