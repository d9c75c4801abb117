"""The events of exits. Pure: each id derives from the exit and the number of its earlier events, or, for a trailing stop, from
the candle."""

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
    """A new exit for the order's filled quantity, at its signal's levels and with the order's id."""
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
    """The exit armed again for the remaining quantity."""
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
    """A change of these fields; all others are kept."""
    names = ("quantity", "bought", "stop", "target", "trail")
    kept = {name: getattr(exit, name) for name in names}
    return _next(ExitChanged(exit_id=exit.exit_id, **(kept | fields)), exit, state)


def disarmed(exit: ExitView, reason: str, state: DecisionState) -> NewEvent:
    return _next(ExitDisarmed(exit_id=exit.exit_id, reason=reason), exit, state)


def triggered(exit: ExitView, touch: Touch, size: Decimal, venue: str, state: DecisionState) -> list[NewEvent]:
    """The trigger and its order, stored together: at most one order each time the exit is armed."""
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
    """The id of the order that the exit sells with, as it is armed now."""
    return derived_id("exit-order", exit.exit_id, exit.changes)


def trailing_id(exit_id: UUID, closed_at: datetime) -> UUID:
    """The id of the change with which a trailing stop follows the candle that closed at `closed_at`."""
    return derived_id("exit-trail", exit_id, closed_at)


def signal_of(order: OrderView, rows: Rows) -> SignalEmitted | None:
    """The signal of a filled buy order if it sets a stop loss or take profit."""
    found = rows.recorded(order.signal_id) if order.signal_id and order.side == "buy" else None
    signal = found.event if found else None
    named = isinstance(signal, SignalEmitted) and (signal.stop_loss or signal.take_profit)
    return signal if isinstance(signal, SignalEmitted) and named and order.filled_quantity > ZERO else None


def _next(event: Event, exit: ExitView, state: DecisionState) -> NewEvent:
    return _new(event, exit.exit_id, exit.changes, state)


def _new(event: Event, exit_id: UUID, changes: int, state: DecisionState) -> NewEvent:
    return NewEvent(event, derived_id("exit", exit_id, changes), state.now, ACTOR, exit_id)
