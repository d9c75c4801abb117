"""A trader killed with `kill -9` at every point, and its successors, end with the venue's truth: nothing lost, doubled or
silent.

The lives of `tests/campaigns/crash_program.py` against a venue in a process of its own and a real database.
"""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]
BOTH: Final = ("binance", "luno")
EVERY_PUSH: Final = (
    ("--stories", "signal", "--outcomes", "filled,partial,reset,delayed,fills in disorder"),
    ("--stories", "signal", "--outcomes", "refused,garbage,html,dropped,timeout"),
)
"""The venue fills, fills in part, takes the order and loses the answer, takes it late, refuses, answers nonsense, …"""

FEW: Final = ("2", "5", "7", "8", "11", "14")
LIKELY: Final = ("filled", "reset")


def campaigns(database_url: str, *shares: tuple[str, ...]) -> list[dict[str, Any]]:
    """The findings of each part of a campaign; the parts run in parallel."""
    with ThreadPoolExecutor(len(shares)) as pool:
        return list(pool.map(lambda share: _campaign(database_url, *share), shares))


def _campaign(database_url: str, *arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.campaigns.crash_campaign", database_url, *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_trader_killed_at_chosen_points_loses_doubles_and_hides_nothing(database_url: str) -> None:
    """One kill before, inside and after a commit and around a send, with a fill and with a lost reply."""
    seen = campaigns(database_url, *(("--stories", "signal", "--outcomes", one, "--points", *FEW) for one in LIKELY))

    assert [fault for one in seen for fault in one["faults"]] == []
    assert sum(one["kills"] for one in seen) == len(LIKELY) * len(FEW)


@pytest.mark.campaign
def test_trader_killed_at_every_point_loses_doubles_and_hides_nothing(database_url: str) -> None:
    """Before, inside and after every commit and around every send, for every outcome: hundreds of runs."""
    told = campaigns(database_url, *EVERY_PUSH)

    assert [fault for one in told for fault in one["faults"]] == []
    assert sum(one["kills"] for one in told) >= 180
    assert all(one["endings"].get("filled", 0) >= 15 for one in told)
    for event in ("OrderSubmitted", "OrderAccepted", "OrderRefused", "OutcomeUnknown", "TradeExecuted", "OrderClosed"):
        assert all(sum(one["points"].get(f"{side} {event}", 0) for one in told) for side in ("before", "in", "after"))


@pytest.mark.campaign
def test_wrong_recovery_is_detected(database_url: str) -> None:
    """Planted: sent before it is stored, sent again on an unknown outcome, look-up skipped. Each does harm."""
    planted = ("SendsFirst", "SendsAgain", "SkipsLookUp")
    killed_after_the_send = ("--stories", "signal", "--outcomes", "reset", "--points", "8")
    (told,) = campaigns(database_url, (*killed_after_the_send, "--planted", ",".join(planted)))

    assert {fault.partition(",")[0] for fault in told["faults"]} == set(planted)


@pytest.mark.campaign
def test_suspended_leader_does_not_send(database_url: str) -> None:
    """SIGSTOP after its stored attempt, another process takes over, SIGCONT: it neither sends nor stores."""
    in_front_of_the_send = ("--stories", "signal", "--outcomes", "filled", "--paused", "--points", "8")
    (told,) = campaigns(database_url, in_front_of_the_send)

    assert (told["faults"], told["kills"], told["lives"] >= 3, told["sends"]) == ([], 1, True, 0)


@pytest.mark.nightly
def test_leaders_suspended_anywhere_double_nothing(database_url: str) -> None:
    """Take-overs at random points, at both venues: nothing is doubled, lost or silent."""
    told = campaigns(
        database_url, *(("--venue", venue, "--paused", "--random", "100", "--seed", "5") for venue in BOTH)
    )

    assert [fault for one in told for fault in one["faults"]] == []
    assert sum(one["kills"] for one in told) >= 100


@pytest.mark.nightly
@pytest.mark.parametrize("seed", [1, 2])
def test_trader_killed_at_random_points_loses_nothing(database_url: str, seed: int) -> None:
    """Up to three lives in a row are killed, for any outcome, at both venues: two thousand runs."""
    told = campaigns(database_url, *(("--venue", venue, "--random", "500", "--seed", str(seed)) for venue in BOTH))

    assert [fault for one in told for fault in one["faults"]] == []
    assert sum(one["kills"] for one in told) >= 1000
    assert all(one["endings"]["filled"] >= 50 for one in told)


@pytest.mark.nightly
def test_trader_killed_at_every_point_under_every_outcome_loses_nothing(database_url: str) -> None:
    """All points of both stories, for every outcome, at both venues."""
    told = campaigns(database_url, ("--venue", "binance"), ("--venue", "luno"))

    assert [fault for one in told for fault in one["faults"]] == []
    assert sum(one["kills"] for one in told) >= 1000
