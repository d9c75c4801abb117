"""Bots of other packages in processes of their own: they say what they would say here, and harm nobody, whatever they try."""

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.values import Instrument
from signals.bot import Part, Signal, Window
from signals.registry import parameters_schema
from signals.sandbox.bots import ForeignBot
from signals.sandbox.discovery import code_of
from signals.sandbox.process import BotProcess, Limits
from signals.testkit.trial import trial_candles
from tests.support.bot_processes import (
    CANDLES,
    HASTY,
    HOSTILE,
    PATIENT,
    all_closed,
    asked,
    evaluated,
    foreign,
    of_code,
    process_of,
)
from tests.support.events import START
from tests.support.hostile_bots import Trend, TrendParams
from tests.support.waiting import until


@pytest.fixture(autouse=True)
def _all_closed() -> Iterator[None]:
    yield from all_closed()


@pytest.fixture
def trend() -> ForeignBot:
    """The honest one."""
    return foreign("Trend")


# --- what crosses the pipe --------------------------------------------------------------------------------------------


def test_a_bot_says_the_same_behind_a_pipe(trend: ForeignBot) -> None:
    """Its evaluations are those of the same bot in this process, event for event; so are version, needs and schema."""
    for end in range(4, 30):
        here = evaluated({"trend": Trend()}, CANDLES[:end])
        assert asked(trend, CANDLES[:end]) == here
    assert (trend.version, trend.scale_free) == ("3", True)
    assert parameters_schema("trend", {"trend": trend.as_bot()}) == Trend.Params.model_json_schema()


def test_parameters_are_checked_where_the_bot_is(trend: ForeignBot) -> None:
    """Defaults are completed and faults are named by the bot's own process, in the words of its own parameters."""
    params = trend.Params.model_validate_json('{"length": 7}')

    assert params.model_dump() == {"length": 7, "weight": 0.5}
    for wrong, fault in [('{"length":1}', "length must be"), ('{"size":1}', "size is not known here")]:
        with pytest.raises(ValueError, match=fault):
            trend.Params.model_validate_json(wrong)
        assert fault in evaluated({"trend": trend.as_bot()}, parameters=wrong).reason


numbers = st.floats(-1, 1, allow_nan=False)
prices = st.none() | st.decimals(Decimal("0.00000001"), 10**9, places=8)
parts = st.builds(
    Part,
    name=st.text("abcå ", min_size=1, max_size=9),
    score=numbers,
    weight=st.floats(0, 1e9),
    value=st.none() | st.floats(-1e300, 1e300),
)
signals = st.builds(
    Signal,
    score=numbers,
    confidence=st.floats(0, 1),
    horizon=st.none() | st.timedeltas(timedelta(seconds=1), timedelta(days=9000)),
    entry=prices,
    stop_loss=prices,
    category=st.sampled_from([None, "scalp", "swing"]),
    parts=st.lists(parts, max_size=3).map(tuple),
    note=st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30),
)


@settings(max_examples=100)
@given(signals, st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=1, max_size=5))
def test_numbers_cross_exactly(signal: Signal, closes: list[float]) -> None:
    """A signal comes out of its text as it went in, and bars arrive bit for bit: floats keep their last bit."""

    class Heard:
        """A process that is told a window and answers with the signal's text."""

        def ask(self, do: str, **more: Any) -> dict[str, Any]:
            import base64
            import json

            heard.append(base64.b64decode(more["bars"]))
            answer: dict[str, Any] = json.loads(json.dumps({"signal": signal.model_dump(mode="json")}))
            return answer

    heard: list[bytes] = []
    bot = ForeignBot("trend", lambda: code_of("nothing:Nothing"), PATIENT)
    bot._process = Heard()  # type: ignore[assignment]  # the pipe alone is meant
    bars = np.zeros(len(closes), dtype=Window.of(CANDLES, 1).bars.dtype)
    bars["close"] = closes
    window = Window(Instrument("BTC-USD"), timedelta(minutes=1), START, bars)

    assert bot.evaluate(window, Trend.Params()) == signal
    assert heard == [bars.tobytes()]


# --- whatever it tries ------------------------------------------------------------------------------------------------

ATTACKS = [
    ("Hang", "BotUnusable: it gave no answer within 0.5 s"),
    ("Spin", "BotUnusable: it gave no answer within 0.5 s"),
    ("Flood", "BotUnusable: it says more than it was asked"),
    ("HugeLine", "BotUnusable: its answer is longer than 100,000 bytes"),
    ("HugeAnswer", "BotUnusable: its answer is longer than 100,000 bytes"),
    ("Garbage", "BotUnusable: its answer is not JSON"),
    ("DeepGarbage", "BotUnusable: its answer is not JSON"),
    ("HalfCharacter", "BotUnusable: its answer is not JSON"),
    ("Forger", "BotUnusable: it answers what it was not asked"),
    (
        "OutOfBounds",
        "BotRaised: ValueError: it answers with a signal that is out of bounds: score must be less",
    ),
    ("NotANumber", "BotRaised: ValueError: it answers with a signal that is out of bounds: score must be"),
    ("Exits", "BotUnusable: its process ended with exit code 7"),
    ("Crashes", "BotUnusable: its process was ended by SIGABRT"),
    ("HangsUp", "BotUnusable: its process hung up or was killed"),
    ("EatsMemory", "BotRaised: MemoryError"),
    ("EatsFiles", "BotRaised: OSError: [Errno 24] Too many open files"),
    ("Writes", "BotRaised: FileNotFoundError: [Errno 2] No usable temporary directory found"),
    ("Spawns", "BotRaised: PermissionError: a bot may not do this: subprocess.Popen"),
    ("Forks", "BotRaised: PermissionError: a bot may not do this: os.fork"),
    ("Dials", "BotRaised: PermissionError: a bot may not do this: socket.connect"),
    ("Raises", "BotRaised: ZeroDivisionError: of course"),
    ("NeedsTooMuch", "BotUnusable: it needs 1000000000000 bars, which is no number from 1 to 100,000"),
    ("LongVersion", "BotUnusable: its version cannot be used: it must have at most 100 characters"),
    ("AnotherName", "BotUnusable: it calls itself 'rsi', not 'trend'"),
    ("NoSuchClass", "BotUnusable: it cannot be loaded: AttributeError: module 'hostile_bots' has no attribute"),
]


@pytest.mark.parametrize(("name", "sentence"), ATTACKS, ids=[name for name, _ in ATTACKS])
def test_an_attack_is_a_failed_bot_and_nothing_else(name: str, sentence: str) -> None:
    """What a bot does becomes one BotFailed with a sentence of its own; asked again after it, others answer as ever."""
    bot = foreign(name, HASTY)

    evaluation = asked(bot)

    assert evaluation.outcome == "failed"
    assert evaluation.failure is not None
    assert evaluation.failure.error.startswith(sentence)
    assert len(evaluation.failure.error) <= 600


@pytest.mark.parametrize("name", ["Snoops", "SnoopsInBytes", "SnoopsByLink"])
def test_a_bot_reads_nothing_of_processes(name: str, tmp_path: Path) -> None:
    """What the system tells of processes, their environment first, is closed to a bot, whichever way it takes."""
    linked = tmp_path / "linked"
    linked.symlink_to("/proc")
    text = HOSTILE.read_text(encoding="utf-8").replace("/nowhere/a file of somebody else", str(linked))
    (tmp_path / "snooping_bots.py").write_text(text, encoding="utf-8")

    evaluation = asked(of_code(f"snooping_bots:{name}", tmp_path / "snooping_bots.py"))

    assert evaluation.reason == "BotRaised: PermissionError: a bot may not do this: open what lies under /proc"


@pytest.mark.parametrize("name", ["Empties", "Overwrites", "Truncates", "Removes", "Renames"])
def test_a_bot_changes_no_file(name: str, tmp_path: Path) -> None:
    """A bot that may read a file can neither empty, replace, rename nor remove it."""
    theirs = tmp_path / "theirs"
    theirs.write_text("what they keep", encoding="utf-8")
    text = HOSTILE.read_text(encoding="utf-8").replace("/nowhere/a file of somebody else", str(theirs))
    (tmp_path / "vandal_bots.py").write_text(text, encoding="utf-8")

    evaluation = asked(of_code(f"vandal_bots:{name}", tmp_path / "vandal_bots.py", PATIENT))

    assert evaluation.reason.startswith("BotRaised: PermissionError: a bot may not do this: ")
    assert theirs.read_text(encoding="utf-8") == "what they keep"


def test_a_bot_that_was_ended_starts_anew(tmp_path: Path) -> None:
    """After a hang the process is gone, and being asked again starts another, which answers."""
    ready = tmp_path / "ready"
    text = HOSTILE.read_text(encoding="utf-8") + (
        f"\n\nclass Once(Trend):\n    def evaluate(self, window, params):\n"
        f"        while not Path({str(ready)!r}).exists():\n            time.sleep(0.01)\n"
        f"        return super().evaluate(window, params)\n"
    )
    (tmp_path / "once_bots.py").write_text(text, encoding="utf-8")
    bot = of_code("once_bots:Once", tmp_path / "once_bots.py", Limits(answer_s=2))

    assert bot.version == "3"
    first = process_of(bot)
    assert asked(bot).reason == "BotUnusable: it gave no answer within 2 s"
    assert bot._process._running is None
    ready.touch()
    assert asked(bot).outcome == "signal"
    assert process_of(bot).pid != first.pid


def test_a_hang_harms_no_other_bot(trend: ForeignBot) -> None:
    """While one bot hangs and is ended, the process of another one stays and answers."""
    trend.version  # noqa: B018 - it is started
    before = process_of(trend).pid
    bot = foreign("Hang", HASTY)

    assert asked(bot).outcome == "failed"
    assert asked(trend).outcome == "signal"
    assert process_of(trend).pid == before


def test_what_a_bot_started_goes_with_it() -> None:
    """A process that the bot left behind, where the system let it, is ended with its own."""
    bot = foreign("Multiplies", Limits(answer_s=1))

    assert asked(bot).reason == "BotUnusable: it gave no answer within 1 s"
    until(lambda: not _holders_of(HOSTILE), "what it started to end")


def _holders_of(path: Path) -> list[psutil.Process]:
    """The processes that hold this file open."""
    found = []
    for process in psutil.process_iter():
        try:
            if any(file.path == str(path) for file in process.open_files()):
                found.append(process)
        except psutil.Error:
            continue
    return found


def test_a_process_left_alone_ends(trend: ForeignBot) -> None:
    """When nobody can ask it any more it ends, even while it hangs."""
    bot = foreign("Hang", Limits(answer_s=1000))
    assert bot.version == "3"
    process = process_of(bot)
    running = bot._process._running
    assert running is not None
    assert running.stdin is not None
    running.stdin.write(b'{"do":"needs","number":9,"params":{}}\n')
    running.stdin.close()

    until(lambda: not process.is_running() or process.status() == psutil.STATUS_ZOMBIE, "it to end")
    running.wait()
    assert running.stdout is not None
    running.stdout.close()


def test_a_bot_sees_nothing_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its environment is empty, nothing can be read from its standard input, and what it prints goes nowhere."""
    monkeypatch.setenv("DAYBOOK_OWNER_TOKEN", "not for bots")
    bot = foreign("Curious")

    signal = bot.evaluate(Window.of(CANDLES, 5), bot.Params())

    assert signal is not None
    assert signal.note == f"{{}} '' {Path('/')} 1 AF_INET"


def test_a_long_window_is_sent_whole(trend: ForeignBot) -> None:
    """A question that is longer than a pipe holds reaches a bot that reads it."""
    candles = trial_candles(3000)
    params = trend.Params.model_validate({"length": 3})

    signal = trend.evaluate(Window.of(candles, 3000), params)

    assert signal == Trend().evaluate(Window.of(candles, 3000), TrendParams(length=3))


def test_a_guard_that_is_off_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: without the cap on answers the flood's first line would be an answer; without numbers a forged one too."""
    monkeypatch.setattr(BotProcess, "_heard", _trusting)
    bot = foreign("Forger", HASTY)

    evaluation = asked(bot)

    assert (evaluation.outcome, evaluation.score) == ("signal", Decimal(1))


def _trusting(process: BotProcess, do: str, seconds: float, **more: object) -> dict[str, Any]:
    import json

    found: dict[str, Any] = json.loads(
        process._exchanged(json.dumps({"do": do, "number": 0, **more}).encode() + b"\n", seconds)
    )
    return found
