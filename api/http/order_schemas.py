"""What goes in and out where orders are asked for and ended, and differences explained."""

from typing import Annotated, Final, Literal, Self
from uuid import UUID

from pydantic import BeforeValidator, Field, StringConstraints, model_validator

from api.http.schemas import PRINTABLE, Answer, Request
from ledger.events.fields import OrderKind, Text, TimeInForce
from ledger.values import Instrument, Price, Quantity, Side, UtcTime

LONGEST_LIFE_S: Final = 90 * 24 * 3600
Reason = Annotated[str, StringConstraints(strict=True, min_length=1, max_length=2000, pattern=r"^[^\x00]*$")]


class Cancellation(Request):
    """The wish that an order end."""

    reason: Text = ""


class Resolution(Request):
    """What became of an order of unknown outcome, and how that is known."""

    outcome: Literal["not_placed", "cancelled"]
    reason: Reason


class Explanation(Request):
    """Why ledger and venue did not agree."""

    reason: Reason


class DifferenceAnswer(Answer):
    difference_id: UUID
    position: int
    account: str
    venue: str
    subject: str
    ledger: str
    venue_says: str
    found_at: UtcTime
    status: str
    reason: str


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


class TradeTicket(Request):
    """An order as a person asks for it. Exactly one of base_size and quote_size (also read as size_usd).

    A stop order waits for its stop_price and is a market order from then on. What has not filled `expires_in_s` seconds
    later (a day when it is left out) is cancelled; an order that is ioc or fok does not rest at all.
    """

    product_id: Instrument
    side: Annotated[Side, BeforeValidator(_lower)]
    type: Annotated[OrderKind, BeforeValidator(_lower)] = "market"
    base_size: Quantity | None = None
    quote_size: Quantity | None = None
    size_usd: Quantity | None = None
    limit_price: Price | None = None
    stop_price: Price | None = None
    time_in_force: Annotated[TimeInForce, BeforeValidator(_lower)] | None = None
    expires_in_s: Annotated[int, Field(ge=1, le=LONGEST_LIFE_S)] | None = None
    account: Annotated[str, Field(min_length=1, max_length=100, pattern=PRINTABLE)] | None = None

    @model_validator(mode="after")
    def _one_size(self) -> Self:
        sizes = [size for size in (self.base_size, self.quote_size, self.size_usd) if size is not None]
        if len(sizes) != 1:
            what = "none was" if not sizes else f"{len(sizes)} were"
            raise ValueError(f"exactly one of base_size and quote_size must be given, {what}")
        for kind, price in (("limit", self.limit_price), ("stop", self.stop_price)):
            if (self.type == kind) != (price is not None):
                raise ValueError(f"a {kind} order needs a {kind}_price, and no other order has one")
        if self.type == "stop" and self.base_size is None:
            raise ValueError("a stop order needs a base_size")
        if self.time_in_force is not None and self.type != "limit":
            raise ValueError("just a limit order has a time_in_force")
        return self
