"""What holdings are worth: in today's units, of what is really held, and unknown where something is not known."""

from datetime import timedelta
from decimal import Decimal

from ledger.events import (
    AssetDeposited,
    CashDeposited,
    Event,
    MarkRecorded,
    PortfolioOpened,
    SplitRecorded,
    TradeExecuted,
)
from ledger.projections.book import MemoryBook
from ledger.projections.holdings import Holding
from ledger.projections.portfolio import Balance
from ledger.projections.valuation import PortfolioValuation, value_portfolio
from ledger.values import Asset, Instrument, Side
from tests.support.events import START, ListedClock, Story

D = Decimal
BTC, USD, BTC_USD = Asset("BTC"), Asset("USD"), Instrument("BTC-USD")


def worth_after(*events: Event) -> PortfolioValuation:
    """The worth of a new portfolio after these events, an hour between each."""
    story, book = Story(), MemoryBook(ListedClock([START]))
    opened: Event = PortfolioOpened(name="p", base_currency=USD)
    told = [story.new(one, at=START + timedelta(hours=hour)) for hour, one in enumerate((opened, *events))]
    book.record(story.portfolio_id, told)
    with book.reading(story.portfolio_id) as reading:
        assert reading.stopped is None
        return value_portfolio(reading.rows)


def trade(side: Side, quantity: str, price: str) -> TradeExecuted:
    return TradeExecuted(
        account="a",
        venue="v",
        venue_trade_id="1",
        instrument=BTC_USD,
        side=side,
        quantity=Decimal(quantity),
        price=Decimal(price),
        quote_rate=Decimal(1),
    )


MONEY = CashDeposited(account="a", asset=USD, amount=Decimal(1000))
DOUBLED = SplitRecorded(asset=BTC, numerator=2, denominator=1)


def mark(price: str) -> MarkRecorded:
    return MarkRecorded(instrument=BTC_USD, price=Decimal(price), source="test")


def test_a_split_changes_no_worth() -> None:
    """Until the next mark a price is told in the units after the split; the next mark is taken as it is."""
    before = worth_after(MONEY, trade(Side.BUY, "1", "100"), mark("110"))
    after = worth_after(MONEY, trade(Side.BUY, "1", "100"), mark("110"), DOUBLED)
    marked = worth_after(MONEY, trade(Side.BUY, "1", "100"), mark("110"), DOUBLED, mark("55"))

    assert (before.total_value, before.unrealized_pnl) == (D(1010), D(10))
    assert (after.total_value, after.unrealized_pnl) == (D(1010), D(10))
    assert (marked.total_value, marked.unrealized_pnl) == (D(1010), D(10))
    assert (after.positions[0].quantity, after.positions[0].price) == (D(2), D(55))


def test_what_no_lot_held_is_not_owed() -> None:
    """A sale without a purchase invents neither a gain nor a loss, whatever the price does afterwards."""
    worth = worth_after(MONEY, trade(Side.SELL, "1", "100"), mark("300"))

    assert (worth.cash, worth.realized_pnl, worth.unrealized_pnl, worth.total_value) == (D(1100), D(0), D(0), D(1100))
    assert (worth.positions[0].unmatched_quantity, worth.positions[0].unmatched_proceeds) == (D(1), D(100))


def test_a_cost_nobody_stated_is_not_nothing() -> None:
    """Coins of unknown cost have a worth; what they cost, on average too, and what they gained is not told."""
    arrived = AssetDeposited(account="a", asset=BTC, quantity=Decimal(2))
    worth = worth_after(MONEY, arrived, mark("300"))

    held = worth.positions[0]
    assert (held.current_value, worth.total_value) == (D(600), D(1600))
    assert (held.cost_basis, held.average_cost, held.unrealized_pnl, worth.unrealized_pnl) == (None, None, None, None)


def test_each_account_splits_by_itself() -> None:
    """What one account owes for coins nobody recorded does not take units from another one."""
    story, book = Story(), MemoryBook(ListedClock([START]))
    opened: Event = PortfolioOpened(name="p", base_currency=USD)
    held = AssetDeposited(account="b", asset=BTC, quantity=Decimal(10), cost=Decimal(10))
    told = [opened, trade(Side.SELL, "5", "100"), held, DOUBLED]
    book.record(story.portfolio_id, [story.new(one, at=START + timedelta(hours=hour)) for hour, one in enumerate(told)])
    with book.reading(story.portfolio_id) as reading:
        holding = next(reading.rows.where(Holding))
        balances = {one.account: one.quantity for one in reading.rows.where(Balance, "BTC")}
    assert balances == {"a": D(-10), "b": D(20)}
    assert (holding.quantity, holding.unmatched_quantity) == (D(10), D(10))
