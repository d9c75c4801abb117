"""Bots of other packages in processes of their own: the same signals as in this process, and no harm to anything else."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from functools import partial
from itertools import starmap
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
from signals.testkit.check import sample_candles
from tests.support.bots.bot_processes import (
    CANDLES,
    HASTY,
    HOSTILE,
    PATIENT,
    all_closed,
    evaluated,
    evaluation_of,
    foreign,
    of_code,
    process_of,
)
from tests.support.bots.hostile_bots import Trend, TrendParams
from tests.support.events import START
from tests.support.waiting import until


@pytest.fixture(autouse=True)
def _all_closed() -> Iterator[None]:
    yield from all_closed()


@pytest.fixture
def trend() -> ForeignBot:
    """The bot that conforms."""
    return foreign("Trend")


# --- what crosses the pipe --------------------------------------------------------------------------------------------


def test_foreign_bot_evaluates_as_in_this_process(trend: ForeignBot) -> None:
    """Events, version, needs and schema are those of the same bot here."""
    for end in range(4, 30):
        here = evaluated({"trend": Trend()}, CANDLES[:end])
        assert evaluation_of(trend, CANDLES[:end]) == here
    assert (trend.version, trend.scale_free) == ("3", True)
    assert parameters_schema("trend", {"trend": trend.as_bot()}) == Trend.Params.model_json_schema()


def test_foreign_bot_validates_parameters_in_its_process(trend: ForeignBot) -> None:
    """Defaults are filled in, and faults are named by field."""
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
def test_foreign_bot_passes_numbers_exactly(signal: Signal, closes: list[float]) -> None:
    """A signal is equal after its JSON, and bars arrive bit for bit."""

    class Echo:
        """A process that records the window and answers with the signal as JSON."""

        def request(self, do: str, **more: Any) -> dict[str, Any]:
            import base64
            import json

            received.append(base64.b64decode(more["bars"]))
            answer: dict[str, Any] = json.loads(json.dumps({"signal": signal.model_dump(mode="json")}))
            return answer

    received: list[bytes] = []
    bot = ForeignBot("trend", lambda: code_of("nothing:Nothing"), PATIENT)
    bot._process = Echo()  # type: ignore[assignment]  # only the pipe is replaced
    bars = np.zeros(len(closes), dtype=Window.of(CANDLES, 1).bars.dtype)
    bars["close"] = closes
    window = Window(Instrument("BTC-USD"), timedelta(minutes=1), START, bars)

    assert bot.evaluate(window, Trend.Params()) == signal
    assert received == [bars.tobytes()]


# --- attacks ------------------------------------------------------------------------------------------------------

ATTACKS = [
    ("Hang", "BotUnusable: it gave no answer within 0.5 s"),
    ("Flood", "BotUnusable: it wrote more than one answer"),
    ("HugeLine", "BotUnusable: its answer is longer than 100,000 bytes"),
    ("Garbage", "BotUnusable: its answer is not JSON"),
    ("Forger", "BotUnusable: its answer has the wrong number"),
    ("OutOfBounds", "BotRaised: ValueError: its signal is invalid: score must be less"),
    ("Exits", "BotUnusable: its process ended with exit code 7"),
    ("EatsMemory", "BotRaised: MemoryError"),
    ("Spawns", "BotRaised: PermissionError: a bot may not do this: subprocess.Popen"),
    ("Raises", "BotRaised: ZeroDivisionError: of course"),
    ("AnotherName", "BotUnusable: its kind is 'rsi', not 'trend'"),
    ("NoSuchClass", "BotUnusable: it cannot be loaded: AttributeError: module 'hostile_bots' has no attribute"),
]
# The same guards, attacked in other ways.
MORE_ATTACKS = [
    ("Spin", "BotUnusable: it gave no answer within 0.5 s"),
    ("HugeAnswer", "BotUnusable: its answer is longer than 100,000 bytes"),
    ("DeepGarbage", "BotUnusable: its answer is not JSON"),
    ("HalfCharacter", "BotUnusable: its answer is not JSON"),
    ("NotANumber", "BotRaised: ValueError: its signal is invalid: score must be"),
    ("Crashes", "BotUnusable: its process was ended by SIGABRT"),
    ("HangsUp", "BotUnusable: its process closed the pipe or was killed"),
    ("EatsFiles", "BotRaised: OSError: [Errno 24] Too many open files"),
    ("Writes", "BotRaised: FileNotFoundError: [Errno 2] No usable temporary directory found"),
    ("Forks", "BotRaised: PermissionError: a bot may not do this: os.fork"),
    ("Dials", "BotRaised: PermissionError: a bot may not do this: socket.connect"),
    ("NeedsTooMuch", "BotUnusable: it needs 1000000000000 bars (allowed: 1 to 100,000)"),
    ("LongVersion", "BotUnusable: its version is invalid: it must have at most 100 characters"),
]
campaign = partial(pytest.param, marks=pytest.mark.campaign)


@pytest.mark.parametrize(("name", "sentence"), [*ATTACKS, *starmap(campaign, MORE_ATTACKS)])
def test_foreign_bot_that_attacks_fails_with_its_own_message(name: str, sentence: str) -> None:
    """One BotFailed, with at most 600 characters."""
    bot = foreign(name, HASTY if name in ("Hang", "Spin") else replace(HASTY, answer_s=PATIENT.answer_s))

    evaluation = evaluation_of(bot)

    assert evaluation.outcome == "failed"
    assert evaluation.failure is not None
    assert evaluation.failure.error.startswith(sentence)
    assert len(evaluation.failure.error) <= 600


@pytest.mark.parametrize("name", ["Snoops", campaign("SnoopsInBytes"), campaign("SnoopsByLink")])
def test_foreign_bot_cannot_read_proc(name: str, tmp_path: Path) -> None:
    """By path, in bytes, and through a link: it contains the environment of other processes."""
    linked = tmp_path / "linked"
    linked.symlink_to("/proc")
    text = HOSTILE.read_text(encoding="utf-8").replace("/nowhere/a file of somebody else", str(linked))
    (tmp_path / "snooping_bots.py").write_text(text, encoding="utf-8")

    evaluation = evaluation_of(of_code(f"snooping_bots:{name}", tmp_path / "snooping_bots.py"))

    assert evaluation.reason == "BotRaised: PermissionError: a bot may not do this: open below /proc"


@pytest.mark.parametrize("name", ["Empties", *map(campaign, ["Overwrites", "Truncates", "Removes", "Renames"])])
def test_foreign_bot_cannot_change_a_file(name: str, tmp_path: Path) -> None:
    """It can neither empty, replace, rename nor remove a file that it may read."""
    theirs = tmp_path / "theirs"
    theirs.write_text("what they keep", encoding="utf-8")
    text = HOSTILE.read_text(encoding="utf-8").replace("/nowhere/a file of somebody else", str(theirs))
    (tmp_path / "vandal_bots.py").write_text(text, encoding="utf-8")

    evaluation = evaluation_of(of_code(f"vandal_bots:{name}", tmp_path / "vandal_bots.py", PATIENT))

    assert evaluation.reason.startswith("BotRaised: PermissionError: a bot may not do this: ")
    assert theirs.read_text(encoding="utf-8") == "what they keep"


def test_foreign_bot_restarts_after_a_hang(tmp_path: Path) -> None:
    """The hanging process is ended; the next request starts another."""
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
    assert evaluation_of(bot).reason == "BotUnusable: it gave no answer within 2 s"
    assert bot._process._running is None
    ready.touch()
    assert evaluation_of(bot).outcome == "signal"
    assert process_of(bot).pid != first.pid


def test_foreign_bot_that_hangs_leaves_other_bots_running(trend: ForeignBot) -> None:
    trend.version  # noqa: B018 - it is started
    before = process_of(trend).pid
    bot = foreign("Hang", HASTY)

    assert evaluation_of(bot).outcome == "failed"
    assert evaluation_of(trend).outcome == "signal"
    assert process_of(trend).pid == before


def test_foreign_bot_is_ended_with_its_children() -> None:
    """A process that it managed to fork is ended with its own."""
    bot = foreign("Multiplies", Limits(answer_s=1))

    assert evaluation_of(bot).reason == "BotUnusable: it gave no answer within 1 s"
    until(lambda: not _holders_of(HOSTILE), "its child to end")


def _holders_of(path: Path) -> list[psutil.Process]:
    """The processes that have this file open."""
    found = []
    for process in psutil.process_iter():
        try:
            if any(file.path == str(path) for file in process.open_files()):
                found.append(process)
        except psutil.Error:
            continue
    return found


def test_worker_ends_when_its_pipe_closes(trend: ForeignBot) -> None:
    """Even while the bot hangs."""
    bot = foreign("Hang", Limits(answer_s=1000))
    assert bot.version == "3"
    process = process_of(bot)
    running = bot._process._running
    assert running is not None
    assert running.stdin is not None
    running.stdin.write(b'{"do":"needs","number":9,"params":{}}\n')
    running.stdin.close()

    until(lambda: not process.is_running() or process.status() == psutil.STATUS_ZOMBIE, "the process to end")
    running.wait()
    assert running.stdout is not None
    running.stdout.close()


def test_foreign_bot_sees_no_environment_and_no_input(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its environment and standard input are empty, and its output is discarded."""
    monkeypatch.setenv("DAYBOOK_OWNER_TOKEN", "not for bots")
    bot = foreign("Curious")

    signal = bot.evaluate(Window.of(CANDLES, 5), bot.Params())

    assert signal is not None
    assert signal.note == f"{{}} '' {Path('/')} 1 AF_INET"


def test_foreign_bot_receives_a_window_larger_than_the_pipe(trend: ForeignBot) -> None:
    candles = sample_candles(3000)
    params = trend.Params.model_validate({"length": 3})

    signal = trend.evaluate(Window.of(candles, 3000), params)

    assert signal == Trend().evaluate(Window.of(candles, 3000), TrendParams(length=3))


def test_attack_succeeds_without_its_guard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: without the check of its number, a forged answer is accepted."""
    monkeypatch.setattr(BotProcess, "_answer", _trusting)
    bot = foreign("Forger", HASTY)

    evaluation = evaluation_of(bot)

    assert (evaluation.outcome, evaluation.score) == ("signal", Decimal(1))


def _trusting(process: BotProcess, do: str, seconds: float, **more: object) -> dict[str, Any]:
    import json

    found: dict[str, Any] = json.loads(
        process._exchange(json.dumps({"do": do, "number": 0, **more}).encode() + b"\n", seconds)
    )
    return found
