"""Bots: which there are, what they say, and turning them on and off."""

from collections.abc import Callable, Mapping

from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from api.http.auth import caller_of
from api.http.bot_schemas import BotKind
from api.http.commands import IdempotencyKey, Running
from api.http.errors import Problem
from api.http.reading import (
    PAST,
    AnyRequest,
    InPortfolio,
    commands_of,
    driven_only,
    is_driven,
    only_parameters,
    reading_of,
    system_of,
)
from api.http.schemas import BotAnswer, BotSignal, EvaluationAnswer, NewBot
from api.runtime.first_run import registered
from api.runtime.wiring import System
from execution.review.readiness import blockers, recommended_action, warmth
from execution.review.state import DecisionState
from ledger.events import BotStarted, BotStopped, Event
from ledger.log.envelope import NewEvent, canonical_json
from ledger.log.event_log import Conflict
from ledger.log.point_in_time import PointInTime
from ledger.projections.bots import BotView, EnabledBotKind, mode_of
from signals.bot import Bot
from signals.market import timeframe_text
from signals.registry import BUILT_IN, bot_of, parameters_schema
from signals.runner import Evaluation
from signals.sandbox.discovery import BotUnusable
from signals.sandbox.process import BotRaised


class BotController(Controller):
    path = "/api/v1/bots"
    tags = ("bots",)

    @get("/", operation_id="listBots", sync_to_thread=True)
    def list_bots(
        self,
        request: AnyRequest,
        past: NamedDependency[PointInTime],
        portfolio: InPortfolio = None,
    ) -> list[BotAnswer]:
        """Every registered bot."""
        only_parameters(request, *PAST, "portfolio")
        system = system_of(request)
        with reading_of(request, portfolio, past) as reading:
            said = system.loop.evaluations if is_driven(system, reading) and not past else {}
            return [_answer(bot, said.get(bot.bot_id)) for bot in reading.rows.where(BotView)]

    @get("/kinds", operation_id="listBotKinds", sync_to_thread=True)
    def list_kinds(self, request: AnyRequest) -> list[BotKind]:
        """The kinds of bot that can be registered, with the JSON schema of their parameters."""
        only_parameters(request)
        return known_kinds(system_of(request))

    @get("/signals", operation_id="listBotSignals", sync_to_thread=True)
    def list_bot_signals(
        self,
        request: AnyRequest,
        past: NamedDependency[PointInTime],
        portfolio: InPortfolio = None,
    ) -> list[BotSignal]:
        """For each bot what it says now and what blocks it from trading."""
        only_parameters(request, *PAST, "portfolio")
        system = system_of(request)
        with reading_of(request, portfolio, past) as reading:
            state = DecisionState.of(reading, past.as_of or system.market_clock())
            driven = is_driven(system, reading)
            said = system.loop.evaluations if driven and not past else {}
            bots = list(reading.rows.where(BotView))
            return [_signal(bot, state, said.get(bot.bot_id), driven=driven) for bot in bots]

    @get("/{bot_id:str}", operation_id="getBot", sync_to_thread=True)
    def get_bot(
        self,
        request: AnyRequest,
        past: NamedDependency[PointInTime],
        bot_id: FromPath[str],
        portfolio: InPortfolio = None,
    ) -> BotAnswer:
        """One bot."""
        only_parameters(request, *PAST, "portfolio")
        system = system_of(request)
        with reading_of(request, portfolio, past) as reading:
            said = system.loop.evaluations if is_driven(system, reading) and not past else {}
            return _answer(_known(reading.rows.get(BotView, bot_id), bot_id), said.get(bot_id))

    @post("/", operation_id="registerBot", status_code=201, sync_to_thread=True)
    def register_bot(
        self,
        request: AnyRequest,
        data: JSONBody[NewBot],
        idempotency_key: IdempotencyKey = None,
        portfolio: InPortfolio = None,
    ) -> Response[BotAnswer]:
        """Registers a bot, stopped. Its parameters are completed with defaults and checked."""
        only_parameters(request, "portfolio")
        system = system_of(request)

        def event() -> Event:
            return _registration(system, data)

        return _command(request, data.bot_id, ("POST /bots", data), event, idempotency_key, portfolio)

    @post("/{bot_id:str}/start", operation_id="startBot", status_code=200, sync_to_thread=True)
    def start_bot(
        self,
        request: AnyRequest,
        bot_id: FromPath[str],
        idempotency_key: IdempotencyKey = None,
        portfolio: InPortfolio = None,
    ) -> Response[BotAnswer]:
        """The bot is asked at every closed candle from now on."""
        only_parameters(request, "portfolio")
        system = system_of(request)

        def event() -> Event:
            return BotStarted(bot_id=_driven_bot(system, bot_id).bot_id)

        return _command(request, bot_id, (f"POST /bots/{bot_id}/start", None), event, idempotency_key, portfolio)

    @post("/{bot_id:str}/stop", operation_id="stopBot", status_code=200, sync_to_thread=True)
    def stop_bot(
        self,
        request: AnyRequest,
        bot_id: FromPath[str],
        idempotency_key: IdempotencyKey = None,
        portfolio: InPortfolio = None,
    ) -> Response[BotAnswer]:
        """The bot is not asked any more."""
        only_parameters(request, "portfolio")
        system = system_of(request)

        def event() -> Event:
            return BotStopped(bot_id=_driven_bot(system, bot_id).bot_id, reason="stopped by the owner")

        return _command(request, bot_id, (f"POST /bots/{bot_id}/stop", None), event, idempotency_key, portfolio)

    @post("/{bot_id:str}/evaluate", operation_id="evaluateBot", status_code=200, sync_to_thread=True)
    def evaluate_bot(
        self,
        request: AnyRequest,
        bot_id: FromPath[str],
        idempotency_key: IdempotencyKey = None,
        portfolio: InPortfolio = None,
    ) -> Response[BotAnswer]:
        """Asks the bot at the last closed candle, running or not; a new opinion is recorded and judged like any other."""
        only_parameters(request, "portfolio")
        system = system_of(request)
        portfolio_id = driven_only(system, portfolio)

        def act(_running: Running) -> None:
            system.loop.evaluate_now(_driven_bot(system, bot_id).bot_id)

        command = (f"POST /bots/{bot_id}/evaluate", None)
        return commands_of(request).run(portfolio_id, idempotency_key, command, act, lambda _: _stored(system, bot_id))


def _command(
    request: AnyRequest,
    bot_id: str,
    command: tuple[str, NewBot | None],
    event: Callable[[], Event],
    key: str | None,
    portfolio: str | None,
) -> Response[BotAnswer]:
    """Records one event about a bot, once for each key, and answers with the bot."""
    system = system_of(request)
    portfolio_id = driven_only(system, portfolio)

    def act(running: Running) -> None:
        while True:
            position = system.book.log.head(portfolio_id).position
            new = NewEvent(
                event(), running.event_id(), system.market_clock(), caller_of(request).actor, running.event_id()
            )
            try:
                system.book.record(portfolio_id, [new], position, alongside=running.claim)
            except Conflict:
                if system.book.log.head(portfolio_id).position == position:
                    raise
            else:
                return  # else something was stored since we looked: look again

    status = 200 if command[1] is None else 201
    return commands_of(request).run(portfolio_id, key, command, act, lambda _: _stored(system, bot_id), status)


def _registration(system: System, data: NewBot) -> Event:
    """What registers the bot. Raises Problem for a name that is taken and for a market that is not there."""
    if data.product_id not in system.feed.instruments:
        raise Problem(422, "unknown-product", f"{data.product_id} is not traded here")
    timeframe = timeframe_text(system.feed.timeframe)
    if data.timeframe not in (None, timeframe):
        detail = f"the market comes in candles of {timeframe}, not {data.timeframe}: leave the timeframe out"
        raise Problem(422, "unknown-timeframe", detail)
    with system.book.reading(system.portfolio_id) as reading:
        if reading.rows.get(BotView, data.bot_id) is not None:
            raise Problem(409, "bot-exists", f"there is a bot called {data.bot_id} already")
        foreign = system.foreign_bots.enabled(reading.rows)
    return registered(data.bot_id, data.kind, data.product_id, timeframe, canonical_json(data.parameters), foreign)


def known_kinds(system: System) -> list[BotKind]:
    """Our own kinds and those that are enabled, sorted; what is wrong with one of the latter is said beside it."""
    with system.book.reading(system.portfolio_id) as reading:
        enabled = {row.kind: row for row in reading.rows.where(EnabledBotKind) if row.kind not in BUILT_IN}
        foreign = system.foreign_bots.enabled(reading.rows)
    ours = [
        BotKind(kind=kind, version=bot_of(kind).version, parameters_schema=parameters_schema(kind)) for kind in BUILT_IN
    ]
    return sorted([*ours, *(_foreign_kind(row, foreign) for row in enabled.values())], key=lambda one: one.kind)


def _foreign_kind(row: EnabledBotKind, foreign: Mapping[str, Bot]) -> BotKind:
    found = BotKind(
        kind=row.kind, version=row.distribution_version, distribution=row.distribution, parameters_schema=None
    )
    try:
        told = {"version": foreign[row.kind].version, "parameters_schema": parameters_schema(row.kind, foreign)}
    except (BotUnusable, BotRaised) as error:
        told = {"problem": str(error)}
    return found.model_copy(update=told)


def _driven_bot(system: System, bot_id: str) -> BotView:
    with system.book.reading(system.portfolio_id) as reading:
        return _known(reading.rows.get(BotView, bot_id), bot_id)


def _stored(system: System, bot_id: str) -> BotAnswer:
    return _answer(_driven_bot(system, bot_id), system.loop.evaluations.get(bot_id))


def _known(bot: BotView | None, bot_id: str) -> BotView:
    if bot is None:
        raise Problem(404, "unknown-bot", f"there is no bot called {bot_id[:100]}")
    return bot


def _answer(bot: BotView, evaluation: Evaluation | None) -> BotAnswer:
    last = EvaluationAnswer.model_validate(evaluation) if evaluation else None
    return BotAnswer.model_validate(bot).model_copy(update={"last_evaluation": last})


def _signal(bot: BotView, state: DecisionState, evaluation: Evaluation | None, *, driven: bool) -> BotSignal:
    blocked = blockers(bot, state) if driven else ["this program does not trade for this portfolio"]
    if driven and evaluation and evaluation.outcome == "not_warm":
        blocked = [*blocked, f"the bot is not warm: {evaluation.reason}"]
    return BotSignal(
        bot_id=bot.bot_id,
        product_id=bot.instrument,
        mode=mode_of(state.rows, bot.bot_id),
        temperature=warmth(bot, state),
        combined_score=bot.last_score,
        recommended_action=recommended_action(bot, state),
        last_evaluation=evaluation.asof if evaluation else bot.last_asof,
        ready_to_trade=not blocked,
        blocked_by=blocked,
    )
