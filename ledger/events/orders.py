"""Events of orders: intent, attempts, venue replies, and differences found by reconciliation."""

from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field

from ledger.events.fields import LARGEST_COUNT, Event, Name, OrderKind, RuleChecked, Source, Text, TimeInForce
from ledger.values import Amount, Instrument, Price, Quantity, Side, UtcTime


class OrderRequested(Event):
    """The intent, stored before any call to a venue. Exactly one of `base_size` and `quote_size` is given.

    A limit order has a `limit_price` and may have a time in force, a stop order has a `stop_price`.

    `rules` are the review results of an order without a signal (a manual one). The event id is the order id.
    """

    type = "OrderRequested"
    version = 2
    client_order_id: Name
    account: Name
    venue: Name
    instrument: Instrument
    side: Side
    kind: OrderKind
    base_size: Quantity | None = None
    quote_size: Quantity | None = None
    limit_price: Price | None = None
    stop_price: Price | None = None
    time_in_force: TimeInForce | None = None
    signal_id: UUID | None = None
    triggered_by: Source
    expires_at: UtcTime
    rules: tuple[RuleChecked, ...] = ()


class OrderSubmitted(Event):
    """The attempt, stored before any byte is sent. Until an outcome is stored, the outcome is unknown."""

    type = "OrderSubmitted"
    order_id: UUID
    attempt: Annotated[int, Field(ge=1, le=LARGEST_COUNT)]
    deadline: UtcTime


class OrderAccepted(Event):
    type = "OrderAccepted"
    order_id: UUID
    venue_order_id: Name


class OrderRefused(Event):
    """The venue refused the order: nothing was placed."""

    type = "OrderRefused"
    order_id: UUID
    code: Name
    text: Text


class OutcomeUnknown(Event):
    """The venue may or may not have the order: it must be looked up, never sent again."""

    type = "OutcomeUnknown"
    order_id: UUID
    code: Name
    text: Text


class CancelRequested(Event):
    """A request to end the order. The outcome comes from the venue: the order may have filled meanwhile."""

    type = "CancelRequested"
    order_id: UUID
    reason: Text = ""


class OutcomeResolved(Event):
    """A person settles an order of unknown outcome, with a reason. Fills that arrive later still count."""

    type = "OutcomeResolved"
    order_id: UUID
    outcome: Literal["not_placed", "cancelled"]
    reason: Text


class OrderClosed(Event):
    """The order is final. `filled` is the base quantity of its fills."""

    type = "OrderClosed"
    order_id: UUID
    reason: Literal["filled", "expired", "cancelled", "refused", "not_placed", "not_sent"]
    filled: Amount


# --- reconciliation ------------------------------------------------------------------------------------------------------


class ExternalOrderSeen(Event):
    """The venue has an order of the account that Daybook did not place. `filled` is in base units, when first seen."""

    type = "ExternalOrderSeen"
    account: Name
    venue: Name
    venue_order_id: Name
    client_order_id: Name | None = None
    instrument: Instrument
    side: Side
    state: Literal["open", "filled", "expired", "cancelled"]
    filled: Amount
    placed_at: UtcTime | None = None


class DifferenceFound(Event):
    """Ledger and venue disagree about `subject` of the account. Nothing is corrected automatically; the account halts."""

    type = "DifferenceFound"
    account: Name
    venue: Name
    subject: Name
    ledger: Text
    venue_says: Text


class DifferenceResolved(Event):
    """The difference is explained or acknowledged. `difference_id` is the event id of its `DifferenceFound`."""

    type = "DifferenceResolved"
    difference_id: UUID
    reason: Text
