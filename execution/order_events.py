"""What verdicts, answers of venues and fills become in the log. Pure: the ids of all events derive from their causes."""

from datetime import datetime
from decimal import Decimal
from typing import Final
from uuid import UUID

from execution.desk import Desk
from execution.exchange import Accepted, Fill, OrderTicket, Refused, Unknown
from execution.review import Approval, Expiry, ManualTicket, Rejection
from ledger.envelope import NewEvent
from ledger.events import (
    Event,
    OrderAccepted,
    OrderRefused,
    OrderRequested,
    OutcomeUnknown,
    SignalApproved,
    SignalExpired,
    SignalRejected,
    TradeExecuted,
)
from ledger.projections.orders import OrderView
from ledger.projections.signals import SignalView
from ledger.values import Instrument, Side, derived_id

ACTOR: Final = "trade-service"
SAME_CURRENCY: Final = Decimal(1)
"""The quote rate of a pair quoted in the portfolio's base currency; review lets no other pair through."""


def verdict_events(signal: SignalView, verdict: Approval | Rejection | Expiry, desk: Desk) -> list[NewEvent]:
    """The verdict and, when it is an approval, the order it asks for: stored together or not at all."""
    verdict_id, order_id = derived_id(signal.signal_id, "verdict"), derived_id(signal.signal_id, "order")

    def new(event: Event, event_id: UUID, cause: UUID) -> NewEvent:
        return NewEvent(event, event_id, desk.now, "review", signal.signal_id, cause)

    match verdict:
        case Rejection():
            return [
                new(
                    SignalRejected(signal_id=signal.signal_id, rules=verdict.rules, not_yet=verdict.not_yet),
                    verdict_id,
                    signal.signal_id,
                )
            ]
        case Expiry():
            return [new(SignalExpired(signal_id=signal.signal_id, rules=verdict.rules), verdict_id, signal.signal_id)]
        case Approval():
            approved = SignalApproved(
                signal_id=signal.signal_id, side=verdict.side, quote_size=verdict.size.value, rules=verdict.rules
            )
            order = _signal_order(signal, verdict, order_id, desk)
            return [new(approved, verdict_id, signal.signal_id), new(order, order_id, verdict_id)]


def manual_intent(ticket: ManualTicket, approval: Approval, order_id: UUID, desk: Desk, actor: str) -> NewEvent:
    """The order that a person asked for and review let through."""
    order = OrderRequested(
        client_order_id=client_order_id(order_id),
        account=approval.account.account,
        venue=approval.account.venue,
        instrument=ticket.instrument,
        side=ticket.side,
        kind=ticket.kind,
        base_size=ticket.base_size,
        quote_size=ticket.quote_size,
        limit_price=ticket.limit_price,
        triggered_by="manual",
        expires_at=desk.now + desk.window("manual_order_lifetime_minutes"),
        rules=approval.rules,
    )
    return NewEvent(order, order_id, desk.now, actor, order_id)


def asked_for(order: OrderView, ticket: ManualTicket) -> bool:
    """Whether the order is what the ticket asks for."""
    return (
        order.triggered_by == "manual"
        and order.instrument == ticket.instrument
        and order.side == ticket.side
        and order.kind == ticket.kind
        and (order.base_size, order.quote_size, order.limit_price)
        == (ticket.base_size, ticket.quote_size, ticket.limit_price)
        and ticket.account in (None, order.account)
    )


def order_event(order: OrderView, event: Event, now: datetime, metadata: str = "{}") -> NewEvent:
    """The next event in the order's life; there is one of each type at most."""
    event_id, story = derived_id(order.order_id, event.type), order.signal_id or order.order_id
    return NewEvent(event, event_id, now, ACTOR, story, order.order_id, metadata)


def outcome_of(order: OrderView, answer: Accepted | Refused | Unknown) -> Event:
    """What the venue's answer to the attempt means."""
    match answer:
        case Accepted():
            return OrderAccepted(order_id=order.order_id, venue_order_id=answer.venue_order_id)
        case Refused():
            return OrderRefused(order_id=order.order_id, code=answer.code, text=answer.text)
        case Unknown():
            return OutcomeUnknown(order_id=order.order_id, code=answer.code, text=answer.text)


def trade_of(order: OrderView, fill: Fill) -> NewEvent:
    """The fill as a trade, at the time at which it happened."""
    trade = TradeExecuted(
        account=order.account,
        venue=order.venue,
        venue_trade_id=fill.venue_trade_id,
        instrument=Instrument(order.instrument),
        side=Side(order.side),
        quantity=fill.quantity,
        price=fill.price,
        fees=fill.fees,
        quote_rate=SAME_CURRENCY,
        order_id=order.order_id,
        triggered_by=order.triggered_by,
    )
    story = order.signal_id or order.order_id
    return NewEvent(trade, fill_id(order, fill), fill.occurred_at, ACTOR, story, order.order_id)


def fill_id(order: OrderView, fill: Fill) -> UUID:
    """The event id of a fill: one for each (venue, account, instrument, venue trade id), whoever reports it."""
    return derived_id("fill", order.venue, order.account, order.instrument, fill.venue_trade_id)


def client_order_id(order_id: UUID, attempt: int = 1) -> str:
    """32 lower-case hex characters, valid at every venue, always the same for the same intent and attempt."""
    return derived_id("client-order", order_id, attempt).hex


def ticket_of(order: OrderView) -> OrderTicket:
    """The order as it is sent."""
    return OrderTicket(
        client_order_id=order.client_order_id,
        account=order.account,
        instrument=Instrument(order.instrument),
        side=Side(order.side),
        kind="limit" if order.kind == "limit" else "market",
        base_size=order.base_size,
        quote_size=order.quote_size,
        limit_price=order.limit_price,
        expires_at=order.expires_at,
    )


def _signal_order(signal: SignalView, approval: Approval, order_id: UUID, desk: Desk) -> OrderRequested:
    return OrderRequested(
        client_order_id=client_order_id(order_id),
        account=approval.account.account,
        venue=approval.account.venue,
        instrument=Instrument(signal.instrument),
        side=approval.side,
        kind="market",
        base_size=approval.size.base_size,
        quote_size=approval.size.value if approval.size.base_size is None else None,
        signal_id=signal.signal_id,
        triggered_by=f"bot:{signal.bot_id}",
        expires_at=desk.now + desk.window("order_lifetime_minutes"),
    )
