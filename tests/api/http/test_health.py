"""Health: what is said to whoever watches over Daybook."""

from collections.abc import Iterator
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


@pytest.fixture
def daybook(database_url: str, tmp_path: Path) -> Iterator[Daybook]:
    """A new Daybook."""
    with open_daybook(database_url, tmp_path) as running:
        yield running


def problems(daybook: Daybook) -> list[str]:
    """Why Daybook is not ready; it must say so by its status too."""
    answer = daybook.get("/health/ready")
    body: dict[str, Any] = answer.json()
    assert answer.status_code == (503 if body["problems"] else 200)
    assert body["ok"] == (not body["problems"])
    return [str(one) for one in body["problems"]]


def test_a_new_daybook_lives_is_ready_and_may_trade(daybook: Daybook) -> None:
    """All three kinds of health are good after the start."""
    assert daybook.read("/health/live")["ok"]
    assert problems(daybook) == []
    assert daybook.read("/health/trading")["state"] == "open"


def test_the_end_of_a_recording_is_a_note(database_url: str, tmp_path: Path) -> None:
    """A recorded market that has come to its end leaves Daybook ready, and is told besides."""
    feed = f"file:{write_market(tmp_path, candles=70)}?speed=60"
    with open_daybook(database_url, tmp_path, feed) as running:
        assert running.read("/health/ready")["notes"] == []
        running.pass_seconds(60)

        assert problems(running) == []
        assert "end" in running.read("/health/ready")["notes"][0]


def test_a_market_loop_that_fails_is_not_ready(
    database_url: str, tmp_path: Path, superuser: psycopg.Connection[tuple[Any, ...]]
) -> None:
    """While the market loop fails the sentence says so, without its details; when it goes on, it is gone."""
    with open_daybook(database_url, tmp_path) as running:
        scheduler = running.client.app.state.scheduler
        assert isinstance(scheduler, Scheduler)
        superuser.execute("alter table orders rename to orders_hidden")
        scheduler.start()
        try:
            said = until(lambda: problems(running), "the failure to be told")
            assert "market loop fails (UndefinedTable)" in said[0]
            superuser.execute("alter table orders_hidden rename to orders")
            until(lambda: not problems(running), "the loop to go on")
        finally:
            scheduler.stop()


def test_a_market_that_goes_away_later_is_told_as_one_that_never_came(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An outage in the middle is no failure of the loop: health says of it what it says of one at the start."""
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
                (told,) = until(lambda: problems(running), "the outage to be told")
                assert told.startswith(f"the market cannot be reached ({feed.label}): Daybook keeps trying")
                outage.undo()
                until(lambda: not problems(running), "the loop to go on")
            finally:
                scheduler.stop()


def test_views_that_stopped_are_not_ready(daybook: Daybook, superuser: psycopg.Connection[tuple[Any, ...]]) -> None:
    """Views that stand still make Daybook unready and close trading; the sentence says where they stopped and what to do."""
    daybook.pass_seconds(2)
    superuser.execute("update view_checkpoints set stopped_position = 3, stopped_reason = 'planted'")

    assert "position 3" in problems(daybook)[0]
    assert "replay" in problems(daybook)[0]
    assert daybook.read("/health/trading")["state"] == "halted"
    assert problem_of(daybook.post("trades/execute", BUY, "key")) == "order-rejected:trading-open"


def test_an_old_schema_and_a_database_for_reads_are_not_ready(
    daybook: Daybook, superuser: psycopg.Connection[tuple[Any, ...]]
) -> None:
    """A schema that is not this program's, and a database that takes no writes, are each told."""
    name = superuser.info.dbname
    superuser.execute("update alembic_version set version_num = '9999'")
    assert "9999" in problems(daybook)[0]

    superuser.execute(f"alter database {name} set default_transaction_read_only = on")
    daybook.system.engine.dispose()
    assert [said for said in problems(daybook) if "reads only" in said]


def test_a_halt_closes_trading_and_leaves_daybook_ready(daybook: Daybook) -> None:
    """Trading health is the owner's decision; readiness is the machine's state."""
    halted = Story("halt").new(TradingHalted(reason="a look at the roof"))
    daybook.system.book.record(daybook.system.portfolio_id, [halted])

    found = daybook.read("/health/trading")

    assert (found["ok"], found["state"]) == (False, "halted")
    assert "a look at the roof" in found["problems"][0]
    assert problems(daybook) == []
