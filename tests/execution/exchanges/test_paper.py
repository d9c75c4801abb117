"""The paper venue: no fill is better than in the market, and no account spends more than it has."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execution.exchanges.exchange import Fill, FoundOrder, NotPlaced, Refused, Unknown
from execution.exchanges.paper import exchange as paper_module
from execution.exchanges.paper.exchange import PaperExchange, PaperTerms
from execution.exchanges.paper.prices import LOT, tick_of, worse
from ledger.values import ZERO, Instrument, Side
from signals.market.candle import Quote
from tests.support.trading import BTC, NOON
from tests.support.venues.paper_market import MINUTE, PLAIN, PaperVenue, bar, ticket

BUY, SELL = Side.BUY, Side.SELL


# --- when and at what price -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", [BUY, SELL])
def test_market_order_pays_spread_and_impact(side: Side) -> None:
    """A market order for the whole allowed volume fills at the open, worse by half the spread and the whole impact."""
    venue = PaperVenue(PaperTerms(half_spread=Decimal("0.01"), impact=Decimal("0.02")))
    venue.send(side=side, base="10")
    venue.candles(bar(0, volume="100"))

    (fill,) = venue.fills()
    sign = 1 if side is BUY else -1
    assert fill.price == 100 * (1 + sign * Decimal("0.01")) * (1 + sign * Decimal("0.02"))
    assert fill.occurred_at == NOON


def test_orders_of_one_candle_share_the_impact() -> None:
    """The last part of a split order pays the same impact as the whole order would."""
    venue = PaperVenue(PaperTerms(half_spread=ZERO, impact=Decimal("0.1")))
    for name in "abcd":
        venue.send(name, base="2.5")
    venue.candles(bar(0, volume="100"))

    assert [venue.fills(name)[0].price for name in "abcd"] == [
        Decimal(text) for text in ("102.5", "105", "107.5", "110")
    ]


@pytest.mark.parametrize(
    ("placed", "latency", "first"), [(0, 0, 0), (1, 0, 1), (59, 0, 1), (60, 0, 1), (61, 0, 2), (0, 90, 2)]
)
def test_order_never_fills_in_the_candle_in_which_it_was_placed(placed: int, latency: int, first: int) -> None:
    """The first candle that can fill an order opens at or after it takes effect, including latency."""
    venue = PaperVenue(replace(PLAIN, latency=timedelta(seconds=latency)))
    venue.clock.move(seconds=placed)
    venue.send(base="1")
    venue.candles(*(bar(number) for number in range(4)))

    (fill,) = venue.fills()
    assert fill.occurred_at == bar(first).opened_at


def test_candle_fills_its_share_of_volume_and_the_rest_waits() -> None:
    """All orders together get a tenth of each candle's volume, oldest first; the rest waits for later candles."""
    venue = PaperVenue()
    venue.send("first", base="3")
    venue.send("second", base="2")
    venue.candles(bar(0, volume="20"), bar(1, volume="0"), bar(2, volume="20"), bar(3, volume="20"))

    assert [(fill.quantity, fill.occurred_at) for fill in venue.fills("first")] == [
        (Decimal(2), bar(0).opened_at),
        (Decimal(1), bar(2).opened_at),
    ]
    assert [(fill.quantity, fill.occurred_at) for fill in venue.fills("second")] == [
        (Decimal(1), bar(2).opened_at),
        (Decimal(1), bar(3).opened_at),
    ]
    assert [venue.state(name) for name in ("first", "second")] == ["filled", "filled"]


def test_order_stays_open_when_the_share_is_below_a_lot() -> None:
    """A candle with too little volume leaves the order open."""
    venue = PaperVenue()
    venue.send(base="1")
    venue.candles(bar(0, volume="0.00000005"))
    assert venue.state() == "open"

    venue.candles(bar(1))
    assert venue.state() == "filled"


def test_order_expires_with_its_fills() -> None:
    """From its expiry on an order fills no more and keeps its fills."""
    venue = PaperVenue()
    venue.send(base="100", expires=NOON + 2 * MINUTE)
    venue.candles(*(bar(number, volume="100") for number in range(5)))

    assert [fill.occurred_at for fill in venue.fills()] == [bar(0).opened_at, bar(1).opened_at]
    assert venue.paper.find("o") == FoundOrder("paper-o", "expired", Decimal(20))


@pytest.mark.parametrize(
    ("side", "limit", "low", "high", "filled"),
    [
        (BUY, "99", "98.999", "101", True),
        (BUY, "99", "99", "101", False),
        (SELL, "101", "99", "101.001", True),
        (SELL, "101", "99", "101", False),
    ],
)
def test_limit_order_fills_only_when_the_price_goes_through_it(
    side: Side, limit: str, low: str, high: str, filled: bool
) -> None:
    """The price must go a tick beyond the limit; the fill is at the limit, with the maker fee."""
    venue = PaperVenue(PaperTerms())
    venue.send(side=side, base="1", limit=limit)
    venue.candles(bar(0, low=low, high=high))

    prices = [(fill.price, fill.fees[0].amount) for fill in venue.fills()]
    assert prices == ([(Decimal(limit), Decimal(limit) * Decimal("0.004"))] if filled else [])


def test_marketable_limit_order_takes_the_far_side() -> None:
    """A limit order that is marketable on arrival pays spread and taker fee, but never more than its limit."""
    generous, tight = PaperVenue(PaperTerms()), PaperVenue(PaperTerms())
    generous.send(base="1", limit="120")
    tight.send(base="90", limit="100.06")
    for venue in (generous, tight):
        venue.candles(bar(0))

    assert generous.fills()[0].price > Decimal("100.05")
    assert generous.fills()[0].fees[0].amount > Decimal("0.6")
    assert tight.fills()[0].price == Decimal("100.06")


def test_resting_limit_order_fills_at_its_limit_after_a_gap() -> None:
    """A candle that opens beyond a resting limit fills it at the limit, not at the better open."""
    venue = PaperVenue(PaperTerms())
    venue.send(base="1", limit="95")
    venue.candles(bar(0), bar(1, opened="90", high="91", low="89"))

    assert [fill.price for fill in venue.fills()] == [Decimal(95)]


def test_quote_fills_at_the_far_side() -> None:
    """A market order takes the far side of the quote, a limit order when the far side is through its limit."""
    venue = PaperVenue()
    venue.send("m", base="1")
    venue.send("l", base="1", limit="100.9")
    venue.send("s", SELL, base="1")
    venue.paper.on_quote(Quote(BTC, Decimal("100"), Decimal("101"), NOON))
    assert [len(venue.fills(name)) for name in "mls"] == [1, 0, 1]
    assert (venue.fills("m")[0].price, venue.fills("s")[0].price) == (Decimal(101), Decimal(100))

    venue.paper.on_quote(Quote(BTC, Decimal("100"), Decimal("100.9"), NOON))
    assert venue.fills("l") == []
    venue.paper.on_quote(Quote(BTC, Decimal("100"), Decimal("100.5"), NOON))
    assert venue.fills("l")[0].price == Decimal("100.5")


def test_quote_from_before_the_order_fills_nothing() -> None:
    """Quotes from before an order takes effect do not fill it."""
    venue = PaperVenue()
    venue.send(base="1")
    venue.paper.on_quote(Quote(BTC, Decimal("100"), Decimal("101"), NOON - timedelta(seconds=1)))

    assert venue.fills() == []


@pytest.mark.parametrize("price", ["0.00001234", "0.0712", "3.5", "100", "61234.56"])
def test_tick_of_fits_the_price(price: str) -> None:
    """A tick is at most a ten-thousandth of the price and at most a cent."""
    exact = Decimal(price)

    assert tick_of(exact) <= min(exact / 10_000, Decimal("0.01"))
    assert exact <= worse(BUY, exact, ZERO) <= exact + tick_of(exact)
    assert exact >= worse(SELL, exact, ZERO) >= exact - tick_of(exact)


# --- fees and balances ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fee_in", "side", "asset"),
    [("quote", BUY, "USD"), ("quote", SELL, "USD"), ("received", BUY, "BTC"), ("received", SELL, "USD")],
)
def test_fees_are_in_the_right_asset_and_rounded_up(fee_in: Any, side: Side, asset: str) -> None:
    """A fee is in quote or, by the terms, in the asset that a buy receives, rounded up to whole lots."""
    venue = PaperVenue(replace(PLAIN, fee_in=fee_in))
    venue.send(side=side, base="0.00001001")
    venue.candles(bar(0, opened="99.99"))

    (fill,) = venue.fills()
    (fee,) = fill.fees
    exact = fill.quantity * Decimal("0.006") * (fill.price if asset == "USD" else 1)
    assert fee.asset == asset
    assert exact <= fee.amount < exact + LOT
    assert fee.amount % LOT == 0


@pytest.mark.parametrize(
    "rates", [{"taker_fee": ZERO}, {"maker_fee": ZERO}, {"half_spread": Decimal(-1)}, {"volume_share": Decimal(2)}]
)
def test_paper_terms_reject_impossible_rates(rates: dict[str, Decimal]) -> None:
    """Zero fees, a negative spread, and more volume than the candle's raise ValueError."""
    with pytest.raises(ValueError, match=r"fees are mandatory|fractions|share of volume"):
        PaperTerms(**rates)  # type: ignore[arg-type]


def test_describe_lists_every_assumption() -> None:
    """The sentences contain every number of the terms."""
    text = " ".join(PaperTerms(seed=42, refuse_rate=Decimal("0.125")).describe())

    assert all(number in text for number in ("0.05 %", "0.1 %", "10 %", "0.6 %", "0.4 %", "12.5 %", "seed 42"))


def same_cash(kind: type[PaperExchange]) -> tuple[Decimal, Decimal]:
    """Return the remaining cash and asset after one candle fills three orders that could each use all of it."""
    left = {}
    for side, asset in ((BUY, "USD"), (SELL, "BTC")):
        venue = PaperVenue(usd="1000", btc="5", kind=kind)
        for name in "abc":
            venue.send(name, side, quote="990") if side is BUY else venue.send(name, side, base="4")
        venue.candles(bar(0), bar(1))
        fills = [fill for name in "abc" for fill in venue.fills(name)]
        spent = [fill.quantity if side is SELL else fill.quantity * fill.price + fill.fees[0].amount for fill in fills]
        left[asset] = venue.balances[asset] - sum(spent, ZERO)
    return left["USD"], left["BTC"]


class LedgerOnly(PaperExchange):
    """Planted: uses the ledger's balances only, without fills not booked yet."""

    def _available(self, account: str, asset: str) -> Decimal:
        return self._balances(account, asset)


def test_orders_that_share_cash_cannot_spend_it_twice() -> None:
    """Fills not booked yet count: balances never go below zero within one candle."""
    assert min(same_cash(PaperExchange)) >= 0
    assert min(same_cash(LedgerOnly)) < 0


def test_booked_fills_are_counted_once() -> None:
    """A booked fill is neither subtracted a second time nor returned again."""
    venue = PaperVenue(usd="1000")
    venue.send("a", quote="500")
    venue.candles(bar(0))
    (fill,) = venue.fills("a")
    venue.balances["USD"] -= fill.quantity * fill.price + fill.fees[0].amount
    venue.paper.booked("a", {fill.venue_trade_id})
    assert venue.fills("a") == []

    venue.send("b", quote="490")
    venue.candles(bar(1))
    assert venue.fills("b")[0].quantity == Decimal("4.9")


def test_order_is_cancelled_when_the_account_runs_out_of_cash() -> None:
    """The order fills what can be paid, including fees, and ends as cancelled."""
    venue = PaperVenue(usd="500")
    venue.send(base="10")
    venue.candles(bar(0), bar(1))

    (fill,) = venue.fills()
    assert fill.quantity * fill.price + fill.fees[0].amount <= 500
    assert fill.quantity > Decimal("4.97")
    assert venue.state() == "cancelled"


def test_sale_worth_less_than_its_fee_is_cancelled() -> None:
    """A sale whose proceeds do not cover the smallest fee ends, because it would make cash negative."""
    venue = PaperVenue(usd="0")
    venue.paper._balances = lambda _, asset: Decimal("0.00001") if asset == "BTC" else ZERO
    venue.send(side=SELL, base="0.00001")
    venue.candles(bar(0, opened="0.0005", high="0.0006", low="0.0004", volume="1000"))

    assert venue.fills() == []
    assert venue.state() == "cancelled"


@given(
    st.decimals("1", "5000", places=2),
    st.lists(st.tuples(st.integers(50, 5000), st.integers(0, 400)), min_size=1, max_size=6),
    st.sampled_from(Side),
)
def test_order_sized_in_quote_stays_within_its_size(size: Decimal, candles: list[tuple[int, int]], side: Side) -> None:
    """For any candles quantity times price of all fills stays within the size, in whole lots."""
    venue = PaperVenue(PaperTerms())
    venue.send(side=side, quote=str(size))
    for number, (price, volume) in enumerate(candles):
        text = str(Decimal(price) / 10)
        venue.candles(bar(number, opened=text, high=text, low=text, volume=str(volume)))

    assert sum((fill.quantity * fill.price for fill in venue.fills()), ZERO) <= size
    assert all(fill.quantity % LOT == 0 and fill.quantity > 0 for fill in venue.fills())


# --- rules, ids and faults --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("order", "code"),
    [
        ({"instrument": Instrument("DOGE-USD"), "base": "1"}, "unknown_instrument"),
        ({"base": "0.000001"}, "invalid_size"),
        ({"base": "1.000000001"}, "invalid_size"),
        ({"quote": "0.99"}, "below_minimum"),
        ({"base": "1", "limit": "100.0005"}, "invalid_price"),
        ({"quote": "100001"}, "insufficient_funds"),
        ({"base": "101", "side": SELL}, "insufficient_funds"),
    ],
)
def test_orders_against_the_rules_are_refused(order: dict[str, Any], code: str) -> None:
    """Unknown instruments, sizes and prices off their steps, dust, and missing funds are refused."""
    venue = PaperVenue()
    answer = venue.send(**order)

    assert isinstance(answer, Refused)
    assert answer.code == code
    assert isinstance(venue.paper.find("o"), NotPlaced)


def test_repeated_client_order_id_is_not_placed_again() -> None:
    """A duplicate id is an unknown outcome, not a refusal, and there is one order."""
    venue = PaperVenue()
    venue.send(base="1")

    assert isinstance(venue.send(base="1"), Unknown)
    venue.candles(bar(0))
    assert venue.paper.find("o") == FoundOrder("paper-o", "filled", Decimal(1))


def outcomes(terms: PaperTerms) -> list[str]:
    venue = PaperVenue(terms)
    return [type(venue.send(f"order-{number}", base="1")).__name__ for number in range(400)]


def test_injected_faults_follow_their_rates_and_seed() -> None:
    """Refusals and lost replies occur about as often as configured, for the same orders with the same seed."""
    terms = PaperTerms(refuse_rate=Decimal("0.25"), lost_reply_rate=Decimal("0.25"), seed=1)
    first = outcomes(terms)

    assert first == outcomes(terms) != outcomes(replace(terms, seed=2))
    assert 60 <= first.count("Refused") <= 140
    assert 45 <= first.count("Unknown") <= 120
    assert set(outcomes(PaperTerms())) == {"Accepted"}
    assert set(outcomes(replace(terms, refuse_rate=Decimal(1)))) == {"Refused"}


def test_order_with_a_lost_reply_is_placed() -> None:
    """The order fills like any other and can be looked up."""
    venue = PaperVenue(replace(PLAIN, lost_reply_rate=Decimal(1)))
    assert isinstance(venue.send(base="1"), Unknown)
    venue.candles(bar(0))

    assert venue.paper.find("o") == FoundOrder("paper-o", "filled", Decimal(1))


# --- once, and again after a restart ----------------------------------------------------------------------------------


def test_repeated_candle_fills_once() -> None:
    """A repeated or older candle changes nothing."""
    venue = PaperVenue()
    venue.send(base="100")
    venue.candles(bar(0, volume="100"), bar(1, volume="100"), bar(1, volume="100"), bar(0, volume="100"))

    assert venue.paper.find("o") == FoundOrder("paper-o", "open", Decimal(20))


@given(
    st.lists(st.tuples(st.integers(900, 1100), st.integers(0, 200)), min_size=1, max_size=8),
    st.integers(0, 8),
    st.sampled_from(
        [{"base": "30"}, {"quote": "3000"}, {"base": "30", "limit": "99"}, {"quote": "3000", "limit": "101"}]
    ),
    st.sampled_from(Side),
)
def test_restored_order_fills_as_without_the_restart(
    candles: list[tuple[int, int]], restart: int, order: dict[str, str], side: Side
) -> None:
    """An order restored from the log after any candle fills the same, also when that candle is repeated."""
    bars = [
        bar(number, opened=str(Decimal(price) / 10), high="120", low="80", volume=str(volume))
        for number, (price, volume) in enumerate(candles)
    ]
    whole, first, second = PaperVenue(PaperTerms()), PaperVenue(PaperTerms()), PaperVenue(PaperTerms())
    whole.send(side=side, **order)
    whole.candles(*bars)

    first.send(side=side, **order)
    first.candles(*bars[:restart])
    booked = first.fills()
    if first.state() != "open":
        assert booked == whole.fills()
        return
    value = sum((fill.quantity * fill.price for fill in booked), ZERO)
    filled = sum((fill.quantity for fill in booked), ZERO)
    until = booked[-1].occurred_at if booked else None
    second.clock.now = first.clock.now
    second.paper.restore(ticket(side=side, **order), NOON, filled, value, len(booked), until)  # type: ignore[arg-type]
    second.balances["USD"] += sum((change(side, fill, "USD") for fill in booked), ZERO)
    second.balances["BTC"] += sum((change(side, fill, "BTC") for fill in booked), ZERO)
    second.candles(*bars[max(restart - 1, 0) :])

    assert booked + second.fills() == whole.fills()
    assert second.state() == whole.state()


def change(side: Side, fill: Fill, asset: str) -> Decimal:
    sign = 1 if side is BUY else -1
    moved = sign * fill.quantity if asset == "BTC" else -sign * fill.quantity * fill.price
    return moved - sum((fee.amount for fee in fill.fees if fee.asset == asset), ZERO)


def test_restored_order_fills_despite_an_entry_from_the_future() -> None:
    """An entry in the ledger ahead of the market does not keep later candles from filling."""
    venue = PaperVenue()
    venue.clock.now = bar(0).closed_at
    venue.paper.restore(ticket(base="2"), NOON, ZERO, ZERO, 0, NOON + timedelta(days=365))
    venue.candles(bar(0), bar(2))

    assert [fill.occurred_at for fill in venue.fills()] == [bar(2).opened_at]


def test_restored_order_with_all_fills_is_filled() -> None:
    """An order whose last fill is in the log, but not its end, is filled as soon as it is restored."""
    venue = PaperVenue()
    venue.paper.restore(ticket(base="2"), NOON, Decimal(2), Decimal(200), 1, NOON)

    assert venue.state() == "filled"


@pytest.mark.parametrize(
    ("planted", "test"),
    [
        ("bar_offer", test_resting_limit_order_fills_at_its_limit_after_a_gap),
        ("in_lots", test_candle_fills_its_share_of_volume_and_the_rest_waits),
        ("round_up", lambda: test_fees_are_in_the_right_asset_and_rounded_up("quote", BUY, "USD")),
        ("worse", lambda: test_market_order_pays_spread_and_impact(BUY)),
    ],
)
def test_optimistic_venues_fail_the_tests(
    planted: str, test: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planted: fills at the better open, unlimited volume, fees rounded down, and no impact each fail a test."""
    honest = getattr(paper_module, planted)
    flattering: dict[str, Callable[..., Any]] = {
        "bar_offer": lambda ticket, bar, spread, fresh: honest(ticket, bar, spread, True),
        "in_lots": lambda quantity: honest(quantity * 100),
        "round_up": lambda amount: honest(amount) - LOT,
        "worse": lambda side, price, by: price,
    }
    test()

    monkeypatch.setattr(paper_module, planted, flattering[planted])
    with pytest.raises(AssertionError):
        test()
