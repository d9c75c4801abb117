"""Sizing: the size of a signal's order within the limits and the account's holdings."""

from collections.abc import Callable
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execution.review import review
from execution.review.review import signal_size, wanted_value
from execution.review.state import DecisionState, Size, in_lots, temperature
from ledger.projections.book import MemoryBook
from ledger.values import ZERO, Side
from tests.support.events import SteppingClock
from tests.support.trading import ACCOUNT, BTC, RULES, Room, Script, ScriptedExchange, market

money = st.decimals("0", "400", places=6)
prices = st.one_of(st.decimals("0.01", "200000", places=2), st.decimals("0.001", "3", places=18))
limits = st.decimals("0", "200", places=2)


def room_of(cash: Decimal = ZERO, held: Decimal = ZERO, **limits_set: str) -> Room:
    room = Room(MemoryBook(SteppingClock()), "sizing", cash=cash)
    if held:
        room.hold(str(held))
    for name, value in limits_set.items():
        room.limit(name, value)
    return room


def sized(room: Room, side: Side, price: Decimal, score: str = "0.5") -> Size:
    with room.reading() as reading:
        state = room.state(reading)
        return signal_size(side, wanted_value(Decimal(score), state), price, BTC, ACCOUNT, RULES, state)


def asked(room: Room, question: Callable[[DecisionState], object]) -> object:
    with room.reading() as reading:
        return question(room.state(reading))


@pytest.mark.parametrize(
    ("score", "warmth", "value"),
    [
        ("1", "HOT", "90"),
        ("0.300000", "HOT", "90"),
        ("-0.3", "HOT", "90"),
        ("0.299999", "WARM", "65"),
        ("0.15", "WARM", "65"),
        ("-0.149999", "COOL", "50"),
        ("0.05", "COOL", "50"),
        ("0.049999", "FROZEN", "50"),
        ("0", "FROZEN", "50"),
    ],
)
def test_temperature_has_inclusive_lower_bounds(score: str, warmth: str, value: str) -> None:
    """HOT from 0.30, WARM from 0.15, COOL from 0.05 of |score|, bounds included; the size follows the temperature."""
    room = room_of()

    assert asked(room, lambda state: temperature(Decimal(score), state)) == warmth
    assert asked(room, lambda state: wanted_value(Decimal(score), state)) == Decimal(value)


def test_wanted_value_is_at_most_the_maximum_trade() -> None:
    """For any score."""
    room = room_of(base_trade="80")

    assert asked(room, lambda state: wanted_value(Decimal(1), state)) == 100


@given(money, prices, limits, limits)
def test_buy_can_be_paid_with_its_fee(cash: Decimal, price: Decimal, base_trade: Decimal, largest: Decimal) -> None:
    """It costs at most the account's cash, fee included, and the maximum trade; in whole cents."""
    room = room_of(cash=cash, base_trade=str(base_trade), maximum_trade=str(largest))

    size = sized(room, Side.BUY, price)

    assert size.base_size is None
    assert 0 <= size.value * (1 + RULES.taker_fee) <= cash
    assert size.value <= largest
    assert size.value % Decimal("0.01") == 0


@given(st.decimals("0.00000001", "50", places=8), prices, limits, limits, limits)
def test_sale_leaves_no_dust_and_stays_within_the_limits(
    held: Decimal, price: Decimal, base_trade: Decimal, least: Decimal, largest: Decimal
) -> None:
    """Whole lots of the holding, at most the maximum trade; the rest is nothing or worth a trade."""
    room = room_of(held=held, base_trade=str(base_trade), minimum_trade=str(least), maximum_trade=str(largest))

    size = sized(room, Side.SELL, price)

    assert size.base_size is not None
    assert 0 <= size.base_size <= held
    assert size.base_size % RULES.lot == 0
    assert abs(size.value - size.base_size * price) < Decimal("1e-17")
    assert size.value <= largest + Decimal("1e-17")
    left = held - size.base_size
    assert left == 0 or left * price >= least or size.base_size == 0


@pytest.mark.parametrize(
    ("held", "wanted", "sold"),
    [
        ("2", "90", "0.9"),
        ("1.0", "90", "0.9"),
        ("0.95", "90", "0.95"),
        ("1.05", "100", "0.95"),
        ("1.1", "100", "1"),
        ("0.3", "90", "0.3"),
        ("0", "90", "0"),
    ],
)
def test_remainder_below_the_minimum_trade_is_sold_as_well(held: str, wanted: str, sold: str) -> None:
    """At a price of 100, a remainder worth less than 10 is sold, or enlarged to 10 above the maximum trade."""
    room = room_of(held=Decimal(held), base_trade=wanted, hot_multiplier="1")

    assert sized(room, Side.SELL, Decimal(100)).base_size == Decimal(sold)


def test_available_excludes_amounts_reserved_by_open_orders() -> None:
    """Cash and coins that open orders may still need, fees included."""
    room = room_of(cash=Decimal(120), held=Decimal(1))
    with room.reading() as reading:
        before = room.state(reading).available(ACCOUNT, "USD", RULES.taker_fee)
    room.mark()
    service = room.service(ScriptedExchange((Script(states=("open",), told=((),)),)))
    room.request(service, market(quote="100"), 1)
    room.request(service, market(Side.SELL, base="0.75", limit="130"), 2)

    with room.reading() as reading:
        state = room.state(reading)
        assert before == 120
        assert state.available(ACCOUNT, "USD", RULES.taker_fee) == 120 - Decimal("100.6")
        assert state.available(ACCOUNT, "BTC", RULES.taker_fee) == Decimal("0.25")
    assert sized(room, Side.BUY, Decimal(100)).value == Decimal("19.28")


def test_size_that_ignores_the_fee_is_detected(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: all cash is spent on the order itself."""
    monkeypatch.setattr(review, "spendable", lambda cash, rules: cash)

    size = sized(room_of(cash=Decimal(50)), Side.BUY, Decimal(100))

    assert size.value * (1 + RULES.taker_fee) > 50


@given(st.decimals("0", "1000", places=12), st.sampled_from(("0.00000001", "0.001", "0.5", "1")))
def test_lots_round_down(quantity: Decimal, lot: str) -> None:
    """The result is a multiple of the lot, at most the quantity and less than a lot below it."""
    whole = in_lots(quantity, Decimal(lot))

    assert whole % Decimal(lot) == 0
    assert 0 <= quantity - whole < Decimal(lot)
