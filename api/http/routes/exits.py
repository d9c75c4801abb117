"""Exits: which stops and targets guard what is held, and those that a person sets, moves and takes away."""

from collections.abc import Callable
from decimal import Decimal
from uuid import UUID

from litestar import Controller, Response, get, post
from litestar.params import FromPath, JSONBody
from pydantic import BaseModel

from api.http.auth import caller_of
from api.http.commands import IdempotencyKey, Running
from api.http.errors import Problem
from api.http.exit_schemas import ExitAnswer, ExitLevels, ExitRemoval, NewExit
from api.http.reading import AnyRequest, InPortfolio, commands_of, driven_only, only_parameters, reading_of, system_of
from execution.exchanges.paper.prices import tick_of
from execution.exits.exit_service import armed_exits
from execution.review.state import DecisionState
from ledger.entries.recording import record_checked
from ledger.events import Event, ExitArmed, ExitChanged, ExitDisarmed
from ledger.log.envelope import NewEvent
from ledger.postgres.book import StoredReading
from ledger.projections.exits import ExitView
from ledger.values import ZERO, Instrument


class ExitController(Controller):
    path = "/api/v1/exits"
    tags = ("exits",)

    @get("/", operation_id="listExits", sync_to_thread=True)
    def list_exits(self, request: AnyRequest, portfolio: InPortfolio = None) -> list[ExitAnswer]:
        """The exits that wait for their price or are selling, oldest first."""
        only_parameters(request, "portfolio")
        with reading_of(request, portfolio) as reading:
            found = sorted(reading.rows.where(ExitView), key=lambda one: one.position)
            return [ExitAnswer.model_validate(one) for one in found]

    @post("/", operation_id="setExit", status_code=201, sync_to_thread=True)
    def set_exit(
        self,
        request: AnyRequest,
        data: JSONBody[NewExit],
        idempotency_key: IdempotencyKey = None,
        portfolio: InPortfolio = None,
    ) -> Response[ExitAnswer]:
        """Guards all that an account holds of a product. It sells at the first candle or quote that reaches a level."""
        only_parameters(request, "portfolio")

        def event(state: DecisionState, exit_id: UUID) -> Event:
            return _new_exit(data, state, exit_id)

        return _command(request, ("POST /exits", data), None, event, idempotency_key, portfolio)

    @post("/{exit_id:uuid}/change", operation_id="changeExit", status_code=200, sync_to_thread=True)
    def change_exit(
        self,
        request: AnyRequest,
        exit_id: FromPath[UUID],
        data: JSONBody[ExitLevels],
        idempotency_key: IdempotencyKey = None,
        portfolio: InPortfolio = None,
    ) -> Response[ExitAnswer]:
        """The exit has these levels and no others from now on."""
        only_parameters(request, "portfolio")

        def event(state: DecisionState, _exit_id: UUID) -> Event:
            exit = _armed(state, exit_id)
            stop = _stop(data, state, Instrument(exit.instrument))
            return ExitChanged(
                exit_id=exit_id,
                quantity=exit.quantity,
                bought=exit.bought,
                stop=stop,
                target=data.take_profit,
                trail=data.trailing,
            )

        command = (f"POST /exits/{exit_id}/change", data)
        return _command(request, command, exit_id, event, idempotency_key, portfolio)

    @post("/{exit_id:uuid}/remove", operation_id="removeExit", status_code=200, sync_to_thread=True)
    def remove_exit(
        self,
        request: AnyRequest,
        exit_id: FromPath[UUID],
        data: JSONBody[ExitRemoval],
        idempotency_key: IdempotencyKey = None,
        portfolio: InPortfolio = None,
    ) -> Response[ExitAnswer]:
        """The exit guards nothing more."""
        only_parameters(request, "portfolio")

        def event(state: DecisionState, _exit_id: UUID) -> Event:
            return ExitDisarmed(exit_id=_armed(state, exit_id).exit_id, reason=data.reason)

        command = (f"POST /exits/{exit_id}/remove", data)
        return _command(request, command, exit_id, event, idempotency_key, portfolio)


def _command(
    request: AnyRequest,
    command: tuple[str, BaseModel],
    exit_id: UUID | None,
    event: Callable[[DecisionState, UUID], Event],
    key: str | None,
    portfolio: str | None,
) -> Response[ExitAnswer]:
    """Records one event about an exit (a new one without an id), once for each key, and answers with the exit."""
    system = system_of(request)
    portfolio_id = driven_only(system, portfolio)

    def act(running: Running) -> None:
        def prepare(reading: StoredReading) -> list[NewEvent]:
            state = DecisionState.of(reading, system.market_clock())
            own = running.event_id()
            story = exit_id or own
            return [NewEvent(event(state, story), own, state.now, caller_of(request).actor, story)]

        record_checked(system.book, portfolio_id, prepare, running.claim)

    def answer(running: Running) -> ExitAnswer:
        with system.book.reading(portfolio_id) as reading:
            return ExitAnswer.model_validate(reading.rows.get(ExitView, exit_id or running.event_id()))

    status = 201 if exit_id is None else 200
    return commands_of(request).run(portfolio_id, key, command, act, answer, status)


def _new_exit(data: NewExit, state: DecisionState, exit_id: UUID) -> ExitArmed:
    """Raises Problem where nothing is held, and where a person's exit guards the same already."""
    account = state.account(data.account) if data.account else state.first_account()
    if account is None:
        raise Problem(422, "unknown-account", f"there is no account {data.account!r} in this portfolio")
    if state.balance(account.account, data.product_id.base) <= 0:
        detail = f"{account.account} holds no {data.product_id.base}: buy some first, then set an exit for it"
        raise Problem(422, "nothing-held", detail)
    places = {(one.account, one.instrument): one for one in armed_exits(state.rows) if one.order_id is None}
    known = places.get((account.account, data.product_id))
    if known is not None:
        detail = f"exit {known.exit_id} guards this position already: change it, or remove it first"
        raise Problem(409, "exit-exists", detail, exit_id=str(known.exit_id))
    return ExitArmed(
        exit_id=exit_id,
        account=account.account,
        instrument=data.product_id,
        bought=ZERO,
        stop=_stop(data, state, data.product_id),
        target=data.take_profit,
        trail=data.trailing,
    )


def _stop(data: ExitLevels, state: DecisionState, instrument: Instrument) -> Decimal | None:
    """Where the stop begins. Raises Problem for one that trails below a price which nobody knows yet."""
    if data.stop_loss is not None or data.trailing is None:
        return data.stop_loss
    mark = state.mark(instrument)
    if mark is None:
        raise Problem(422, "no-price", f"{instrument} has no price yet: say a stop_loss too")
    tick = tick_of(mark.price)
    return max(mark.price * (1 - data.trailing) // tick * tick, tick)


def _armed(state: DecisionState, exit_id: UUID) -> ExitView:
    """Raises Problem for an exit that is not there, or not armed any more."""
    exit = state.rows.get(ExitView, exit_id)
    if exit is None:
        raise Problem(404, "unknown-exit", f"there is no exit {exit_id}")
    if exit.status != "armed":
        raise Problem(409, "exit-ended", f"the exit is {exit.status}: only one that waits can be changed or removed")
    return exit
