"""Bots: their kinds, states and current signals; registered, started and stopped."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final

from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from pydantic import BeforeValidator, Field

from api.http.commands import Command, Commands
from api.http.errors import Problem
from api.http.requests import AnyRequest, Snapshot, system_of
from api.http.schemas import Answer, Request
from api.runtime.first_run import registered
from api.runtime.wiring import System
from execution.review.readiness import blockers, recommended_action, warmth
from execution.review.state import DecisionState
from ledger.events import BotStarted, BotStopped, Event
from ledger.log.envelope import canonical_json
from ledger.log.event_log import Conflict
from ledger.postgres.book import StoredReading
from ledger.projections.bots import BotView, EnabledBotKind, mode_of
from ledger.rows import Rows
from ledger.values import Instrument, Money, UtcTime
from signals.bot import Bot
from signals.market.candle import timeframe_text
from signals.registry import BUILT_IN, bot_of, parameters_schema
from signals.runner import Evaluation
from signals.sandbox.discovery import BotUnusable
from signals.sandbox.process import BotRaised

DEEPEST: Final = 8


def _shallow(value: object) -> object:
    if _depth(value) > DEEPEST:
        raise ValueError(f"lists and objects are nested more than {DEEPEST} deep")
    return value


def _depth(value: object) -> int:
    if not isinstance(value, dict | list):
        return 0
    return 1 + max(map(_depth, value.values() if isinstance(value, dict) else value), default=0)


class NewBot(Request):
    """A bot to register. `parameters` follow the JSON schema of its kind; the timeframe defaults to the feed's."""

    bot_id: Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]*$")]
    kind: Annotated[str, Field(min_length=1, max_length=100)]
    product_id: Instrument
    timeframe: Annotated[str, Field(max_length=10)] | None = None
    parameters: Annotated[dict[str, Any], BeforeValidator(_shallow)] = Field(default_factory=dict)


class BotKind(Answer):
    """A kind of bot that can be registered. `distribution` is the package of an enabled kind, null for a built-in one.

    `problem` is why an enabled kind is unusable now; its version is then that of its package and its schema null.
    """

    kind: str
    version: str
    distribution: str | None = None
    problem: str | None = None
    parameters_schema: dict[str, Any] | None


class EvaluationAnswer(Answer):
    asof: UtcTime | None
    outcome: str
    reason: str
    score: Money | None
    confidence: Money | None


class BotAnswer(Answer):
    """A bot. `last_evaluation` is of this run of the program, null before the first."""

    bot_id: str
    kind: str
    bot_version: str
    product_id: str = Field(validation_alias="instrument")
    timeframe: str
    parameters: str
    status: str
    status_reason: str
    status_since: UtcTime
    last_asof: UtcTime | None
    last_score: Money | None
    last_evaluation: EvaluationAnswer | None = None


class BotSignal(Answer):
    """A bot's current signal and the reasons that keep it from trading."""

    bot_id: str
    product_id: str
    mode: str
    temperature: str | None
    combined_score: Money | None
    recommended_action: str | None
    last_evaluation: UtcTime | None
    ready_to_trade: bool
    blocked_by: list[str]


class BotController(Controller):
    path = "/api/v1/bots"
    tags = ("bots",)

    @get("/", operation_id="listBots", sync_to_thread=True)
    def list_bots(self, snapshot: NamedDependency[Snapshot]) -> list[BotAnswer]:
        """All registered bots."""
        with snapshot.reading() as reading:
            evaluations = _evaluations(snapshot, reading)
            return [_answer(bot, evaluations.get(bot.bot_id)) for bot in reading.rows.where(BotView)]

    @get("/kinds", operation_id="listBotKinds", sync_to_thread=True)
    def list_kinds(self, request: AnyRequest) -> list[BotKind]:
        """Kinds of bot that can be registered, with the JSON schema of their parameters."""
        return known_kinds(system_of(request))

    @get("/signals", operation_id="listBotSignals", sync_to_thread=True)
    def list_bot_signals(self, snapshot: NamedDependency[Snapshot]) -> list[BotSignal]:
        """Current signal of each bot and the reasons that keep it from trading."""
        with snapshot.reading() as reading:
            state = DecisionState.of(reading, snapshot.past.as_of or snapshot.system.market_clock())
            evaluations, driven = _evaluations(snapshot, reading), snapshot.is_driven(reading)
            bots = list(reading.rows.where(BotView))
            return [_signal(bot, state, evaluations.get(bot.bot_id), driven=driven) for bot in bots]

    @get("/{bot_id:str}", operation_id="getBot", sync_to_thread=True)
    def get_bot(self, snapshot: NamedDependency[Snapshot], bot_id: FromPath[str]) -> BotAnswer:
        """One bot."""
        with snapshot.reading() as reading:
            return _answer(_existing(reading.rows, bot_id), _evaluations(snapshot, reading).get(bot_id))

    @post("/", operation_id="registerBot", status_code=201, sync_to_thread=True)
    def register_bot(self, commands: NamedDependency[Commands], data: JSONBody[NewBot]) -> Response[BotAnswer]:
        """Registers a bot, stopped. Its parameters are checked and completed with defaults."""
        command = commands.driven(data)
        return _recorded(command, data.bot_id, lambda: _registration(command.system, data))

    @post("/{bot_id:str}/start", operation_id="startBot", status_code=200, sync_to_thread=True)
    def start_bot(self, commands: NamedDependency[Commands], bot_id: FromPath[str]) -> Response[BotAnswer]:
        """Starts the bot: it is evaluated at every closed candle."""
        command = commands.driven()
        return _recorded(command, bot_id, lambda: BotStarted(bot_id=_driven_bot(command.system, bot_id)))

    @post("/{bot_id:str}/stop", operation_id="stopBot", status_code=200, sync_to_thread=True)
    def stop_bot(self, commands: NamedDependency[Commands], bot_id: FromPath[str]) -> Response[BotAnswer]:
        """Stops the bot."""
        command, reason = commands.driven(), "stopped by the owner"
        return _recorded(command, bot_id, lambda: BotStopped(bot_id=_driven_bot(command.system, bot_id), reason=reason))

    @post("/{bot_id:str}/evaluate", operation_id="evaluateBot", status_code=200, sync_to_thread=True)
    def evaluate_bot(self, commands: NamedDependency[Commands], bot_id: FromPath[str]) -> Response[BotAnswer]:
        """Evaluates the bot at the last closed candle, running or not; a new signal is recorded and reviewed as usual."""
        command = commands.driven()
        system = command.system
        return command.run(
            lambda: system.loop.evaluate_now(_driven_bot(system, bot_id)),
            lambda reading: _answer(_existing(reading.rows, bot_id), system.loop.evaluations.get(bot_id)),
        )


def _recorded(command: Command, bot_id: str, event: Callable[[], Event]) -> Response[BotAnswer]:
    """Record one event about a bot and answer with the bot. Works while the views are stopped, too."""
    system, book, portfolio_id = command.system, command.system.book, command.portfolio_id

    def act() -> None:
        while True:
            position = book.log.head(portfolio_id).position
            try:
                book.record(portfolio_id, [command.event(event())], position, alongside=command.claim)
            except Conflict:
                if book.log.head(portfolio_id).position == position:
                    raise
            else:
                return  # otherwise another event was stored in between: decide again

    return command.run(
        act, lambda reading: _answer(_existing(reading.rows, bot_id), system.loop.evaluations.get(bot_id))
    )


def _registration(system: System, data: NewBot) -> Event:
    """Raises Problem: 409 for a name in use, 422 for an instrument or timeframe that is not in this market."""
    if data.product_id not in system.feed.instruments:
        raise Problem(422, "unknown-product", f"{data.product_id} is not traded here")
    timeframe = timeframe_text(system.feed.timeframe)
    if data.timeframe not in (None, timeframe):
        detail = f"timeframe {data.timeframe} differs from the market's {timeframe}: leave it out"
        raise Problem(422, "unknown-timeframe", detail)
    with system.book.reading(system.portfolio_id) as reading:
        if reading.rows.get(BotView, data.bot_id) is not None:
            raise Problem(409, "bot-exists", f"there is already a bot called {data.bot_id}")
        foreign = system.foreign_bots.enabled(reading.rows)
    return registered(data.bot_id, data.kind, data.product_id, timeframe, canonical_json(data.parameters), foreign)


def known_kinds(system: System) -> list[BotKind]:
    """Built-in and enabled kinds, sorted; an enabled kind that is unusable carries its `problem`."""
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
        usable = {"version": foreign[row.kind].version, "parameters_schema": parameters_schema(row.kind, foreign)}
    except (BotUnusable, BotRaised) as error:
        usable = {"problem": str(error)}
    return found.model_copy(update=usable)


def _evaluations(snapshot: Snapshot, reading: StoredReading) -> Mapping[str, Evaluation]:
    """Last evaluations by bot: of the driven portfolio's present only."""
    return snapshot.system.loop.evaluations if snapshot.is_driven(reading) and not snapshot.past else {}


def _driven_bot(system: System, bot_id: str) -> str:
    """`bot_id`. Raises Problem 404 if this program's portfolio has no such bot."""
    with system.book.reading(system.portfolio_id) as reading:
        return _existing(reading.rows, bot_id).bot_id


def _existing(rows: Rows, bot_id: str) -> BotView:
    bot = rows.get(BotView, bot_id)
    if bot is None:
        raise Problem(404, "unknown-bot", f"there is no bot called {bot_id[:100]}")
    return bot


def _answer(bot: BotView, evaluation: Evaluation | None) -> BotAnswer:
    last = EvaluationAnswer.model_validate(evaluation) if evaluation else None
    return BotAnswer.model_validate(bot).model_copy(update={"last_evaluation": last})


def _signal(bot: BotView, state: DecisionState, evaluation: Evaluation | None, *, driven: bool) -> BotSignal:
    blocked = blockers(bot, state) if driven else ["this program does not trade in this portfolio"]
    if driven and evaluation and evaluation.outcome == "not_warm":
        blocked = [*blocked, f"the bot is warming up: {evaluation.reason}"]
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
