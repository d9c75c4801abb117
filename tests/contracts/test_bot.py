"""The conformance kit: built-in bots pass, and every way of cheating is found and located."""

import re
from pathlib import Path

import pytest

from signals.bot import Bot, Window
from signals.registry import BUILT_IN
from signals.sandbox.bots import ForeignBot
from signals.sandbox.discovery import BotCode
from signals.sandbox.process import Limits
from signals.testkit.check import check_bot, find_bots, sample_candles
from signals.testkit.conformance import breaches
from signals.testkit.scaffold import BadBot
from signals.testkit.watched_calls import watching
from tests.support.bots import cheating_bots as cheats

CANDLES = sample_candles(65)
PLACE = r"bar \d+ \(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ\)"


@pytest.mark.parametrize("kind", BUILT_IN)
def test_built_in_bots_conform_also_in_another_process(kind: str) -> None:
    """Including the vectorised twin; another process gives the same signals to the last bit."""
    assert check_bot(BUILT_IN[kind]) == []


def test_conformance_accepts_an_honest_bot() -> None:
    """With a twin and without."""
    assert check_bot(cheats.Honest()) == []
    assert check_bot(cheats.Plain()) == []


AGAIN = f"at {PLACE} it returns score .* and, evaluated again, .*: it keeps state, or uses a clock or chance"
DICE = rf"at {PLACE} it uses unseeded chance \(Random.random\): a bot may use only its window"

CHEATS: list[tuple[Bot, str]] = [
    (
        cheats.FutureInAGlobal(),
        f"at {PLACE} it returns .* and, after other bars that follow it, .*: it remembers the future",
    ),
    (
        cheats.FutureByHeart(),
        f"at {PLACE} it returns score .* and, for the same bars 400 years later, 0.0: it depends on the dates",
    ),
    (cheats.Clock(), rf"at {PLACE} it reads the clock \(time.time\): a bot may use only its window"),
    (cheats.Chance(), AGAIN),
    (cheats.Chance(), DICE),
    (cheats.RareChance(), DICE),
    (cheats.Mutation(), f"at {PLACE} it tries to change its window: ValueError: assignment destination is read-only"),
    (cheats.Unlocking(), f"at {PLACE} it tries to change its window: ValueError: cannot set WRITEABLE flag .*"),
    (cheats.ThroughTheBack(), f"at {PLACE} it changes the window it was given"),
    (
        cheats.NeedsMore(),
        (
            f"at {PLACE} it gives no signal on the 5 bars it declares, and one on 20:"
            " it needs more bars than it declares"
        ),
    ),
    (
        cheats.RemembersBars(),
        (
            f"at {PLACE} it returns score .* and, after other bars before its window, .*:"
            " it needs more bars than the 5 it declares"
        ),
    ),
    (cheats.Counting(), AGAIN),
    (
        cheats.CountsDollars(),
        f"at {PLACE} it returns score .* and, at a thousand times the price, .*: set scale_free = False if that is intended",
    ),
    (
        cheats.NoNumber(),
        f"with a close that is NaN, at {PLACE}, it returns an invalid signal: score must be .*",
    ),
    (cheats.OutOfBounds(), f"at {PLACE} it returns an invalid signal: score must be .*"),
    (cheats.NotASignal(), f"at {PLACE} it returns something that is not a Signal"),
    (
        cheats.Silent(),
        f"from {PLACE} to {PLACE} it never gives a signal, though it has the 5 bars it declares",
    ),
    (cheats.DividingByTheRange(), f"at a constant price, at {PLACE}, it raises ZeroDivisionError: .*"),
    (
        cheats.PeekingTwin(),
        f"at {PLACE} its twin returns score .* and, with other prices after {PLACE}, score .*: it uses the future",
    ),
    (cheats.EarlyTwin(), r"at bar 0 \(.*\) its twin returns score 0.0 and evaluate no score"),
    (cheats.OtherTwin(), r"at bar 30 \(.*\) its twin returns score .* and evaluate score .*"),
]


@pytest.mark.parametrize(
    ("bot", "sentence"), CHEATS, ids=lambda one: type(one).__name__ if not isinstance(one, str) else ""
)
def test_conformance_names_a_cheat(bot: Bot, sentence: str) -> None:
    """One sentence with the first bar that shows it, and the difference."""
    found = breaches(bot, bot.Params(), CANDLES)

    assert [one for one in found if re.fullmatch(sentence, one)] != [], found


def test_conformance_reports_each_rule_once_with_a_bar() -> None:
    for bot, _ in CHEATS:
        found = breaches(bot, bot.Params(), CANDLES)
        assert len(set(found)) == len(found) <= 4
        assert all(re.search(PLACE, one) for one in found), found


def test_conformance_counts_bars_from_0_and_shows_their_close() -> None:
    (found,) = breaches(cheats.NeedsMore(), cheats.NeedsMore.Params(), CANDLES)

    assert f"bar 64 ({CANDLES[64].closed_at:%Y-%m-%dT%H:%M:%SZ})" in found


def test_conformance_skips_the_price_level_for_a_bot_that_is_not_scale_free() -> None:
    bot = cheats.MeansToCountDollars()

    assert breaches(bot, bot.Params(), CANDLES) == []


def test_check_bot_finds_a_difference_in_another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cheats.ElsewhereAnother, "score", 0.3)

    (found,) = check_bot(cheats.ElsewhereAnother())

    assert re.fullmatch(
        f"at {PLACE} it returns score 0.3 and, in another process, 0.1: it depends on more than its window", found
    )


def test_conformance_reports_a_bot_that_cannot_run_in_another_process() -> None:
    gone = ForeignBot("honest", lambda: BotCode("no_such_module:Honest", Path(__file__)), Limits())
    bot = cheats.Plain()

    (found,) = breaches(bot, bot.Params(), CANDLES, elsewhere=gone.as_bot())

    assert found.startswith("it cannot run in another process: it cannot be loaded: ModuleNotFoundError")


def test_check_bot_refuses_a_class_within_a_function() -> None:
    """Another process could not import it."""

    class Local(cheats.Plain):
        pass

    with pytest.raises(BadBot, match="define it at the top level of a module"):
        check_bot(Local())


def test_conformance_refuses_too_few_candles() -> None:
    with pytest.raises(ValueError, match="are too few"):
        breaches(cheats.Plain(), cheats.Plain.Params(), CANDLES[:5])


@pytest.mark.parametrize(
    ("code", "seen"),
    [
        ("import time\ntime.time_ns()", ["reads the clock (time.time_ns)"]),
        ("import datetime\ndatetime.datetime.now()", ["reads the clock (datetime.now)"]),
        ("from datetime import date\ndate.today()", ["reads the clock (date.today)"]),
        ("from time import monotonic as m\nm()", ["reads the clock (time.monotonic)"]),
        ("import time\ntime.localtime()", ["reads the clock (time.localtime)"]),
        ("import time\ntime.strftime('%H')", ["reads the clock (time.strftime)"]),
        ("import time\ntime.clock_gettime(time.CLOCK_REALTIME)", ["reads the clock (time.clock_gettime)"]),
        ("import random\nrandom.gauss(0, 1)", ["uses unseeded chance (Random.random)"]),
        ("import os\nos.urandom(4)", ["uses unseeded chance (posix.urandom)"]),
        ("import uuid\nuuid.uuid4()", ["uses unseeded chance (posix.urandom)"]),
        ("import random\nrandom.Random(7).random()", []),
        ("import numpy\nnumpy.random.default_rng(7).random()", []),
        ("import logging\nlogging.getLogger('x').makeRecord('x', 1, '', 1, '', (), None)", []),
        ("import datetime\ndatetime.datetime(2026, 1, 1).timestamp()", []),
    ],
)
def test_watching_names_clocks_and_unseeded_chance(code: str, seen: list[str]) -> None:
    """But not seeded chance, logging and given times."""
    compiled = compile(code, "planted", "exec")
    found: list[str] = []
    with watching(found):
        exec(compiled, {"__name__": "planted"})  # noqa: S102 - the code above

    assert sorted(set(found)) == seen


def test_find_bots_reads_the_classes_of_a_file(tmp_path: Path) -> None:
    """Without imported classes; a file without a bot is refused."""
    text = "from signals.bots.rsi import RsiBot\n\nclass Mine(RsiBot):\n    kind = 'mine'\n\nclass Other:\n    pass\n"
    (tmp_path / "my_planted_bot.py").write_text(text, encoding="utf-8")
    (tmp_path / "no_planted_bot.py").write_text("x = 1\n", encoding="utf-8")
    (tmp_path / "json.py").write_text("x = 1\n", encoding="utf-8")
    (tmp_path / "broken_planted_bot.py").write_text("1 / 0\n", encoding="utf-8")

    ((bot, code),) = find_bots(str(tmp_path / "my_planted_bot.py"))

    assert (bot.kind, code) == ("mine", BotCode("my_planted_bot:Mine", (tmp_path / "my_planted_bot.py").resolve()))
    for name, reason in [
        ("no_planted_bot.py", "there is no bot in"),
        ("json.py", "rename it"),
        ("broken_planted_bot.py", "ZeroDivisionError"),
        ("missing.py", "there is no file"),
        ("", "no pyproject.toml"),
    ]:
        with pytest.raises(BadBot, match=reason):
            list(find_bots(str(tmp_path / name)))


def test_conformance_kit_passes_the_declared_window() -> None:
    """A kit with one bar too many would pass a bot that needs more bars than it declares."""
    bars = []

    class Recording(cheats.Plain):
        def evaluate(self, window: Window, params: object) -> None:
            bars.append(len(window))

    breaches(Recording(), Recording.Params(), CANDLES)

    assert set(bars) == {5, 10, 20, 40, 65}
