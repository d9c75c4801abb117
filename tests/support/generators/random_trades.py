"""Random trades as events: any pair, fees and rebates in any asset, for property tests of legs and folds."""

from decimal import Decimal

from hypothesis import strategies as st

from ledger.booking.legs import moves_of
from ledger.events import TradeExecuted
from ledger.events.fields import Fee
from ledger.values import Asset, Instrument, Side

BASE = "USD"
INSTRUMENTS = ("BTC-USD", "ETH-BTC", "BTC-EUR", "USD-EUR", "AAPL-USD")


def trades() -> st.SearchStrategy[TradeExecuted]:
    """Trades with up to four fees in the base, the quote, a third asset or cash, in a USD portfolio.

    Excludes sales of USD for an amount that rounds to 0, which are booked as expenses.
    """
    return any_trades().filter(lambda trade: trade.instrument.base != BASE or moves_of(trade, BASE)[0].kind == "trade")


def decimals(lowest: int, highest: int) -> st.SearchStrategy[Decimal]:
    """Decimals of `lowest` to `highest` units of decimal place 0, 2, 8 or 18."""
    return st.builds(
        lambda units, places: Decimal(units).scaleb(-places),
        st.integers(lowest, highest),
        st.sampled_from((0, 2, 8, 18)),
    )


@st.composite
def any_trades(draw: st.DrawFn) -> TradeExecuted:
    """Trades including those that `trades` excludes."""
    instrument = Instrument(draw(st.sampled_from(INSTRUMENTS)))
    quantity = draw(decimals(1, 10**15))
    fees = [
        _fee(draw, draw(st.sampled_from((instrument.base, instrument.quote, Asset("BNB"), Asset(BASE)))), quantity)
        for _ in range(draw(st.integers(0, 4)))
    ]
    return TradeExecuted(
        account=draw(st.sampled_from(("a", "b"))),
        venue="v",
        venue_trade_id="1",
        instrument=instrument,
        side=draw(st.sampled_from(Side)),
        quantity=quantity,
        price=draw(decimals(1, 10**12)),
        fees=tuple(fees),
        quote_rate=Decimal(1) if instrument.quote == BASE else draw(decimals(1, 10**9)),
        triggered_by=draw(st.sampled_from((None, "manual", "bot:rsi"))),
    )


def _fee(draw: st.DrawFn, asset: Asset, quantity: Decimal) -> Fee:
    """A fee of at most a fifth of the quantity, so that it can be paid in the base asset; a rebate when negative."""
    most = int(quantity.scaleb(18)) // 5
    amount = Decimal(draw(st.integers(-most, most))).scaleb(-18)
    worth = amount if asset == BASE else amount * draw(st.integers(0, 1000))
    return Fee(asset=asset, amount=amount, value=worth)
