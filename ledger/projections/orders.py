"""Orders: from intent to the last fill."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import ClassVar
from uuid import UUID

from ledger.booking.legs import gross_value
from ledger.events import (
    CancelRequested,
    Event,
    OrderAccepted,
    OrderClosed,
    OrderRefused,
    OrderRequested,
    OrderSubmitted,
    OutcomeUnknown,
    TradeExecuted,
)
from ledger.log.envelope import Envelope
from ledger.rows import Change, Row, Rows, replaced
from ledger.values import ZERO

ENDED = ("refused", "closed")


@dataclass(frozen=True, slots=True)
class OrderView(Row):
    """An order. `status`: requested → submitted → accepted | refused | unknown → closed.

    `filled_quantity` is in base units, `filled_value` in the portfolio's base currency; `reason` is the reason of its
    end, `cancel_requested_at` the time of the last cancel request.
    """

    table: ClassVar[str] = "orders"
    key: ClassVar[tuple[str, ...]] = ("order_id",)
    order_id: UUID
    position: int
    client_order_id: str
    account: str
    venue: str
    instrument: str
    side: str
    kind: str
    base_size: Decimal | None
    quote_size: Decimal | None
    limit_price: Decimal | None
    stop_price: Decimal | None
    time_in_force: str | None
    signal_id: UUID | None
    triggered_by: str
    requested_at: datetime
    expires_at: datetime
    status: str
    attempt: int
    submitted_at: datetime | None
    venue_order_id: str | None
    filled_quantity: Decimal
    filled_value: Decimal
    fills: int
    reason: str
    cancel_requested_at: datetime | None = None

    @property
    def live(self) -> bool:
        return self.status not in ENDED


class OrdersProjection:
    name = "orders"
    version = 3
    events: tuple[type[Event], ...] = (
        CancelRequested,
        OrderRequested,
        OrderSubmitted,
        OrderAccepted,
        OrderRefused,
        OutcomeUnknown,
        OrderClosed,
        TradeExecuted,
    )
    rows: tuple[type[Row], ...] = (OrderView,)

    def fold(self, rows: Rows, envelope: Envelope) -> list[Change]:
        event = envelope.event
        match event:
            case OrderRequested():
                return [_requested(event, envelope)]
            case OrderSubmitted():
                changed = {"status": "submitted", "attempt": event.attempt, "submitted_at": envelope.occurred_at}
            case OrderAccepted():
                changed = {"status": "accepted", "venue_order_id": event.venue_order_id}
            case OrderRefused():
                changed = {"status": "refused", "reason": f"{event.code}: {event.text}"}
            case OutcomeUnknown():
                changed = {"status": "unknown", "reason": f"{event.code}: {event.text}"}
            case CancelRequested():
                changed = {"cancel_requested_at": envelope.occurred_at}
            case OrderClosed():
                changed = {"status": "closed", "reason": event.reason}
            case TradeExecuted() if event.order_id is not None:
                return _filled(rows, event, event.order_id)
            case _:
                return []
        return [replaced(order_of(rows, event.order_id), **changed)]


def order_of(rows: Rows, order_id: UUID) -> OrderView:
    """Return the order, which must have been requested."""
    order = rows.get(OrderView, order_id)
    assert order is not None, f"event for order {order_id}, which was never requested"
    return order


def _filled(rows: Rows, trade: TradeExecuted, order_id: UUID) -> list[Change]:
    order = order_of(rows, order_id)
    filled, value = order.filled_quantity + trade.quantity, order.filled_value + gross_value(trade)
    return [replaced(order, filled_quantity=filled, filled_value=value, fills=order.fills + 1)]


def _requested(event: OrderRequested, envelope: Envelope) -> OrderView:
    return OrderView(
        order_id=envelope.event_id,
        position=envelope.position,
        client_order_id=event.client_order_id,
        account=event.account,
        venue=event.venue,
        instrument=str(event.instrument),
        side=event.side.value,
        kind=event.kind,
        base_size=event.base_size,
        quote_size=event.quote_size,
        limit_price=event.limit_price,
        stop_price=event.stop_price,
        time_in_force=event.time_in_force,
        signal_id=event.signal_id,
        triggered_by=event.triggered_by,
        requested_at=envelope.occurred_at,
        expires_at=event.expires_at,
        status="requested",
        attempt=0,
        submitted_at=None,
        venue_order_id=None,
        filled_quantity=ZERO,
        filled_value=ZERO,
        fills=0,
        reason="",
    )
