"""Adapter reads from a venue: rules, fills with fees, own trades, open orders, balances; and the orders it sends."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal, localcontext
from typing import Any

import pytest

from execution.exchanges.ccxt.venues import DECLARED, facts_of
from execution.exchanges.exchange import Accepted, FoundOrder, NotPlaced, Refused, Unknown, VenueUnavailable
from ledger.events.fields import Fee
from ledger.values import ZERO, Instrument, Side
from tests.support.venues.simulated_venue import QUOTE, RunningVenue, running_venue

VENUES = ("binance", "luno")
EARLIER = timedelta(minutes=1)


@pytest.fixture(params=VENUES)
def shop(request: pytest.FixtureRequest) -> Iterator[RunningVenue]:
    """Each venue in turn."""
    with running_venue(request.param) as running:
        yield running


@pytest.fixture
def binance() -> Iterator[RunningVenue]:
    with running_venue("binance") as running:
        yield running


@pytest.fixture
def luno() -> Iterator[RunningVenue]:
    with running_venue("luno") as running:
        yield running


def fee(asset: str, amount: str) -> Fee:
    return Fee(asset=asset, amount=Decimal(amount))  # type: ignore[arg-type]


def test_rules_are_exact(binance: RunningVenue, luno: RunningVenue) -> None:
    """Steps and minimums are the venue's own numbers; unknown instruments have no rules."""
    rules = binance.exchange.rules(Instrument("BTC-USDT"))
    assert rules is not None
    assert (rules.tick, rules.lot, rules.minimum_size, rules.minimum_value) == (
        Decimal("0.01"),
        Decimal("0.00001"),
        Decimal("0.00001"),
        Decimal(5),
    )
    rules = luno.exchange.rules(Instrument("BTC-ZAR"))
    assert rules is not None
    assert (rules.tick, rules.lot, rules.minimum_size) == (Decimal(1), Decimal("0.000001"), Decimal("0.0001"))
    assert rules.taker_fee == Decimal("0.006")
    assert binance.exchange.rules(Instrument("XRP-USDT")) is None


def test_reads_raise_while_the_venue_is_unavailable(shop: RunningVenue) -> None:
    """Reads raise VenueUnavailable and work again afterwards; orders are refused as not sent."""
    shop.fault("maintenance", times=None)
    for read in (
        lambda: shop.exchange.rules(shop.ticket().instrument),
        shop.exchange.balances,
        shop.exchange.open_orders,
        lambda: shop.exchange.own_trades(shop.ticket().instrument, shop.clock()),
    ):
        with pytest.raises(VenueUnavailable, match=shop.name):
            read()
    refused = shop.exchange.submit(shop.ticket())
    assert isinstance(refused, Refused)
    assert refused.text.startswith("not sent")
    shop.control.delete("/control/faults")
    assert shop.exchange.balances()


def test_buy_sized_in_quote_stays_within_its_size(shop: RunningVenue) -> None:
    """A market buy by quote spends at most that, also at Luno, where the amount is the cost."""
    ticket = shop.ticket()
    assert isinstance(shop.exchange.submit(ticket), Accepted)
    found, (fill,) = shop.exchange.find(ticket.client_order_id), shop.exchange.fills(ticket.client_order_id)

    assert isinstance(found, FoundOrder)
    assert found.filled == fill.quantity > 0
    spent = fill.quantity * fill.price
    assert QUOTE[shop.name] * Decimal("0.99") < spent <= QUOTE[shop.name]


def test_luno_market_buy_in_base_is_not_sent(luno: RunningVenue) -> None:
    """Luno would read a market buy of 0.01 BTC as 0.01 ZAR."""
    refused = luno.exchange.submit(luno.ticket(base_size=Decimal("0.01")))

    assert isinstance(refused, Refused)
    assert refused.code == "bad_terms"
    assert luno.placing_requests() == 0


def test_luno_quote_size_is_rounded_down_to_cents(luno: RunningVenue) -> None:
    """Sizes with fractions of a cent are rounded before sending."""
    ticket = luno.ticket(quote_size=Decimal("12000.123456"))
    assert isinstance(luno.exchange.submit(ticket), Accepted)


def test_luno_fees_are_those_of_the_raw_trade(luno: RunningVenue) -> None:
    """ccxt reports no fee for a sale; ours are the venue's own for buys and sales."""
    luno.post("settings", {"fee_rate": "0.006"})
    bought, sold = luno.ticket(), luno.ticket(Side.SELL)
    for ticket in (bought, sold):
        assert isinstance(luno.exchange.submit(ticket), Accepted)
        luno.exchange.find(ticket.client_order_id)

    assert luno.exchange.fills(bought.client_order_id)[0].fees == (fee("BTC", "0.00006000"),)
    assert luno.exchange.fills(sold.client_order_id)[0].fees == (fee("ZAR", "72"),)
    lost = [trade["fee"]["cost"] for trade in luno.client().fetch_my_trades("BTC/ZAR")]
    assert lost == ["0.00006", None]


@pytest.mark.parametrize(
    ("fees_in", "buy", "sell"),
    [
        ("received", ("BTC", "0.00001"), ("USDT", "0.6")),
        ("quote", ("USDT", "0.6"), ("USDT", "0.6")),
        ("BNB", ("BNB", "0.001"), ("BNB", "0.001")),
    ],
)
def test_binance_fees_come_in_three_currencies(
    binance: RunningVenue, fees_in: str, buy: tuple[str, str], sell: tuple[str, str]
) -> None:
    """Fees are read from the fills, in the asset in which they were paid; the order does not contain them."""
    binance.post("settings", {"fees_in": fees_in})
    for side, expected in ((Side.BUY, buy), (Side.SELL, sell)):
        ticket = binance.ticket(side)
        assert isinstance(binance.exchange.submit(ticket), Accepted)
        binance.exchange.find(ticket.client_order_id)
        assert binance.exchange.fills(ticket.client_order_id)[0].fees == (fee(*expected),)


@pytest.mark.parametrize("fault", ["fills_duplicated", "fills_reordered"])
def test_fills_are_unique_and_in_order(shop: RunningVenue, fault: str) -> None:
    """Fills that the venue repeats or reorders are returned once each, oldest first."""
    shop.post("settings", {"splits": 3})
    ticket = shop.ticket()
    assert isinstance(shop.exchange.submit(ticket), Accepted)
    found = shop.exchange.find(ticket.client_order_id)
    shop.fault(fault, times=None)

    fills = shop.exchange.fills(ticket.client_order_id)

    assert [one.venue_trade_id for one in fills] == ["1", "2", "3"]
    assert isinstance(found, FoundOrder)
    assert sum(one.quantity for one in fills) == found.filled


def test_split_and_partial_faults_affect_one_order(shop: RunningVenue) -> None:
    """The next order fills partially and in three executions, the following one normally."""
    for fault in ("split", "partial"):
        shop.fault(fault)
    shop.post("settings", {"rest": "waits"})
    results = []
    for _ in range(2):
        ticket = shop.ticket()
        assert isinstance(shop.exchange.submit(ticket), Accepted)
        found = shop.exchange.find(ticket.client_order_id)
        assert isinstance(found, FoundOrder)
        results.append((found.state, len(shop.exchange.fills(ticket.client_order_id))))
    assert results == [("open", 3), ("filled", 1)]


def test_late_fills_are_returned_later(shop: RunningVenue) -> None:
    """While the venue reports no fills yet there are fewer than the order's filled size, later all of them."""
    ticket = shop.ticket()
    assert isinstance(shop.exchange.submit(ticket), Accepted)
    found = shop.exchange.find(ticket.client_order_id)
    shop.fault("fills_late")

    assert isinstance(found, FoundOrder)
    assert shop.exchange.fills(ticket.client_order_id) == []
    assert sum(one.quantity for one in shop.exchange.fills(ticket.client_order_id)) == found.filled


def test_two_markets_use_the_same_trade_ids(shop: RunningVenue) -> None:
    """The first fill of each market has trade id 1, and each order gets its own fills."""
    instruments = shop.venue.instruments[:2]
    for instrument in instruments:
        ticket = shop.ticket(instrument=instrument)
        assert isinstance(shop.exchange.submit(ticket), Accepted)
        shop.exchange.find(ticket.client_order_id)
        (fill,) = shop.exchange.fills(ticket.client_order_id)
        assert (fill.venue_trade_id, fill.client_order_id) == ("1", ticket.client_order_id)
        assert [one.instrument for one in shop.exchange.own_trades(instrument, shop.clock() - EARLIER)] == [instrument]


def test_limit_order_rests_fills_partially_and_is_cancelled(shop: RunningVenue) -> None:
    """A limit order is open, partially filled, and cancelled; fills after the cancel are still returned."""
    price = Decimal(50000) if shop.name == "binance" else Decimal(1000000)
    ticket = shop.ticket(base_size=Decimal("0.01"), limit_price=price)
    assert isinstance(shop.exchange.submit(ticket), Accepted)
    (resting,) = shop.exchange.open_orders()
    part = {"client_order_id": ticket.client_order_id, "quantity": "0.004", "price": str(price)}
    shop.post("fills", part)

    partly = shop.exchange.find(ticket.client_order_id)
    cancelled = shop.exchange.cancel(ticket.client_order_id)
    shop.post("fills", {**part, "quantity": "0.001"})
    after = shop.exchange.find(ticket.client_order_id)

    assert (resting.client_order_id, resting.state, resting.side) == (ticket.client_order_id, "open", Side.BUY)
    assert (partly, cancelled) == (
        FoundOrder(resting.venue_order_id, "open", Decimal("0.004")),
        FoundOrder(resting.venue_order_id, "cancelled", Decimal("0.004")),
    )
    assert isinstance(after, FoundOrder)
    assert [one.quantity for one in shop.exchange.fills(ticket.client_order_id)] == [Decimal("0.004"), Decimal("0.001")]
    assert shop.exchange.open_orders() == []


def test_cancel_of_a_filled_order_returns_filled(shop: RunningVenue) -> None:
    """A cancel that comes too late returns the order's state: filled."""
    ticket = shop.ticket()
    assert isinstance(shop.exchange.submit(ticket), Accepted)
    cancelled = shop.exchange.cancel(ticket.client_order_id)
    assert isinstance(cancelled, FoundOrder)
    assert cancelled.state == "filled"
    assert isinstance(shop.exchange.cancel("of no order"), Unknown)


def test_cancel_with_a_lost_reply_is_looked_up(shop: RunningVenue) -> None:
    """After a lost reply the order shows the outcome; a cancel that never arrived is unknown."""
    terms: dict[str, Any] = {"base_size": Decimal("0.01"), "limit_price": Decimal(10000)}
    lost, dropped = shop.ticket(**terms), shop.ticket(**terms)
    for ticket in (lost, dropped):
        assert isinstance(shop.exchange.submit(ticket), Accepted)
    client = shop.client()
    whole = client.cancel_order

    def lose(*arguments: object) -> None:
        whole(*arguments)
        raise TypeError("meaningless reply")

    client.cancel_order = lose
    found = shop.exchange.cancel(lost.client_order_id)
    client.cancel_order = lambda *arguments: client.no_such_route()
    unknown = shop.exchange.cancel(dropped.client_order_id)

    assert isinstance(found, FoundOrder)
    assert found.state == "cancelled"
    assert isinstance(unknown, Unknown)


def test_partially_filled_market_order_expires_with_its_fills(binance: RunningVenue) -> None:
    """A market order without enough volume is expired, with its fills."""
    binance.post("settings", {"share": "0.4"})
    ticket = binance.ticket(base_size=Decimal("0.01"))
    assert isinstance(binance.exchange.submit(ticket), Accepted)
    assert binance.exchange.find(ticket.client_order_id) == FoundOrder("1", "expired", Decimal("0.004"))
    assert [one.quantity for one in binance.exchange.fills(ticket.client_order_id)] == [Decimal("0.004")]


def test_two_orders_with_one_id_are_unknown(binance: RunningVenue) -> None:
    """Binance allows reuse of ids; two orders with one id are reported as several, and neither is adopted."""
    ticket = binance.ticket()
    sent_at = binance.clock()
    for process in (binance.exchange, binance.another_adapter()):
        assert isinstance(process.submit(ticket), Accepted)
    restarted = binance.another_adapter()
    restarted.remember(ticket, sent_at)

    found = restarted.find(ticket.client_order_id)

    assert isinstance(found, Unknown)
    assert found.code == "several_orders"
    assert len(binance.orders(ticket.client_order_id)) == 2


def test_own_trades_are_read_page_by_page(shop: RunningVenue) -> None:
    """More trades than fit a page are all read, each once, oldest first, including those of external orders."""
    shop.exchange = shop.another_adapter(replace(facts_of(shop.name), page=4))
    shop.post("settings", {"splits": 5})
    since = shop.clock()
    for _ in range(3):
        assert isinstance(shop.exchange.submit(shop.ticket()), Accepted)
    with localcontext():  # ccxt changes the thread's rounding
        shop.client().create_order(shop.ticket().instrument.replace("-", "/"), "market", "sell", "0.01")

    trades = shop.exchange.own_trades(shop.ticket().instrument, since)

    assert [one.venue_trade_id for one in trades] == [str(number) for number in range(1, 21)]
    assert {one.side for one in trades[:15]} == {Side.BUY}
    assert {one.side for one in trades[15:]} == {Side.SELL}


def test_balances_have_free_and_locked_parts(shop: RunningVenue) -> None:
    """An open buy locks its quote; balances of 0 are omitted."""
    quote = shop.ticket().instrument.quote
    before = shop.exchange.balances()[quote]
    assert isinstance(
        shop.exchange.submit(shop.ticket(base_size=Decimal("0.01"), limit_price=Decimal(10000))), Accepted
    )
    after = shop.exchange.balances()[quote]

    assert (before.locked, after.locked, before.free - after.free) == (ZERO, Decimal(100), Decimal(100))
    shop.post("balances", {"ETH": "0"})
    assert "ETH" not in shop.exchange.balances()


def test_orders_with_unsupported_terms_are_not_sent(shop: RunningVenue) -> None:
    """Sizes below the minimum, unknown instruments, expired orders and invalid ids cause no request."""
    for terms in (
        {"side": Side.SELL, "base_size": Decimal("0.000001")},
        {"instrument": Instrument("XRP-USDT")},
        {"expires_at": shop.clock()},
        {"client_order_id": "x" * 37},
        {"client_order_id": "blank s"},
    ):
        refused = shop.exchange.submit(shop.ticket(**terms))
        assert isinstance(refused, Refused), terms
        assert refused.text.startswith("not sent"), terms
    assert shop.placing_requests() == 0


def test_client_order_ids_fit_every_venue() -> None:
    """Ids derived by the trade service are valid at each declared venue."""
    with running_venue("binance") as shop:
        ours = shop.ticket().client_order_id
    assert len(ours) == 32
    assert all(facts.client_id_pattern.fullmatch(ours) for facts in DECLARED.values())


def test_forgotten_order_is_not_looked_up(shop: RunningVenue) -> None:
    """A forgotten order has no fills and is unknown."""
    ticket = shop.ticket()
    assert isinstance(shop.exchange.submit(ticket), Accepted)
    shop.exchange.booked(ticket.client_order_id, ["1"])
    shop.exchange.forget(ticket.client_order_id)
    assert shop.exchange.fills(ticket.client_order_id) == []
    assert not isinstance(shop.exchange.find(ticket.client_order_id), FoundOrder | NotPlaced)


def test_secret_is_in_no_text(shop: RunningVenue) -> None:
    """The secret is neither in an adapter's attributes as text nor in its errors."""
    wrong = shop.another_adapter(secret="a-secret-that-is-wrong")
    with pytest.raises(VenueUnavailable) as failure:
        wrong.balances()
    assert "a-secret-that-is-wrong" not in f"{failure.value} {failure.value.__cause__} {vars(wrong)}"
