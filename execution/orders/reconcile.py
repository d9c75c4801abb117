"""Reconciliation: compare an account at its venue with the ledger, and never correct either silently.

Missing trades are imported and external orders are recorded. Everything else that differs becomes a difference, and the account
sends no order until it is resolved.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final
from uuid import UUID

from execution.exchanges.exchange import Fill, FoundOrder, LiveExchange, VenueTrade, VenueUnavailable
from execution.orders.order_events import (
    ACTOR,
    SAME_CURRENCY,
    ticket_of,
    trade_event_id,
    trade_of,
    unvalued,
    valued_fees,
)
from ledger.events import DifferenceFound, Event, ExternalOrderSeen, TradeExecuted
from ledger.locks import Leadership
from ledger.log.envelope import NewEvent
from ledger.log.event_log import PositionConflict
from ledger.projections.book import Book, Reading
from ledger.projections.orders import OrderView
from ledger.projections.portfolio import AccountView, Balance, DifferenceView, base_currency_of
from ledger.projections.trades import TradeView
from ledger.rows import Rows
from ledger.values import ZERO, Clock, Instrument, decimal_text, derived_id

EVERY: Final = timedelta(minutes=1)
AGAIN_AFTER: Final = timedelta(seconds=10)
OVERLAP: Final = timedelta(hours=24)
"""Trades are read again from this long before the ledger's last one: venues report some of them late."""
TOLERANCE: Final = Decimal("0.00000001")
"""Smaller differences of a balance are ignored: venues round to this many decimals."""


class Reconciler:
    """Compares the accounts of one portfolio with their venues. Called by the trade service, one call at a time."""

    def __init__(
        self,
        book: Book,
        portfolio_id: UUID,
        leadership: Leadership,
        clock: Clock,
        exchanges: Mapping[str, LiveExchange],
    ) -> None:
        self._book, self._portfolio_id, self._leadership = book, portfolio_id, leadership
        self._clock, self._exchanges = clock, exchanges
        self._next: dict[str, datetime] = {}
        self._compared: set[str] = set()

    def compared(self, account: str) -> bool:
        """`True` once the account has been compared since the start, and for accounts in this process."""
        return account not in self._exchanges or account in self._compared

    def look(self) -> None:
        """Compare every account that is due with its venue; an unreachable venue is tried again soon."""
        for account, exchange in self._exchanges.items():
            if account not in self._next or self._clock() >= self._next[account]:
                self._next[account] = self._clock() + (EVERY if self._compare(account, exchange) else AGAIN_AFTER)

    def _compare(self, account: str, exchange: LiveExchange) -> bool:
        """Compare one account. Returns whether venue and log could be read completely without a change in between."""
        try:
            self._take_in_trades(account, exchange)
            first = self._differing(account, exchange)
            if first:  # a fill between the two reads looks like a difference: only one that stays counts
                self._take_in_trades(account, exchange)
            again = self._differing(account, exchange) if first else {}
            self._note({name: values for name, values in again.items() if first.get(name) == values}, account, exchange)
        except (VenueUnavailable, PositionConflict):
            return False
        self._compared.add(account)
        return True

    # --- trades and orders --------------------------------------------------------------------------------------------

    def _take_in_trades(self, account: str, exchange: LiveExchange) -> None:
        """Store the account's missing trades and its external orders, as far as their origin is certain."""
        with self._book.reading(self._portfolio_id) as reading:
            view = reading.rows.get(AccountView, account)
            orders = [one for one in reading.rows.history(OrderView) if one.account == account]
            if view is None or reading.stopped is not None:
                return
            events = [
                *self._trades(reading, view, orders, exchange),
                *self._orders_of_others(reading, orders, exchange),
            ]
            position = reading.position
        trades = [one for one in events if isinstance(one.event, TradeExecuted)]
        if events:
            self._leadership.record([*events, *unvalued(trades, self._clock())], position)

    def _trades(
        self, reading: Reading, account: AccountView, orders: list[OrderView], exchange: LiveExchange
    ) -> Iterator[NewEvent]:
        for instrument in self._instruments(account, reading.rows, exchange):
            mine = [order for order in orders if order.instrument == instrument]
            known = {name: order for order in mine for name in (order.venue_order_id, order.client_order_id) if name}
            trades = exchange.own_trades(instrument, self._since(account, instrument, reading.rows))
            new = [
                one for one in trades if one.occurred_at >= account.opened_at and _is_new(one, account, reading.rows)
            ]
            strangers = [trade for trade in new if _order_of(trade, known) is None]
            if strangers:
                known |= _late_ones(mine, exchange, self._clock())
            for trade in new:
                order = _order_of(trade, known)
                if order is not None:
                    yield trade_of(order, _fill(trade, order), reading.rows)
                elif not any(
                    one.status in ("submitted", "unknown") for one in mine
                ):  # else it may belong to that order
                    yield self._stranger(trade, account, reading.rows)

    def _instruments(self, account: AccountView, rows: Rows, exchange: LiveExchange) -> list[Instrument]:
        """The instruments that the account may have traded: its assets against the base currency, and those of its orders."""
        base = base_currency_of(rows)
        assets = {one.asset for one in rows.where(Balance) if one.account == account.account} | set(exchange.balances())
        pairs = {f"{asset}-{base}" for asset in assets if asset != base}
        pairs |= {one.instrument for one in rows.history(OrderView) if one.account == account.account}
        return [one for one in map(Instrument, sorted(pairs)) if exchange.rules(one) is not None]

    def _since(self, account: AccountView, instrument: Instrument, rows: Rows) -> datetime:
        """The time of the ledger's last trade less the overlap; at least the account's opening, whose balances were adopted."""
        times = (
            one.occurred_at
            for one in rows.history(TradeView)
            if one.account == account.account and one.instrument == instrument
        )
        last = max(times, default=account.opened_at)
        return max(account.opened_at, last - OVERLAP)

    def _stranger(self, trade: VenueTrade, account: AccountView, rows: Rows) -> NewEvent:
        """A trade made at the venue by hand; in a currency other than the base it cannot be valued and becomes a difference."""
        if trade.instrument.quote != base_currency_of(rows):
            seen = f"{trade.side} {decimal_text(trade.quantity)} {trade.instrument} at {decimal_text(trade.price)}"
            return self._difference(account.account, account.venue, f"trade {trade.venue_trade_id}", "nothing", seen, 0)
        event = TradeExecuted(
            account=account.account,
            venue=account.venue,
            venue_trade_id=trade.venue_trade_id,
            instrument=trade.instrument,
            side=trade.side,
            quantity=trade.quantity,
            price=trade.price,
            fees=valued_fees(trade.fees, trade.instrument, rows),
            quote_rate=SAME_CURRENCY,
            triggered_by="sync",
        )
        event_id = _trade_id(trade, account)
        return NewEvent(event, event_id, trade.occurred_at, ACTOR, event_id)

    def _orders_of_others(
        self, reading: Reading, orders: list[OrderView], exchange: LiveExchange
    ) -> Iterator[NewEvent]:
        ours = {name for order in orders for name in (order.client_order_id, order.venue_order_id) if name}
        for order in exchange.open_orders():
            event_id = derived_id("external-order", exchange.venue, exchange.account, order.venue_order_id)
            if ours & {order.client_order_id, order.venue_order_id} or reading.rows.recorded(event_id):
                continue
            seen = ExternalOrderSeen(
                account=exchange.account,
                venue=exchange.venue,
                venue_order_id=order.venue_order_id,
                client_order_id=order.client_order_id or None,
                instrument=order.instrument,
                side=order.side,
                state=order.state,
                filled=order.filled,
                placed_at=order.placed_at,
            )
            yield self._new(seen, event_id)

    # --- differences --------------------------------------------------------------------------------------------------

    def _differing(self, account: str, exchange: LiveExchange) -> dict[str, tuple[str, str]]:
        """The values of ledger and venue for each subject in which they differ."""
        balances, open_there = exchange.balances(), exchange.open_orders()
        with self._book.reading(self._portfolio_id) as reading:
            held = {one.asset: one.quantity for one in reading.rows.where(Balance) if one.account == account}
            orders = [one for one in reading.rows.history(OrderView) if one.account == account]
        found: dict[str, tuple[str, str]] = {}
        by_name = {order.client_order_id: order for order in orders}
        for there in open_there:
            ours = by_name.get(there.client_order_id or "")
            if ours is not None and not ours.live:
                found[f"order {there.venue_order_id}"] = (f"{ours.status}: {ours.reason}"[:2000], "open")
        if any(order.status in ("submitted", "unknown") for order in orders):
            return found  # the effect of such an order on balances is not known yet
        for asset in sorted({*held, *map(str, balances)}):
            there_is = sum((balances[one].free + balances[one].locked for one in balances if one == asset), ZERO)
            if abs(there_is - held.get(asset, ZERO)) > TOLERANCE:
                found[f"balance of {asset}"] = (decimal_text(held.get(asset, ZERO)), decimal_text(there_is))
        return found

    def _note(self, differing: Mapping[str, tuple[str, str]], account: str, exchange: LiveExchange) -> None:
        """Store each difference once until it is resolved; one that persists after that is stored again."""
        with self._book.reading(self._portfolio_id) as reading:
            seen = [one for one in reading.rows.where(DifferenceView) if one.account == account]
            position = reading.position
        events = []
        for subject, (ledger, venue_says) in differing.items():
            before = [one for one in seen if one.subject == subject]
            if all(one.status == "resolved" for one in before):
                events.append(self._difference(account, exchange.venue, subject, ledger, venue_says, len(before)))
        if events:
            self._leadership.record(events, position)

    def _difference(
        self, account: str, venue: str, subject: str, ledger: str, venue_says: str, before: int
    ) -> NewEvent:
        event = DifferenceFound(account=account, venue=venue, subject=subject, ledger=ledger, venue_says=venue_says)
        return self._new(event, derived_id("difference", self._portfolio_id, account, subject, before))

    def _new(self, event: Event, event_id: UUID) -> NewEvent:
        return NewEvent(event, event_id, self._clock(), ACTOR, event_id)


def _late_ones(orders: list[OrderView], exchange: LiveExchange, now: datetime) -> dict[str, OrderView]:
    """Ended orders that were counted as not placed but exist at the venue, by the venue's order id."""
    found: dict[str, OrderView] = {}
    for order in orders:
        if order.live or order.venue_order_id is not None or order.submitted_at is None:
            continue
        if now - order.submitted_at <= OVERLAP:
            exchange.remember(ticket_of(order), order.submitted_at)
            there = exchange.find(order.client_order_id)
            exchange.forget(order.client_order_id)
            if isinstance(there, FoundOrder):
                found[there.venue_order_id] = order
    return found


def _order_of(trade: VenueTrade, known: Mapping[str, OrderView]) -> OrderView | None:
    return known.get(trade.client_order_id or "") or known.get(trade.venue_order_id)


def _is_new(trade: VenueTrade, account: AccountView, rows: Rows) -> bool:
    return rows.get(TradeView, _trade_id(trade, account)) is None


def _trade_id(trade: VenueTrade, account: AccountView) -> UUID:
    return trade_event_id(account.venue, account.account, trade.instrument, trade.venue_trade_id)


def _fill(trade: VenueTrade, order: OrderView) -> Fill:
    return Fill(trade.venue_trade_id, order.client_order_id, trade.quantity, trade.price, trade.fees, trade.occurred_at)
