"""Bots: which there are, what they say, and turning them on and off."""

from litestar import Controller, Response, get, post

from api.commands import Running
from api.controllers.trades import IdempotencyKey
from api.errors import Problem
from api.first_run import registered
from api.reading import AnyRequest, commands_of, driven_only, only_parameters, reading_of, system_of
from api.schemas import BotAnswer, BotKind, BotSignal, EvaluationAnswer, NewBot
from api.wiring import System
from execution.desk import Desk
from execution.readiness import blockers, recommended_action, warmth
from ledger.envelope import NewEvent, canonical_json
from ledger.events import BotStarted, BotStopped, Event
from ledger.projections.bots import BotView
from signals.market import timeframe_text
from signals.registry import bot_kinds, bot_of, parameters_schema


class BotController(Controller):
    path = "/api/v1/bots"
    tags = ("bots",)

    @get("/", operation_id="listBots", sync_to_thread=True)
    def list_bots(self, request: AnyRequest, portfolio: str | None = None) -> list[BotAnswer]:
        """Every registered bot."""
        only_parameters(request, "portfolio")
        system = system_of(request)
        with reading_of(system, portfolio) as reading:
            return [_answer(system, bot) for bot in reading.rows.where(BotView)]

    @get("/kinds", operation_id="listBotKinds", sync_to_thread=True)
    def list_kinds(self, request: AnyRequest) -> list[BotKind]:
        """The kinds of bot that can be registered, with the JSON schema of their parameters."""
        only_parameters(request)
        return [
            BotKind(kind=kind, version=bot_of(kind).version, parameters_schema=parameters_schema(kind))
            for kind in bot_kinds()
        ]

    @get("/signals", operation_id="listBotSignals", sync_to_thread=True)
    def list_bot_signals(self, request: AnyRequest, portfolio: str | None = None) -> list[BotSignal]:
        """For each bot what it says now and what blocks it from trading."""
        only_parameters(request, "portfolio")
        system = system_of(request)
        with reading_of(system, portfolio) as reading:
            stopped = reading.stopped.reason if reading.stopped else None
            desk = Desk(reading.rows, reading.position, system.feed.now(), stopped)
            return [_signal(system, desk, bot) for bot in reading.rows.where(BotView)]

    @get("/{bot_id:str}", operation_id="getBot", sync_to_thread=True)
    def get_bot(self, request: AnyRequest, bot_id: str, portfolio: str | None = None) -> BotAnswer:
        """One bot."""
        only_parameters(request, "portfolio")
        system = system_of(request)
        with reading_of(system, portfolio) as reading:
            return _answer(system, _known(reading.rows.get(BotView, bot_id), bot_id))

    @post("/", operation_id="registerBot", status_code=201, sync_to_thread=True)
    def register_bot(
        self, request: AnyRequest, data: NewBot, idempotency_key: IdempotencyKey = None, portfolio: str | None = None
    ) -> Response[BotAnswer]:
        """Registers a bot, stopped. Its parameters are completed with defaults and checked."""
        only_parameters(request, "portfolio")
        system = system_of(request)
        if data.product_id not in system.feed.instruments:
            raise Problem(422, "unknown-product", f"{data.product_id} is not traded here")
        timeframe = data.timeframe or timeframe_text(system.feed.timeframe)
        event = registered(data.bot_id, data.kind, data.product_id, timeframe, canonical_json(data.parameters))
        with system.book.reading(system.portfolio_id) as reading:
            known = reading.rows.get(BotView, data.bot_id)
        if known is not None and (known.kind, known.parameters) != (event.kind, event.parameters):
            raise Problem(409, "bot-exists", f"there is a bot called {data.bot_id} already")
        return _command(request, data.bot_id, event, idempotency_key, portfolio, data)

    @post("/{bot_id:str}/start", operation_id="startBot", status_code=200, sync_to_thread=True)
    def start_bot(
        self, request: AnyRequest, bot_id: str, idempotency_key: IdempotencyKey = None, portfolio: str | None = None
    ) -> Response[BotAnswer]:
        """The bot is asked at every closed candle from now on."""
        only_parameters(request, "portfolio")
        _must_exist(system_of(request), bot_id)
        return _command(request, bot_id, BotStarted(bot_id=bot_id), idempotency_key, portfolio, None)

    @post("/{bot_id:str}/stop", operation_id="stopBot", status_code=200, sync_to_thread=True)
    def stop_bot(
        self, request: AnyRequest, bot_id: str, idempotency_key: IdempotencyKey = None, portfolio: str | None = None
    ) -> Response[BotAnswer]:
        """The bot is not asked any more."""
        only_parameters(request, "portfolio")
        _must_exist(system_of(request), bot_id)
        event = BotStopped(bot_id=bot_id, reason="stopped by the owner")
        return _command(request, bot_id, event, idempotency_key, portfolio, None)

    @post("/{bot_id:str}/evaluate", operation_id="evaluateBot", status_code=200, sync_to_thread=True)
    def evaluate_bot(
        self, request: AnyRequest, bot_id: str, idempotency_key: IdempotencyKey = None, portfolio: str | None = None
    ) -> Response[BotAnswer]:
        """Asks the bot at the last closed candle, running or not; a new opinion is recorded and judged like any other."""
        only_parameters(request, "portfolio")
        system = system_of(request)
        portfolio_id = driven_only(system, portfolio)
        _must_exist(system, bot_id)
        path = (f"POST /bots/{bot_id}/evaluate", None)

        def act(_running: Running) -> None:
            system.loop.evaluate_now(bot_id)

        def answer(_running: Running) -> BotAnswer:
            return _stored(system, bot_id)

        return commands_of(request).run(portfolio_id, idempotency_key or "", path, act, answer)


def _command(
    request: AnyRequest, bot_id: str, event: Event, key: str | None, portfolio: str | None, data: NewBot | None
) -> Response[BotAnswer]:
    """Records one event about a bot, once for each key, and answers with the bot."""
    system = system_of(request)
    portfolio_id = driven_only(system, portfolio)

    def act(running: Running) -> None:
        new = NewEvent(event, running.event_id(), system.feed.now(), "owner", running.event_id())
        system.book.record(portfolio_id, [new], alongside=running.claim)

    def answer(_running: Running) -> BotAnswer:
        return _stored(system, bot_id)

    command = (f"{event.type} {bot_id}", data)
    return commands_of(request).run(portfolio_id, key or "", command, act, answer, 201 if data else 200)


def _must_exist(system: System, bot_id: str) -> None:
    with system.book.reading(system.portfolio_id) as reading:
        _known(reading.rows.get(BotView, bot_id), bot_id)


def _stored(system: System, bot_id: str) -> BotAnswer:
    with system.book.reading(system.portfolio_id) as reading:
        return _answer(system, _known(reading.rows.get(BotView, bot_id), bot_id))


def _known(bot: BotView | None, bot_id: str) -> BotView:
    if bot is None:
        raise Problem(404, "unknown-bot", f"there is no bot called {bot_id[:100]}")
    return bot


def _answer(system: System, bot: BotView) -> BotAnswer:
    evaluation = system.loop.evaluations.get(bot.bot_id)
    last = EvaluationAnswer.model_validate(evaluation) if evaluation else None
    return BotAnswer.model_validate(bot).model_copy(update={"last_evaluation": last})


def _signal(system: System, desk: Desk, bot: BotView) -> BotSignal:
    evaluation = system.loop.evaluations.get(bot.bot_id)
    blocked = blockers(bot, desk)
    return BotSignal(
        bot_id=bot.bot_id,
        product_id=bot.instrument,
        temperature=warmth(bot, desk),
        combined_score=bot.last_score,
        recommended_action=recommended_action(bot, desk),
        last_evaluation=evaluation.asof if evaluation else bot.last_asof,
        ready_to_trade=not blocked,
        blocked_by=blocked,
    )
