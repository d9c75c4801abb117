"""The connected venues: which exchange serves an order, when its status is looked up, and restoring it after a restart."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final
from uuid import UUID

from execution.exchanges.exchange import Exchange, LiveExchange
from execution.exchanges.paper.exchange import Balances, PaperExchange
from execution.orders.order_events import ticket_of
from ledger.booking.lots import Leg
from ledger.projections.book import Book
from ledger.projections.holdings import Holding
from ledger.projections.orders import OrderView
from ledger.projections.portfolio import AccountView, Balance
from ledger.projections.reversals import Reversal
from ledger.projections.trades import TradeView
from ledger.rows import Rows
from ledger.values import ZERO, Clock, Instrument

FIRST: Final = tuple(timedelta(seconds=seconds) for seconds in (1, 3, 10, 30))
THEN_EVERY: Final = timedelta(minutes=1)
OPEN_EVERY: Final = timedelta(seconds=10)


class LookUps:
    """When the status of an order at a live venue is looked up again.

    An order of unknown outcome: 1, 3, 10 and 30 s after its attempt and then every minute; an open order: every 10 s. An
    order not looked up yet, for example after a restart, is due.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._last: dict[UUID, datetime] = {}

    def done(self, order_id: UUID) -> None:
        """Count the order as looked up now."""
        self._last[order_id] = self._clock()

    def hurry(self, order_id: UUID) -> None:
        """Make the order due at once."""
        self._last.pop(order_id, None)

    def due(self, order: OrderView) -> bool:
        """`True` if the order is to be looked up now; it then counts as looked up."""
        last, sent, now = self._last.get(order.order_id), order.submitted_at or order.requested_at, self._clock()
        if last is not None and order.status == "accepted":
            due = now - last >= OPEN_EVERY
        else:
            due = last is None or lookups_until(now - sent) > lookups_until(last - sent)
        if due:
            self._last[order.order_id] = now
        return due


def lookups_until(elapsed: timedelta) -> int:
    """The number of look-ups due within `elapsed` after the attempt: at 1, 3, 10 and 30 s, then every minute."""
    first = sum(1 for moment in FIRST if elapsed >= moment)
    return first + max(0, (elapsed - FIRST[-1]) // THEN_EVERY)


class Connections:
    """Exchanges in this process by the name of their venue, live exchanges by the name of their account."""

    def __init__(self, exchanges: Mapping[str, Exchange], live: Mapping[str, LiveExchange], clock: Clock) -> None:
        self._exchanges, self._live = exchanges, live
        self._remembered: set[UUID] = set()
        self._lookups = LookUps(clock)

    def of(self, account: AccountView) -> Exchange | None:
        """The account's exchange if it is connected."""
        return self._live.get(account.account) or self._exchanges.get(account.venue)

    def know(self, order: OrderView) -> bool:
        """`True` if the order's exchange is connected."""
        return order.account in self._live or order.venue in self._exchanges

    def at(self, order: OrderView) -> Exchange:
        """The order's exchange. A live exchange is first reminded of an order that was or may have been sent."""
        live = self._live.get(order.account)
        if live is None:
            return self._exchanges[order.venue]
        if order.submitted_at is not None and order.order_id not in self._remembered:
            live.remember(ticket_of(order), order.submitted_at, order.venue_order_id)
            self._remembered.add(order.order_id)
        return live

    def sends(self, order: OrderView) -> None:
        """Note that the order is sent now: its exchange learns of it by the submission."""
        self._remembered.add(order.order_id)
        self._lookups.done(order.order_id)

    def hurry(self, order_id: UUID) -> None:
        """Make the order due for a look-up at once."""
        self._lookups.hurry(order_id)

    def due(self, order: OrderView) -> bool:
        """`True` if the order is to be looked up now; always for an exchange in this process."""
        return order.account not in self._live or self._lookups.due(order)


# --- the paper venue --------------------------------------------------------------------------------------------------


def balances_of(book: Book, portfolio_id: UUID) -> Balances:
    """A function that reads an account's balance of an asset from the ledger."""

    def balance(account: str, asset: str) -> Decimal:
        with book.reading(portfolio_id) as reading:
            found = reading.rows.get(Balance, asset, account)
        return found.quantity if found else ZERO

    return balance


def restore_paper_orders(book: Book, portfolio_id: UUID, paper: PaperExchange) -> None:
    """Give the paper venue its open orders back, which it keeps in memory only, in the order of their submission."""
    with book.reading(portfolio_id) as reading:
        orders = [one for one in reading.rows.where(OrderView) if one.venue == paper.venue and one.status == "accepted"]
        for order in sorted(orders, key=lambda one: (one.submitted_at or one.requested_at, one.position)):
            paper.restore(
                ticket_of(order),
                order.submitted_at or order.requested_at,
                order.filled_quantity,
                order.filled_value,
                order.fills,
                _filled_until(reading.rows, Instrument(order.instrument).base),
            )


def _filled_until(rows: Rows, asset: str) -> datetime | None:
    """The time of the asset's newest fill. Fills of a candle are stored together, so no candle up to then fills again.

    Trades entered by hand do not count; reversed fills do.
    """
    holding = rows.get(Holding, asset)
    if holding is None:
        return None
    leg = rows.get(Leg, asset, holding.last_occurred_at, holding.last_position, holding.last_leg)
    newest = rows.get(TradeView, leg.event_id) if leg else None
    if newest is not None and newest.order_id is not None and next(rows.history(Reversal), None) is None:
        return newest.occurred_at
    fills = (one for one in rows.history(TradeView) if one.order_id is not None)
    return max((one.occurred_at for one in fills if Instrument(one.instrument).base == asset), default=None)
