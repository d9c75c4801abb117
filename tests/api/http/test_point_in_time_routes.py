"""Past states over HTTP: every read at any two times equals an independent replay of the log up to them."""

import random
from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final

import pytest

from api.http.routes import performance
from ledger.booking.lots import Lot, Match, UnmatchedDisposal
from ledger.log import point_in_time
from ledger.log.envelope import Envelope
from ledger.log.point_in_time import PointInTime
from ledger.postgres.book import PostgresBook
from ledger.postgres.log import read_stream
from ledger.projections.bots import BotView
from ledger.projections.holdings import Holding
from ledger.projections.orders import OrderView
from ledger.projections.portfolio import AccountView, Balance, PortfolioView
from ledger.projections.signals import SignalView
from ledger.projections.trades import TradeView
from ledger.projections.valuation import value_portfolio
from ledger.reports.equity import equity_history
from ledger.reports.performance import performance_of
from ledger.rows import MemoryRows, Row
from ledger.values import decimal_text, time_text
from tests.support.api_system import Daybook, problem_of
from tests.support.events import START, SteppingClock, Story, fold_log, realistic_batches, record_all

NAME: Final = "elsewhere"
KNOWN_STEP: Final = timedelta(seconds=40)
FIGURES: Final = ("portfolio/pnl", "portfolio/performance", "portfolio/equity", "portfolio/lots")
READS: Final = (*FIGURES, "portfolio", "accounts", "trades", "orders", "signals", "bots", "bots/signals", "events")


@pytest.fixture(scope="module")
def daybook(shared_daybook: Daybook) -> Daybook:
    """A Daybook with a portfolio of many events with their own recording times."""
    story, book = Story(NAME), PostgresBook(shared_daybook.system.engine, SteppingClock(step=KNOWN_STEP))
    record_all(book, story, realistic_batches(story, 150))
    return shared_daybook


def replayed(log: list[Envelope], point: PointInTime) -> MemoryRows:
    """Naive replay of the events known at the point in time."""
    known = {one.event_id: one for one in log if point.known_at is None or one.recorded_at <= point.known_at}
    return fold_log(counted(log, point), MemoryRows(recorded=known.get))


def counted(log: list[Envelope], point: PointInTime) -> list[Envelope]:
    """Events of the naive replay: an event counts if it and the events it refers to had happened."""
    known = {one.event_id: one for one in log if point.known_at is None or one.recorded_at <= point.known_at}

    def happened(one: Envelope) -> bool:
        if point.as_of is None or one.type in ("PortfolioOpened", "AccountOpened"):
            return True
        named = (getattr(one.event, name, None) for name in ("signal_id", "order_id", "reverses"))
        in_time = one.type == "TradeReversed" or one.occurred_at <= point.as_of
        return in_time and all(happened(known[name]) for name in named if name in known)

    return [one for one in known.values() if happened(one)]


def plain(value: object) -> object:
    """The value as in JSON."""
    if isinstance(value, Decimal):
        return decimal_text(value)
    if isinstance(value, datetime):
        return time_text(value)
    return value if value is None or isinstance(value, bool | int) else str(value)


def shared(row: Any, answer: Mapping[str, Any]) -> dict[str, object]:
    """Fields common to row and answer, as in the row."""
    return {field.name: plain(getattr(row, field.name)) for field in fields(row) if field.name in answer}


def same(answers: list[dict[str, Any]], rows: list[Any]) -> None:
    """Assert that answers and rows agree, one by one."""
    assert len(answers) == len(rows)
    for answer, row in zip(answers, rows, strict=True):
        expected = shared(row, answer)
        assert len(expected) >= 3, "nothing to compare"
        assert expected == {name: answer[name] for name in expected}


def newest(rows: MemoryRows, kind: type[Row]) -> list[Any]:
    return sorted(rows.history(kind), key=lambda row: getattr(row, "position"), reverse=True)  # noqa: B009


def check(daybook: Daybook, log: list[Envelope], point: PointInTime) -> None:
    """Assert that all reads at the point in time agree with the replay."""
    query = {"portfolio": NAME} | {
        name: time_text(at) for name, at in (("as_of", point.as_of), ("known_at", point.known_at)) if at
    }
    rows = replayed(log, point)
    if next(rows.where(PortfolioView), None) is None:
        for path in READS:
            answer = daybook.get(path, **query)
            assert (answer.status_code, problem_of(answer)) == (404, "unknown-portfolio")
        return
    portfolio, worth = daybook.read("portfolio", **query), value_portfolio(rows)
    expected = shared(worth, portfolio)
    del expected["positions"]
    assert expected == {name: portfolio[name] for name in expected}
    same(portfolio["positions"], list(worth.positions))
    assert portfolio["position"] == sum(1 for one in log if point.known_at is None or one.recorded_at <= point.known_at)
    check_lists(daybook, query, rows)
    check_positions(daybook, query, rows)
    check_figures(daybook, query, rows, counted(log, point), point)
    held = [one for one in reversed(log) if point.holds(one)][:500]
    events = daybook.read("events", **query, limit=500)["items"]
    assert [one["event_id"] for one in events] == [str(one.event_id) for one in held]


def check_lists(daybook: Daybook, query: dict[str, str], rows: MemoryRows) -> None:
    for path, kind in (("trades", TradeView), ("orders", OrderView), ("signals", SignalView)):
        same(daybook.read(path, **query, limit=500)["items"], newest(rows, kind)[:500])
    same(daybook.read("bots", **query), list(rows.where(BotView)))
    assert [one["bot_id"] for one in daybook.read("bots/signals", **query)] == [
        one.bot_id for one in rows.where(BotView)
    ]
    accounts = daybook.read("accounts", **query)
    same([one for one in accounts if one["opened_at"] is not None], list(rows.where(AccountView)))
    balances = {(one["account"], each["asset"], each["quantity"]) for one in accounts for each in one["balances"]}
    expected = [one for one in rows.where(Balance) if one.quantity]
    assert balances == {(one.account, one.asset, decimal_text(one.quantity)) for one in expected}


def check_positions(daybook: Daybook, query: dict[str, str], rows: MemoryRows) -> None:
    for holding in rows.where(Holding):
        found = daybook.read(f"portfolio/positions/{holding.asset}-USD", **query, limit=500)
        same(found["unmatched"], list(rows.history(UnmatchedDisposal, holding.asset)))
        lots = list(rows.where(Lot, holding.asset))
        costs = [decimal_text(lot.open_cost) if lot.cost_known else None for lot in lots]
        same(found["open_lots"], lots)
        assert [lot["open_cost"] for lot in found["open_lots"]] == costs
        matches = list(rows.history(Match, holding.asset))
        gains = sorted(decimal_text(one.realized_pnl) if one.cost_known else "unknown" for one in matches)
        assert sorted(one["realized_pnl"] or "unknown" for one in found["matches"]) == gains


def check_figures(
    daybook: Daybook, query: dict[str, str], rows: MemoryRows, counts: list[Envelope], point: PointInTime
) -> None:
    """Assert that P&L, lots, equity and performance agree with the replay."""
    worth, matches = value_portfolio(rows), list(rows.history(Match))
    for group in ("day", "asset"):
        pnl = daybook.read("portfolio/pnl", **query, group=group)
        assert (pnl["realized_pnl"], pnl["unrealized_pnl"]) == (plain(worth.realized_pnl), plain(worth.unrealized_pnl))
        names = [one.asset if group == "asset" else one.closed_at.date().isoformat() for one in matches]
        assert [part["name"] for part in pnl["parts"]] == sorted(set(names))
        for part in pnl["parts"]:
            own = [one for one, name in zip(matches, names, strict=True) if name == part["name"]]
            known = [one for one in own if one.cost_known]
            assert part["matches"] == len(own)
            assert part["realized_pnl"] == (plain(sum(one.realized_pnl for one in known)) if known else None)
            brought = sum((one.proceeds for one in own if not one.cost_known), Decimal(0))
            assert part["unknown_cost_proceeds"] == plain(brought)
    lots = daybook.read("portfolio/lots", **query)
    quantities = [lot["quantity"] for lot in lots["open_lots"]]
    assert sorted(quantities) == sorted(decimal_text(lot.open_quantity) for lot in rows.where(Lot))
    history = equity_history(rows, counts, point.as_of)
    equity = daybook.read("portfolio/equity", **query, limit=500)
    same(equity["points"], list(history.closes))
    assert equity["until"] == plain(history.until)
    if history.closes:
        assert equity["points"][-1]["equity"] == plain(worth.total_value)
    answer = daybook.read("portfolio/performance", **query)
    figures = performance_of(rows, counts, until=point.as_of)
    for name in ("until", "equity", "day_change", "net_flows", "profit", "full_days"):
        assert answer[name] == plain(getattr(figures, name)), name
    assert answer["notes"] == list(figures.notes)
    assert answer["closed_lots"]["count"] == figures.closed_lots.count


@pytest.mark.parametrize("rounds", [2, pytest.param(10, marks=pytest.mark.campaign)])
def test_reads_at_random_times_equal_a_replay(daybook: Daybook, rounds: int) -> None:
    """At four random pairs of times in each round, and now."""
    log = list(daybook.system.book.log.read(Story(NAME).portfolio_id))
    dice, last = random.Random(11), max(one.occurred_at for one in log)
    known = log[-1].recorded_at

    def between(first: datetime, end: datetime) -> datetime:
        return first + (end - first) * dice.randrange(-50, 1050) / 1000

    pairs = [
        (between(START, last) if kind != "known" else None, between(START, known) if kind != "as of" else None)
        for kind in ("as of", "known", "both", "both") * rounds
    ]
    for as_of, known_at in [(None, None), (START - timedelta(days=1), None), (last, known), *pairs]:
        check(daybook, log, PointInTime(as_of, known_at))


def test_reads_that_ignore_event_times_are_detected_when_planted(
    daybook: Daybook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(point_in_time.AsOfFilter, "counts", lambda *_: True)

    with pytest.raises(AssertionError):
        test_reads_at_random_times_equal_a_replay(daybook, 2)


def test_figures_of_the_whole_log_are_detected_when_planted(daybook: Daybook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        performance, "events_at", lambda reading, _: read_stream(reading.connection, reading.portfolio_id)
    )

    with pytest.raises(AssertionError):
        test_reads_at_random_times_equal_a_replay(daybook, 2)


def test_reads_reject_malformed_and_future_times(daybook: Daybook) -> None:
    """Before the portfolio was known they answer 404."""
    paths = (*READS, "portfolio/positions/BTC-USD")
    for path in paths:
        for name in ("as_of", "known_at"):
            for text in ("yesterday", "", "2026-01-05", "2026-01-05T10:00:00", "2026-13-01T00:00:00Z", "10000"):
                answer = daybook.get(path, portfolio=NAME, **{name: text})
                assert (path, text, answer.status_code, problem_of(answer)) == (path, text, 400, "bad-time")
                assert answer.json()["detail"].startswith(f"{name}: ")
        ahead = daybook.get(path, portfolio=NAME, as_of="9999-01-01T00:00:00Z")
        assert (path, ahead.status_code, problem_of(ahead)) == (path, 400, "bad-time")
        early = daybook.get(path, portfolio=NAME, known_at="2020-01-01T00:00:00Z")
        assert (early.status_code, problem_of(early)) == (404, "unknown-portfolio")
        assert "2020-01-01T00:00:00Z" in early.json()["detail"]
