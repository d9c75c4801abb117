"""What the interface answers when all goes well. Every answer is held to the OpenAPI document besides."""

import re
from collections.abc import Iterator
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from api.runtime.first_run import registered
from ledger.events import PortfolioOpened
from ledger.values import Asset, Instrument, derived_id
from tests.support.api_system import BUY, Daybook, open_daybook, problem_of
from tests.support.events import Step, Story

LISTS = ("trades", "orders", "signals", "events")


@pytest.fixture
def daybook(database_url: str, tmp_path: Path) -> Iterator[Daybook]:
    """A new Daybook whose market has moved for a minute."""
    with open_daybook(database_url, tmp_path) as running:
        running.pass_seconds(2)
        yield running


def bought(daybook: Daybook, key: str = "buy", **other: str) -> dict[str, Any]:
    """The order of a purchase that has been filled."""
    answer = daybook.post("trades/execute", BUY | other, key)
    assert answer.status_code == 201, answer.text
    daybook.pass_seconds(2)
    filled: dict[str, Any] = daybook.read(f"orders/{answer.json()['order']['order_id']}")
    assert filled["order"]["status"] == "closed"
    return filled


def test_a_path_answers_with_and_without_its_last_slash(daybook: Daybook) -> None:
    """Every path gives one answer, whether or not a slash ends it."""
    lists = ("portfolios", "portfolio", "bots", "bots/signals", "bots/kinds", *LISTS)
    for path in (*lists, "bots/rsi-BTC-USD", "events/1", "/health/trading", "/health/ready"):
        assert daybook.read(path) == daybook.read(f"{path}/")


def test_a_trade_by_hand_is_a_position_with_its_lot_and_its_story(daybook: Daybook) -> None:
    """A purchase over HTTP is found again in the order, the trade, its story, the position and the portfolio."""
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


def test_a_sale_names_the_lot_it_closed(daybook: Daybook) -> None:
    """A sale's story lists its matches, each with the trade that opened the lot; the position lists the same ones."""
    opening = bought(daybook)["trades"][0]
    sale = bought(daybook, "sell", side="sell", quote_size="20")["trades"][0]

    matches = daybook.read(f"trades/{sale['trade_id']}")["matches"]

    assert [one["opening_trade_id"] for one in matches] == [opening["trade_id"]]
    assert daybook.read("portfolio/positions/BTC-USD")["matches"] == matches
    assert Decimal(daybook.read("portfolio")["realized_pnl"]) == Decimal(matches[0]["realized_pnl"])


TOO_MUCH = ["enough_available", "position_share", "exposure"]
"""What stands against an order for more than all there is."""


def test_a_preview_says_what_review_would_say_and_stores_nothing(daybook: Daybook) -> None:
    """A preview answers with every rule, whether it would pass or not, and leaves the log where it is."""
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


def test_a_limit_order_that_waits_is_answered_as_it_is(daybook: Daybook) -> None:
    """A limit order far from the market is accepted, holds its money back, and has no trade."""
    ticket = {"product_id": "BTC-USD", "side": "buy", "base_size": "0.1", "type": "limit", "limit_price": "10000"}

    answer = daybook.post("trades/execute", ticket, "limit")
    daybook.pass_seconds(3)

    assert answer.json()["trades"] == []
    assert daybook.read(f"orders/{answer.json()['order']['order_id']}")["order"]["status"] == "accepted"
    assert daybook.read("/health/trading")["open_orders"] == 1
    refused = daybook.post("trades/execute", BUY | {"quote_size": "9500"}, "too much")
    assert problem_of(refused) == "order-rejected:enough-available"


def test_size_usd_is_read_as_quote_size(daybook: Daybook) -> None:
    """The older name of the size orders for the same money."""
    ticket = {name: value for name, value in BUY.items() if name != "quote_size"} | {"size_usd": "50"}

    assert daybook.post("trades/execute", ticket, "old").json()["order"]["quote_size"] == "50"


def test_money_and_times_are_text(daybook: Daybook) -> None:
    """No answer holds a number with a point, and every text that looks like a time ends in Z."""
    bought(daybook)

    for path in ("portfolio", "portfolio/positions/BTC-USD", *LISTS, "bots", "bots/signals", "/health/trading"):
        text = daybook.get(path).text
        plain = re.sub(r'"(payload|metadata|parameters)":"(\\.|[^"\\])*"', "", text)
        found = re.search(r'"\w+":-?\d+[.eE]\d', plain)
        assert found is None, path
        assert all(time.endswith("Z") for time in re.findall(r'"(\d{4}-\d\d-\d\dT[^"]*)"', plain)), path


def test_an_answer_carries_the_log_position_it_was_computed_at(daybook: Daybook) -> None:
    """Every read of a portfolio has the position of the log as its ETag, and it moves when the log does."""
    paths = ("portfolio", *LISTS, "bots", "bots/signals", "bots/rsi-BTC-USD", "events/1", "/health/trading")
    before = {path: daybook.get(path).headers["ETag"] for path in paths}
    assert set(before.values()) == {f'"{daybook.head()}"'}

    bought(daybook)

    assert {daybook.get(path).headers["ETag"] for path in paths} == {f'"{daybook.head()}"'}
    assert f'"{daybook.head()}"' not in before.values()
    assert "ETag" not in daybook.get("trades/none").headers


@pytest.mark.parametrize("size", [1, 2, 7, 500])
def test_pages_put_together_are_the_whole_list(daybook: Daybook, size: int) -> None:
    """Following the cursors gives every entry once, newest first, also while new ones come in; the last has no cursor."""
    for number in range(4):
        bought(daybook, f"buy {number}")

    for path in LISTS:
        whole = daybook.read(path, limit=500)["items"]
        assert pages(daybook, path, size) == whole


def pages(daybook: Daybook, path: str, size: int) -> list[dict[str, Any]]:
    """The entries of all pages; the market moves once while they are read."""
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


def test_lists_are_narrowed_by_their_parameters(daybook: Daybook) -> None:
    """A filter gives exactly the entries that have its value."""
    bought(daybook)
    daybook.pass_seconds(30)

    assert {one["triggered_by"] for one in daybook.read("trades", triggered_by="manual")["items"]} == {"manual"}
    types = {one["type"] for one in daybook.read("events", type="BotRegistered,BotStarted")["items"]}
    assert types == {"BotRegistered", "BotStarted"}
    bots = {one["bot_id"] for one in daybook.read("signals", bot_id="rsi-BTC-USD")["items"]}
    assert bots <= {"rsi-BTC-USD"}
    assert daybook.read("orders", status="no such status")["items"] == []


def test_an_event_is_answered_as_it_is_stored(daybook: Daybook) -> None:
    """The journal gives the exact stored text and hash of each event."""
    stored = list(daybook.system.book.log.read(daybook.system.portfolio_id))

    for envelope in stored[:5]:
        answer = daybook.read(f"events/{envelope.position}")
        assert answer["payload"] == envelope.payload
        assert answer["hash"] == envelope.hash.hex()
        assert UUID(answer["event_id"]) == envelope.event_id


def test_a_bot_is_registered_started_asked_and_stopped(daybook: Daybook) -> None:
    """A new bot is stopped; started it is asked at each candle; asked by hand it answers at the last one; stopped it rests."""
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


def test_a_bot_that_is_not_warm_is_not_ready(daybook: Daybook) -> None:
    """What a bot still lacks stands among what blocks it."""
    body = {"bot_id": "far", "kind": "rsi", "product_id": "ETH-USD", "parameters": {"length": 100}}
    assert daybook.post("bots/", body, "register").status_code == 201
    daybook.post("bots/far/start", key="start")
    daybook.pass_seconds(2)

    told = next(one for one in daybook.read("bots/signals/") if one["bot_id"] == "far")
    assert told["ready_to_trade"] is False
    assert any(one.startswith("the bot is warming up: ") and " of 3700 candles" in one for one in told["blocked_by"]), (
        told
    )


def test_a_signal_leads_to_its_verdict(daybook: Daybook) -> None:
    """The detail of a signal holds the event of the signal and the verdict on it, in this order."""
    daybook.pass_seconds(40)
    signals = daybook.read("signals")["items"]
    assert signals

    for signal in signals[:5]:
        types = [event["type"] for event in daybook.read(f"signals/{signal['signal_id']}")["story"]]
        assert types[0] == "SignalEmitted"
        assert types[1] in ("SignalApproved", "SignalRejected", "SignalExpired")


def test_another_portfolio_is_shown_without_this_programs_market(daybook: Daybook) -> None:
    """A portfolio that this program does not drive has no market, no price age and no bot ready, and takes no order."""
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


def test_verification_over_http_tells_what_replay_finds(daybook: Daybook) -> None:
    """The verification of a sound ledger is positive and counts all of its events."""
    found = daybook.post("verification").json()

    assert found["verified"]
    assert found["events"] == daybook.head()
    assert found["differences"] == []
