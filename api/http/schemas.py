"""Schemas that routes share. Decimals and times are text; requests reject unknown fields."""

from decimal import Decimal
from typing import Annotated, Final, Literal
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from ledger.events.fields import LARGEST_COUNT, SignalPart, Text
from ledger.values import Amount, Instrument, Money, Price, Side, UtcTime

PRINTABLE: Final = r"^[^\x00-\x1f\x7f]+$"
SOURCE: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"


class Request(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Answer(BaseModel):
    model_config = ConfigDict(frozen=True, from_attributes=True)


class Page(Answer):
    """`next_cursor` requests the next page; null on the last."""

    next_cursor: str | None


class NewValue(Request):
    """A new value, in force from now on."""

    value: Amount


class NewSignal(Request):
    """A signal from outside. score: -1 sell … +1 buy; confidence: 0 … 1; both are stored at 6 places.

    Sender, `source`, `version`, `product_id` and `asof` identify a signal. `asof` is the time of the data behind it, such
    as the close of a candle; it goes stale after `horizon_s` seconds or the policy's maximum age.
    """

    product_id: Instrument
    asof: UtcTime
    score: Annotated[Money, Field(ge=-1, le=1)]
    confidence: Annotated[Amount, Field(le=1)] = Decimal(1)
    source: Annotated[str, Field(min_length=1, max_length=40, pattern=SOURCE)] | None = None
    version: Annotated[str, Field(min_length=1, max_length=40, pattern=SOURCE)] = "1"
    horizon_s: Annotated[int, Field(strict=True, ge=1, le=LARGEST_COUNT)] | None = None
    entry: Price | None = None
    take_profit: Price | None = None
    stop_loss: Price | None = None
    category: Literal["scalp", "intraday", "swing", "long_term"] | None = None
    parts: Annotated[tuple[SignalPart, ...], Field(max_length=100)] = ()
    note: Text = ""


class EventAnswer(Answer):
    """A stored event; `payload` is the exact stored JSON text, `hash` in hex."""

    position: int
    event_id: UUID
    type: str
    version: int
    occurred_at: UtcTime
    recorded_at: UtcTime
    actor: str
    correlation_id: UUID
    causation_id: UUID | None
    payload: str
    metadata: str
    hash: Annotated[str, BeforeValidator(lambda value: value.hex() if isinstance(value, bytes) else value)]


class TradeAnswer(Answer):
    """One fill. `value` and `fees` are in base currency; `reversed` trades stay visible but are excluded from all totals."""

    trade_id: UUID
    position: int
    occurred_at: UtcTime
    account: str
    venue: str
    venue_trade_id: str
    product_id: str = Field(validation_alias="instrument")
    side: Side
    quantity: Money
    price: Money
    value: Money
    fees: Money
    order_id: UUID | None
    triggered_by: str | None
    reversed: bool


class ProblemAnswer(BaseModel):
    """Any error (RFC 9457). `type` is stable; further fields, such as the results of all rules, depend on it."""

    model_config = ConfigDict(extra="allow")

    type: Annotated[str, Field(pattern="^urn:daybook:problem:")]
    title: str
    status: int
    detail: str
    instance: str
