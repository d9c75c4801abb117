"""The exit service: positions bought on a signal with levels get an exit, and are sold once when a level is reached.

Like the trade service it decides from stored rows alone and can be interrupted anywhere: event ids are derived, and a trigger
is stored together with its order.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from functools import partial
from typing import Final
from uuid import UUID

from execution.exchanges.exchange import InstrumentRules, VenueUnavailable
from execution.exchanges.paper.exchange import MINIMUM_SIZE, PaperExchange
from execution.exchanges.paper.prices import Bar, TopOfBook, in_lots
from execution.exits.exit_events import (
    armed,
    armed_again,
    changed,
    disarmed,
    sale_of,
    signal_of,
    trailing_id,
    triggered,
)
from execution.exits.levels import Touch, guarded, touched, touched_by_quote, trailed
from execution.orders.order_events import client_order_id
from execution.orders.trade_service import TradeService
from execution.review.state import DecisionState
from ledger.booking.lots import Lot
from ledger.events import TradeExecuted
from ledger.log.envelope import NewEvent
from ledger.projections.book import Book
from ledger.projections.exits import ExitView
from ledger.projections.orders import OrderView
from ledger.projections.portfolio import differences_of
from ledger.projections.trades import TradeView
from ledger.rows import Rows
from ledger.values import ZERO, Instrument

AGAIN_AFTER: Final = timedelta(minutes=1)
"""An exit whose order was refused waits this long before it sells again: most reasons of a refusal do not pass at once."""


class ExitService:
    """Watches the exits of one portfolio. Called by one thread at a time, after the trade service has stepped."""

    def __init__(self, book: Book, portfolio_id: UUID, paper: PaperExchange, trader: TradeService) -> None:
        self._book = book
        self._portfolio_id = portfolio_id
        self._paper = paper
        self._trader = trader
        self._seen: int | None = None
        self._purchases: set[UUID] = set()

    def on_bar(self, bar: Bar) -> None:
        """Sell what the closed candle reached, on paper at exactly that price; then move trailing stops up to its high."""
        self.keep()
        for exit in self._armed(bar.instrument):
            touch = touched(exit, bar, self._paper.terms.half_spread)
            if touch is not None and not self._seen_through(exit, bar) and self._sell(exit, touch):
                with self._trader.exclusively():
                    self._paper.on_touch(client_order_id(sale_of(exit)), bar, touch.offer)
                self._trader.step()
        self.keep()
        for exit in self._armed(bar.instrument):
            if exit.trail is not None:
                self._decide(partial(_trailing, exit.exit_id, bar))

    def on_quote(self, quote: TopOfBook) -> None:
        """Sell the exits that the current bid reached."""
        self.keep()
        for exit in self._armed(quote.instrument):
            touch = touched_by_quote(exit, quote)
            if touch is not None:
                self._sell(exit, touch)

    def keep(self) -> None:
        """Adjust exits to the holdings: cover new buys and the remainder of ended exit orders, never more than is held."""
        if not self._anything_new():
            return
        self._decide(_ended)
        for order_id in sorted(self._purchases):
            self._decide(partial(_grown, order_id))
        self._purchases.clear()
        self._decide(_fitted)

    def _sell(self, exit: ExitView, touch: Touch) -> bool:
        """Store and send the exit's order. Returns whether it was stored."""
        stored = self._decide(partial(_sale, exit.exit_id, touch, self._rules_known(exit)))
        if stored:
            self._trader.step()
        return stored

    def _rules_known(self, exit: ExitView) -> InstrumentRules | None:
        """The venue's rules for an exit that has sold before; None for others and for an unreachable venue."""
        if exit.sale_id is None:
            return None
        with suppress(VenueUnavailable):
            return self._trader.venue_rules(exit.account, Instrument(exit.instrument))
        return None

    def _seen_through(self, exit: ExitView, bar: Bar) -> bool:
        """`True` if the stop already follows this candle, replayed after a failure: it was lower while the candle formed."""
        if exit.trail is None:
            return False
        with self._book.reading(self._portfolio_id) as reading:
            return reading.rows.recorded(trailing_id(exit.exit_id, bar.closed_at)) is not None

    def _armed(self, instrument: Instrument) -> list[ExitView]:
        """The instrument's armed exits, oldest first."""
        with self._book.reading(self._portfolio_id) as reading:
            return [one for one in armed_exits(reading.rows) if one.instrument == instrument]

    def _anything_new(self) -> bool:
        """Return `True` if events were stored since the last call, and remember the orders that were filled."""
        with self._book.reading(self._portfolio_id) as reading:
            position = reading.position
            if self._seen is None:
                self._purchases |= _open_purchases(reading.rows)
        if position == self._seen:
            return False
        for envelope in self._book.log.read(self._portfolio_id, after=position if self._seen is None else self._seen):
            trade = envelope.event
            if isinstance(trade, TradeExecuted) and trade.order_id is not None:
                self._purchases.add(trade.order_id)
        self._seen = position
        return True

    def _decide(self, decide: Callable[[DecisionState], list[NewEvent]]) -> bool:
        """Store the events that `decide` derives, as the trade service stores orders. Returns whether there were any."""
        return bool(self._trader.decide(lambda state: [] if state.stopped else decide(state)))


def armed_exits(rows: Rows) -> list[ExitView]:
    """Every armed exit, oldest first."""
    found = [one for one in rows.where(ExitView) if one.status == "armed"]
    return sorted(found, key=lambda one: one.position)


def _open_purchases(rows: Rows) -> set[UUID]:
    """The bot orders whose lots are still open, by FIFO."""
    bought = [lot for lot in rows.where(Lot) if not lot.short and (lot.triggered_by or "").startswith("bot:")]
    trades = [rows.get(TradeView, lot.event_id) for lot in bought]
    return {trade.order_id for trade in trades if trade is not None and trade.order_id is not None}


# --- decisions --------------------------------------------------------------------------------------------------------


def _sale(exit_id: UUID, touch: Touch, rules: InstrumentRules | None, state: DecisionState) -> list[NewEvent]:
    """The trigger with its order; nothing while the order could not be sent or another one has an unknown outcome.

    An order too small for the venue is refused once; no other follows until holding, price or venue rules make it large
    enough.
    """
    exit = state.rows.get(ExitView, exit_id)
    if exit is None or exit.status != "armed" or _must_wait(exit, state):
        return []
    account = state.account(exit.account)
    unclear = [one for one in state.open_orders(exit.instrument) if one.status in ("submitted", "unknown")]
    if account is None or any(one.account == exit.account for one in unclear):
        return []
    free = state.available(exit.account, Instrument(exit.instrument).base, ZERO)
    size = in_lots(free if exit.quantity is None else min(exit.quantity, free))
    small = rules is not None and (size < rules.minimum_size or size * touch.offer.price < rules.minimum_value)
    if size < MINIMUM_SIZE or (small and _was_refused(exit, state)):
        return []
    return triggered(exit, touch, size, account.venue, state)


def _must_wait(exit: ExitView, state: DecisionState) -> bool:
    """`True` if trading or the exit's account is halted, or if the venue has just refused the exit's order."""
    refused = _was_refused(exit, state) and state.now - exit.armed_at < AGAIN_AFTER
    return refused or state.halted is not None or bool(differences_of(state.rows, exit.account))


def _was_refused(exit: ExitView, state: DecisionState) -> bool:
    """`True` if the venue refused the exit's last order."""
    last = state.rows.get(OrderView, exit.sale_id) if exit.sale_id else None
    return last is not None and last.status == "refused"


def _ended(state: DecisionState) -> list[NewEvent]:
    """Arm exits again whose order has ended, for the unsold quantity and for what was bought meanwhile."""
    found = []
    for exit in state.rows.where(ExitView):
        sale = state.rows.get(OrderView, exit.sale_id) if exit.status == "triggered" else None
        if sale is None or sale.live:
            continue
        purchase = state.rows.get(OrderView, exit.order_id) if exit.order_id else None
        bought = purchase.filled_quantity if purchase else exit.bought
        left = None if exit.quantity is None else exit.quantity - sale.filled_quantity + bought - exit.bought
        if left is not None and left < MINIMUM_SIZE:
            found.append(disarmed(exit, "sold", state))
        else:
            found.append(armed_again(exit, left, bought, state))
    return found


def _grown(order_id: UUID, state: DecisionState) -> list[NewEvent]:
    """Cover the order's filled quantity, by a new exit or by its existing one."""
    order, exit = state.rows.get(OrderView, order_id), state.rows.get(ExitView, order_id)
    signal = signal_of(order, state.rows) if order else None
    if order is None or signal is None or (exit is not None and order.filled_quantity <= exit.bought):
        return []
    if exit is None:
        return [] if order.filled_quantity < MINIMUM_SIZE else [armed(order, signal, state)]
    more, bought = order.filled_quantity - exit.bought, order.filled_quantity
    if exit.status == "armed" and exit.quantity is not None:
        return [changed(exit, state, quantity=exit.quantity + more, bought=bought)]
    # A buy that goes on filling after its exit has sold is covered again; one whose exit was removed by hand is not.
    again = exit.status == "disarmed" and exit.sale_id is not None and more >= MINIMUM_SIZE
    return [armed_again(exit, more, bought, state)] if again else []


def _fitted(state: DecisionState) -> list[NewEvent]:
    """Reduce exits to the holding less open exit orders; disarm an exit without any."""
    exits = armed_exits(state.rows)
    found = []
    for place in sorted({(one.account, Instrument(one.instrument).base) for one in exits}):
        here = [one for one in exits if (one.account, Instrument(one.instrument).base) == place]
        for exit, quantity in guarded(here, state.balance(*place) - _being_sold(state, *place)).items():
            if quantity < MINIMUM_SIZE:
                found.append(disarmed(exit, "no position left", state))
            elif exit.quantity is not None and quantity < exit.quantity:
                found.append(changed(exit, state, quantity=quantity))
    return found


def _being_sold(state: DecisionState, account: str, asset: str) -> Decimal:
    """The quantity that open exit orders may still sell."""
    sales = (one for one in state.open_orders() if one.triggered_by.startswith("exit:") and one.account == account)
    left = ((one.base_size or ZERO) - one.filled_quantity for one in sales if Instrument(one.instrument).base == asset)
    return sum(left, ZERO)


def _trailing(exit_id: UUID, bar: Bar, state: DecisionState) -> list[NewEvent]:
    """Move a trailing stop up, once for each candle."""
    exit, event_id = state.rows.get(ExitView, exit_id), trailing_id(exit_id, bar.closed_at)
    stop = trailed(exit, bar.high) if exit and exit.status == "armed" else None
    if exit is None or exit.stop is None or stop is None or stop <= exit.stop:
        return []
    if state.rows.recorded(event_id) is not None:
        return []  # it was moved down by hand since
    return [replace(changed(exit, state, stop=stop), event_id=event_id)]
