"""Declared facts of venues that are not simulated, with the ccxt pitfalls that they work around."""

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
from tests.support.venues.recorded_venue import recorded_venue, spot
from tests.support.venues.simulated_venue import FIRST, HandClock, ticket

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


def test_coinbase_receives_our_client_order_id() -> None:
    """ccxt replaces a `clientOrderId` by a random one; ours is sent under the venue's own name."""
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

        ours, replaced = recorded.requests(COINBASE_PLACE)
        assert ours["client_order_id"] == order.client_order_id
        assert ours["order_configuration"] == {"market_market_ioc": {"quote_size": "600"}}
        assert replaced["client_order_id"] != order.client_order_id


def test_coinbase_orders_are_found_in_lists() -> None:
    """Coinbase has no look-up by client order id; lists are read, and a list that continues proves nothing."""
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


def test_coinbase_refusal_is_unknown_until_lists_are_proof() -> None:
    """ccxt raises the same class for every refusal inside a 200, so the outcome is unknown until the lists prove it."""
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


def test_coinbase_market_buy_in_base_is_not_sent() -> None:
    """ccxt would need a price to convert the size to a cost."""
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
    """ccxt looks up a client order id under the wrong field; lists of open and closed orders use the right one."""
    with recorded_venue("kraken", KRAKEN) as (recorded, exchange, clock):
        order = ticket("kraken", 1, clock(), base_size=Decimal("0.01"))
        empty = {"error": [], "result": {"open": {}, "closed": {}}}
        recorded.answers = {
            "POST /0/private/QueryOrders": (200, {"error": [], "result": {}}),
            KRAKEN_OPEN: (200, empty),
            KRAKEN_CLOSED: (200, empty),
        }
        exchange.remember(order, clock())

        with pytest.raises(TypeError):  # ccxt looks for the order id None in the reply
            exchange._client.fetch_order(None, "BTC/USD", {"clientOrderId": order.client_order_id})
        (trap,) = recorded.requests("POST /0/private/QueryOrders")
        assert (trap.get("userref"), trap.get("cl_ord_id")) == (order.client_order_id, None)

        assert isinstance(exchange.find(order.client_order_id), Unknown)
        clock.advance(LATER)
        assert isinstance(exchange.find(order.client_order_id), NotPlaced)
        closed = {"error": [], "result": {"closed": {"OABC": kraken_order(order.client_order_id)}}}
        recorded.answers[KRAKEN_CLOSED] = (200, closed)
        assert exchange.find(order.client_order_id) == FoundOrder("OABC", "filled", Decimal("0.01"))
        sent = recorded.requests(KRAKEN_OPEN) + recorded.requests(KRAKEN_CLOSED)
        assert {one["cl_ord_id"] for one in sent} == {order.client_order_id}


def test_kraken_order_has_client_id_and_deadline_and_its_timeout_is_unknown() -> None:
    """An order has its client order id and a deadline; the venue's own timeout proves nothing."""
    with recorded_venue("kraken", KRAKEN) as (recorded, exchange, clock):
        recorded.answers["POST /0/private/AddOrder"] = (200, {"error": ["EService:Timeout"]})
        order = ticket("kraken", 1, clock(), base_size=Decimal("0.01"), side=Side.SELL)

        answer = exchange.submit(order)

        assert isinstance(answer, Unknown)
        (sent,) = recorded.requests("POST /0/private/AddOrder")
        assert sent["cl_ord_id"] == order.client_order_id
        assert sent["deadline"] == "2026-11-21T12:00:10Z"


BYBIT = [spot("BTCUSDT", "BTC", "USDT")]
BYBIT_REALTIME, BYBIT_HISTORY = "GET /v5/order/realtime", "GET /v5/order/history"


def test_bybit_orders_are_found_by_client_order_id() -> None:
    """ccxt looks up the order id None; the venue's own routes look up the client order id."""
    with recorded_venue("bybit", BYBIT) as (recorded, exchange, clock):
        nothing = (200, {"retCode": 0, "retMsg": "OK", "result": {"list": []}, "time": 1})
        recorded.answers = {BYBIT_REALTIME: nothing, BYBIT_HISTORY: nothing}
        order = ticket("bybit", 1, clock(), instrument=Instrument("BTC-USDT"), base_size=Decimal("0.01"))
        exchange.remember(order, clock())

        parameters = {"clientOrderId": order.client_order_id, "acknowledged": True}
        with pytest.raises(ccxt.OrderNotFound):
            exchange._client.fetch_order(None, "BTC/USDT", parameters)
        assert "orderLinkId" not in recorded.requests(BYBIT_REALTIME)[0]

        clock.advance(LATER)
        assert isinstance(exchange.find(order.client_order_id), NotPlaced)
        row = {
            "orderId": "7", "orderLinkId": order.client_order_id, "symbol": "BTCUSDT", "side": "Buy", "orderType": "Market",
            "orderStatus": "Filled", "qty": "0.01", "cumExecQty": "0.01", "cumExecValue": "600", "createdTime": "1795262400000",
        }  # fmt: skip
        recorded.answers[BYBIT_HISTORY] = (200, {"retCode": 0, "retMsg": "OK", "result": {"list": [row]}, "time": 1})
        assert exchange.find(order.client_order_id) == FoundOrder("7", "filled", Decimal("0.01"))
        assert recorded.requests(BYBIT_HISTORY)[-1]["orderLinkId"] == order.client_order_id


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
    """A repeated id is adopted by a look-up; a missing order stays unknown, because Alpaca guarantees no window."""
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
        assert recorded.requests("POST /v2/orders")[0]["client_order_id"] == order.client_order_id


def test_order_with_another_id_is_not_adopted() -> None:
    """A look-up that returns an order with another client order id proves nothing."""
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
"""Bodies with status 200 that are neither valid replies nor empty lists."""


@pytest.mark.parametrize("venue", DECLARED)
@pytest.mark.parametrize("body", NO_SENSE)
def test_meaningless_reply_is_no_proof(venue: str, body: str) -> None:
    """A reply without the expected list does not count as an empty list, whatever ccxt returns."""
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
def test_meaning_of_every_ccxt_error(error: type[Exception]) -> None:
    """Only listed classes are refusals, rate limits only with 429 or 418, and none with a 5XX."""
    name = error.__name__
    expected = "refused" if name in REFUSALS else "duplicate" if name == "DuplicateOrderId" else "unknown"
    limited = name in ("RateLimitExceeded", "DDoSProtection")

    assert meaning_of(error("x"), 400) == expected
    assert meaning_of(error("x"), 429) == ("refused" if limited else expected)
    assert meaning_of(error("x"), 503) == "unknown"


@pytest.mark.parametrize("error", [KeyError("id"), TypeError("x"), ValueError("x"), OSError("x")])
def test_meaning_of_other_errors_is_unknown(error: Exception) -> None:
    """Errors other than ccxt's prove nothing about the order."""
    assert meaning_of(error, 200) == "unknown"


def test_one_line_removes_queries_from_urls() -> None:
    """Signatures and parameters do not reach the log in error texts."""
    text = one_line(
        ccxt.RequestTimeout("binance GET https://api.binance.com/api/v3/order?signature=abc gone\nand more")
    )
    assert text == "binance GET https://api.binance.com/api/v3/order gone and more"


def test_every_venue_declares_enough_for_proof() -> None:
    """Each has two sources and hosts of its own; where ids are reusable, sending again is not safe."""
    for name, facts in DECLARED.items():
        assert facts.venue == name
        assert len(facts.sources) >= 2
        assert facts.hosts
        assert not (facts.id_scope == "open orders" and facts.resend_safe)
        assert facts.validity is None or timedelta(0) < facts.validity <= timedelta(minutes=2)


USED = {"coinbase": ("rest",), "alpaca": ("trader", "market")}
"""ccxt's names of the URLs in use, where they differ from public and private."""


@pytest.mark.parametrize("venue", DECLARED)
def test_client_urls_are_on_the_venues_hosts(venue: str) -> None:
    """Every URL in use, live and sandbox, is on the list of the venue's hosts; some venues have no sandbox."""
    facts = facts_of(venue)
    if not facts.sandbox:
        with pytest.raises(ValueError, match="no test address"):
            CcxtExchange(facts, "main", ApiKey("key", "secret"), HandClock(), sandbox=True)
    for sandbox in {False, facts.sandbox}:
        client = CcxtExchange(facts, "main", ApiKey("key", "secret"), HandClock(), sandbox=sandbox)._client
        for name in USED.get(venue, ("public", "private")):
            assert urlsplit(client.implode_hostname(client.urls["api"][name])).hostname in facts.hosts


def test_undeclared_venue_is_rejected() -> None:
    """Orders can be placed only at declared venues, which the error lists."""
    with pytest.raises(UndeclaredVenue, match=r"'okx'.*binance"):
        facts_of("okx")


@pytest.mark.parametrize("endpoint", ["https://api.binance.com", "http://10.0.0.1:80", "http://127.0.0.1", "ftp://x"])
def test_endpoint_must_be_local(endpoint: str) -> None:
    """An endpoint on another machine is rejected."""
    with pytest.raises(BadEndpoint, match="127"):
        Wire({"api.binance.com"}, HandClock(), endpoint)


def test_requests_to_other_hosts_are_not_sent() -> None:
    """With changed URLs nothing is sent, and the order is refused as not sent."""
    with recorded_venue("kraken", KRAKEN) as (recorded, exchange, clock):
        exchange._client.urls["api"] = dict.fromkeys(exchange._client.urls["api"], "https://api.krakem.com")
        answer = exchange.submit(ticket("kraken", 1, clock(), base_size=Decimal("0.01")))
        assert isinstance(answer, Refused)
        assert answer.text.startswith("not sent")
        assert recorded.seen == []


def test_attempt_restores_the_decimal_context(monkeypatch: pytest.MonkeyPatch) -> None:
    """ccxt changes the thread's rounding when it formats a number; afterwards it is restored."""

    def write() -> str:
        return str(ccxt.decimal_to_precision("0.125", ccxt.ROUND, 2))

    assert attempt(write) == "0.13"
    assert getcontext().rounding == ROUND_HALF_EVEN
    monkeypatch.setattr("execution.exchanges.ccxt.calling.localcontext", nullcontext)
    with localcontext():
        attempt(write)
        assert getcontext().rounding != ROUND_HALF_EVEN, "planted: without a local context the rounding stays changed"
