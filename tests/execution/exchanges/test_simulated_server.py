"""Simulated venues, tested with ccxt's client and the `venue` command: id rules, order types, filters, control."""

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal, localcontext
from pathlib import Path
from typing import Any

import ccxt
import httpx
import pytest
from click.testing import CliRunner

from api.cli import cli
from execution.exchanges.ccxt.venues import facts_of
from execution.exchanges.exchange import Accepted, FoundOrder
from execution.exchanges.simulated.server import KEY, SECRET
from ledger.values import system_clock
from tests.support.processes import DAYBOOK
from tests.support.venues.simulated_venue import HandClock, RunningVenue, adapter, running_venue, ticket


@pytest.fixture(autouse=True)
def own_arithmetic() -> Iterator[None]:
    """Restore the decimal context after each test, because ccxt's client changes the thread's rounding."""
    with localcontext():
        yield


@pytest.fixture
def binance() -> Iterator[RunningVenue]:
    with running_venue("binance") as running:
        yield running


@pytest.fixture
def luno() -> Iterator[RunningVenue]:
    with running_venue("luno") as running:
        yield running


def order(
    shop: RunningVenue, client_order_id: str, kind: str, side: str, amount: str, price: str | None = None, **more: str
) -> Any:
    """RunningVenue an order with ccxt's client, without our adapter."""
    name = facts_of(shop.name).client_id_parameter
    symbol = shop.ticket().instrument.replace("-", "/")
    return shop.client().create_order(symbol, kind, side, amount, price, {name: client_order_id, **more})


def test_binance_id_is_reusable_after_its_order_has_ended(binance: RunningVenue) -> None:
    """An id is a duplicate while its order is open; afterwards it can be used for another order."""
    binance.exchange.balances()
    order(binance, "one", "limit", "buy", "0.01", "50000")
    with pytest.raises(ccxt.InvalidOrder, match="Duplicate"):
        order(binance, "one", "limit", "buy", "0.01", "50000")
    binance.client().cancel_order(None, "BTC/USDT", {"clientOrderId": "one"})
    order(binance, "one", "limit", "buy", "0.01", "50000")
    assert [one["state"] for one in binance.orders("one")] == ["cancelled", "open"]


def test_luno_id_is_never_reusable(luno: RunningVenue) -> None:
    """An id stays a duplicate after its order has ended; a refused order does not use its id."""
    luno.exchange.balances()
    with pytest.raises(ccxt.InsufficientFunds):
        order(luno, "one", "market", "buy", "99999999")
    order(luno, "one", "market", "buy", "1200")
    with pytest.raises(ccxt.DuplicateOrderId):
        order(luno, "one", "market", "buy", "1200")
    assert len(luno.orders("one")) == 1


def test_luno_ignores_the_unified_client_order_id(luno: RunningVenue) -> None:
    """ccxt sends `clientOrderId` under a name that Luno does not know, so the order does not get our id."""
    luno.exchange.balances()
    luno.client().create_order("BTC/ZAR", "market", "buy", "1200", None, {"clientOrderId": "ours"})
    assert luno.orders("ours") == []
    assert len(luno.orders()) == 1


@pytest.mark.parametrize(
    ("terms", "error"),
    [
        (("x" * 37, "limit", "buy", "0.01", "50000"), ccxt.BadRequest),
        (("a", "limit", "buy", "0.00002", "50000"), ccxt.BadRequest),
        (("a", "market", "sell", "900"), ccxt.InsufficientFunds),
    ],
    ids=["id too long", "value too small", "no funds"],
)
def test_binance_refuses_with_its_own_codes(
    binance: RunningVenue, terms: tuple[Any, ...], error: type[Exception]
) -> None:
    """Invalid orders are refused with the venue's codes, and nothing is placed."""
    binance.exchange.balances()
    with pytest.raises(error):
        order(binance, *terms)
    assert binance.orders() == []


def test_signatures_are_checked(binance: RunningVenue, luno: RunningVenue) -> None:
    """Both venues refuse a wrong secret and an unsigned request."""
    for shop, error in ((binance, ccxt.BaseError), (luno, ccxt.AuthenticationError)):
        wrong = shop.another_adapter(secret="another")
        with pytest.raises(error):
            wrong._client.fetch_balance()
    assert binance.control.get("/api/v3/account").json()["code"] == -2015
    assert luno.control.get("/api/1/balance").status_code == 401


@pytest.mark.parametrize(
    ("frame", "price", "share", "state", "filled"),
    [
        ("GTC", "50000", "1", "open", "0"),
        ("GTC", "60000", "1", "filled", "0.01"),
        ("GTC", "60000", "0.5", "open", "0.005"),
        ("IOC", "50000", "1", "expired", "0"),
        ("IOC", "60000", "0.5", "expired", "0.005"),
        ("FOK", "60000", "1", "filled", "0.01"),
        ("FOK", "60000", "0.5", "expired", "0"),
    ],
)
def test_binance_respects_time_in_force(
    binance: RunningVenue, frame: str, price: str, share: str, state: str, filled: str
) -> None:
    """By its time in force a limit order rests, fills what it can immediately, or fills completely or not at all."""
    binance.exchange.balances()
    binance.post("settings", {"share": share})
    order(binance, "one", "limit", "buy", "0.01", price, timeInForce=frame)
    (found,) = binance.orders("one")
    assert (found["state"], found["filled"]) == (state, filled)


def test_stop_order_fills_at_its_stop_price(binance: RunningVenue) -> None:
    """A stop order sells when the market reaches its price, not before."""
    binance.exchange.balances()
    order(binance, "one", "market", "sell", "0.01", stopLossPrice="55000")
    states = []
    for price in ("56000", "55000"):
        binance.post("prices", {"BTC-USDT": price})
        states.append(binance.orders("one")[0]["state"])
    assert states == ["open", "filled"]


def test_limit_order_fills_when_the_market_reaches_it(luno: RunningVenue) -> None:
    """Setting the price fills resting orders at their limit."""
    luno.exchange.balances()
    order(luno, "one", "limit", "buy", "0.01", "1100000")
    luno.post("prices", {"BTC-ZAR": "1090000"})
    assert luno.orders("one")[0]["value"] == "11000"


def test_market_data_can_be_read_with_ccxt(binance: RunningVenue, luno: RunningVenue) -> None:
    """Tickers, order books and candles are available."""
    for shop, symbol in ((binance, "BTC/USDT"), (luno, "BTC/ZAR")):
        client = shop.client()
        price = shop.venue.shape.matching.prices[shop.venue.instruments[0]]
        assert Decimal(client.fetch_ticker(symbol)["last"]) == price
        assert client.fetch_order_book(symbol, 5)["asks"][0][0] == price
        since = int(shop.clock().timestamp() * 1000) - 600_000
        candles = client.fetch_ohlcv(symbol, "1m", since, 5)
        assert len(candles) >= 5
        assert all(low <= opened <= high for _, opened, high, low, *_ in candles)


def test_luno_account_entries_are_numbered(luno: RunningVenue) -> None:
    """Each change of a balance is a row with an increasing number, and the rows add up to the balance."""
    luno.exchange.balances()
    luno.post("balances", {"ZAR": "500000"})
    order(luno, "one", "market", "buy", "12000")
    (account,) = [one["id"] for one in luno.client().fetch_accounts() if one["code"] == "ZAR"]
    rows = luno.client().privateGetAccountsIdTransactions({"id": account, "min_row": 1, "max_row": 100})["transactions"]
    assert [row["row_index"] for row in rows] == [1, 2]
    assert rows[-1]["balance"] == "488000.00"


def test_server_keeps_connections_alive(binance: RunningVenue) -> None:
    """Several requests use one connection."""
    local = set()
    with httpx.Client(base_url=binance.venue.url) as client:
        for _ in range(3):
            answer = client.get("/api/v3/time")
            local.add(answer.extensions["network_stream"].get_extra_info("client_addr"))
    assert len(local) == 1


@pytest.mark.parametrize(
    ("route", "body", "message"),
    [
        ("faults", {"name": "nope"}, "unknown fault 'nope'"),
        ("faults", {"name": "hang", "times": 0}, "times"),
        ("prices", {"XRP-USDT": "1"}, "XRP-USDT is not traded here"),
        ("prices", {"BTC-USDT": 1}, "BTC-USDT"),
        ("fills", {"client_order_id": "x", "quantity": "1", "price": "1"}, "unknown order x"),
        ("settings", {"shape": "1"}, "shape"),
        ("nowhere", {}, "unknown route POST"),
    ],
)
def test_control_rejects_wrong_requests(
    binance: RunningVenue, route: str, body: dict[str, object], message: str
) -> None:
    """A wrong control request gets an error text and changes nothing."""
    answer = binance.control.post(f"/control/{route}", json=body)
    assert answer.status_code in (400, 404)
    assert message in answer.json()["error"]
    assert binance.control.get("/control/faults").json() == []


def test_storms_repeat_with_their_seed() -> None:
    """The same seed gives the same faults to the same requests."""

    def storm(seed: int) -> list[int]:
        with running_venue("luno", seed) as shop:
            shop.fault("storm", times=None, on="all")
            return [_status(shop.control) for _ in range(12)]

    assert storm(1) == storm(1) != storm(2)


def _status(client: httpx.Client) -> int:
    try:
        return client.get("/api/1/tickers", timeout=1).status_code
    except httpx.HTTPError:
        return 0


# ── as a program ─────────────────────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def venue_process(*arguments: str) -> Iterator[dict[str, Any]]:
    """Run `daybook venue … --json` and yield its output."""
    command: list[str | Path] = [DAYBOOK, "venue", *arguments, "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "COLUMNS": "80"}) as process:
        assert process.stdout is not None
        try:
            yield json.loads(process.stdout.readline())
        finally:
            process.terminate()
            assert process.wait() == 0


def test_venue_command_keeps_orders_across_adapters() -> None:
    """An order whose reply was lost is found by another adapter, because the venue runs in its own process."""
    with venue_process("binance", "--fault", "reset", "--seed", "3") as about:
        assert (about["venue"], about["key"], about["secret"]) == ("binance", KEY, SECRET)
        clock = HandClock(system_clock())
        sent = ticket("binance", 1, clock(), quote_size=Decimal(600))
        first, second = (adapter(facts_of("binance"), about["url"], clock) for _ in range(2))

        answer = first.submit(sent)
        second.remember(sent, clock())

        assert not isinstance(answer, Accepted)
        assert isinstance(second.find(sent.client_order_id), FoundOrder)


def test_venue_command_rejects_wrong_options() -> None:
    """An unknown fault and a port in use are reported."""
    with running_venue("luno") as shop:
        port = shop.venue.url.rpartition(":")[2]
        taken = CliRunner().invoke(cli, ["venue", "luno", "--port", port])
        wrong = CliRunner().invoke(cli, ["venue", "luno", "--fault", "nope"])
        unread = CliRunner().invoke(cli, ["venue", "luno", "--fault", "delayed=soon"])
    assert (taken.exit_code, wrong.exit_code, unread.exit_code) == (1, 2, 2)
    assert f"port {port} of 127.0.0.1 is not available" in taken.stderr
    assert "unknown fault" in wrong.stderr
    assert "is not a number of seconds" in unread.stderr
