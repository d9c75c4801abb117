"""Valuation: in units after splits, of open lots only, and None where a price or cost is unknown."""

from datetime import timedelta
from decimal import Decimal

from ledger.events import (
    AssetDeposited,
    CashDeposited,
    Event,
    MarkRecorded,
    PortfolioOpened,
    SplitRecorded,
)
from ledger.projections.book import MemoryBook
from ledger.projections.holdings import Holding
from ledger.projections.portfolio import Balance
from ledger.projections.valuation import PortfolioValuation, value_portfolio
from ledger.rows import Rows
from ledger.values import Asset, Instrument, Side
from tests.support.events import START, ListedClock, Story, btc_trade

D = Decimal
BTC, USD, BTC_USD = Asset("BTC"), Asset("USD"), Instrument("BTC-USD")


def rows_after(*events: Event) -> Rows:
    """Return the rows of a new portfolio after these events, one hour apart."""
    story, book = Story(), MemoryBook(ListedClock([START]))
    opened: Event = PortfolioOpened(name="p", base_currency=USD)
    facts = [story.new(one, at=START + timedelta(hours=hour)) for hour, one in enumerate((opened, *events))]
    book.record(story.portfolio_id, facts)
    with book.reading(story.portfolio_id) as reading:
        assert reading.stopped is None
        return reading.rows


def value_after(*events: Event) -> PortfolioValuation:
    return value_portfolio(rows_after(*events))


MONEY = CashDeposited(account="a", asset=USD, amount=Decimal(1000))
DOUBLED = SplitRecorded(asset=BTC, numerator=2, denominator=1)


def mark(price: str) -> MarkRecorded:
    return MarkRecorded(instrument=BTC_USD, price=Decimal(price), source="test")


def test_split_changes_no_value() -> None:
    """A mark from before the split is converted to new units; a later mark is used unchanged."""
    before = value_after(MONEY, btc_trade(Side.BUY, "1", "100"), mark("110"))
    after = value_after(MONEY, btc_trade(Side.BUY, "1", "100"), mark("110"), DOUBLED)
    marked = value_after(MONEY, btc_trade(Side.BUY, "1", "100"), mark("110"), DOUBLED, mark("55"))

    assert (before.total_value, before.unrealized_pnl) == (D(1010), D(10))
    assert (after.total_value, after.unrealized_pnl) == (D(1010), D(10))
    assert (marked.total_value, marked.unrealized_pnl) == (D(1010), D(10))
    assert (after.positions[0].quantity, after.positions[0].price) == (D(2), D(55))


def test_unmatched_sale_is_not_owed() -> None:
    """A sale without a purchase causes neither gain nor loss, whatever the price does afterwards."""
    value = value_after(MONEY, btc_trade(Side.SELL, "1", "100"), mark("300"))

    assert (value.cash, value.realized_pnl, value.unrealized_pnl, value.total_value) == (D(1100), D(0), D(0), D(1100))
    assert (value.positions[0].unmatched_quantity, value.positions[0].unmatched_proceeds) == (D(1), D(100))


def test_unknown_cost_makes_pnl_unknown_but_not_value() -> None:
    """Assets of unknown cost have a value, but no cost, average cost or unrealised P&L."""
    arrived = AssetDeposited(account="a", asset=BTC, quantity=Decimal(2))
    value = value_after(MONEY, arrived, mark("300"))

    btc = value.positions[0]
    assert (btc.current_value, value.total_value) == (D(600), D(1600))
    assert (btc.cost_basis, btc.average_cost, btc.unrealized_pnl, value.unrealized_pnl) == (None, None, None, None)


def test_split_converts_each_account_separately() -> None:
    """A negative balance in one account does not take units from another."""
    arrived = AssetDeposited(account="b", asset=BTC, quantity=Decimal(10), cost=Decimal(10))
    rows = rows_after(btc_trade(Side.SELL, "5", "100"), arrived, DOUBLED)
    holding = next(rows.where(Holding))
    balances = {one.account: one.quantity for one in rows.where(Balance, "BTC")}
    assert balances == {"a": D(-10), "b": D(20)}
    assert (holding.quantity, holding.unmatched_quantity) == (D(10), D(10))
