"""Exits: stops and targets that guard positions; set, changed and removed."""

from collections.abc import Callable
from decimal import Decimal
from typing import Annotated, Literal, Self, TypedDict
from uuid import UUID

from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from pydantic import Field, model_validator

from api.http.commands import Command, Commands
from api.http.requests import Snapshot
from api.http.schemas import PRINTABLE, Answer, Request
from execution.exits.manual_exits import changed_exit, new_exit, removed_exit
from execution.review.state import DecisionState
from ledger.events import Event
from ledger.log.envelope import NewEvent
from ledger.postgres.book import StoredReading
from ledger.projections.exits import ExitView
from ledger.values import Amount, Instrument, Money, Price, Quantity, UtcTime


class LevelPrices(TypedDict):
    stop: Decimal | None
    target: Decimal | None
    trail: Decimal | None


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

    def levels(self) -> LevelPrices:
        """The levels under the names that events use."""
        return {"stop": self.stop_loss, "target": self.take_profit, "trail": self.trailing}


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
        exit_id = command.event_id()
        return _recorded(
            command,
            exit_id,
            lambda state: new_exit(state, exit_id, data.product_id, data.account, **data.levels()),
        )

    @post("/{exit_id:uuid}/change", operation_id="changeExit", status_code=200, sync_to_thread=True)
    def change_exit(
        self, commands: NamedDependency[Commands], exit_id: FromPath[UUID], data: JSONBody[ExitLevels]
    ) -> Response[ExitAnswer]:
        """Replaces all levels of an exit."""
        return _recorded(commands.driven(data), exit_id, lambda state: changed_exit(state, exit_id, **data.levels()))

    @post("/{exit_id:uuid}/remove", operation_id="removeExit", status_code=200, sync_to_thread=True)
    def remove_exit(
        self, commands: NamedDependency[Commands], exit_id: FromPath[UUID], data: JSONBody[ExitRemoval]
    ) -> Response[ExitAnswer]:
        """Removes an exit."""
        return _recorded(commands.driven(data), exit_id, lambda state: removed_exit(state, exit_id, data.reason))


def _recorded(command: Command, exit_id: UUID, event: Callable[[DecisionState], Event]) -> Response[ExitAnswer]:
    """Record one event about the exit and answer with the exit."""

    def decide(reading: StoredReading) -> list[NewEvent]:
        state = DecisionState.of(reading, command.now)
        return [NewEvent(event(state), command.event_id(), state.now, command.actor, exit_id)]

    return command.record(decide, lambda reading: ExitAnswer.model_validate(reading.rows.get(ExitView, exit_id)))
