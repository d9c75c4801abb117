"""What verdicts, answers of venues and fills become in the log. Pure: the ids of all events derive from their causes."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Final, Literal
from uuid import UUID

from pydantic import TypeAdapter

from execution.exchanges.exchange import Accepted, Fill, OrderTicket, Refused, Unknown
from execution.review.review import Approval, ManualTicket
from execution.review.state import DecisionState
from ledger.errors import DaybookError
from ledger.events import (
    CancelRequested,
    DifferenceFound,
    Event,
    OrderAccepted,
    OrderClosed,
    OrderRefused,
    OrderRequested,
    OutcomeResolved,
    OutcomeUnknown,
    TradeExecuted,
)
from ledger.events.fields import Fee, OrderKind, TimeInForce
from ledger.log.envelope import NewEvent
from ledger.projections.orders import OrderView
from ledger.projections.portfolio import base_currency_of, differences_of
from ledger.projections.valuation import Mark
from ledger.rows import Rows
from ledger.values import ZERO, Instrument, Side, decimal_text, derived_id, round18

ACTOR: Final = "trade-service"
KIND: Final = TypeAdapter[OrderKind](OrderKind)
TIME_IN_FORCE: Final = TypeAdapter[TimeInForce | None](TimeInForce | None)
SAME_CURRENCY: Final = Decimal(1)
"""The quote rate of a pair quoted in the portfolio's base currency; review lets no other pair through."""


def manual_intent(
    ticket: ManualTicket, approval: Approval, order_id: UUID, state: DecisionState, actor: str
) -> NewEvent:
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
        stop_price=ticket.stop_price,
        time_in_force=ticket.time_in_force,
        triggered_by="manual",
        expires_at=state.now + (ticket.lifetime or state.window("manual_order_lifetime_minutes")),
        rules=approval.rules,
    )
    return NewEvent(order, order_id, state.now, actor, order_id)


def asked_for(order: OrderView, ticket: ManualTicket) -> bool:
    """Whether the order is what the ticket asks for."""
    return (
        order.triggered_by == "manual"
        and order.instrument == ticket.instrument
        and order.side == ticket.side
        and order.kind == ticket.kind
        and (order.base_size, order.quote_size) == (ticket.base_size, ticket.quote_size)
        and (order.limit_price, order.stop_price) == (ticket.limit_price, ticket.stop_price)
        and order.time_in_force == ticket.time_in_force
        and (ticket.lifetime is None or order.expires_at - order.requested_at == ticket.lifetime)
        and ticket.account in (None, order.account)
    )


def order_event(order: OrderView, event: Event, now: datetime, metadata: str = "{}") -> NewEvent:
    """The next event in the order's life; there is one of each type at most."""
    event_id, story = derived_id(order.order_id, event.type), order.signal_id or order.order_id
    return NewEvent(event, event_id, now, ACTOR, story, order.order_id, metadata)


class WrongOrder(DaybookError):
    """There is no such order, or it is not in the state that was asked for; the sentence says which."""


Ending = Literal["filled", "expired", "cancelled", "not_placed", "not_sent"]
Settled = Literal["not_placed", "cancelled"]
"""What a person may say became of an order of unknown outcome."""


def closed(order: OrderView, reason: Ending) -> OrderClosed:
    """The order's end, with what it had filled."""
    return OrderClosed(order_id=order.order_id, reason=reason, filled=order.filled_quantity)


def cancel_request(order: OrderView, reason: str, event_id: UUID, state: DecisionState, actor: str) -> NewEvent:
    """Somebody's wish that the order end."""
    wish = CancelRequested(order_id=order.order_id, reason=reason)
    return NewEvent(wish, event_id, state.now, actor, order.signal_id or order.order_id, order.order_id)


def settled(
    order: OrderView, outcome: Settled, reason: str, event_id: UUID, state: DecisionState, actor: str
) -> list[NewEvent]:
    """A person's word on an unknown outcome, and the end of the order that follows from it."""
    word = OutcomeResolved(order_id=order.order_id, outcome=outcome, reason=reason)
    said = NewEvent(word, event_id, state.now, actor, order.signal_id or order.order_id, order.order_id)
    return [said, order_event(order, closed(order, outcome), state.now)]


def unwanted(order: OrderView, state: DecisionState) -> bool:
    """Whether the order must not be sent any more: trading is halted, in its account too, or it is to be cancelled."""
    row = state.rows.get(OrderView, order.order_id)
    cancelled = row is not None and row.cancel_requested_at is not None
    return cancelled or state.halted is not None or bool(differences_of(state.rows, order.account))


def order_in(state: DecisionState, order_id: UUID) -> OrderView:
    """The order. Raises WrongOrder where there is none."""
    order = state.rows.get(OrderView, order_id)
    if order is None:
        raise WrongOrder(f"there is no order {order_id}")
    return order


def outcome_of(order: OrderView, answer: Accepted | Refused | Unknown) -> Event:
    """What the venue's answer to the attempt means."""
    match answer:
        case Accepted():
            return OrderAccepted(order_id=order.order_id, venue_order_id=answer.venue_order_id)
        case Refused():
            return OrderRefused(order_id=order.order_id, code=answer.code, text=answer.text)
        case Unknown():
            return OutcomeUnknown(order_id=order.order_id, code=answer.code, text=answer.text)


def trade_of(order: OrderView, fill: Fill, rows: Rows) -> NewEvent:
    """The fill as a trade, at the time at which it happened; a fee in a third asset is valued at that asset's mark."""
    trade = TradeExecuted(
        account=order.account,
        venue=order.venue,
        venue_trade_id=fill.venue_trade_id,
        instrument=Instrument(order.instrument),
        side=Side(order.side),
        quantity=fill.quantity,
        price=fill.price,
        fees=valued_fees(fill.fees, Instrument(order.instrument), rows),
        quote_rate=SAME_CURRENCY,
        order_id=order.order_id,
        triggered_by=order.triggered_by,
    )
    story = order.signal_id or order.order_id
    return NewEvent(trade, fill_id(order, fill), fill.occurred_at, ACTOR, story, order.order_id)


def valued_fees(fees: tuple[Fee, ...], instrument: Instrument, rows: Rows) -> tuple[Fee, ...]:
    """The fees; one in an asset that the trade does not price is worth its last mark, or 0 where there is none."""

    def valued(fee: Fee) -> Fee:
        if fee.value is not None or fee.asset in (instrument.base, instrument.quote):
            return fee
        mark = rows.get(Mark, f"{fee.asset}-{base_currency_of(rows)}")
        return Fee(asset=fee.asset, amount=fee.amount, value=round18(fee.amount * mark.price) if mark else ZERO)

    return tuple(valued(fee) for fee in fees)


def unvalued(trades: Sequence[NewEvent], now: datetime) -> list[NewEvent]:
    """A difference for each trade with a fee whose worth nobody knows: it stands in the books at 0 until it is explained."""
    found = []
    for trade in trades:
        event = trade.event
        assert isinstance(event, TradeExecuted)
        unpriced = [fee for fee in event.fees if fee.amount and fee.value == 0]
        if unpriced:
            told = ", ".join(f"{decimal_text(fee.amount)} {fee.asset}" for fee in unpriced)
            subject = f"fee of trade {event.venue_trade_id}"[:100]
            difference = DifferenceFound(
                account=event.account, venue=event.venue, subject=subject, ledger="worth 0: no price", venue_says=told
            )
            found.append(NewEvent(difference, derived_id(trade.event_id, "fee"), now, ACTOR, trade.correlation_id))
    return found


def fill_id(order: OrderView, fill: Fill) -> UUID:
    """The event id of a fill: one for each (venue, account, instrument, venue trade id), whoever reports it."""
    return trade_event_id(order.venue, order.account, order.instrument, fill.venue_trade_id)


def trade_event_id(venue: str, account: str, instrument: str, venue_trade_id: str) -> UUID:
    """The same for a trade of any order."""
    return derived_id("fill", venue, account, instrument, venue_trade_id)


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
        kind=KIND.validate_python(order.kind),
        base_size=order.base_size,
        quote_size=order.quote_size,
        limit_price=order.limit_price,
        expires_at=order.expires_at,
        stop_price=order.stop_price,
        time_in_force=TIME_IN_FORCE.validate_python(order.time_in_force),
    )
