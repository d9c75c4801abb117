"""A real `daybook serve`: it trades, is stopped and killed, and continues correctly."""

import os
import random
import signal
from collections import Counter
from collections.abc import Iterator
from threading import Event
from typing import Any

import httpx
import pytest

from tests.support.processes import TOKEN, Home, Serving, free_port, new_home, serving
from tests.support.waiting import until

LONGEST_START_S = 1.7
"""Kills during a start fall somewhere within this time; on a slow machine all of them hit the start."""

BUY = {"product_id": "BTC-USD", "side": "buy", "quote_size": "50", "type": "market"}


@pytest.fixture
def home() -> Iterator[Home]:
    """A new home with the embedded PostgreSQL."""
    with new_home(speed=1200) as made:
        yield made


@pytest.fixture
def lodging(database_url: str) -> Iterator[Home]:
    """A home on the database server of the tests, which starts and stops quickly."""
    with new_home(database_url=database_url) as made:
        yield made


def items(running: Serving, path: str) -> list[dict[str, Any]]:
    """The newest entries of a list."""
    found: list[dict[str, Any]] = running.read(f"{path}{'&' if '?' in path else '?'}limit=500")["items"]
    return found


def assert_sound(home: Home, events_before: int = 0) -> int:
    """Verify the ledger by replay, check that no events are missing, and return their number."""
    code, found = home.replay()
    assert (code, found["differences"]) == (0, [])
    assert found["events"] >= events_before
    return int(found["events"])


def test_serve_trades_and_stops(home: Home) -> None:
    """Bots send signals and trade beside an order by hand; the ledger verifies while it runs; on request everything stops."""
    with serving(home) as running:
        running.until_ready()
        assert "PAPER" in running.out[0]
        executed = running.post("trades/execute", BUY, "by hand")
        assert executed.status_code == 201, executed.text
        until(lambda: len([one for one in items(running, "trades") if one["triggered_by"] != "manual"]) >= 3, "bots")
        until(lambda: [one for one in items(running, "trades") if one["triggered_by"] == "manual"], "the manual trade")

        assert running.read("portfolio")["positions"][0]["product_id"] == "BTC-USD"
        assert {one["status"] for one in items(running, "signals")} >= {"approved", "rejected"}
        assert_sound(home)
        assert running.post("trades/execute", BUY, "by hand").content == executed.content
        assert running.end(signal.SIGINT) == 0

    assert "Traceback" not in "".join(running.err)
    assert home.postmaster() is None
    assert_sound(home)
    assert home.postmaster() is None


@pytest.mark.parametrize(
    "request_to_stop",
    [signal.SIGTERM, *(pytest.param(one, marks=pytest.mark.campaign) for one in (signal.SIGINT, signal.SIGHUP))],
)
def test_serve_ends_with_0_on_each_signal(lodging: Home, request_to_stop: signal.Signals) -> None:
    """Silently, and also while a client keeps its connection."""
    with serving(lodging) as running, httpx.Client() as client:
        running.until_ready()
        client.get(f"{running.url}/health/live")
        assert running.end(request_to_stop) == 0

    assert "".join(running.err) == ""


@pytest.mark.parametrize("stage", [1, pytest.param(3, marks=pytest.mark.campaign)])
def test_serve_can_be_stopped_while_it_starts(home: Home, stage: int) -> None:
    """Stopped while its first start creates or starts the database, it ends with 0, silently, and leaves no server."""
    with serving(home) as running:
        _wait_for_stage(home, running, stage)
        code = running.end(signal.SIGTERM if stage % 2 else signal.SIGINT)

    assert code == 0
    assert not running.ready
    assert "".join(running.err) == ""
    assert home.postmaster() is None


@pytest.mark.nightly
@pytest.mark.parametrize("stage", [0, 1, 2, 3])
@pytest.mark.parametrize("request_to_stop", [signal.SIGINT, signal.SIGTERM])
def test_serve_can_be_stopped_at_each_stage_of_the_start(
    home: Home, stage: int, request_to_stop: signal.Signals
) -> None:
    """The same at each stage and with each signal; the next start works."""
    with serving(home) as running:
        _wait_for_stage(home, running, stage)
        assert running.end(request_to_stop) == 0
    assert home.postmaster() is None
    with serving(home) as running:
        running.until_ready()
        assert running.end(signal.SIGTERM) == 0


def _wait_for_stage(home: Home, running: Serving, stage: int) -> None:
    """Wait for a stage of the start: folder locked, database locked, cluster created, server started."""
    files = (
        home.data_dir / "serve.lock",
        home.data_dir / "postgres.lock",
        home.data_dir / "postgres",
        home.data_dir / "postgres" / "postmaster.pid",
    )
    until(lambda: files[stage].exists() or running.process.poll() is not None, f"{files[stage].name}")


def kill_campaign(home: Home, kills: int, seed: int) -> None:
    """`kills` times: start, and kill -9 at some moment of the start or after some orders and events, and now and then
    kill PostgreSQL too; every fourth time verify. At the end everything is settled and nothing is there twice."""
    dice, events, asked = random.Random(seed), 0, 0
    for number in range(kills):
        with serving(home) as running:
            if number % 2:
                running.until_ready()
                for _ in range(dice.randrange(4)):
                    asked += 1
                    running.post("trades/execute", BUY | {"quote_size": "2"}, f"hand {asked}")
                until_more_events(running, dice.randrange(40))
            else:
                Event().wait(dice.random() * LONGEST_START_S)
            assert running.process.poll() is None, "".join(running.err)
            running.end(signal.SIGKILL)
            if dice.random() < 0.3 and (server := home.postmaster()) is not None:
                os.kill(server, signal.SIGKILL)
        if number % 4 == 3:
            events = assert_sound(home, events)
    assert_goes_on(home, asked, events)


def until_more_events(running: Serving, more: int) -> None:
    """Wait for this number of new events."""
    before = newest(running)
    until(lambda: newest(running) >= before + more, "more events")


def newest(running: Serving) -> int:
    """The position of the newest event."""
    return int(running.read("events?limit=1")["items"][0]["position"])


def assert_goes_on(home: Home, asked: int, events: int) -> None:
    """The next start settles all interrupted orders, and every order by hand exists at most once."""
    with serving(home) as running:
        running.until_ready()
        for number in range(1, asked + 1):
            answer = running.post("trades/execute", BUY | {"quote_size": "2"}, f"hand {number}")
            assert answer.status_code in (201, 422), answer.text
        before = newest(running)
        until(lambda: not _unsettled(running, before), "everything to be settled")
        assert_sound(home, events)
        assert running.end(signal.SIGTERM) == 0
    assert "Traceback" not in "".join(running.err)
    assert_no_double(home)


def _unsettled(running: Serving, before: int) -> list[dict[str, Any]]:
    """Signals without verdict and orders that have not ended, of those that were there at the restart."""
    signals = [one for one in items(running, "signals") if one["status"] == "emitted"]
    orders = [one for one in items(running, "orders") if one["status"] not in ("closed", "refused")]
    return [one for one in (*signals, *orders) if one["position"] <= before]


def assert_no_double(home: Home) -> None:
    """No signal has two verdicts or two orders, no order two ends, and no fill is booked twice."""
    with serving(home, feed=home.settings["feed"]) as running:
        running.until_ready()
        trades = all_items(running, "trades")
        verdicts = all_items(running, "events?type=SignalApproved,SignalRejected,SignalExpired")
        closings = all_items(running, "events?type=OrderClosed,OrderRefused")
        orders = all_items(running, "orders")
        assert running.end(signal.SIGTERM) == 0
    for found in (
        Counter(one["venue_trade_id"] for one in trades),
        Counter(one["causation_id"] for one in verdicts),
        Counter(one["causation_id"] for one in closings),
        Counter(one["signal_id"] for one in orders if one["signal_id"]),
    ):
        assert [name for name, times in found.items() if times > 1] == []


def all_items(running: Serving, path: str) -> list[dict[str, Any]]:
    """The entries of all pages."""
    sign, found = "&" if "?" in path else "?", list[dict[str, Any]]()
    page = running.read(f"{path}{sign}limit=500")
    while page["next_cursor"] is not None:
        found += page["items"]
        page = running.read(f"{path}{sign}limit=500&cursor={page['next_cursor']}")
    return [*found, *page["items"]]


@pytest.mark.parametrize("kills", [2, pytest.param(5, marks=pytest.mark.campaign)])
def test_serve_killed_at_any_moment_loses_and_doubles_nothing(home: Home, kills: int) -> None:
    """Killed repeatedly, from its very first start on, Daybook recovers sound, settled and without doubles."""
    kill_campaign(home, kills, seed=7)


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(4))
def test_serve_survives_a_hundred_kills(home: Home, seed: int) -> None:
    """The same over four times twenty-five kills."""
    kill_campaign(home, kills=25, seed=100 + seed)


@pytest.mark.campaign
def test_serve_restarts_a_dead_database(home: Home) -> None:
    """When its PostgreSQL is killed, Daybook keeps running, restarts it, and continues trading; nothing is lost or doubled."""
    with serving(home) as running:
        running.until_ready()
        until(lambda: items(running, "signals"), "a signal")
        server = home.postmaster()
        assert server is not None
        before = newest(running)

        os.kill(server, signal.SIGKILL)

        assert running.get("/health/live").status_code == 200
        until(lambda: home.postmaster() not in (None, server), "another server")
        until(lambda: running.get("/health/ready").status_code == 200, "readiness")
        until(lambda: newest(running) > before, "the market to go on")
        assert running.post("trades/execute", BUY, "after").status_code == 201
        assert_sound(home, before)
        assert running.end(signal.SIGTERM) == 0
    assert home.postmaster() is None


def test_serve_refuses_a_folder_or_port_in_use(lodging: Home) -> None:
    """A second serve on the same folder, and one on a used port, end with one sentence each and do no harm."""
    with serving(lodging) as running:
        running.until_ready()
        again = lodging.run("serve", port=str(free_port()))
        assert (again.returncode, again.stderr.count("\n")) == (1, 1)
        assert "another daybook serve" in again.stderr
        taken = lodging.run("serve", data_dir=str(lodging.folder / "other"))
        assert (taken.returncode, taken.stderr.count("\n")) == (1, 1)
        assert lodging.settings["port"] in taken.stderr
        assert "DAYBOOK_PORT" in taken.stderr
        assert running.get("/health/ready").status_code == 200


def test_first_start_shows_a_token_that_stays_valid(lodging: Home) -> None:
    """Without a token in the settings the first start shows one, valid then and after a restart."""
    with serving(lodging, owner_token="") as running:
        running.until_ready()
        token = next(line.split()[1] for line in running.out if line.startswith("Token"))
        assert _status(running, token) == 200
        running.end(signal.SIGTERM)
    with serving(lodging, owner_token="") as running:
        running.until_ready()
        assert token not in "".join(running.out)
        assert _status(running, token) == 200
        assert _status(running, TOKEN) == 401
        running.end(signal.SIGTERM)
    assert token not in "".join(running.err)


def _status(running: Serving, token: str) -> int:
    answer = httpx.get(f"{running.url}/api/v1/portfolio", headers={"Authorization": f"Bearer {token}"})
    return answer.status_code
