"""The paper venue: no fill is better than the market would have given, and nothing is paid that is not there."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execution.exchanges.exchange import Accepted, Fill, FoundOrder, NotPlaced, OrderTicket, Refused, Unknown
from execution.exchanges.paper import exchange as paper_module
from execution.exchanges.paper.exchange import PaperExchange, PaperTerms
from execution.exchanges.paper.prices import LOT, tick_of, worse
from ledger.values import ZERO, Instrument, Side
from signals.market.candle import Candle, Quote
from tests.support.paper_market import MINUTE, bar
from tests.support.trading import ACCOUNT, BTC, NOON, HandClock

BUY, SELL = Side.BUY, Side.SELL
PLAIN = PaperTerms(half_spread=ZERO, impact=ZERO)


class Venue:
    """A paper venue over balances that never change, as a ledger that has not been told yet."""

    def __init__(
        self,
        terms: PaperTerms = PLAIN,
        usd: str = "100000",
        btc: str = "100",
        kind: type[PaperExchange] = PaperExchange,
    ) -> None:
        self.clock = HandClock()
        self.held = {"USD": Decimal(usd), "BTC": Decimal(btc)}
        self.paper = kind((BTC,), lambda _, asset: self.held.get(asset, ZERO), self.clock, terms)

    def send(self, name: str = "o", side: Side = BUY, **asked: Any) -> Accepted | Refused | Unknown:
        return self.paper.submit(ticket(name, side, **asked))

    def candles(self, *bars: Candle) -> None:
        for one in bars:
            self.clock.now = one.closed_at
            self.paper.on_bar(one)

    def fills(self, name: str = "o") -> list[Fill]:
        return self.paper.fills(name)

    def state(self, name: str = "o") -> str:
        found = self.paper.find(name)
        return found.state if isinstance(found, FoundOrder) else "gone"


def ticket(
    name: str = "o",
    side: Side = BUY,
    *,
    base: str | None = None,
    quote: str | None = None,
    limit: str | None = None,
    expires: datetime = NOON + timedelta(hours=2),
    instrument: Instrument = BTC,
) -> OrderTicket:
    return OrderTicket(
        client_order_id=name,
        account=ACCOUNT,
        instrument=instrument,
        side=side,
        kind="market" if limit is None else "limit",
        base_size=None if base is None else Decimal(base),
        quote_size=None if quote is None else Decimal(quote),
        limit_price=None if limit is None else Decimal(limit),
        expires_at=expires,
    )


# --- when and at what price -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", [BUY, SELL])
def test_a_market_order_pays_spread_and_impact(side: Side) -> None:
    """A market order for the whole volume allowed fills at the open, half the spread and the whole impact worse."""
    venue = Venue(PaperTerms(half_spread=Decimal("0.01"), impact=Decimal("0.02")))
    venue.send(side=side, base="10")
    venue.candles(bar(0, volume="100"))

    (fill,) = venue.fills()
    sign = 1 if side is BUY else -1
    assert fill.price == 100 * (1 + sign * Decimal("0.01")) * (1 + sign * Decimal("0.02"))
    assert fill.occurred_at == NOON


def test_orders_of_one_candle_push_the_price_together() -> None:
    """An order cut into pieces pays no less impact for its last piece than the whole would have."""
    venue = Venue(PaperTerms(half_spread=ZERO, impact=Decimal("0.1")))
    for name in "abcd":
        venue.send(name, base="2.5")
    venue.candles(bar(0, volume="100"))

    assert [venue.fills(name)[0].price for name in "abcd"] == [
        Decimal(text) for text in ("102.5", "105", "107.5", "110")
    ]


@pytest.mark.parametrize(
    ("placed", "latency", "first"), [(0, 0, 0), (1, 0, 1), (59, 0, 1), (60, 0, 1), (61, 0, 2), (0, 90, 2)]
)
def test_no_order_fills_in_the_candle_in_which_it_was_placed(placed: int, latency: int, first: int) -> None:
    """The first candle that can fill an order opens when the order is in effect, or later; latency counts."""
    venue = Venue(replace(PLAIN, latency=timedelta(seconds=latency)))
    venue.clock.move(seconds=placed)
    venue.send(base="1")
    venue.candles(*(bar(number) for number in range(4)))

    (fill,) = venue.fills()
    assert fill.occurred_at == bar(first).opened_at


def test_a_candle_fills_no_more_than_its_share_and_the_rest_waits() -> None:
    """All orders together get a tenth of each candle's volume, the oldest first; the rest goes on with later candles."""
    venue = Venue()
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


def test_a_share_smaller_than_a_lot_does_not_end_an_order() -> None:
    """A candle with hardly any volume leaves the order open for the next one."""
    venue = Venue()
    venue.send(base="1")
    venue.candles(bar(0, volume="0.00000005"))
    assert venue.state() == "open"

    venue.candles(bar(1))
    assert venue.state() == "filled"


def test_what_is_not_filled_in_time_expires() -> None:
    """From its expiry on an order fills no more, and says so with what it got."""
    venue = Venue()
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
def test_a_limit_order_fills_only_when_the_price_goes_through_it(
    side: Side, limit: str, low: str, high: str, filled: bool
) -> None:
    """Touching the limit is not enough, a tick beyond is; the price is the limit itself, at the maker's fee."""
    venue = Venue(PaperTerms())
    venue.send(side=side, base="1", limit=limit)
    venue.candles(bar(0, low=low, high=high))

    prices = [(fill.price, fill.fees[0].amount) for fill in venue.fills()]
    assert prices == ([(Decimal(limit), Decimal(limit) * Decimal("0.004"))] if filled else [])


def test_a_limit_through_the_market_takes_the_far_side_and_pays_for_it() -> None:
    """A limit order that the market is through already when it arrives pays spread and taker fee, but never more than its limit."""
    generous, tight = Venue(PaperTerms()), Venue(PaperTerms())
    generous.send(base="1", limit="120")
    tight.send(base="90", limit="100.06")
    for venue in (generous, tight):
        venue.candles(bar(0))

    assert generous.fills()[0].price > Decimal("100.05")
    assert generous.fills()[0].fees[0].amount > Decimal("0.6")
    assert tight.fills()[0].price == Decimal("100.06")


def test_a_resting_limit_gets_its_own_price_where_the_market_jumps_over_it() -> None:
    """A candle that opens beyond a resting limit fills it at the limit: the better open was never offered to it."""
    venue = Venue(PaperTerms())
    venue.send(base="1", limit="95")
    venue.candles(bar(0), bar(1, opened="90", high="91", low="89"))

    assert [fill.price for fill in venue.fills()] == [Decimal(95)]


def test_a_quote_fills_at_the_far_side() -> None:
    """In front of a live book a market order takes the far side at once, a limit when the far side is through it."""
    venue = Venue()
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


def test_a_quote_from_before_the_order_fills_nothing() -> None:
    """A quote that was seen before the order took effect is not for it."""
    venue = Venue()
    venue.send(base="1")
    venue.paper.on_quote(Quote(BTC, Decimal("100"), Decimal("101"), NOON - timedelta(seconds=1)))

    assert venue.fills() == []


@pytest.mark.parametrize("price", ["0.00001234", "0.0712", "3.5", "100", "61234.56"])
def test_steps_of_price_fit_the_price(price: str) -> None:
    """Cheap coins are not rounded away: a tick is at most a ten-thousandth of the price and at most a cent."""
    exact = Decimal(price)

    assert tick_of(exact) <= min(exact / 10_000, Decimal("0.01"))
    assert exact <= worse(BUY, exact, ZERO) <= exact + tick_of(exact)
    assert exact >= worse(SELL, exact, ZERO) >= exact - tick_of(exact)


# --- what it costs and what is there ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fee_in", "side", "asset"),
    [("quote", BUY, "USD"), ("quote", SELL, "USD"), ("received", BUY, "BTC"), ("received", SELL, "USD")],
)
def test_fees_are_taken_in_the_right_asset_and_rounded_up(fee_in: Any, side: Side, asset: str) -> None:
    """A fee is in quote, or in what a buy receives where the terms say so; it is above 0 and a multiple of a lot."""
    venue = Venue(replace(PLAIN, fee_in=fee_in))
    venue.send(side=side, base="0.00001001")
    venue.candles(bar(0, opened="99.99"))

    (fill,) = venue.fills()
    (fee,) = fill.fees
    worth = fill.quantity * Decimal("0.006") * (fill.price if asset == "USD" else 1)
    assert fee.asset == asset
    assert worth <= fee.amount < worth + LOT
    assert fee.amount % LOT == 0


@pytest.mark.parametrize(
    "rates", [{"taker_fee": ZERO}, {"maker_fee": ZERO}, {"half_spread": Decimal(-1)}, {"volume_share": Decimal(2)}]
)
def test_terms_that_no_market_has_are_refused(rates: dict[str, Decimal]) -> None:
    """There is no paper venue without fees, with a negative spread, or with more volume than there was."""
    with pytest.raises(ValueError, match=r"fees are mandatory|fractions|share of volume"):
        PaperTerms(**rates)  # type: ignore[arg-type]


def test_the_assumptions_can_be_read() -> None:
    """The terms say in sentences what every paper result rests on, each number among them."""
    text = " ".join(PaperTerms(seed=42, refuse_rate=Decimal("0.125")).describe())

    assert all(number in text for number in ("0.05 %", "0.1 %", "10 %", "0.6 %", "0.4 %", "12.5 %", "seed 42"))


def same_cash(kind: type[PaperExchange]) -> tuple[Decimal, Decimal]:
    """What is left of cash and coins when three orders that could each take all fill in one candle."""
    left = {}
    for side, held in ((BUY, "USD"), (SELL, "BTC")):
        venue = Venue(usd="1000", btc="5", kind=kind)
        for name in "abc":
            venue.send(name, side, quote="990") if side is BUY else venue.send(name, side, base="4")
        venue.candles(bar(0), bar(1))
        fills = [fill for name in "abc" for fill in venue.fills(name)]
        taken = [fill.quantity if side is SELL else fill.quantity * fill.price + fill.fees[0].amount for fill in fills]
        left[held] = venue.held[held] - sum(taken, ZERO)
    return left["USD"], left["BTC"]


class LedgerOnly(PaperExchange):
    """Planted: looks at the ledger only, which does not know the fills of this candle yet."""

    def _held(self, account: str, asset: str) -> Decimal:
        return self._balances(account, asset)


def test_orders_that_share_cash_cannot_spend_it_twice() -> None:
    """Fills that the ledger has not booked yet count: cash and coins never go below zero within one candle."""
    assert min(same_cash(PaperExchange)) >= 0
    assert min(same_cash(LedgerOnly)) < 0


def test_booked_fills_are_counted_once() -> None:
    """A fill that the ledger has is not subtracted from its balance a second time, nor told again."""
    venue = Venue(usd="1000")
    venue.send("a", quote="500")
    venue.candles(bar(0))
    (fill,) = venue.fills("a")
    venue.held["USD"] -= fill.quantity * fill.price + fill.fees[0].amount
    venue.paper.booked("a", {fill.venue_trade_id})
    assert venue.fills("a") == []

    venue.send("b", quote="490")
    venue.candles(bar(1))
    assert venue.fills("b")[0].quantity == Decimal("4.9")


def test_an_order_that_cannot_be_paid_is_cancelled_with_what_it_got() -> None:
    """When the account runs dry the order fills what can be paid, fees included, and ends as cancelled."""
    venue = Venue(usd="500")
    venue.send(base="10")
    venue.candles(bar(0), bar(1))

    (fill,) = venue.fills()
    assert fill.quantity * fill.price + fill.fees[0].amount <= 500
    assert fill.quantity > Decimal("4.97")
    assert venue.state() == "cancelled"


def test_dust_that_is_worth_less_than_its_fee_is_not_sold() -> None:
    """A sale whose proceeds do not cover the smallest fee would take cash below zero: it ends instead."""
    venue = Venue(usd="0")
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
def test_an_order_sized_in_quote_spends_no_more(size: Decimal, candles: list[tuple[int, int]], side: Side) -> None:
    """Whatever the candles, quantity times price of all fills stays within the size, in whole lots."""
    venue = Venue(PaperTerms())
    venue.send(side=side, quote=str(size))
    for number, (price, volume) in enumerate(candles):
        text = str(Decimal(price) / 10)
        venue.candles(bar(number, opened=text, high=text, low=text, volume=str(volume)))

    assert sum((fill.quantity * fill.price for fill in venue.fills()), ZERO) <= size
    assert all(fill.quantity % LOT == 0 and fill.quantity > 0 for fill in venue.fills())


# --- rules, ids and faults --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "code"),
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
def test_orders_against_the_rules_are_refused(asked: dict[str, Any], code: str) -> None:
    """What the venue does not trade, sizes and prices off its steps, dust, and what is not there: refused, not placed."""
    venue = Venue()
    answer = venue.send(**asked)

    assert isinstance(answer, Refused)
    assert answer.code == code
    assert isinstance(venue.paper.find("o"), NotPlaced)


def test_a_repeated_id_is_not_placed_again() -> None:
    """An id that the venue has already proves nothing about a refusal: it must be looked up, and there is one order."""
    venue = Venue()
    venue.send(base="1")

    assert isinstance(venue.send(base="1"), Unknown)
    venue.candles(bar(0))
    assert venue.paper.find("o") == FoundOrder("paper-o", "filled", Decimal(1))


def outcomes(terms: PaperTerms) -> list[str]:
    venue = Venue(terms)
    return [type(venue.send(f"order-{number}", base="1")).__name__ for number in range(400)]


def test_injected_faults_come_at_their_rate_and_the_same_again() -> None:
    """Refusals and lost replies come about as often as the terms say, at the same orders for the same seed."""
    terms = PaperTerms(refuse_rate=Decimal("0.25"), lost_reply_rate=Decimal("0.25"), seed=1)
    first = outcomes(terms)

    assert first == outcomes(terms) != outcomes(replace(terms, seed=2))
    assert 60 <= first.count("Refused") <= 140
    assert 45 <= first.count("Unknown") <= 120
    assert set(outcomes(PaperTerms())) == {"Accepted"}
    assert set(outcomes(replace(terms, refuse_rate=Decimal(1)))) == {"Refused"}


def test_an_order_whose_reply_was_lost_is_there() -> None:
    """A lost reply leaves an order that fills like any other and can be found."""
    venue = Venue(replace(PLAIN, lost_reply_rate=Decimal(1)))
    assert isinstance(venue.send(base="1"), Unknown)
    venue.candles(bar(0))

    assert venue.paper.find("o") == FoundOrder("paper-o", "filled", Decimal(1))


# --- once, and again after a restart ----------------------------------------------------------------------------------


def test_a_candle_told_twice_fills_once() -> None:
    """A candle that was told already, or an older one, changes nothing."""
    venue = Venue()
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
def test_a_restored_order_goes_on_as_if_nothing_had_happened(
    candles: list[tuple[int, int]], cut: int, asked: dict[str, str], side: Side
) -> None:
    """Restored with what the log knows after any candle, also when that candle is told again, an order fills the same."""
    bars = [
        bar(number, opened=str(Decimal(price) / 10), high="120", low="80", volume=str(volume))
        for number, (price, volume) in enumerate(candles)
    ]
    whole, first, second = Venue(PaperTerms()), Venue(PaperTerms()), Venue(PaperTerms())
    whole.send(side=side, **asked)
    whole.candles(*bars)

    first.send(side=side, **asked)
    first.candles(*bars[:cut])
    told = first.fills()
    if first.state() != "open":
        assert told == whole.fills()
        return
    value = sum((fill.quantity * fill.price for fill in told), ZERO)
    filled = sum((fill.quantity for fill in told), ZERO)
    until = told[-1].occurred_at if told else None
    second.clock.now = first.clock.now
    second.paper.restore(ticket(side=side, **asked), NOON, filled, value, len(told), until)  # type: ignore[arg-type]
    second.held["USD"] += sum((change(side, fill, "USD") for fill in told), ZERO)
    second.held["BTC"] += sum((change(side, fill, "BTC") for fill in told), ZERO)
    second.candles(*bars[max(cut - 1, 0) :])

    assert told + second.fills() == whole.fills()
    assert second.state() == whole.state()


def change(side: Side, fill: Fill, asset: str) -> Decimal:
    sign = 1 if side is BUY else -1
    moved = sign * fill.quantity if asset == "BTC" else -sign * fill.quantity * fill.price
    return moved - sum((fee.amount for fee in fill.fees if fee.asset == asset), ZERO)


def test_an_order_restored_beside_an_entry_from_the_future_still_fills() -> None:
    """A time in the ledger that lies ahead of the market does not keep later candles from filling."""
    venue = Venue()
    venue.clock.now = bar(0).closed_at
    venue.paper.restore(ticket(base="2"), NOON, ZERO, ZERO, 0, NOON + timedelta(days=365))
    venue.candles(bar(0), bar(2))

    assert [fill.occurred_at for fill in venue.fills()] == [bar(2).opened_at]


def test_a_restored_order_that_is_complete_has_ended() -> None:
    """An order whose last fill is in the log but not its end is filled as soon as it is restored."""
    venue = Venue()
    venue.paper.restore(ticket(base="2"), NOON, Decimal(2), Decimal(200), 1, NOON)

    assert venue.state() == "filled"


@pytest.mark.parametrize(
    ("planted", "test"),
    [
        ("bar_offer", test_a_resting_limit_gets_its_own_price_where_the_market_jumps_over_it),
        ("in_lots", test_a_candle_fills_no_more_than_its_share_and_the_rest_waits),
        ("up", lambda: test_fees_are_taken_in_the_right_asset_and_rounded_up("quote", BUY, "USD")),
        ("worse", lambda: test_a_market_order_pays_spread_and_impact(BUY)),
    ],
)
def test_a_flattering_venue_is_found(planted: str, test: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: a limit at the better open, no limit of volume, fees rounded down, no impact: each breaks its test."""
    honest = getattr(paper_module, planted)
    flattering: dict[str, Callable[..., Any]] = {
        "bar_offer": lambda ticket, bar, spread, fresh: honest(ticket, bar, spread, True),
        "in_lots": lambda quantity: honest(quantity * 100),
        "up": lambda amount: honest(amount) - LOT,
        "worse": lambda side, price, by: price,
    }
    test()

    monkeypatch.setattr(paper_module, planted, flattering[planted])
    with pytest.raises(AssertionError):
        test()
