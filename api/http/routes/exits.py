"""Exits: stops and targets that guard positions; set, changed and removed."""

from collections.abc import Callable
from decimal import Decimal
from typing import Annotated, Literal, Self
from uuid import UUID

from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from pydantic import Field, model_validator

from api.http.commands import Command, Commands
from api.http.errors import Problem
from api.http.requests import Snapshot
from api.http.schemas import PRINTABLE, Answer, Request
from execution.exchanges.paper.prices import tick_of
from execution.exits.exit_service import armed_exits
from execution.review.state import DecisionState
from ledger.events import Event, ExitArmed, ExitChanged, ExitDisarmed
from ledger.log.envelope import NewEvent
from ledger.postgres.book import StoredReading
from ledger.projections.exits import ExitView
from ledger.values import ZERO, Amount, Instrument, Money, Price, Quantity, UtcTime


class ExitLevels(Request):
    """Levels of an exit: at least one of stop, target and trailing distance.

    `trailing` is a fraction below 1 of the price: the stop follows the highest price at that distance. Without a
    stop_loss it starts at that distance below the last mark.
    """

    stop_loss: Price | None = None
    take_profit: Price | None = None
    trailing: Quantity | None = None

    @model_validator(mode="after")
    def _some(self) -> Self:
        if self.stop_loss is None and self.take_profit is None and self.trailing is None:
            raise ValueError("set at least one of stop_loss, take_profit and trailing")
        if self.trailing is not None and self.trailing >= 1:
            raise ValueError("trailing must be a fraction of the price below 1, such as 0.05")
        if self.stop_loss is not None and self.take_profit is not None and self.stop_loss >= self.take_profit:
            raise ValueError("stop_loss must be below take_profit")
        return self


class NewExit(ExitLevels):
    """An exit for the whole position of an account in a product; default: the first account."""

    product_id: Instrument
    account: Annotated[str, Field(min_length=1, max_length=100, pattern=PRINTABLE)] | None = None


class ExitRemoval(Request):
    """Reason for removing an exit."""

    reason: Annotated[str, Field(min_length=1, max_length=500, pattern=PRINTABLE)]


class ExitAnswer(Answer):
    """An exit. `quantity` null is the account's whole position; `order_id` is the buy order that it guards, if any.

    `sale_id` is its latest sell order.
    """

    exit_id: UUID
    account: str
    product_id: str = Field(validation_alias="instrument")
    order_id: UUID | None
    status: Literal["armed", "triggered", "disarmed"]
    quantity: Money | None
    bought: Amount
    stop_loss: Money | None = Field(validation_alias="stop")
    take_profit: Money | None = Field(validation_alias="target")
    trailing: Money | None = Field(validation_alias="trail")
    sale_id: UUID | None
    armed_at: UtcTime
    reason: str


class ExitController(Controller):
    path = "/api/v1/exits"
    tags = ("exits",)

    @get("/", operation_id="listExits", sync_to_thread=True)
    def list_exits(self, latest: NamedDependency[Snapshot]) -> list[ExitAnswer]:
        """Armed and triggered exits, oldest first."""
        with latest.reading() as reading:
            found = sorted(reading.rows.where(ExitView), key=lambda one: one.position)
            return [ExitAnswer.model_validate(one) for one in found]

    @post("/", operation_id="setExit", status_code=201, sync_to_thread=True)
    def set_exit(self, commands: NamedDependency[Commands], data: JSONBody[NewExit]) -> Response[ExitAnswer]:
        """Guards an account's whole position in a product. Sells at the first candle or quote that reaches a level."""
        command = commands.driven(data)
        return _recorded(command, command.event_id(), lambda state: _new_exit(data, state, command.event_id()))

    @post("/{exit_id:uuid}/change", operation_id="changeExit", status_code=200, sync_to_thread=True)
    def change_exit(
        self, commands: NamedDependency[Commands], exit_id: FromPath[UUID], data: JSONBody[ExitLevels]
    ) -> Response[ExitAnswer]:
        """Replaces all levels of an exit."""

        def event(state: DecisionState) -> Event:
            exit = _armed(state, exit_id)
            return ExitChanged(
                exit_id=exit_id,
                quantity=exit.quantity,
                bought=exit.bought,
                stop=_stop(data, state, Instrument(exit.instrument)),
                target=data.take_profit,
                trail=data.trailing,
            )

        return _recorded(commands.driven(data), exit_id, event)

    @post("/{exit_id:uuid}/remove", operation_id="removeExit", status_code=200, sync_to_thread=True)
    def remove_exit(
        self, commands: NamedDependency[Commands], exit_id: FromPath[UUID], data: JSONBody[ExitRemoval]
    ) -> Response[ExitAnswer]:
        """Removes an exit."""

        def event(state: DecisionState) -> Event:
            return ExitDisarmed(exit_id=_armed(state, exit_id).exit_id, reason=data.reason)

        return _recorded(commands.driven(data), exit_id, event)


def _recorded(command: Command, exit_id: UUID, event: Callable[[DecisionState], Event]) -> Response[ExitAnswer]:
    """Record one event about the exit and answer with the exit."""

    def decide(reading: StoredReading) -> list[NewEvent]:
        state = DecisionState.of(reading, command.now)
        return [NewEvent(event(state), command.event_id(), state.now, command.actor, exit_id)]

    return command.record(decide, lambda reading: ExitAnswer.model_validate(reading.rows.get(ExitView, exit_id)))


def _new_exit(data: NewExit, state: DecisionState, exit_id: UUID) -> ExitArmed:
    """Raises Problem if there is no position, or a manual exit guards it already."""
    account = state.account(data.account) if data.account else state.first_account()
    if account is None:
        raise Problem(422, "unknown-account", f"there is no account {data.account!r} in this portfolio")
    if state.balance(account.account, data.product_id.base) <= 0:
        detail = f"{account.account} holds no {data.product_id.base}: an exit needs a position"
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
    """Initial stop. Raises Problem 422 for a trailing stop without a stop_loss or a mark to start from."""
    if data.stop_loss is not None or data.trailing is None:
        return data.stop_loss
    mark = state.mark(instrument)
    if mark is None:
        raise Problem(422, "no-price", f"{instrument} has no price yet: set stop_loss as well")
    tick = tick_of(mark.price)
    return max(mark.price * (1 - data.trailing) // tick * tick, tick)


def _armed(state: DecisionState, exit_id: UUID) -> ExitView:
    """Raises Problem: 404 for an unknown exit, 409 for one that is not armed."""
    exit = state.rows.get(ExitView, exit_id)
    if exit is None:
        raise Problem(404, "unknown-exit", f"there is no exit {exit_id}")
    if exit.status != "armed":
        raise Problem(409, "exit-ended", f"the exit is {exit.status}: only an armed exit can be changed or removed")
    return exit
