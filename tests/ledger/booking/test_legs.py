"""Movements of trades balance, whatever assets the fees are paid in."""

from collections.abc import Callable
from decimal import Decimal

import pytest
from hypothesis import given

from ledger.booking.legs import AssetMove, UnvaluedLeg, moves_of
from ledger.events import CashDeposited, TradeExecuted, TradingHalted
from ledger.events.fields import Fee
from ledger.values import Asset, Instrument, Side, round18
from tests.support.generators.random_trades import BASE, trades


def d(text: str) -> Decimal:
    return Decimal(text)


def imbalance(moves: tuple[AssetMove, ...]) -> Decimal:
    """Return cost of assets in + change of cash - proceeds of assets out."""
    rest = Decimal(0)
    for move in moves:
        if move.asset == BASE:
            rest += move.quantity
        elif move.quantity:
            rest += move.value if move.quantity > 0 else -move.value
    return rest


@given(trade=trades())
def test_trade_moves_balance(trade: TradeExecuted) -> None:
    """Cost in + change of cash = proceeds out, to the last digit, for every pair and every kind of fee."""
    assert imbalance(moves_of(trade, BASE)) == 0


@given(trade=trades())
def test_trade_moves_every_unit(trade: TradeExecuted) -> None:
    """For each asset the moved quantity is that bought or sold, paid or received, less fees."""
    sign = 1 if trade.side is Side.BUY else -1
    expected = {str(trade.instrument.base): sign * trade.quantity}
    expected[str(trade.instrument.quote)] = -sign * round18(trade.quantity * trade.price)
    for fee in trade.fees:
        expected[str(fee.asset)] = expected.get(str(fee.asset), Decimal(0)) - fee.amount

    moved: dict[str, Decimal] = {}
    for move in moves_of(trade, BASE):
        moved[str(move.asset)] = moved.get(str(move.asset), Decimal(0)) + move.quantity
    assert {asset: amount for asset, amount in moved.items() if amount} == {
        asset: amount for asset, amount in expected.items() if amount
    }


@pytest.mark.parametrize(
    "plant",
    [
        lambda move: AssetMove(move.account, move.asset, move.quantity, move.value + d("1e-18"), move.fee),
        lambda move: AssetMove(move.account, move.asset, -move.quantity, move.value, move.fee),
    ],
    ids=["one unit too much", "wrong sign"],
)
def test_balance_check_finds_a_wrong_move(plant: Callable[[AssetMove], AssetMove]) -> None:
    """One unit in the last place, or a wrong sign, breaks the balance."""
    paid, moved = moves_of(trade_of("BTC-USD", Side.BUY), BASE)

    assert imbalance((paid, moved)) == 0
    assert imbalance((paid, plant(moved))) != 0


FORMS = [
    # pair, side, fees; then quantity and value of each movement, quote first
    ("BTC-USD", Side.BUY, [("USD", "1", None)], [("USD", "-201", "201"), ("BTC", "2", "201")]),
    ("BTC-USD", Side.SELL, [("USD", "1", None)], [("USD", "199", "199"), ("BTC", "-2", "199")]),
    ("BTC-USD", Side.BUY, [("USD", "-1", None)], [("USD", "-199", "199"), ("BTC", "2", "199")]),
    ("BTC-USD", Side.BUY, [("BTC", "0.1", None)], [("USD", "-200", "200"), ("BTC", "1.9", "200")]),
    ("BTC-USD", Side.SELL, [("BTC", "0.1", None)], [("USD", "200", "200"), ("BTC", "-2.1", "200")]),
    (
        "BTC-USD",
        Side.BUY,
        [("BNB", "0.5", "150")],
        [("USD", "-200", "200"), ("BTC", "2", "350"), ("BNB", "-0.5", "150")],
    ),
    (
        "BTC-USD",
        Side.SELL,
        [("BNB", "0.5", "150")],
        [("USD", "200", "200"), ("BTC", "-2", "50"), ("BNB", "-0.5", "150")],
    ),
    (
        "BTC-USD",
        Side.SELL,
        [("BNB", "-0.5", "150")],
        [("USD", "200", "200"), ("BTC", "-2", "350"), ("BNB", "0.5", "150")],
    ),
    ("ETH-BTC", Side.BUY, [("BTC", "1", None)], [("BTC", "-201", "2010"), ("ETH", "2", "2010")]),
    ("ETH-BTC", Side.SELL, [("BTC", "201", None)], [("BTC", "-1", "10"), ("ETH", "-2", "-10")]),
    ("ETH-BTC", Side.BUY, [("USD", "5", "5")], [("BTC", "-200", "2000"), ("ETH", "2", "2005"), ("USD", "-5", "5")]),
    ("USD-EUR", Side.BUY, [("EUR", "1", None)], [("EUR", "-201", "2"), ("USD", "2", "2")]),
    ("USD-EUR", Side.SELL, [("EUR", "1", None)], [("EUR", "199", "2"), ("USD", "-2", "2")]),
]


@pytest.mark.parametrize(("pair", "side", "fees", "expected"), FORMS)
def test_trade_moves_book_each_kind_of_fee(
    pair: str,
    side: Side,
    fees: list[tuple[str, str, str | None]],
    expected: list[tuple[str, str, str]],
) -> None:
    """Quote fees change the value, base fees the quantity; third-asset fees are disposals at their value.

    Each trade is 2 units at 100; one unit of a foreign quote is worth 10 USD.
    """
    trade = trade_of(pair, side, *fees)

    moves = moves_of(trade, BASE)
    assert [(str(move.asset), move.quantity, move.value) for move in moves] == [
        (asset, d(quantity), d(value)) for asset, quantity, value in expected
    ]
    assert imbalance(moves) == 0


def test_trade_moves_have_fees_in_base_currency() -> None:
    """The movement of the traded asset has the value of all fees, whatever asset they were paid in."""
    trade = trade_of("ETH-BTC", Side.BUY, ("BTC", "1", None), ("ETH", "0.1", None), ("BNB", "0.5", "150"))

    fees = {str(move.asset): move.fee for move in moves_of(trade, BASE)}
    assert fees == {"BTC": 0, "ETH": d("10") + d("100") + d("150"), "BNB": 0}


def test_moves_of_raises_for_missing_values() -> None:
    """A third-asset fee without a value, a rate other than 1 for the base currency, and foreign cash raise UnvaluedLeg."""
    unvalued = trade_of("BTC-USD", Side.BUY, ("BNB", "0.5", None))
    odd_rate = trade_of("BTC-USD", Side.BUY).model_copy(update={"quote_rate": d("1.1")})
    foreign = CashDeposited(account="a", asset=Asset("EUR"), amount=d("1"))

    for event in (unvalued, odd_rate, foreign):
        with pytest.raises(UnvaluedLeg):
            moves_of(event, BASE)


def test_moves_of_is_empty_for_events_without_value() -> None:
    """Signals, orders and policy move nothing."""
    assert moves_of(TradingHalted(reason="a pause"), BASE) == ()


def trade_of(pair: str, side: Side, *fees: tuple[str, str, str | None]) -> TradeExecuted:
    instrument = Instrument(pair)
    return TradeExecuted(
        account="a",
        venue="v",
        venue_trade_id="1",
        instrument=instrument,
        side=side,
        quantity=d("2"),
        price=d("100"),
        fees=tuple(
            Fee(
                asset=Asset(asset),
                amount=d(amount),
                value=d(value if amount[0] != "-" else f"-{value}") if value else None,
            )
            for asset, amount, value in fees
        ),
        quote_rate=d("1") if instrument.quote == BASE else d("10"),
    )


def test_sale_of_cash_consumed_by_its_fee_is_an_expense() -> None:
    """A sale of the base currency whose fee takes all proceeds is an expense."""
    trade = TradeExecuted(
        account="a",
        venue="v",
        venue_trade_id="1",
        instrument=Instrument("USD-EUR"),
        side=Side.SELL,
        quantity=d("10"),
        price=d("0.8"),
        fees=(Fee(asset=Asset("EUR"), amount=d("8")),),
        quote_rate=d("1.25"),
    )

    assert moves_of(trade, BASE) == (AssetMove("a", Asset(BASE), d("-10"), d("10"), kind="expense"),)


def test_rebate_is_not_netted_with_a_fee() -> None:
    """A fee and a rebate in the same third asset are two movements, each at its own value."""
    fees = (
        Fee(asset=Asset("BNB"), amount=d("2"), value=d("20")),
        Fee(asset=Asset("BNB"), amount=d("-1"), value=d("-300")),
    )
    trade = TradeExecuted(
        account="a",
        venue="v",
        venue_trade_id="1",
        instrument=Instrument("BTC-USD"),
        side=Side.BUY,
        quantity=d("1"),
        price=d("1000"),
        fees=fees,
        quote_rate=d("1"),
    )

    moved = [(str(move.asset), move.quantity, move.value) for move in moves_of(trade, BASE)[1:]]
    assert moved == [("BTC", d("1"), d("720")), ("BNB", d("-2"), d("20")), ("BNB", d("1"), d("300"))]
