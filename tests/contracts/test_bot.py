"""The conformance kit: built-in bots pass it, every way of cheating is found, and the sentence says where and what."""

import re
from pathlib import Path

import pytest

from signals.bot import Bot, Window
from signals.registry import BUILT_IN
from signals.sandbox.bots import ForeignBot
from signals.sandbox.discovery import BotCode
from signals.sandbox.process import Limits
from signals.testkit.conformance import breaches
from signals.testkit.scaffold import BadBot
from signals.testkit.trial import found_bots, trial_candles, tried
from signals.testkit.watched_calls import watching
from tests.support import cheating_bots as cheats

CANDLES = trial_candles(65)
PLACE = r"bar \d+ \(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ\)"


@pytest.mark.parametrize("kind", BUILT_IN)
def test_the_built_in_bots_break_no_rule_in_another_process_either(kind: str) -> None:
    """A built-in bot passes the whole kit, its twin included, and says the same to the last bit in another process."""
    assert tried(BUILT_IN[kind]) == []


def test_an_honest_bot_is_left_alone() -> None:
    """The kit finds nothing in a bot that breaks no rule, with a twin and without, here and in another process."""
    assert tried(cheats.Honest()) == []
    assert tried(cheats.Plain()) == []


AGAIN = f"at {PLACE} it says score .* and, asked again at once, .*: it remembers, or uses a clock or chance"
DICE = rf"at {PLACE} it throws dice that nobody seeded \(Random.random\): a bot has nothing but its window"

CHEATS: list[tuple[Bot, str]] = [
    (
        cheats.FutureInAGlobal(),
        f"at {PLACE} it says .* and, after it was shown other bars that came later, .*: it remembers the future",
    ),
    (
        cheats.FutureByHeart(),
        f"at {PLACE} it says score .* and, for the same bars 400 years later, 0.0: it knows what happened on those days",
    ),
    (cheats.Clock(), rf"at {PLACE} it looks at the clock \(time.time\): a bot has nothing but its window"),
    (cheats.Chance(), AGAIN),
    (cheats.Chance(), DICE),
    (cheats.RareChance(), DICE),
    (cheats.Mutation(), f"at {PLACE} it tries to change its window: ValueError: assignment destination is read-only"),
    (cheats.Unlocking(), f"at {PLACE} it tries to change its window: ValueError: cannot set WRITEABLE flag .*"),
    (cheats.ThroughTheBack(), f"at {PLACE} it changes the window it was given"),
    (
        cheats.NeedsMore(),
        (
            f"at {PLACE} it has nothing to say on the 5 bars it says it needs, and an opinion on 20:"
            " it needs more bars than it says"
        ),
    ),
    (
        cheats.RemembersBars(),
        (
            f"at {PLACE} it says score .* and, after it was shown other bars before its window, .*:"
            " it needs more bars than the 5 it says"
        ),
    ),
    (cheats.Counting(), AGAIN),
    (
        cheats.CountsDollars(),
        f"at {PLACE} it says score .* and, at a thousand times the price, .*: say scale_free = False if that is meant",
    ),
    (
        cheats.NoNumber(),
        f"given a close that is no number, at {PLACE}, it answers with a signal that is out of bounds: score must be .*",
    ),
    (
        cheats.PeekingTwin(),
        f"at {PLACE} its twin says score .* and, with poison after {PLACE}, score .*: it sees the future",
    ),
    (cheats.EarlyTwin(), r"at bar 0 \(.*\) its twin says score 0.0 and evaluate nothing"),
    (cheats.OtherTwin(), r"at bar 30 \(.*\) its twin says score .* and evaluate score .*"),
]


@pytest.mark.parametrize(
    ("bot", "sentence"), CHEATS, ids=lambda one: type(one).__name__ if not isinstance(one, str) else ""
)
def test_a_cheat_is_named(bot: Bot, sentence: str) -> None:
    """What the bot does wrong is said in one sentence, with the first bar that shows it and what differed."""
    found = breaches(bot, bot.Params(), CANDLES)

    assert [one for one in found if re.fullmatch(sentence, one)] != [], found


def test_every_sentence_stands_once_and_names_a_bar() -> None:
    """No rule is told of twice, and whatever is told of says where."""
    for bot, _ in CHEATS:
        found = breaches(bot, bot.Params(), CANDLES)
        assert len(set(found)) == len(found) <= 4
        assert all(re.search(PLACE, one) for one in found), found


def test_the_bar_that_is_named_is_the_bar() -> None:
    """The number counts the candles from 0, and the time is when that candle closed."""
    (found,) = breaches(cheats.NeedsMore(), cheats.NeedsMore.Params(), CANDLES)

    assert f"bar 64 ({CANDLES[64].closed_at:%Y-%m-%dT%H:%M:%SZ})" in found


def test_a_bot_may_mean_to_count_dollars() -> None:
    """A bot that says that it is not scale-free is not asked at another price level."""
    bot = cheats.MeansToCountDollars()

    assert breaches(bot, bot.Params(), CANDLES) == []


def test_what_only_another_process_shows_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bot that was told something here says something else where nobody told it."""
    monkeypatch.setattr(cheats.ElsewhereAnother, "score", 0.3)

    (found,) = tried(cheats.ElsewhereAnother())

    assert re.fullmatch(
        f"at {PLACE} it says score 0.3 and, in another process, 0.1: it knows more than its window", found
    )


def test_a_bot_that_cannot_be_asked_elsewhere_is_told_of() -> None:
    """A bot whose other process fails is told of in one sentence."""
    gone = ForeignBot("honest", lambda: BotCode("no_such_module:Honest", Path(__file__)), Limits())
    bot = cheats.Plain()

    (found,) = breaches(bot, bot.Params(), CANDLES, elsewhere=gone.as_bot())

    assert found.startswith("it cannot be asked in another process: it cannot be loaded: ModuleNotFoundError")


def test_a_class_within_a_function_cannot_be_tried() -> None:
    """What another process cannot import is refused, with what to do."""

    class Local(cheats.Plain):
        pass

    with pytest.raises(BadBot, match="define it at the top of a module"):
        tried(Local())


def test_too_few_candles_are_refused() -> None:
    """What cannot show anything is not called good."""
    with pytest.raises(ValueError, match="cannot show"):
        breaches(cheats.Plain(), cheats.Plain.Params(), CANDLES[:5])


@pytest.mark.parametrize(
    ("code", "seen"),
    [
        ("import time\ntime.time_ns()", ["looks at the clock (time.time_ns)"]),
        ("import datetime\ndatetime.datetime.now()", ["looks at the clock (datetime.now)"]),
        ("from datetime import date\ndate.today()", ["looks at the clock (date.today)"]),
        ("from time import monotonic as m\nm()", ["looks at the clock (time.monotonic)"]),
        ("import time\ntime.localtime()", ["looks at the clock (time.localtime)"]),
        ("import time\ntime.strftime('%H')", ["looks at the clock (time.strftime)"]),
        ("import time\ntime.clock_gettime(time.CLOCK_REALTIME)", ["looks at the clock (time.clock_gettime)"]),
        ("import random\nrandom.gauss(0, 1)", ["throws dice that nobody seeded (Random.random)"]),
        ("import os\nos.urandom(4)", ["throws dice that nobody seeded (posix.urandom)"]),
        ("import uuid\nuuid.uuid4()", ["throws dice that nobody seeded (posix.urandom)"]),
        ("import random\nrandom.Random(7).random()", []),
        ("import numpy\nnumpy.random.default_rng(7).random()", []),
        ("import logging\nlogging.getLogger('x').makeRecord('x', 1, '', 1, '', (), None)", []),
        ("import datetime\ndatetime.datetime(2026, 1, 1).timestamp()", []),
    ],
)
def test_looking_at_the_clock_is_seen(code: str, seen: list[str]) -> None:
    """Each way to the clock or to unseeded chance is seen by name; seeded chance, logging and given times are not."""
    compiled = compile(code, "planted", "exec")
    found: list[str] = []
    with watching(found):
        exec(compiled, {"__name__": "planted"})  # noqa: S102 - the planted code stands above

    assert sorted(set(found)) == seen


def test_bots_are_found_in_a_file(tmp_path: Path) -> None:
    """Every class in a file that is a bot is found, those that it imports are not, and a file without one is refused."""
    text = "from signals.bots.rsi import RsiBot\n\nclass Mine(RsiBot):\n    kind = 'mine'\n\nclass Other:\n    pass\n"
    (tmp_path / "my_planted_bot.py").write_text(text, encoding="utf-8")
    (tmp_path / "no_planted_bot.py").write_text("x = 1\n", encoding="utf-8")
    (tmp_path / "json.py").write_text("x = 1\n", encoding="utf-8")
    (tmp_path / "broken_planted_bot.py").write_text("1 / 0\n", encoding="utf-8")

    ((bot, code),) = found_bots(str(tmp_path / "my_planted_bot.py"))

    assert (bot.kind, code) == ("mine", BotCode("my_planted_bot:Mine", (tmp_path / "my_planted_bot.py").resolve()))
    for name, reason in [
        ("no_planted_bot.py", "there is no bot in"),
        ("json.py", "rename it"),
        ("broken_planted_bot.py", "ZeroDivisionError"),
        ("missing.py", "there is no file"),
        ("", "no pyproject.toml"),
    ]:
        with pytest.raises(BadBot, match=reason):
            list(found_bots(str(tmp_path / name)))


def test_a_window_is_not_kept_from_the_bot_by_the_kit() -> None:
    """Planted: a kit that asks with a window of one bar too many would pass what needs more than it says."""
    bars = []

    class Noting(cheats.Plain):
        def evaluate(self, window: Window, params: object) -> None:
            bars.append(len(window))

    breaches(Noting(), Noting.Params(), CANDLES)

    assert set(bars) == {5, 10, 20, 40, 65}
