"""The events that follow from verdicts, replies of people and venues, and fills. Pure: every id derives from its cause."""

from collections.abc import Callable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Final, Literal
from uuid import UUID

from pydantic import TypeAdapter

from execution.exchanges.exchange import Accepted, Fill, InstrumentRules, OrderTicket, Refused, Unknown
from execution.review.review import (
    Approval,
    Expiry,
    ManualTicket,
    Question,
    Rejection,
    SignalVerdict,
    TradeRejected,
    review_signal,
)
from execution.review.signal_rules import newest_signal, person_agrees
from execution.review.state import DecisionState, Opinion, checked
from ledger.errors import DaybookError
from ledger.events import (
    ApprovalRequested,
    CancelRequested,
    DifferenceFound,
    Event,
    OrderAccepted,
    OrderClosed,
    OrderRefused,
    OrderRequested,
    OutcomeResolved,
    OutcomeUnknown,
    SignalApproved,
    SignalExpired,
    SignalRejected,
    TradeExecuted,
)
from ledger.events.fields import Fee, OrderKind, TimeInForce
from ledger.log.envelope import NewEvent
from ledger.projections.orders import OrderView
from ledger.projections.portfolio import base_currency_of, differences_of
from ledger.projections.signals import SignalView
from ledger.projections.valuation import Mark
from ledger.rows import Rows
from ledger.values import ZERO, Instrument, Side, decimal_text, derived_id, round18

ACTOR: Final = "trade-service"
REVIEW: Final = "review"
KIND: Final = TypeAdapter[OrderKind](OrderKind)
TIME_IN_FORCE: Final = TypeAdapter[TimeInForce | None](TimeInForce | None)
SAME_CURRENCY: Final = Decimal(1)
"""The quote rate of a pair quoted in the portfolio's base currency; review rejects all other pairs."""


# --- verdicts ---------------------------------------------------------------------------------------------------------


class WrongSignal(DaybookError):
    """No such signal, or it is not awaiting approval; the message gives the reason."""


def judged(signal: SignalView, state: DecisionState, venue_rules: InstrumentRules | None) -> list[NewEvent]:
    """Review's verdict on the signal, and for an approval its order; stored together or not at all."""
    verdict = review_signal(Opinion.of_signal(signal, state.rows), state, venue_rules)
    return _verdict_events(signal, verdict, state, REVIEW)


def _verdict_events(signal: SignalView, verdict: SignalVerdict, state: DecisionState, actor: str) -> list[NewEvent]:

    signal_id = signal.signal_id

    def verdict_event(event: Event) -> NewEvent:
        return NewEvent(event, derived_id(signal_id, "verdict"), state.now, actor, signal_id, signal_id)

    match verdict:
        case Approval(side=side, size=size, rules=rules):
            approved = verdict_event(SignalApproved(signal_id=signal_id, side=side, quote_size=size.value, rules=rules))
            order, order_id = _order(signal, verdict, state), derived_id(signal_id, "order")
            return [approved, NewEvent(order, order_id, state.now, actor, signal_id, approved.event_id)]
        case Question():
            return [] if signal.status == "asked" else [_question(signal, verdict.approval, state)]
        case Rejection():
            if signal.status == "asked" and not _for_good(verdict):
                return []  # the person may still approve, and the failed rules may pass by then
            return [verdict_event(SignalRejected(signal_id=signal_id, rules=verdict.rules, not_yet=verdict.not_yet))]
        case Expiry():
            return [verdict_event(SignalExpired(signal_id=signal_id, rules=verdict.rules))]


def approved_by(
    person: str, signal_id: UUID, state: DecisionState, rules_of: Callable[[Instrument], InstrumentRules | None]
) -> list[NewEvent]:
    """The approval by a person, reviewed again. `rules_of` gives the venue's rules for an instrument.

    Raises:
        WrongSignal: the signal is not awaiting approval.
        TradeRejected: review rejects the signal now.
    """
    signal = _waiting(state, signal_id)
    opinion = Opinion.of_signal(signal, state.rows)
    verdict = review_signal(opinion, state, rules_of(opinion.instrument), person)
    if isinstance(verdict, Rejection | Expiry):
        raise TradeRejected(Rejection(verdict.rules))
    return _verdict_events(signal, verdict, state, person)


def rejected_by(person: str, signal_id: UUID, reason: str, state: DecisionState) -> list[NewEvent]:
    """The rejection by a person. Raises WrongSignal."""
    _waiting(state, signal_id)
    text = f"rejected by {person}: {reason}" if reason else f"rejected by {person}"
    answer = checked(person_agrees.__name__, False, text, mode="ask", agreed=None)
    event = SignalRejected(signal_id=signal_id, rules=(answer,), not_yet=False)
    event_id = derived_id(signal_id, "verdict")
    return [NewEvent(event, event_id, state.now, person, signal_id, signal_id)]


def _waiting(state: DecisionState, signal_id: UUID) -> SignalView:
    """The signal, which awaits approval. Raises WrongSignal."""
    signal = state.rows.get(SignalView, signal_id)
    if signal is None:
        raise WrongSignal(f"no signal {signal_id}")
    if signal.status != "asked":
        raise WrongSignal(f"signal {signal_id} is not awaiting approval (status: {signal.status})")
    return signal


def _for_good(rejection: Rejection) -> bool:
    """`True` if the approval is no longer needed: the bot has emitted a newer signal, or is off."""
    failed = {rule.rule: rule for rule in rejection.rules if not rule.passed}
    agrees = failed.get(person_agrees.__name__)
    return newest_signal.__name__ in failed or (agrees is not None and agrees.numbers["mode"] == "off")


def _question(signal: SignalView, approval: Approval, state: DecisionState) -> NewEvent:
    request = ApprovalRequested(
        signal_id=signal.signal_id,
        bot_id=signal.bot_id,
        instrument=Instrument(signal.instrument),
        side=approval.side,
        quote_size=approval.size.value,
        rules=approval.rules,
    )
    event_id = derived_id(signal.signal_id, "question")
    return NewEvent(request, event_id, state.now, REVIEW, signal.signal_id, signal.signal_id)


def _order(signal: SignalView, approval: Approval, state: DecisionState) -> OrderRequested:
    return OrderRequested(
        client_order_id=client_order_id(derived_id(signal.signal_id, "order")),
        account=approval.account.account,
        venue=approval.account.venue,
        instrument=Instrument(signal.instrument),
        side=approval.side,
        kind="market",
        base_size=approval.size.base_size,
        quote_size=approval.size.value if approval.size.base_size is None else None,
        signal_id=signal.signal_id,
        triggered_by=f"bot:{signal.bot_id}",
        expires_at=state.now + state.window("order_lifetime_minutes"),
    )


# --- orders -----------------------------------------------------------------------------------------------------------


def manual_intent(
    ticket: ManualTicket, approval: Approval, order_id: UUID, state: DecisionState, actor: str
) -> NewEvent:
    """The approved order of a ticket."""
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


def from_ticket(order: OrderView, ticket: ManualTicket) -> bool:
    """`True` if the order was made from an equal ticket."""
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
    """The next event of the order; it has at most one of each type."""
    return NewEvent(event, derived_id(order.order_id, event.type), now, ACTOR, _story(order), order.order_id, metadata)


class WrongOrder(DaybookError):
    """No such order, or not one in the required status; the message gives the reason."""


Ending = Literal["filled", "expired", "cancelled", "not_placed", "not_sent"]
Settled = Literal["not_placed", "cancelled"]
"""The outcomes that a person may report for an order of unknown outcome."""


def closed(order: OrderView, reason: Ending) -> OrderClosed:
    """The end of the order, with its filled quantity."""
    return OrderClosed(order_id=order.order_id, reason=reason, filled=order.filled_quantity)


def cancel_request(order: OrderView, reason: str, event_id: UUID, state: DecisionState, actor: str) -> NewEvent:
    """A request to cancel the order."""
    request = CancelRequested(order_id=order.order_id, reason=reason)
    return NewEvent(request, event_id, state.now, actor, _story(order), order.order_id)


def settled(
    order: OrderView, outcome: Settled, reason: str, event_id: UUID, state: DecisionState, actor: str
) -> list[NewEvent]:
    """The resolution of an unknown outcome by a person, and the end of the order."""
    resolved = OutcomeResolved(order_id=order.order_id, outcome=outcome, reason=reason)
    resolution = NewEvent(resolved, event_id, state.now, actor, _story(order), order.order_id)
    return [resolution, order_event(order, closed(order, outcome), state.now)]


def _story(order: OrderView) -> UUID:
    """The correlation id of the order's events."""
    return order.signal_id or order.order_id


def unwanted(order: OrderView, state: DecisionState) -> bool:
    """`True` if the order must not be sent: trading or its account is halted, or its cancellation was requested."""
    row = state.rows.get(OrderView, order.order_id)
    cancelled = row is not None and row.cancel_requested_at is not None
    return cancelled or state.halted is not None or bool(differences_of(state.rows, order.account))


def order_in(state: DecisionState, order_id: UUID) -> OrderView:
    """The order. Raises WrongOrder if there is none."""
    order = state.rows.get(OrderView, order_id)
    if order is None:
        raise WrongOrder(f"no order {order_id}")
    return order


def outcome_of(order: OrderView, answer: Accepted | Refused | Unknown) -> Event:
    """The event for the venue's reply to an attempt."""
    match answer:
        case Accepted():
            return OrderAccepted(order_id=order.order_id, venue_order_id=answer.venue_order_id)
        case Refused():
            return OrderRefused(order_id=order.order_id, code=answer.code, text=answer.text)
        case Unknown():
            return OutcomeUnknown(order_id=order.order_id, code=answer.code, text=answer.text)


def trade_of(order: OrderView, fill: Fill, rows: Rows) -> NewEvent:
    """The fill as a trade at its own time; a fee in a third asset is valued at that asset's mark."""
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
    return NewEvent(trade, fill_id(order, fill), fill.occurred_at, ACTOR, _story(order), order.order_id)


def valued_fees(fees: tuple[Fee, ...], instrument: Instrument, rows: Rows) -> tuple[Fee, ...]:
    """The fees; one in an asset that the trade does not price is valued at its last mark, or at 0 without one."""

    def valued(fee: Fee) -> Fee:
        if fee.value is not None or fee.asset in (instrument.base, instrument.quote):
            return fee
        mark = rows.get(Mark, f"{fee.asset}-{base_currency_of(rows)}")
        return Fee(asset=fee.asset, amount=fee.amount, value=round18(fee.amount * mark.price) if mark else ZERO)

    return tuple(valued(fee) for fee in fees)


def unvalued(trades: Sequence[NewEvent], now: datetime) -> list[NewEvent]:
    """A difference for each trade with a fee that no mark could value: the fee is booked at 0 until the difference is resolved."""
    found = []
    for trade in trades:
        event = trade.event
        assert isinstance(event, TradeExecuted)
        unpriced = [fee for fee in event.fees if fee.amount and fee.value == 0]
        if unpriced:
            amounts = ", ".join(f"{decimal_text(fee.amount)} {fee.asset}" for fee in unpriced)
            subject = f"fee of trade {event.venue_trade_id}"[:100]
            difference = DifferenceFound(
                account=event.account,
                venue=event.venue,
                subject=subject,
                ledger="worth 0: no price",
                venue_says=amounts,
            )
            found.append(NewEvent(difference, derived_id(trade.event_id, "fee"), now, ACTOR, trade.correlation_id))
    return found


def fill_id(order: OrderView, fill: Fill) -> UUID:
    """The event id of a fill: one for each (venue, account, instrument, venue trade id)."""
    return trade_event_id(order.venue, order.account, order.instrument, fill.venue_trade_id)


def trade_event_id(venue: str, account: str, instrument: str, venue_trade_id: str) -> UUID:
    """The event id of a trade at a venue."""
    return derived_id("fill", venue, account, instrument, venue_trade_id)


def client_order_id(order_id: UUID, attempt: int = 1) -> str:
    """32 lower-case hex characters, valid at every venue and the same for the same order and attempt."""
    return derived_id("client-order", order_id, attempt).hex


def ticket_of(order: OrderView) -> OrderTicket:
    """The order as it is sent to the venue."""
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
