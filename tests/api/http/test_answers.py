"""Successful answers of the interface."""

import re
from decimal import Decimal
from itertools import pairwise
from typing import Any
from uuid import UUID

import pytest

from api.runtime.first_run import registered
from ledger.events import PortfolioOpened
from ledger.values import Asset, Instrument, derived_id
from tests.support.api_system import BUY, Daybook, problem_of
from tests.support.events import Step, Story

LISTS = ("trades", "orders", "signals", "events")


@pytest.fixture
def daybook(daybook: Daybook) -> Daybook:
    """A new Daybook after two minutes of its market."""
    daybook.pass_seconds(2)
    return daybook


@pytest.fixture(scope="module")
def traded(shared_daybook: Daybook) -> Daybook:
    """A Daybook with four filled buy orders, for tests that may share it."""
    for number in range(4):
        bought(shared_daybook, f"buy {number}")
    shared_daybook.pass_seconds(40)
    return shared_daybook


def bought(daybook: Daybook, key: str = "buy", **other: str) -> dict[str, Any]:
    """A filled buy order."""
    answer = daybook.post("trades/execute", BUY | other, key)
    assert answer.status_code == 201, answer.text
    daybook.pass_seconds(2)
    filled: dict[str, Any] = daybook.read(f"orders/{answer.json()['order']['order_id']}")
    assert filled["order"]["status"] == "closed"
    return filled


def test_paths_are_equal_with_and_without_a_final_slash(traded: Daybook) -> None:
    lists = ("portfolios", "portfolio", "bots", "bots/signals", "bots/kinds", *LISTS)
    for path in (*lists, "bots/rsi-BTC-USD", "events/1", "/health/trading", "/health/ready"):
        assert traded.read(path) == traded.read(f"{path}/")


def test_executed_trade_appears_in_order_story_position_and_portfolio(daybook: Daybook) -> None:
    filled = bought(daybook)
    trade = filled["trades"][0]

    story = daybook.read(f"trades/{trade['trade_id']}")
    position = daybook.read("portfolio/positions/BTC-USD")
    portfolio = daybook.read("portfolio/")

    assert [event["type"] for event in story["story"]] == [
        *("OrderRequested", "OrderSubmitted", "OrderAccepted", "TradeExecuted", "OrderClosed")
    ]
    assert [lot["lot_id"] for lot in story["opened_lots"]] == [trade["trade_id"]]
    assert position["open_lots"] == story["opened_lots"]
    assert position["position"] == portfolio["positions"][0]
    assert position["position"]["quantity"] == trade["quantity"]
    assert position["position"]["price_age_s"] >= 0
    spent = Decimal(trade["value"]) + Decimal(trade["fees"])
    assert Decimal(portfolio["cash"]) == Decimal(10000) - spent
    assert Decimal(position["position"]["cost_basis"]) == spent
    assert Decimal(portfolio["total_value"]) == Decimal(portfolio["cash"]) + Decimal(
        portfolio["positions"][0]["current_value"]
    )


def test_sale_lists_the_lots_it_closed(daybook: Daybook) -> None:
    opening = bought(daybook)["trades"][0]
    sale = bought(daybook, "sell", side="sell", quote_size="20")["trades"][0]

    matches = daybook.read(f"trades/{sale['trade_id']}")["matches"]

    assert [one["opening_trade_id"] for one in matches] == [opening["trade_id"]]
    assert daybook.read("portfolio/positions/BTC-USD")["matches"] == matches
    assert Decimal(daybook.read("portfolio")["realized_pnl"]) == Decimal(matches[0]["realized_pnl"])


TOO_MUCH = ["enough_available", "position_share", "exposure"]
"""Rules that an order above the available cash fails."""


def test_preview_returns_every_rule_and_stores_nothing(daybook: Daybook) -> None:
    before = daybook.head()

    good = daybook.post("trades/preview", BUY).json()
    bad = daybook.post("trades/preview", BUY | {"quote_size": "10001"}).json()
    long = daybook.post("trades/preview", {**BUY, "quote_size": None, "base_size": "0.001000000000000001"}).json()

    assert good["approved"]
    assert good["value"] == "50"
    assert not bad["approved"]
    assert bad["value"] is None
    assert [rule["rule"] for rule in bad["rules"] if not rule["passed"]] == TOO_MUCH
    assert len(good["rules"]) == len(bad["rules"])
    assert long["rules"]
    assert daybook.head() == before


def test_open_limit_order_is_accepted_and_reserves_its_money(daybook: Daybook) -> None:
    ticket = {"product_id": "BTC-USD", "side": "buy", "base_size": "0.1", "type": "limit", "limit_price": "10000"}

    answer = daybook.post("trades/execute", ticket, "limit")
    daybook.pass_seconds(3)

    assert answer.json()["trades"] == []
    assert daybook.read(f"orders/{answer.json()['order']['order_id']}")["order"]["status"] == "accepted"
    assert daybook.read("/health/trading")["open_orders"] == 1
    refused = daybook.post("trades/execute", BUY | {"quote_size": "9500"}, "too much")
    assert problem_of(refused) == "order-rejected:enough-available"


def test_execute_reads_size_usd_as_quote_size(traded: Daybook) -> None:
    ticket = {name: value for name, value in BUY.items() if name != "quote_size"} | {"size_usd": "50"}

    assert traded.post("trades/execute", ticket, "old").json()["order"]["quote_size"] == "50"


def test_answers_have_text_decimals_and_utc_times(traded: Daybook) -> None:
    for path in ("portfolio", "portfolio/positions/BTC-USD", *LISTS, "bots", "bots/signals", "/health/trading"):
        text = traded.get(path).text
        plain = re.sub(r'"(payload|metadata|parameters)":"(\\.|[^"\\])*"', "", text)
        found = re.search(r'"\w+":-?\d+[.eE]\d', plain)
        assert found is None, path
        assert all(time.endswith("Z") for time in re.findall(r'"(\d{4}-\d\d-\d\dT[^"]*)"', plain)), path


def test_reads_carry_the_log_position_as_etag(traded: Daybook) -> None:
    paths = ("portfolio", *LISTS, "bots", "bots/signals", "bots/rsi-BTC-USD", "events/1", "/health/trading")
    before = {path: traded.get(path).headers["ETag"] for path in paths}
    assert set(before.values()) == {f'"{traded.head()}"'}

    bought(traded)

    assert {traded.get(path).headers["ETag"] for path in paths} == {f'"{traded.head()}"'}
    assert f'"{traded.head()}"' not in before.values()
    assert "ETag" not in traded.get("trades/none").headers


@pytest.mark.parametrize("size", [1, 2, 7, 500])
def test_pages_add_up_to_the_whole_list(traded: Daybook, size: int) -> None:
    """Also while new entries arrive; the last page has no cursor."""
    for path in LISTS:
        whole = traded.read(path, limit=500)["items"]
        assert pages(traded, path, size) == whole


def pages(daybook: Daybook, path: str, size: int) -> list[dict[str, Any]]:
    """Entries of all pages; the market moves once while they are read."""
    found: list[dict[str, Any]] = []
    page = daybook.read(path, limit=size)
    while page["next_cursor"] is not None:
        assert len(page["items"]) == size
        if not found:
            daybook.pass_seconds(2)
        found += page["items"]
        page = daybook.read(path, limit=size, cursor=page["next_cursor"])
    assert page["items"] or not found, "a cursor led to an empty page"
    positions = [entry["position"] for entry in found + page["items"]]
    assert all(newer > older for newer, older in pairwise(positions))
    return [*found, *page["items"]]


def test_lists_are_filtered_by_their_parameters(traded: Daybook) -> None:
    assert {one["triggered_by"] for one in traded.read("trades", triggered_by="manual")["items"]} == {"manual"}
    types = {one["type"] for one in traded.read("events", type="BotRegistered,BotStarted")["items"]}
    assert types == {"BotRegistered", "BotStarted"}
    bots = {one["bot_id"] for one in traded.read("signals", bot_id="rsi-BTC-USD")["items"]}
    assert bots <= {"rsi-BTC-USD"}
    assert traded.read("orders", status="no such status")["items"] == []


def test_events_are_returned_as_stored(traded: Daybook) -> None:
    """With the exact text and hash."""
    stored = list(traded.system.book.log.read(traded.system.portfolio_id))

    for envelope in stored[:5]:
        answer = traded.read(f"events/{envelope.position}")
        assert answer["payload"] == envelope.payload
        assert answer["hash"] == envelope.hash.hex()
        assert UUID(answer["event_id"]) == envelope.event_id


def test_bot_is_registered_started_evaluated_and_stopped(daybook: Daybook) -> None:
    body = {"bot_id": "mine", "kind": "rsi", "product_id": "ETH-USD", "parameters": {"length": 9}}

    registered = daybook.post("bots/", body, "register")
    assert registered.status_code == 201, registered.text
    assert registered.json()["status"] == "stopped"
    assert '"length":9' in registered.json()["parameters"]
    assert daybook.post("bots/mine/start", key="start").json()["status"] == "running"
    daybook.pass_seconds(2)
    assert daybook.read("bots/mine")["last_evaluation"]["asof"] is not None
    assert daybook.post("bots/mine/evaluate", key="ask").json()["last_evaluation"]["outcome"] != "failed"
    assert daybook.post("bots/mine/stop", key="stop").json()["status"] == "stopped"
    assert next(one for one in daybook.read("bots/signals/") if one["bot_id"] == "mine")["ready_to_trade"] is False


def test_bot_is_not_ready_while_it_warms_up(daybook: Daybook) -> None:
    body = {"bot_id": "far", "kind": "rsi", "product_id": "ETH-USD", "parameters": {"length": 100}}
    assert daybook.post("bots/", body, "register").status_code == 201
    daybook.post("bots/far/start", key="start")
    daybook.pass_seconds(2)

    found = next(one for one in daybook.read("bots/signals/") if one["bot_id"] == "far")
    assert found["ready_to_trade"] is False
    assert any(
        one.startswith("the bot is warming up: ") and " of 3700 candles" in one for one in found["blocked_by"]
    ), found


def test_signal_story_begins_with_its_verdict(traded: Daybook) -> None:
    signals = traded.read("signals")["items"]
    assert signals

    for signal in signals[:5]:
        types = [event["type"] for event in traded.read(f"signals/{signal['signal_id']}")["story"]]
        assert types[0] == "SignalEmitted"
        assert types[1] in ("SignalApproved", "SignalRejected", "SignalExpired")


def test_other_portfolio_has_no_market_and_takes_no_order(daybook: Daybook) -> None:
    """Nor price ages, nor bots that are ready."""
    story = Story("elsewhere")
    named = derived_id("portfolio", "elsewhere")
    namesake = registered("rsi-BTC-USD", "rsi", Instrument("BTC-USD"), "1m", "{}")
    daybook.system.book.record(named, [story.new(PortfolioOpened(name="elsewhere", base_currency=Asset("USD")))])
    daybook.system.book.record(named, [*story.opened()[1:], story.new(namesake), *story.mark(Step("mark"))])
    daybook.system.book.record(named, story.buy(Step("buy")))

    portfolio = daybook.read("portfolio", portfolio="elsewhere")

    assert portfolio["portfolio_id"] == str(named)
    assert (portfolio["market"], portfolio["simulated"], portfolio["market_time"]) == (None, None, None)
    assert portfolio["positions"][0]["price"] is not None
    assert portfolio["positions"][0]["price_age_s"] is None
    assert [one["ready_to_trade"] for one in daybook.read("bots/signals", portfolio="elsewhere")] == [False]
    assert [one["last_evaluation"] for one in daybook.read("bots", portfolio="elsewhere")] == [None]
    assert daybook.read("bots/rsi-BTC-USD", portfolio="elsewhere")["last_evaluation"] is None
    assert daybook.read("bots/rsi-BTC-USD")["last_evaluation"] is not None
    assert {one["name"] for one in daybook.read("portfolios")} == {"elsewhere", daybook.system.portfolio_name}
    refused = daybook.send(
        "POST", "trades/execute", params={"portfolio": "elsewhere"}, json=BUY, headers={"Idempotency-Key": "k"}
    )
    assert problem_of(refused) == "not-driven-here"


def test_verification_of_a_sound_ledger_is_positive(traded: Daybook) -> None:
    found = traded.post("verification").json()

    assert found["verified"]
    assert found["events"] == traded.head()
    assert found["differences"] == []
