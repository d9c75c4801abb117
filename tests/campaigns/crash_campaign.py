"""Kill a trader at every point or at random ones, restart it until it is idle, and compare its ledger with the venue.

    python -m tests.campaigns.crash_campaign DATABASE_URL --stories signal --outcomes filled,reset
    python -m tests.campaigns.crash_campaign DATABASE_URL --venue luno --random 1000 --depth 3 --seed 7

Prints one JSON object at the end or on SIGINT and SIGTERM. The lives are forked from this process, which has imported
everything and has no threads; the venue is `daybook venue`, a process of its own that survives them all.
"""

import argparse
import json
import os
import random
import signal
import sys
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from decimal import Decimal
from itertools import count, product
from typing import Any, Final

import psycopg

from ledger.events import (
    AccountOpened,
    CashDeposited,
    Event,
    LimitSet,
    MarkRecorded,
    OpeningLotRecorded,
    PortfolioOpened,
    SignalEmitted,
)
from ledger.locks import NotLeader
from ledger.log.envelope import NewEvent
from ledger.postgres.book import PostgresBook
from ledger.postgres.database import WRITER, engine_for
from ledger.postgres.leadership import LOCK_CLASS
from ledger.values import Asset, Instrument, derived_id
from tests.campaigns.crash_program import ACCOUNT, FIRST, KINDS, SECOND, STORIES, Points, Scene, live
from tests.campaigns.crash_venue import Venue, faults_at, orders_of

OUTCOMES: Final[dict[str, tuple[dict[str, object], ...]]] = {
    "filled": (),
    "split": ({"name": "split"},),
    "partial": ({"name": "partial"},),
    "refused": ({"name": "refused"},),
    "reset": ({"name": "reset"},),
    "half_body": ({"name": "half_body"},),
    "html": ({"name": "html"},),
    "garbage": ({"name": "garbage"},),
    "unknown_503": ({"name": "unknown_503"},),
    "timeout": ({"name": "timeout"},),
    "dropped": ({"name": "dropped"},),
    "maintenance": ({"name": "maintenance", "on": "place"},),
    "rate_limited": ({"name": "rate_limited"},),
    "delayed": ({"name": "delayed", "seconds": "3"},),
    "late fills": ({"name": "split"}, {"name": "fills_late", "times": 3}),
    "fills told twice": ({"name": "split"}, {"name": "fills_duplicated", "times": 4}),
    "fills in disorder": ({"name": "split"}, {"name": "fills_reordered", "times": 4}),
    "lost and late": ({"name": "reset"}, {"name": "fills_late", "times": 2}),
    "hang": ({"name": "hang"},),
}
"""What the venue does with the first order, by name: the faults that are planned."""

BALANCES: Final = {
    "binance": {"USDT": "100000", "BTC": "2", "ETH": "20", "BNB": "10"},
    "luno": {"ZAR": "1000000", "BTC": "2", "ETH": "20"},
}
MARKS: Final = {"binance": (60000, 3000), "luno": (1200000, 60000)}
AT_ONCE: Final = {"confirmation_minutes": 0, "cooldown_minutes": 0}
LIMITS: Final = {"binance": AT_ONCE, "luno": {**AT_ONCE, "base_trade": 5000, "maximum_trade": 20000}}
"""Orders that the venue takes."""
RUNS_A_VENUE: Final = 150
"""A venue lists so many orders quickly; then there is a new one."""
LIVES: Final = 60
NOT_YET: Final = 75


@dataclass(frozen=True, slots=True)
class Run:
    """One story: the venue's behaviour, and the points at which lives are killed; the last life is not killed.

    With `paused` the first life is suspended there, while another one takes over.
    """

    venue: str
    story: str
    outcome: str
    cuts: tuple[int, ...] = ()
    planted: str = ""
    paused: bool = False

    @property
    def name(self) -> str:
        what = ", ".join(filter(None, (self.planted, self.venue, self.story, self.outcome)))
        how = "paused" if self.paused else "killed"
        return f"{what}, {how} at {', '.join(map(str, self.cuts))}"


@dataclass(slots=True)
class Findings:
    """The findings of a campaign."""

    runs: int = 0
    lives: int = 0
    kills: int = 0
    sends: int = 0
    faults: list[str] = field(default_factory=list)
    points: Counter[str] = field(default_factory=Counter)
    endings: Counter[str] = field(default_factory=Counter)


class Campaign:
    """Runs on one database, with a fresh venue now and then."""

    def __init__(self, database_url: str, name: str) -> None:
        self._url, self._name = database_url, name
        self._engine = engine_for(database_url, WRITER)
        self._venues: dict[str, Venue] = {}
        self.findings = Findings()

    def exhaust(self, run: Run, points: Sequence[int] | None = None) -> None:
        """The run with a kill at each of these points, or at every point."""
        for number in points or count(2 if run.paused else 1):
            if not self.play(replace(run, cuts=(number,))) and points is None:
                return

    def play(self, run: Run) -> bool:
        """Play one run. Returns whether the first life reached its point; if not, it has fewer points."""
        venue = self._venue(run.venue)
        scene = self._opened(run, venue)
        sent = venue.placed()
        for fault in OUTCOMES[run.outcome]:
            venue.post("faults", fault)
        reached, found = self._overtaken(scene, run.cuts[0]) if run.paused else self._lives(scene, run.cuts)
        venue.control.delete("/control/faults")
        sends = venue.placed() - sent
        found += [
            *faults_at(venue, self._engine, scene, late=run.paused),
            *([f"sent {sends} times"] if sends > 1 else []),
        ]
        self.findings.endings.update(
            one.reason.partition(":")[0] for one in orders_of(PostgresBook(self._engine, venue.time), scene)
        )
        self.findings.runs += 1
        self.findings.sends += sends
        self.findings.faults += [f"{run.name}: {fault}" for fault in found]
        venue.time.advance(1)
        return reached

    def close(self) -> None:
        for venue in self._venues.values():
            venue.close()
        self._engine.dispose()

    def _venue(self, name: str) -> Venue:
        known = self._venues.get(name)
        if known is not None and known.runs >= RUNS_A_VENUE:
            known.close()
            known = None
        venue = self._venues[name] = known or Venue(name)
        venue.runs += 1
        return venue

    def _opened(self, run: Run, venue: Venue) -> Scene:
        """A new portfolio whose account at the venue is adopted, with a signal if the story needs one."""
        portfolio_id = derived_id("crash campaign", self._name, self.findings.runs)
        venue.post("balances", BALANCES[run.venue])
        now = venue.time()
        events = [*_opening(run.venue), *([_signal(run.venue, now)] if run.story == "signal" else [])]
        ids = [derived_id("opened", portfolio_id, number) for number in range(len(events))]
        new = [NewEvent(one, event_id, now, "owner", event_id) for one, event_id in zip(events, ids, strict=True)]
        PostgresBook(self._engine, venue.time).record(portfolio_id, new)
        return Scene(self._url, run.venue, venue.url, portfolio_id, run.story, run.planted)

    def _lives(self, scene: Scene, cuts: Sequence[int] = ()) -> tuple[bool, list[str]]:
        """Lives killed one after the other, and one that is not; whether any was killed, and the last one's failure."""
        killed = 0
        for _ in range(LIVES):
            code, points = _ended(*self._begun(scene, Points(cuts[killed] if killed < len(cuts) else None)))
            if code == -signal.SIGKILL:
                killed += 1
                self.findings.kills += 1
            elif code == 0:
                self.findings.points.update(points)
                return killed > 0, []
            elif code != NOT_YET:
                return True, [f"the program ended with {code}"]
        return True, ["the program never becomes quiet"]

    def _overtaken(self, scene: Scene, point: int) -> tuple[bool, list[str]]:
        """Suspend the first life while another takes over and lives; then resume the first, which must not act.

        A third life looks last: a request in progress when its sender was suspended may still go out, once.
        """
        old, pipe = self._begun(scene, Points(point, signal.SIGSTOP))
        _, status = os.waitpid(old, os.WUNTRACED)
        if not os.WIFSTOPPED(status):
            os.close(pipe)
            return False, []
        self.findings.kills += 1
        _silenced(scene)
        _, found = self._lives(scene)
        os.kill(old, signal.SIGCONT)
        code, _ = _ended(old, pipe)
        if code != NOT_YET:
            found.append(f"the old leader ended with {code}")
        return True, [*found, *self._lives(scene)[1]]

    def _begun(self, scene: Scene, points: Points) -> tuple[int, int]:
        """The process of a forked life, and the pipe on which it reports its points at its end."""
        self.findings.lives += 1
        receiving, telling = os.pipe()
        process = os.fork()
        if process == 0:
            os.close(receiving)
            os._exit(_lived(scene, points, telling))
        os.close(telling)
        return process, receiving


def _ended(process: int, pipe: int) -> tuple[int, list[str]]:
    """The exit code of a life (negative: the signal that ended it), and the points it passed if it reported them."""
    with os.fdopen(pipe) as told:
        said = told.read()
    _, status = os.waitpid(process, 0)
    return os.waitstatus_to_exitcode(status), json.loads(said or "[]")


def _silenced(scene: Scene) -> None:
    """End the leader's session, as the server does to a silent one."""
    held = "locktype = 'advisory' and classid = %s and objid::bigint = hashtext(%s)::bigint & 4294967295"
    with psycopg.connect(scene.database_url, autocommit=True) as superuser:
        superuser.execute(
            f"select pg_terminate_backend(pid) from pg_locks where {held}", (LOCK_CLASS, str(scene.portfolio_id))
        )


def _lived(scene: Scene, points: Points, telling: int) -> int:
    """The exit code of a life that was not killed."""
    try:
        live(scene, points)
    except NotLeader:
        return NOT_YET
    except BaseException:  # noqa: BLE001 - nothing may come back out of the fork; what it was is shown
        traceback.print_exc()
        return 1
    os.write(telling, json.dumps(points.passed).encode())
    return 0


def _opening(venue: str) -> Iterator[Event]:
    first, second = FIRST[venue], SECOND[venue]
    yield PortfolioOpened(name="crash", base_currency=Asset(first.quote))
    yield AccountOpened(account=ACCOUNT, venue=venue, mode="paper")
    for asset, total in BALANCES[venue].items():
        if asset == first.quote:
            yield CashDeposited(account=ACCOUNT, asset=Asset(asset), amount=Decimal(total))
        else:
            yield OpeningLotRecorded(account=ACCOUNT, asset=Asset(asset), quantity=Decimal(total))
    for instrument, price in zip((first, second), MARKS[venue], strict=True):
        yield MarkRecorded(instrument=instrument, price=Decimal(price), source="test")
    yield MarkRecorded(instrument=Instrument(f"BNB-{first.quote}"), price=Decimal(600), source="test")
    for limit, value in LIMITS[venue].items():
        yield LimitSet(limit=limit, value=Decimal(value))


def _signal(venue: str, now: Any) -> Event:
    return SignalEmitted(
        bot_id="bot",
        bot_version="1",
        parameters_hash="none",
        instrument=FIRST[venue],
        asof=now,
        price=Decimal(MARKS[venue][0]),
        score=Decimal("0.5"),
        confidence=Decimal(1),
    )


@contextmanager
def campaign(database_url: str, name: str) -> Iterator[Campaign]:
    """A campaign; its venues end with it."""
    running = Campaign(database_url, name)
    try:
        yield running
    finally:
        running.close()


def main() -> None:
    """Play the runs that the arguments select and print the findings."""
    parser = argparse.ArgumentParser(description="Kill a trader at its points and hold the ledger against the venue.")
    parser.add_argument("database_url")
    parser.add_argument("--venue", choices=sorted(BALANCES), default="binance")
    parser.add_argument("--stories", default="signal,cancel", help=f"of {', '.join(STORIES)}")
    parser.add_argument("--outcomes", default=",".join(OUTCOMES), help=f"of {', '.join(OUTCOMES)}")
    parser.add_argument("--planted", default="", help=f"services with a mistake, of {', '.join(filter(None, KINDS))}")
    parser.add_argument("--points", type=int, nargs="*", help="only kills at these points")
    parser.add_argument("--paused", action="store_true", help="stop instead of kill, let another take over, send on")
    parser.add_argument("--random", type=int, default=0, help="so many runs with kills at random points instead")
    parser.add_argument("--depth", type=int, default=3, help="how many lives of such a run are killed at most")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    with campaign(asked.database_url, " ".join(sys.argv[2:])) as running:
        with suppress(KeyboardInterrupt):
            _play(running, asked)
        told = {name: getattr(running.findings, name) for name in Findings.__slots__}
    sys.stdout.write(json.dumps(told) + "\n")


def _play(running: Campaign, asked: argparse.Namespace) -> None:
    if asked.random:
        for run in _random_runs(asked):
            running.play(run)
        return
    for choice in product(asked.stories.split(","), asked.outcomes.split(","), asked.planted.split(",")):
        story, outcome, planted = choice
        running.exhaust(Run(asked.venue, story, outcome, (), planted, asked.paused), asked.points)


def _random_runs(asked: argparse.Namespace) -> Iterator[Run]:
    """Random stories, outcomes and kills; kills of lives after the first happen during recovery."""
    dice, stories, outcomes = random.Random(asked.seed), asked.stories.split(","), asked.outcomes.split(",")
    for _ in range(asked.random):
        lives = 1 if asked.paused else dice.randrange(1, asked.depth + 1)
        cuts = tuple(dice.randrange(2, 30) for _ in range(lives))
        yield Run(asked.venue, dice.choice(stories), dice.choice(outcomes), cuts, asked.planted, asked.paused)


if __name__ == "__main__":
    main()
