"""Stop prices, times in force and lifetimes: at the paper venue, at simulated venues, and in the trade service."""

from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from execution.exchanges.exchange import Accepted, FoundOrder, OrderTicket, Refused
from execution.exchanges.paper import exchange as paper_module
from execution.exchanges.paper.exchange import PaperExchange
from ledger.events import CancelRequested, OrderClosed, OrderRefused
from ledger.projections.book import MemoryBook
from ledger.values import Side
from tests.support.events import SteppingClock
from tests.support.trading import NOON, Room, ScriptedExchange, market
from tests.support.venues.live_portfolio import live_at
from tests.support.venues.paper_market import PaperVenue, bar, ticket
from tests.support.venues.simulated_venue import RunningVenue, running_venue

BUY, SELL = Side.BUY, Side.SELL
HOUR = timedelta(hours=1)


def ticket_for(side: Side = SELL, **terms: Any) -> OrderTicket:
    """A ticket for ten coins with these terms."""
    plain = ticket(side=side, base="10", limit=terms.pop("limit", None))
    known: dict[str, Any] = {name: getattr(plain, name) for name in OrderTicket.__dataclass_fields__}
    if "stop" in terms:
        known |= {"kind": "stop", "stop_price": Decimal(terms.pop("stop"))}
    return OrderTicket(**{**known, **terms})


def sent(*tickets: OrderTicket, kind: type[PaperExchange] = PaperExchange) -> PaperVenue:
    venue = PaperVenue(kind=kind)
    for one in tickets:
        assert isinstance(venue.paper.submit(one), Accepted)
    return venue


# --- the paper venue --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("side", "stop", "untouched", "touching", "price"),
    [
        (SELL, "95", {"low": "95.01"}, {"low": "94"}, "95"),
        (SELL, "95", {"low": "96"}, {"opened": "90", "low": "89", "high": "91"}, "90"),
        (BUY, "105", {"high": "104.99"}, {"high": "106"}, "105"),
        (BUY, "105", {"high": "104"}, {"opened": "110", "high": "111", "low": "109"}, "110"),
    ],
)
def test_stop_order_waits_for_its_price(
    side: Side, stop: str, untouched: Mapping[str, str], touching: Mapping[str, str], price: str
) -> None:
    """It fills at its price, or at the open beyond it, never better."""
    venue = sent(ticket_for(side, stop=stop))
    venue.candles(bar(0, **untouched))  # type: ignore[arg-type]
    assert venue.fills() == []
    venue.candles(bar(1, **touching))  # type: ignore[arg-type]
    assert [fill.price for fill in venue.fills()] == [Decimal(price)]
    assert venue.state() == "filled"


def test_triggered_stop_fills_its_rest_as_a_market_order() -> None:
    """The part beyond the candle's volume fills at the next open, at any price."""
    venue = sent(ticket_for(stop="95"))
    venue.candles(bar(0, low="94", volume="40"), bar(1, opened="99", high="99", low="99"))
    assert [(fill.price, fill.quantity) for fill in venue.fills()] == [
        (Decimal(95), Decimal(4)),
        (Decimal(99), Decimal(6)),
    ]


@pytest.mark.parametrize(
    ("frame", "volume", "opened", "filled"),
    [
        ("ioc", "1000", "100", "10"),
        ("ioc", "40", "100", "4"),
        ("ioc", "1000", "102", "0"),
        ("fok", "1000", "100", "10"),
        ("fok", "40", "100", "0"),
    ],
)
def test_immediate_order_ends_with_its_first_candle(frame: Any, volume: str, opened: str, filled: str) -> None:
    """It takes the volume within its limit, as a whole where required, and sees no second candle."""
    venue = sent(ticket_for(BUY, limit="101", time_in_force=frame))
    venue.candles(bar(0, volume=volume, opened=opened), bar(1, low="90", volume="1000"))
    assert sum((fill.quantity for fill in venue.fills()), Decimal(0)) == Decimal(filled)
    assert venue.state() == ("filled" if filled == "10" else "expired")


def test_fill_or_kill_order_that_cannot_be_paid_fills_nothing() -> None:
    """Volume that the account cannot pay for does not count."""
    venue = sent(ticket_for(BUY, limit="101", time_in_force="fok"))
    venue.balances["USD"] = Decimal(500)
    venue.candles(bar(0))
    assert (venue.fills(), venue.state()) == ([], "expired")


def test_immediate_order_does_not_rest_after_a_restart() -> None:
    """The log has its fills of the first candle; no later candle fills it."""
    venue, order = PaperVenue(), ticket_for(BUY, limit="101", time_in_force="ioc")
    venue.paper.restore(order, NOON, Decimal(4), Decimal(400), 1, NOON)
    venue.candles(bar(1), bar(2))
    assert (venue.fills(), venue.state()) == ([], "expired")


def test_stop_that_does_not_wait_is_detected(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: a venue that treats a stop order as a market order fills it at once."""
    monkeypatch.setattr(paper_module._Order, "waits", False)
    venue = sent(ticket_for(stop="95"))
    venue.candles(bar(0, low="96"))
    assert venue.fills() != []


@pytest.mark.parametrize(
    ("terms", "words"),
    [
        ({"kind": "stop"}, "a stop order needs a stop price"),
        ({"stop_price": Decimal(5)}, "no other order may have one"),
        ({"kind": "stop", "stop_price": Decimal(5), "base_size": None, "quote_size": Decimal(1)}, "needs a base size"),
        ({"time_in_force": "ioc"}, "only a limit order"),
        ({"kind": "stop", "stop_price": Decimal(0)}, "greater than 0"),
    ],
)
def test_ticket_with_contradictory_terms_is_refused(terms: dict[str, Any], words: str) -> None:
    """A ticket that cannot be sent cannot be made."""
    with pytest.raises(ValueError, match=words):
        ticket_for(**terms)


# --- at a venue -------------------------------------------------------------------------------------------------------


def there(shop: RunningVenue, client_order_id: str) -> dict[str, str]:
    (one,) = shop.orders(client_order_id)
    return one


def test_stop_order_rests_at_the_venue_until_its_price() -> None:
    """The unmodified client places it as the venue's own stop; it fills when the market falls to its price."""
    with running_venue("binance") as shop:
        order = shop.ticket(SELL, base_size=Decimal("0.01"), stop_price=Decimal(59000))
        assert isinstance(shop.exchange.submit(order), Accepted)
        assert there(shop, order.client_order_id)["state"] == "open"
        shop.post("prices", {"BTC-USDT": "58900"})
        found = shop.exchange.find(order.client_order_id)
        assert isinstance(found, FoundOrder)
        assert (found.state, found.filled) == ("filled", Decimal("0.01"))


@pytest.mark.parametrize(("side", "stop"), [(SELL, "60000"), (SELL, "61000"), (BUY, "60000"), (BUY, "59000")])
def test_stop_beyond_its_price_is_refused_by_the_venue(side: Side, stop: str) -> None:
    """As at the real venue nothing is placed; the refusal is stored in the venue's words."""
    with live_at() as live:
        service = live.service()
        service.step()
        size = Decimal("0.01")
        live.order(service, side=side, kind="stop", quote_size=None, base_size=size, stop_price=Decimal(stop))

        (order,), (refusal,) = live.orders(), live.of(OrderRefused)
        assert (order.status, live.there.orders()) == ("refused", [])
        assert refusal.code == "OrderImmediatelyFillable"  # the client's name for -2010 with these words
        assert "Stop price would trigger immediately." in refusal.text
        assert live.faults() == []


@pytest.mark.parametrize(("frame", "state"), [("ioc", "expired"), ("fok", "expired"), ("gtc", "open"), (None, "open")])
def test_times_in_force_reach_the_venue(frame: Any, state: str) -> None:
    """A buy far below the market rests or ends at once, by its time in force."""
    with running_venue("binance") as shop:
        terms = {"base_size": Decimal("0.01"), "limit_price": Decimal(50000), "time_in_force": frame}
        order = shop.ticket(BUY, **terms)
        assert isinstance(shop.exchange.submit(order), Accepted)
        assert there(shop, order.client_order_id)["state"] == state


@pytest.mark.parametrize(
    ("terms", "words"),
    [
        ({"base_size": Decimal("0.01"), "stop_price": Decimal(500000)}, "takes no stop orders"),
        (
            {"base_size": Decimal("0.01"), "limit_price": Decimal(500000), "time_in_force": "fok"},
            "takes limit orders gtc only",
        ),
    ],
)
def test_terms_that_the_venue_lacks_are_never_sent(terms: dict[str, Any], words: str) -> None:
    """Luno has neither: the order is rejected with a reason, and no request leaves."""
    with running_venue("luno") as shop:
        shop.exchange.balances()
        before = shop.placing_requests()
        answer = shop.exchange.submit(shop.ticket(SELL, **terms))
        assert isinstance(answer, Refused)
        assert words in answer.text
        assert shop.placing_requests() == before


def test_expired_order_is_cancelled_at_the_venue() -> None:
    """A resting limit order is cancelled when its lifetime ends, and closed as expired."""
    with live_at() as live:
        service = live.service()
        service.step()
        terms: dict[str, Any] = {
            "kind": "limit",
            "base_size": Decimal("0.01"),
            "quote_size": None,
            "limit_price": Decimal(50000),
        }
        live.order(service, lifetime=timedelta(minutes=10), **terms)
        live.pass_time(service, 500)
        assert [one["state"] for one in live.there.orders()] == ["open"]
        live.pass_time(service, 240)
        assert [one["state"] for one in live.there.orders()] == ["cancelled"]
        assert [one.reason for one in live.of(OrderClosed)] == ["expired"]
        assert live.of(CancelRequested) == []
        assert live.faults() == []


# --- review -----------------------------------------------------------------------------------------------------------


def test_stop_order_skips_the_price_band_but_not_the_venues_steps() -> None:
    """A stop far below the mark is normal; one between two ticks is rejected."""
    room = Room(MemoryBook(SteppingClock()), "stops")
    room.mark("100")
    room.hold("1")
    service = room.service(ScriptedExchange())

    def failed(stop: str) -> list[str]:
        plain = market(SELL, base="0.5")
        known: dict[str, Any] = {name: getattr(plain, name) for name in type(plain).__dataclass_fields__}
        verdict = service.preview(type(plain)(**{**known, "kind": "stop", "stop_price": Decimal(stop)}))
        return [rule.rule for rule in verdict.rules if not rule.passed]

    assert failed("60") == []
    assert failed("60.001") == ["in_steps"]
