"""What goes in and out of exits over HTTP."""

from typing import Annotated, Literal, Self
from uuid import UUID

from pydantic import Field, model_validator

from api.http.schemas import PRINTABLE, Answer, Request
from ledger.values import Amount, Instrument, Money, Price, Quantity, UtcTime


class ExitLevels(Request):
    """Where a position is to be ended: at least one of stop, target and trailing.

    `trailing` is a fraction below 1 of the price: at that distance the stop follows the highest price. Without a stop
    it begins there below the last mark.
    """

    stop_loss: Price | None = None
    take_profit: Price | None = None
    trailing: Quantity | None = None

    @model_validator(mode="after")
    def _some(self) -> Self:
        if self.stop_loss is None and self.take_profit is None and self.trailing is None:
            raise ValueError("say a stop_loss, a take_profit or a trailing distance")
        if self.trailing is not None and self.trailing >= 1:
            raise ValueError("trailing is a fraction of the price below 1, such as 0.05")
        if self.stop_loss is not None and self.take_profit is not None and self.stop_loss >= self.take_profit:
            raise ValueError("the stop_loss lies below the take_profit")
        return self


class NewExit(ExitLevels):
    """An exit for all that an account holds of a product; without an account the first one is meant."""

    product_id: Instrument
    account: Annotated[str, Field(min_length=1, max_length=100, pattern=PRINTABLE)] | None = None


class ExitRemoval(Request):
    """Why an exit is taken away."""

    reason: Annotated[str, Field(min_length=1, max_length=500, pattern=PRINTABLE)]


class ExitAnswer(Answer):
    """An exit. `quantity` null is all that the account holds; `order_id` is the purchase that it guards, if it is one's.

    `sale_id` is the order with which it sold last.
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
