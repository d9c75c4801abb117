"""What the paper venue remembers: nothing. The ledger tells it what accounts hold, and after a restart which orders are open."""

from datetime import datetime
from decimal import Decimal
from uuid import UUID

from execution.exchanges.paper.exchange import Balances, PaperExchange
from execution.orders.order_events import ticket_of
from ledger.booking.lots import Leg
from ledger.projections.book import Book
from ledger.projections.holdings import Holding
from ledger.projections.orders import OrderView
from ledger.projections.portfolio import Balance
from ledger.projections.reversals import Reversal
from ledger.projections.trades import TradeView
from ledger.rows import Rows
from ledger.values import ZERO, Instrument


def restore_paper_orders(book: Book, portfolio_id: UUID, paper: PaperExchange) -> None:
    """The paper venue has the accepted orders again that the log knows to be open, in the order in which they were sent."""
    with book.reading(portfolio_id) as reading:
        orders = [one for one in reading.rows.where(OrderView) if one.venue == paper.venue and one.status == "accepted"]
        for order in sorted(orders, key=lambda one: (one.submitted_at or one.requested_at, one.position)):
            _restore(order, reading.rows, paper)


def balances_of(book: Book, portfolio_id: UUID) -> Balances:
    """How much of an asset an account holds, as the ledger has it now."""

    def balance(account: str, asset: str) -> Decimal:
        with book.reading(portfolio_id) as reading:
            found = reading.rows.get(Balance, asset, account)
        return found.quantity if found else ZERO

    return balance


def _restore(order: OrderView, rows: Rows, paper: PaperExchange) -> None:
    paper.restore(
        ticket_of(order),
        order.submitted_at or order.requested_at,
        order.filled_quantity,
        order.filled_value,
        order.fills,
        _told_until(rows, Instrument(order.instrument).base),
    )


def _told_until(rows: Rows, asset: str) -> datetime | None:
    """The time of the newest fill in the asset: the trade service stores all fills of a candle together.

    What was entered by hand says nothing of candles, and a fill that was taken back was filled all the same.
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
