"""What becomes of exits in the log. Pure: the id of each event derives from its exit and the number of those before, or, where
a stop trails, the candle."""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final
from uuid import UUID

from execution.exits.levels import Touch
from execution.orders.order_events import client_order_id
from execution.review.state import DecisionState
from ledger.events import Event, ExitArmed, ExitChanged, ExitDisarmed, ExitTriggered, OrderRequested, SignalEmitted
from ledger.log.envelope import NewEvent
from ledger.projections.exits import ExitView
from ledger.projections.orders import OrderView
from ledger.projections.policy import minutes
from ledger.rows import Rows
from ledger.values import ZERO, Instrument, Side, derived_id

ACTOR: Final = "exits"


def armed(order: OrderView, signal: SignalEmitted, state: DecisionState) -> NewEvent:
    """What the order bought is guarded from now on, at the levels of its signal; the exit is called as the order is."""
    event = ExitArmed(
        exit_id=order.order_id,
        account=order.account,
        instrument=Instrument(order.instrument),
        order_id=order.order_id,
        quantity=order.filled_quantity,
        bought=order.filled_quantity,
        stop=signal.stop_loss,
        target=signal.take_profit,
    )
    return _new(event, order.order_id, 0, state)


def armed_again(exit: ExitView, quantity: Decimal | None, bought: Decimal, state: DecisionState) -> NewEvent:
    """What is left is guarded as before."""
    event = ExitArmed(
        exit_id=exit.exit_id,
        account=exit.account,
        instrument=Instrument(exit.instrument),
        order_id=exit.order_id,
        quantity=quantity,
        bought=bought,
        stop=exit.stop,
        target=exit.target,
        trail=exit.trail,
    )
    return _next(event, exit, state)


def changed(exit: ExitView, state: DecisionState, **fields: object) -> NewEvent:
    """The exit with these fields, and all others as they were."""
    names = ("quantity", "bought", "stop", "target", "trail")
    kept = {name: getattr(exit, name) for name in names}
    return _next(ExitChanged(exit_id=exit.exit_id, **(kept | fields)), exit, state)


def disarmed(exit: ExitView, reason: str, state: DecisionState) -> NewEvent:
    return _next(ExitDisarmed(exit_id=exit.exit_id, reason=reason), exit, state)


def triggered(exit: ExitView, touch: Touch, size: Decimal, venue: str, state: DecisionState) -> list[NewEvent]:
    """The triggering and its order, stored together: one order for each arming, whoever looks and however often."""
    sale_id = sale_of(exit)
    event = ExitTriggered(exit_id=exit.exit_id, level=touch.level, price=touch.offer.price, order_id=sale_id)
    lifetime: timedelta = minutes(state.limit("order_lifetime_minutes"))
    order = OrderRequested(
        client_order_id=client_order_id(sale_id),
        account=exit.account,
        venue=venue,
        instrument=Instrument(exit.instrument),
        side=Side.SELL,
        kind="market",
        base_size=size,
        triggered_by=exit.source,
        expires_at=state.now + lifetime,
    )
    trigger = _next(event, exit, state)
    return [trigger, NewEvent(order, sale_id, state.now, ACTOR, sale_id, trigger.event_id)]


def sale_of(exit: ExitView) -> UUID:
    """The id of the order with which this arming would sell."""
    return derived_id("exit-order", exit.exit_id, exit.changes)


def trailing_id(exit_id: UUID, closed_at: datetime) -> UUID:
    """The id of the change with which the exit's stop follows the candle that closed then."""
    return derived_id("exit-trail", exit_id, closed_at)


def signal_of(order: OrderView, rows: Rows) -> SignalEmitted | None:
    """The signal behind the order if it names a level that would guard what it bought."""
    found = rows.recorded(order.signal_id) if order.signal_id and order.side == "buy" else None
    signal = found.event if found else None
    named = isinstance(signal, SignalEmitted) and (signal.stop_loss or signal.take_profit)
    return signal if isinstance(signal, SignalEmitted) and named and order.filled_quantity > ZERO else None


def _next(event: Event, exit: ExitView, state: DecisionState) -> NewEvent:
    return _new(event, exit.exit_id, exit.changes, state)


def _new(event: Event, exit_id: UUID, changes: int, state: DecisionState) -> NewEvent:
    return NewEvent(event, derived_id("exit", exit_id, changes), state.now, ACTOR, exit_id)
