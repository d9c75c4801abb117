"""Liveness, readiness and trading health."""

from pathlib import Path
from typing import Any

import psycopg
import pytest

from api.runtime.scheduler import Scheduler
from ledger.events import TradingHalted
from signals.market.candle import Candle, FeedUnavailable
from tests.support.api_system import BUY, Daybook, open_daybook, problem_of
from tests.support.events import Story
from tests.support.market_files import write_market
from tests.support.waiting import until


def problems(daybook: Daybook) -> list[str]:
    """Problems of readiness, after checking that status and `ok` agree with them."""
    answer = daybook.get("/health/ready")
    body: dict[str, Any] = answer.json()
    assert answer.status_code == (503 if body["problems"] else 200)
    assert body["ok"] == (not body["problems"])
    return [str(one) for one in body["problems"]]


def test_health_is_good_after_the_start(daybook: Daybook) -> None:
    assert daybook.read("/health/live")["ok"]
    assert problems(daybook) == []
    assert daybook.read("/health/trading")["state"] == "open"


def test_readiness_notes_the_end_of_a_recorded_market(database_url: str, tmp_path: Path) -> None:
    feed = f"file:{write_market(tmp_path, candles=70)}?speed=60"
    with open_daybook(database_url, tmp_path, feed) as running:
        assert running.read("/health/ready")["notes"] == []
        running.pass_seconds(60)

        assert problems(running) == []
        assert "end" in running.read("/health/ready")["notes"][0]


def test_readiness_fails_while_the_market_loop_fails(
    database_url: str, tmp_path: Path, superuser: psycopg.Connection[tuple[Any, ...]]
) -> None:
    """Without details of the failure."""
    with open_daybook(database_url, tmp_path) as running:
        scheduler = running.client.app.state.scheduler
        assert isinstance(scheduler, Scheduler)
        superuser.execute("alter table orders rename to orders_hidden")
        scheduler.start()
        try:
            found = until(lambda: problems(running), "the failure to be reported")
            assert "market loop fails (UndefinedTable)" in found[0]
            superuser.execute("alter table orders_hidden rename to orders")
            until(lambda: not problems(running), "the loop to go on")
        finally:
            scheduler.stop()


def test_readiness_fails_while_the_market_is_unreachable(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An outage is no failure of the loop."""
    with open_daybook(database_url, tmp_path) as running:
        running.pass_seconds(1)
        feed, scheduler = running.system.feed, running.client.app.state.scheduler
        assert isinstance(scheduler, Scheduler)

        def away() -> list[Candle]:
            raise FeedUnavailable("the venue did not answer")

        with monkeypatch.context() as outage:
            outage.setattr(feed, "poll", away)
            scheduler.start()
            try:
                (problem,) = until(lambda: problems(running), "the outage to be reported")
                assert problem.startswith(f"the market cannot be reached ({feed.label}): Daybook keeps trying")
                outage.undo()
                until(lambda: not problems(running), "the loop to go on")
            finally:
                scheduler.stop()


def test_readiness_fails_and_trading_halts_when_the_views_are_stopped(
    daybook: Daybook, superuser: psycopg.Connection[tuple[Any, ...]]
) -> None:
    daybook.pass_seconds(2)
    superuser.execute("update view_checkpoints set stopped_position = 3, stopped_reason = 'planted'")

    assert "position 3" in problems(daybook)[0]
    assert "replay" in problems(daybook)[0]
    assert daybook.read("/health/trading")["state"] == "halted"
    assert problem_of(daybook.post("trades/execute", BUY, "key")) == "order-rejected:trading-open"


def test_readiness_fails_when_the_schema_is_foreign_or_the_database_read_only(
    daybook: Daybook, superuser: psycopg.Connection[tuple[Any, ...]]
) -> None:
    name = superuser.info.dbname
    superuser.execute("update alembic_version set version_num = '9999'")
    assert "9999" in problems(daybook)[0]

    superuser.execute(f"alter database {name} set default_transaction_read_only = on")
    daybook.system.engine.dispose()
    assert any("read-only" in problem for problem in problems(daybook))


def test_health_ignores_query_parameters_of_monitors(daybook: Daybook) -> None:
    for name in ("live", "ready", "trading"):
        assert daybook.get(f"/health/{name}?probe=1").status_code == 200


def test_halt_affects_trading_health_but_not_readiness(daybook: Daybook) -> None:
    halted = Story("halt").new(TradingHalted(reason="a look at the roof"))
    daybook.system.book.record(daybook.system.portfolio_id, [halted])

    found = daybook.read("/health/trading")

    assert (found["ok"], found["state"]) == (False, "halted")
    assert "a look at the roof" in found["problems"][0]
    assert problems(daybook) == []
