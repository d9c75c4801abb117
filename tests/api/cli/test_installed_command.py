"""The installed `daybook` script itself, started as a shell starts it: other tests fork it from a warm process."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any, Final

import pytest

from ledger.postgres.book import PostgresBook
from tests.support.commands import Command
from tests.support.events import Story, realistic_batches, record_all
from tests.support.market_files import write_market
from tests.support.processes import DAYBOOK, Home, new_home

SEEDS: Final = ("1", "2")
"""PYTHONHASHSEED of two processes. Forked ones share that of the process they come from."""


@pytest.fixture
def home(database_url: str) -> Iterator[Home]:
    with new_home(candles=100, database_url=database_url) as made:
        yield made


def started(home: Home, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run the script as a shell does."""
    return subprocess.run(
        [DAYBOOK, *arguments],
        cwd=home.folder,
        env=home.environment(**settings),
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("--version",), 0),
        (("lots", "none.csv"), 1),
        pytest.param(("export", "--help"), 0, marks=pytest.mark.campaign),
        pytest.param(("no-such-command",), 2, marks=pytest.mark.campaign),
        pytest.param(("replay", "--portfolio", "none"), 1, marks=pytest.mark.campaign),
    ],
)
def test_installed_command_matches_a_forked_one(home: Home, arguments: tuple[str, ...], code: int) -> None:
    """Exit code, output and errors are the same after success, failure and wrong use."""
    real, forked = started(home, *arguments), home.run(*arguments)

    assert (forked.returncode, forked.stdout, forked.stderr) == (real.returncode, real.stdout, real.stderr)
    assert real.returncode == code
    assert "Traceback" not in real.stderr


@pytest.mark.campaign
def test_installed_command_serves_until_sigterm(home: Home) -> None:
    """It prints its version, becomes ready, trades on the given database, and ends with 0 on SIGTERM."""
    assert started(home, "--version").stdout == f"daybook, version {version('daybook')}\n"
    serving = subprocess.Popen(
        [DAYBOOK, "serve"], cwd=home.folder, env=home.environment(), stdout=subprocess.PIPE, text=True
    )
    with serving:
        assert serving.stdout is not None
        assert any(line.startswith("Daybook is ready: ") for line in serving.stdout)
        serving.send_signal(signal.SIGTERM)
        assert serving.wait() == 0
    assert started(home, "replay", "--verify").returncode == 0


def printed_under(home: Home, seed: str, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> dict[str, Any]:
    """The object that a command prints with this seed of text hashes, which decides the order of sets."""
    monkeypatch.setenv("PYTHONHASHSEED", seed)
    done = started(home, *arguments, "--json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.campaign
def test_state_hash_does_not_depend_on_the_order_of_sets(
    home: Home, postgres_book: PostgresBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A log replayed under two hash seeds has one state hash, that of its views, which were made under a third seed."""
    story = Story("seeded")
    record_all(postgres_book, story, realistic_batches(story, 60))
    one, other = (printed_under(home, seed, monkeypatch, "replay", "--verify") for seed in SEEDS)

    assert (one["events"], one["verified"], other["verified"]) == (len(story.events), True, True)
    assert one["state_hash"] == other["state_hash"]


DRIFTS = """
from ledger import values
steady = values.derived_id
values.derived_id = lambda *parts: steady(*parts, hash("a text"))
"""


@pytest.mark.campaign
def test_backtest_ids_do_not_depend_on_the_order_of_sets(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under two hash seeds a backtest has the same log. Planted: ids derived from hashes give another."""
    terms = ("--fee", "0.001", "--half-spread", "0", "--limit", "confirmation_minutes=0")
    arguments = ("backtest", "run", "--candles", str(write_market(home.folder, 200)), "--bot", "ma_cross", *terms)
    one, other = (printed_under(home, seed, monkeypatch, *arguments) for seed in SEEDS)
    assert one["trades"] > 0
    assert one == other

    (home.folder / "sitecustomize.py").write_text(DRIFTS)
    monkeypatch.setenv("PYTHONPATH", str(home.folder))
    one, other = (printed_under(home, seed, monkeypatch, *arguments) for seed in SEEDS)
    assert one["log_hash"] != other["log_hash"]


SPEAKS_AND_ENDS = """
import atexit, os, sys, threading
print(os.getcwd(), sys.argv[1:], os.environ["DAYBOOK_PORT"], __name__, __file__, sys.path[0], os.listdir("/dev/fd"))
print("this is wrong", file=sys.stderr)
threading.Timer(0.2, print, ["late work"]).start()
atexit.register(print, "the end")
"""


@pytest.mark.parametrize(
    ("last", "code"),
    [
        ("", 0),
        ("sys.exit(3)", 3),
        ("sys.exit('one sentence')", 1),
        ("1 / 0", 1),
        ("os._exit(5)", 5),
        ("sys.stdout.flush(); os.kill(os.getpid(), 9)", -9),
        ("raise KeyboardInterrupt", -2),
        ("sys.stdout.close(); sys.exit(4)", 4),
    ],
)
def test_forked_script_ends_like_a_started_one(home: Home, last: str, code: int) -> None:
    """Folder, arguments, environment, open files, output up to the end and exit code are the same."""
    script = home.folder / "script"
    script.write_text(SPEAKS_AND_ENDS + last)
    forked = Command([str(script), "one", "two"], home.folder, home.environment())

    real = subprocess.run(
        [sys.executable, script, "one", "two"],
        cwd=home.folder,
        env=home.environment(),
        capture_output=True,
        text=True,
        check=False,
    )

    assert (forked.wait(), "".join(forked.out)) == (real.returncode, real.stdout)
    said = real.stderr.splitlines()
    assert (forked.err[0], forked.err[-1]) == (f"{said[0]}\n", f"{said[-1]}\n")
    assert real.returncode == code
