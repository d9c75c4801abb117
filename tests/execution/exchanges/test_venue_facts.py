"""The declared facts of venues that are not simulated here, each trap of their clients shown beside what we do instead."""

import inspect
from contextlib import nullcontext
from datetime import timedelta
from decimal import ROUND_HALF_EVEN, Decimal, getcontext, localcontext
from urllib.parse import urlsplit

import ccxt
import pytest

from execution.exchanges.ccxt.calling import attempt
from execution.exchanges.ccxt.exchange import ApiKey, CcxtExchange
from execution.exchanges.ccxt.outcomes import meaning_of, one_line
from execution.exchanges.ccxt.transport import BadEndpoint, Wire
from execution.exchanges.ccxt.venues import DECLARED, UndeclaredVenue, facts_of
from execution.exchanges.exchange import Accepted, FoundOrder, NotPlaced, Refused, Unknown, VenueUnavailable
from ledger.values import Instrument, Side
from tests.support.recorded_venue import recorded_venue, spot
from tests.support.simulated_venue import FIRST, HandClock, ticket

LATER = 600
BTC_USD = Instrument("BTC-USD")

COINBASE = [spot("BTC-USD", "BTC", "USD")]
COINBASE_ORDERS = "GET /api/v3/brokerage/orders/historical/batch"
COINBASE_PLACE = "POST /api/v3/brokerage/orders"


def coinbase_order(client_order_id: str) -> dict[str, object]:
    return {
        "order_id": "venue-1",
        "product_id": "BTC-USD",
        "client_order_id": client_order_id,
        "side": "BUY",
        "status": "FILLED",
        "created_time": "2026-11-21T12:00:00Z",
        "filled_size": "0.01",
        "order_configuration": {"market_market_ioc": {"quote_size": "600"}},
    }


def test_coinbase_gets_our_client_order_id() -> None:
    """ccxt replaces a `clientOrderId` at Coinbase by a random one; ours goes out under the venue's own name."""
    with recorded_venue("coinbase", COINBASE) as (recorded, exchange, clock):
        accepted = {
            "success": True,
            "success_response": {"order_id": "venue-1", "product_id": "BTC-USD", "side": "BUY"},
        }
        recorded.answers[COINBASE_PLACE] = (200, accepted)
        order = ticket("coinbase", 1, clock(), quote_size=Decimal(600))

        assert exchange.submit(order) == Accepted("venue-1")
        with localcontext():
            exchange._client.create_order(
                "BTC/USD", "limit", "buy", "0.01", "100", {"clientOrderId": order.client_order_id}
            )

        ours, replaced = recorded.asked(COINBASE_PLACE)
        assert ours["client_order_id"] == order.client_order_id
        assert ours["order_configuration"] == {"market_market_ioc": {"quote_size": "600"}}
        assert replaced["client_order_id"] != order.client_order_id


def test_coinbase_orders_are_found_in_lists() -> None:
    """Coinbase has no look-up by client id: lists are read, and a list that goes on proves nothing."""
    with recorded_venue("coinbase", COINBASE) as (recorded, exchange, clock):
        order = ticket("coinbase", 1, clock(), quote_size=Decimal(600))
        exchange.remember(order, clock())
        clock.advance(LATER)

        recorded.answers[COINBASE_ORDERS] = (200, {"orders": [coinbase_order("another")], "cursor": "more"})
        assert isinstance(exchange.find(order.client_order_id), Unknown)
        recorded.answers[COINBASE_ORDERS] = (200, {"orders": [coinbase_order("another")], "cursor": ""})
        assert isinstance(exchange.find(order.client_order_id), NotPlaced)
        recorded.answers[COINBASE_ORDERS] = (200, {"orders": [coinbase_order(order.client_order_id)], "cursor": ""})
        assert exchange.find(order.client_order_id) == FoundOrder("venue-1", "filled", Decimal("0.01"))


def test_coinbase_refusals_are_proven_by_time() -> None:
    """ccxt makes one class of every refusal inside a 200, which proves nothing: it is unknown until the lists are proof."""
    with recorded_venue("coinbase", COINBASE) as (recorded, exchange, clock):
        refusal = {"success": False, "error_response": {"error": "INSUFFICIENT_FUND", "message": "too little"}}
        recorded.answers = {COINBASE_PLACE: (200, refusal), COINBASE_ORDERS: (200, {"orders": [], "cursor": ""})}
        order = ticket("coinbase", 1, clock(), quote_size=Decimal(600))

        answer, at_once = exchange.submit(order), exchange.find(order.client_order_id)
        clock.advance(LATER)

        assert isinstance(answer, Unknown)
        assert answer.code == "ExchangeError"
        assert isinstance(at_once, Unknown)
        assert isinstance(exchange.find(order.client_order_id), NotPlaced)


def test_coinbase_takes_no_market_buy_in_base() -> None:
    """A market buy in base is not sent to Coinbase: its client would need a price to make a cost of it."""
    with recorded_venue("coinbase", COINBASE) as (recorded, exchange, clock):
        assert isinstance(exchange.submit(ticket("coinbase", 1, clock(), base_size=Decimal("0.01"))), Refused)
        assert recorded.seen == []


KRAKEN = [spot("XXBTZUSD", "BTC", "USD")]
KRAKEN_OPEN, KRAKEN_CLOSED = "POST /0/private/OpenOrders", "POST /0/private/ClosedOrders"


def kraken_order(client_order_id: str) -> dict[str, object]:
    described = {
        "pair": "XXBTZUSD",
        "type": "buy",
        "ordertype": "market",
        "price": "0",
        "order": "buy 0.01 XBTUSD @ market",
    }
    return {
        "cl_ord_id": client_order_id,
        "status": "closed",
        "opentm": 1795262400.1,
        "vol": "0.01",
        "vol_exec": "0.01",
        "cost": "600",
        "fee": "1",
        "price": "60000",
        "descr": described,
        "oflags": "fciq",
        "trades": [],
    }


def test_kraken_orders_are_found_in_lists() -> None:
    """ccxt looks a client id up at Kraken under another field's name; open and closed orders are asked by the right one."""
    with recorded_venue("kraken", KRAKEN) as (recorded, exchange, clock):
        order = ticket("kraken", 1, clock(), base_size=Decimal("0.01"))
        empty = {"error": [], "result": {"open": {}, "closed": {}}}
        recorded.answers = {
            "POST /0/private/QueryOrders": (200, {"error": [], "result": {}}),
            KRAKEN_OPEN: (200, empty),
            KRAKEN_CLOSED: (200, empty),
        }
        exchange.remember(order, clock())

        with pytest.raises(TypeError):  # it looks for the order id None in what it got
            exchange._client.fetch_order(None, "BTC/USD", {"clientOrderId": order.client_order_id})
        (trap,) = recorded.asked("POST /0/private/QueryOrders")
        assert (trap.get("userref"), trap.get("cl_ord_id")) == (order.client_order_id, None)

        assert isinstance(exchange.find(order.client_order_id), Unknown)
        clock.advance(LATER)
        assert isinstance(exchange.find(order.client_order_id), NotPlaced)
        closed = {"error": [], "result": {"closed": {"OABC": kraken_order(order.client_order_id)}}}
        recorded.answers[KRAKEN_CLOSED] = (200, closed)
        assert exchange.find(order.client_order_id) == FoundOrder("OABC", "filled", Decimal("0.01"))
        asked = recorded.asked(KRAKEN_OPEN) + recorded.asked(KRAKEN_CLOSED)
        assert {one["cl_ord_id"] for one in asked} == {order.client_order_id}


def test_kraken_gets_client_id_and_deadline_and_its_time_out_is_unknown() -> None:
    """An order at Kraken carries its client id and a deadline; the venue's own time-out proves nothing."""
    with recorded_venue("kraken", KRAKEN) as (recorded, exchange, clock):
        recorded.answers["POST /0/private/AddOrder"] = (200, {"error": ["EService:Timeout"]})
        order = ticket("kraken", 1, clock(), base_size=Decimal("0.01"), side=Side.SELL)

        answer = exchange.submit(order)

        assert isinstance(answer, Unknown)
        (sent,) = recorded.asked("POST /0/private/AddOrder")
        assert sent["cl_ord_id"] == order.client_order_id
        assert sent["deadline"] == "2026-11-21T12:00:10Z"


BYBIT = [spot("BTCUSDT", "BTC", "USDT")]
BYBIT_REALTIME, BYBIT_HISTORY = "GET /v5/order/realtime", "GET /v5/order/history"


def test_bybit_orders_are_found_by_the_right_name() -> None:
    """ccxt asks Bybit for an order id of None; the venue's own routes are asked by the client id instead."""
    with recorded_venue("bybit", BYBIT) as (recorded, exchange, clock):
        nothing = (200, {"retCode": 0, "retMsg": "OK", "result": {"list": []}, "time": 1})
        recorded.answers = {BYBIT_REALTIME: nothing, BYBIT_HISTORY: nothing}
        order = ticket("bybit", 1, clock(), instrument=Instrument("BTC-USDT"), base_size=Decimal("0.01"))
        exchange.remember(order, clock())

        parameters = {"clientOrderId": order.client_order_id, "acknowledged": True}
        with pytest.raises(ccxt.OrderNotFound):
            exchange._client.fetch_order(None, "BTC/USDT", parameters)
        assert "orderLinkId" not in recorded.asked(BYBIT_REALTIME)[0]

        clock.advance(LATER)
        assert isinstance(exchange.find(order.client_order_id), NotPlaced)
        row = {
            "orderId": "7", "orderLinkId": order.client_order_id, "symbol": "BTCUSDT", "side": "Buy", "orderType": "Market",
            "orderStatus": "Filled", "qty": "0.01", "cumExecQty": "0.01", "cumExecValue": "600", "createdTime": "1795262400000",
        }  # fmt: skip
        recorded.answers[BYBIT_HISTORY] = (200, {"retCode": 0, "retMsg": "OK", "result": {"list": [row]}, "time": 1})
        assert exchange.find(order.client_order_id) == FoundOrder("7", "filled", Decimal("0.01"))
        assert recorded.asked(BYBIT_HISTORY)[-1]["orderLinkId"] == order.client_order_id


ALPACA = [spot("BTC/USD", "BTC", "USD")]
ALPACA_ORDER, ALPACA_ORDERS = "GET /v2/orders:by_client_order_id", "GET /v2/orders"
ALPACA_NOT_FOUND = (404, {"code": 40410000, "message": "order not found"})


def alpaca_order(client_order_id: str) -> dict[str, object]:
    return {
        "id": "a-1", "client_order_id": client_order_id, "created_at": "2026-11-21T12:00:00Z", "symbol": "BTC/USD",
        "side": "buy", "type": "market", "order_type": "market", "status": "filled", "qty": "0.01", "filled_qty": "0.01",
        "filled_avg_price": "60000", "time_in_force": "gtc", "limit_price": None, "commission": None,
    }  # fmt: skip


def test_alpaca_adopts_a_duplicate_and_never_proves_absence() -> None:
    """A repeated id at Alpaca is adopted by its look-up; what it does not have stays unknown, for it promises no window."""
    with recorded_venue("alpaca", ALPACA) as (recorded, exchange, clock):
        recorded.answers = {
            "POST /v2/orders": (422, {"code": 40010001, "message": "client_order_id must be unique"}),
            ALPACA_ORDER: ALPACA_NOT_FOUND,
            ALPACA_ORDERS: (200, []),
        }
        order, gone = (ticket("alpaca", number, clock(), base_size=Decimal("0.01")) for number in (1, 2))
        exchange.remember(gone, clock())
        clock.advance(LATER)
        absent = exchange.find(gone.client_order_id)
        recorded.answers[ALPACA_ORDER] = (200, alpaca_order(order.client_order_id))

        assert isinstance(absent, Unknown)
        assert absent.code == "no_validity"
        assert exchange.submit(order) == Accepted("a-1")
        assert recorded.asked("POST /v2/orders")[0]["client_order_id"] == order.client_order_id


def test_an_order_of_another_id_is_not_adopted() -> None:
    """A look-up that answers with somebody else's order proves nothing, and that order is not taken for ours."""
    with recorded_venue("alpaca", ALPACA) as (recorded, exchange, clock):
        order = ticket("alpaca", 1, clock(), base_size=Decimal("0.01"))
        exchange.remember(order, clock())
        recorded.answers = {ALPACA_ORDER: (200, alpaca_order("another")), ALPACA_ORDERS: (200, [])}
        found = exchange.find(order.client_order_id)
        assert isinstance(found, Unknown)
        assert found.code == "look_up_failed"


NO_SENSE = [
    "{}",
    "null",
    '"later"',
    '{"oops": 1}',
    '[{"oops": null}]',
    "<html>Please wait</html>",
    '{"result": [], "error": []}',
]
"""Bodies with status 200 that are no answer, and no empty list either."""


@pytest.mark.parametrize("venue", DECLARED)
@pytest.mark.parametrize("body", NO_SENSE)
def test_an_answer_of_no_sense_is_no_proof(venue: str, body: str) -> None:
    """A body that does not hold the list that was asked for is not taken for an empty one, whatever the client makes of it."""
    known = {"kraken": KRAKEN, "coinbase": COINBASE, "alpaca": ALPACA, "bybit": BYBIT}
    instrument = Instrument("BTC-USDT") if venue == "bybit" else FIRST.get(venue, BTC_USD)
    markets = known.get(venue) or [spot("X", instrument.base, instrument.quote)]
    with recorded_venue(venue, markets) as (recorded, exchange, clock):
        order = ticket(venue, 1, clock(), instrument=instrument, base_size=Decimal("0.01"))
        exchange.remember(order, clock())
        clock.advance(LATER)
        recorded.always = body

        found = exchange.find(order.client_order_id)

        assert isinstance(found, Unknown)
        assert found.code == "look_up_failed"
        for read in (exchange.open_orders, exchange.balances, lambda: exchange.own_trades(instrument, clock())):
            with pytest.raises(VenueUnavailable):
                read()


# ── what holds for every venue ───────────────────────────────────────────────────────────────────────────────────────

REFUSALS = {
    "InsufficientFunds", "InvalidOrder", "OrderNotCached", "OrderImmediatelyFillable", "OrderNotFillable",
    "ContractUnavailable", "BadRequest", "BadSymbol", "OperationRejected", "NoChange", "MarginModeAlreadySet",
    "MarketClosed", "ManualInteractionNeeded", "RestrictedLocation", "AuthenticationError", "PermissionDenied",
    "AccountNotEnabled", "AccountSuspended", "InvalidNonce",
}  # fmt: skip
ERRORS = [each for _, each in inspect.getmembers(ccxt, inspect.isclass) if issubclass(each, ccxt.BaseError)]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.__name__)
def test_every_error_of_the_client_has_its_meaning(error: type[Exception]) -> None:
    """Only classes on the list are refusals, too many requests only with 429 or 418, and nothing is one with a 5XX."""
    name = error.__name__
    expected = "refused" if name in REFUSALS else "duplicate" if name == "DuplicateOrderId" else "unknown"
    limited = name in ("RateLimitExceeded", "DDoSProtection")

    assert meaning_of(error("x"), 400) == expected
    assert meaning_of(error("x"), 429) == ("refused" if limited else expected)
    assert meaning_of(error("x"), 503) == "unknown"


@pytest.mark.parametrize("error", [KeyError("id"), TypeError("x"), ValueError("x"), OSError("x")])
def test_no_other_error_is_a_refusal(error: Exception) -> None:
    """What is not the client's own error says nothing about the order."""
    assert meaning_of(error, 200) == "unknown"


def test_addresses_in_texts_lose_their_queries() -> None:
    """Signatures and parameters do not get into the log by way of an error's text."""
    text = one_line(
        ccxt.RequestTimeout("binance GET https://api.binance.com/api/v3/order?signature=abc gone\nand more")
    )
    assert text == "binance GET https://api.binance.com/api/v3/order gone and more"


def test_every_venue_declares_enough_to_prove_something() -> None:
    """Each has two sources to ask, hosts of its own and a page; where ids become free again re-sending is not safe."""
    for name, facts in DECLARED.items():
        assert facts.venue == name
        assert len(facts.sources) >= 2
        assert facts.hosts
        assert not (facts.id_scope == "open orders" and facts.resend_safe)
        assert facts.validity is None or timedelta(0) < facts.validity <= timedelta(minutes=2)


USED = {"coinbase": ("rest",), "alpaca": ("trader", "market")}
"""The client's names for the addresses that are used, where they are not public and private."""


@pytest.mark.parametrize("venue", DECLARED)
def test_a_client_speaks_to_the_venues_own_hosts(venue: str) -> None:
    """Every address in use, real and for practice, is on the list of the venue's hosts; most venues have none for practice."""
    facts = facts_of(venue)
    if not facts.sandbox:
        with pytest.raises(ValueError, match="no test address"):
            CcxtExchange(facts, "main", ApiKey("key", "secret"), HandClock(), sandbox=True)
    for sandbox in {False, facts.sandbox}:
        client = CcxtExchange(facts, "main", ApiKey("key", "secret"), HandClock(), sandbox=sandbox)._client
        for name in USED.get(venue, ("public", "private")):
            assert urlsplit(client.implode_hostname(client.urls["api"][name])).hostname in facts.hosts


def test_an_undeclared_venue_is_for_paper() -> None:
    """Where nothing is declared no order can be placed, and the sentence says which venues there are."""
    with pytest.raises(UndeclaredVenue, match=r"'okx'.*binance"):
        facts_of("okx")


@pytest.mark.parametrize("endpoint", ["https://api.binance.com", "http://10.0.0.1:80", "http://127.0.0.1", "ftp://x"])
def test_only_this_machine_stands_in_for_a_venue(endpoint: str) -> None:
    """An endpoint elsewhere could be anybody."""
    with pytest.raises(BadEndpoint, match="127"):
        Wire({"api.binance.com"}, HandClock(), endpoint)


def test_no_request_goes_to_a_foreign_host() -> None:
    """A client whose addresses were changed sends nothing, and the order is known not to have been sent."""
    with recorded_venue("kraken", KRAKEN) as (recorded, exchange, clock):
        exchange._client.urls["api"] = dict.fromkeys(exchange._client.urls["api"], "https://api.krakem.com")
        answer = exchange.submit(ticket("kraken", 1, clock(), base_size=Decimal("0.01")))
        assert isinstance(answer, Refused)
        assert answer.text.startswith("not sent")
        assert recorded.seen == []


def test_a_client_does_not_change_our_arithmetic(monkeypatch: pytest.MonkeyPatch) -> None:
    """ccxt sets the thread's rounding whenever it writes a number: after a call ours stands again, and it must."""

    def write() -> str:
        return str(ccxt.decimal_to_precision("0.125", ccxt.ROUND, 2))

    assert attempt(write) == "0.13"
    assert getcontext().rounding == ROUND_HALF_EVEN
    monkeypatch.setattr("execution.exchanges.ccxt.calling.localcontext", nullcontext)
    with localcontext():
        attempt(write)
        assert getcontext().rounding != ROUND_HALF_EVEN, "planted: without a context of its own it would stay"
