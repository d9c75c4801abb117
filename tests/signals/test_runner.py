"""The runner: closed candles and a bot give an event, no event, or a failure."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import islice
from math import inf
from typing import Any, ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.log.envelope import decode, encode
from ledger.projections.bots import BotView
from ledger.projections.policy import SignalPolicy
from ledger.values import Instrument
from signals.bot import Bot, Needs, Parameters, Part, Signal, Window
from signals.market.candle import Candle
from signals.market.simulated import simulated_candles
from signals.registry import NO_BOTS, parameters_hash
from signals.runner import Evaluation, evaluate, signal_id

BTC = Instrument("BTC-USD")
CANDLES = list(islice(simulated_candles(3, BTC, timedelta(minutes=1)), 600))
LAST = CANDLES[-1]
CARD = BotView(
    bot_id="one",
    kind="echo",
    bot_version="1",
    instrument="BTC-USD",
    timeframe="1m",
    parameters="{}",
    status="running",
    status_reason="",
    status_since=datetime(2025, 1, 1, tzinfo=UTC),
    last_asof=None,
    last_score=None,
    last_confidence=None,
    repeats=False,
)
POLICY = SignalPolicy((Decimal("0.05"), Decimal("0.15"), Decimal("0.30")), timedelta(minutes=10))


class Unprintable(Exception):
    def __str__(self) -> str:
        raise ValueError("not even this")


class Echo:
    """Returns the answer that it was created with, or raises it."""

    kind: ClassVar[str] = "echo"
    version: ClassVar[str] = "7"
    Params: ClassVar[type[Parameters]] = Parameters

    def __init__(self, answer: Any, bars: int = 3) -> None:
        self.answer = answer
        self.bars = bars

    def needs(self, params: Any) -> Needs:
        return Needs(bars=self.bars)

    def evaluate(self, window: Window, params: Any) -> Signal | None:
        assert len(window) == self.bars
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer  # type: ignore[no-any-return]


def evaluation_of(card: BotView, candles: list[Candle], bots: Mapping[str, Bot] = NO_BOTS) -> Evaluation:
    """Evaluate the bot at the close of the last candle."""
    return evaluate(card, candles, POLICY, candles[-1].closed_at if candles else LAST.closed_at, bots)


def evaluation_with(answer: object, card: BotView = CARD, candles: list[Candle] = CANDLES) -> Evaluation:
    bots: dict[str, Bot] = {"echo": Echo(answer)}
    return evaluation_of(card, candles, bots)


def after(score: str, asof: datetime = CANDLES[-2].closed_at, *, repeats: bool = False) -> BotView:
    """The bot's card after a signal of this score."""
    return replace(CARD, last_asof=asof, last_score=Decimal(score), last_confidence=Decimal(1), repeats=repeats)


scores = st.floats(-1, 1)


def band(score: Decimal) -> int:
    """FROZEN 0, COOL 1, WARM 2, HOT 3, with the sign of the score."""
    warmth = sum((abs(score) >= Decimal("0.05"), abs(score) >= Decimal("0.15"), abs(score) >= Decimal("0.30")))
    return warmth if score >= 0 else -warmth


@given(scores, st.none() | scores, st.booleans())
@settings(deadline=None)
def test_evaluate_emits_new_bands_and_repeats(now: float, before: float | None, repeats: bool) -> None:
    """The first signal, a changed band, or a repeat that is not hold."""
    stored, last = Decimal(f"{now:.6f}"), None if before is None else f"{before:.6f}"
    found = evaluation_with(Signal(score=now), CARD if last is None else after(last, repeats=repeats))
    is_news = last is None or band(stored) != band(Decimal(last)) or (repeats and band(stored) != 0)
    assert (found.outcome, found.signal_event is not None) == (("signal", True) if is_news else ("unchanged", False))
    assert found.score == stored


@pytest.mark.parametrize(
    ("before", "now", "outcome"),
    [
        (None, 0.0, "signal"),
        ("0", 0.049, "unchanged"),
        ("0", 0.05, "signal"),
        ("0", -0.0499996, "signal"),  # as stored, at 6 places, it is 0.05
        ("0", -0.0499994, "unchanged"),
        ("0.05", 0.0, "signal"),
        ("-0.05", 0.01, "signal"),
        ("0.049999", 0.0, "unchanged"),
        ("0.8", 0.8, "unchanged"),
        ("0.8", 0.3, "unchanged"),
        ("0.8", 0.2999994, "signal"),
        ("0.8", -0.8, "signal"),
    ],
)
def test_evaluate_bands_begin_at_the_stored_thresholds(before: str | None, now: float, outcome: str) -> None:
    """0.05, 0.15 and 0.30, in either direction."""
    assert evaluation_with(Signal(score=now), CARD if before is None else after(before)).outcome == outcome


@pytest.mark.parametrize(("late_s", "outcome"), [(0, "signal"), (600, "signal"), (601, "stale")])
@pytest.mark.parametrize(("horizon_s", "late_enough"), [(None, 601), (60, 61)])
def test_evaluate_marks_old_signals_as_stale(
    late_s: int, outcome: str, horizon_s: int | None, late_enough: int
) -> None:
    """Beyond the policy's maximum age or the signal's own horizon, whichever is shorter."""
    bots: dict[str, Bot] = {
        "echo": Echo(Signal(score=1.0, horizon=None if horizon_s is None else timedelta(seconds=horizon_s)))
    }
    found = evaluate(CARD, CANDLES, POLICY, LAST.closed_at + timedelta(seconds=late_s), bots)
    assert found.outcome == ("stale" if late_s >= late_enough else outcome)
    assert (found.signal_event is None) == (found.outcome == "stale")


@given(st.integers(0, 100))
@settings(deadline=None)
def test_evaluate_emits_nothing_up_to_the_last_signal(minutes: int) -> None:
    """Whatever the score."""
    found = evaluation_with(Signal(score=1.0), after("-1", LAST.closed_at + timedelta(minutes=minutes)))
    assert found.outcome == "unchanged"
    assert found.signal_event is None
    assert "recorded already" in found.reason


def test_evaluate_event_carries_the_whole_signal() -> None:
    """Bot, version, settings, last close, and the signal at six places."""
    signal = Signal(
        score=0.123456789,
        confidence=2 / 3,
        horizon=timedelta(minutes=15, milliseconds=1),
        entry=Decimal("60000.10"),
        take_profit=Decimal("61000"),
        stop_loss=Decimal("59000.123456789"),
        category="intraday",
        parts=(Part(name="rsi", score=-1e-9, weight=1 / 3, value=28.1234567), Part(name="x", score=1.0, weight=0.0)),
        note="a <b>note</b>",
    )
    event = evaluation_with(signal).signal_event
    assert event is not None
    assert (event.bot_id, event.bot_version, event.parameters_hash) == ("one", "7", parameters_hash(Parameters()))
    assert (event.instrument, event.asof, event.price) == (BTC, LAST.closed_at, LAST.close)
    assert (str(event.score), str(event.confidence), event.horizon_s) == ("0.123457", "0.666667", 901)
    assert (event.entry, event.take_profit, event.stop_loss) == (signal.entry, signal.take_profit, signal.stop_loss)
    assert [(part.score, part.weight, part.value) for part in event.parts] == [
        (Decimal(0), Decimal("0.333333"), Decimal("28.123457")),
        (Decimal(1), Decimal(0), None),
    ]
    assert decode(event.type, event.version, encode(event)) == event


@pytest.mark.parametrize(
    "answer",
    [
        ValueError("broken"),
        ZeroDivisionError(),
        RecursionError("deep"),
        AssertionError(),
        KeyError("x\0y"),
        ValueError("\0 \ud800 and\nmore"),
        ValueError("long" * 1000),
        Unprintable(),
        0.5,
        Signal.model_construct(score=5.0, confidence=1.0, parts=(), note="", horizon=None),
        Signal.model_construct(score=inf, confidence=1.0),
        Signal(score=0.5, parts=(Part(name="big", score=0.0, weight=1.0, value=1e30),)),
    ],
)
def test_evaluate_turns_any_fault_of_a_bot_into_bot_failed(answer: object) -> None:
    """An exception, a value of another type, and one that no event can hold."""
    found = evaluation_with(answer)
    assert found.outcome == "failed"
    assert found.signal_event is None
    assert found.failure is not None
    assert (found.failure.bot_id, found.failure.asof) == ("one", LAST.closed_at)
    assert found.reason == found.failure.error
    assert found.reason
    assert "\n" not in found.reason
    assert decode("BotFailed", 1, encode(found.failure)) == found.failure


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), SystemExit()])
def test_evaluate_passes_keyboard_interrupt_and_exit(stop: BaseException) -> None:
    with pytest.raises(type(stop)):
        evaluation_with(stop)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"kind": "gone"}, "UnknownBotKind: there is no bot of kind 'gone'"),
        ({"kind": "rsi", "parameters": '{"length":1}'}, "BadParameters: the parameters of rsi are wrong: length"),
        ({"instrument": "ETH-USD"}, "it reads ETH-USD in 1m and was given BTC-USD candles of 1m"),
        ({"timeframe": "1h"}, "it reads BTC-USD in 1h and was given BTC-USD candles of 1m"),
        ({"timeframe": "soon"}, "'soon' is not a timeframe"),
    ],
)
def test_evaluate_names_why_a_bot_cannot_run(change: dict[str, Any], sentence: str) -> None:
    """An unknown kind, wrong parameters, and candles of another market."""
    found = evaluation_with(Signal(score=1.0), replace(CARD, **change))
    assert found.outcome == "failed"
    assert sentence in found.reason


@pytest.mark.parametrize("kind", ["rsi", "macd", "ma_cross", "combined"])
def test_evaluate_runs_a_bot_from_the_declared_bars_on(kind: str) -> None:
    """One candle fewer gives "not warm"."""
    card = replace(CARD, kind=kind)
    needed = evaluation_of(card, CANDLES).bars_needed
    assert needed > 1
    short, enough = evaluation_of(card, CANDLES[: needed - 1]), evaluation_of(card, CANDLES[:needed])
    assert (short.outcome, short.bars_seen, short.signal_event) == ("not_warm", needed - 1, None)
    assert short.reason == f"{needed - 1} of {needed} candles are available"
    assert (enough.outcome, enough.bars_seen) == ("signal", needed)
    assert evaluation_of(card, []).outcome == "not_warm"
    assert evaluation_with(None).outcome == "nothing_to_say"


def test_signal_id_follows_from_bot_settings_market_and_time() -> None:
    event = evaluation_with(Signal(score=0.5)).signal_event
    again = evaluation_with(Signal(score=-0.5)).signal_event
    assert event is not None
    assert again is not None
    assert signal_id(event) == signal_id(again)
    others: list[dict[str, Any]] = [
        {"bot_id": "two"},
        {"bot_version": "8"},
        {"parameters_hash": "x"},
        {"instrument": Instrument("ETH-USD")},
        {"asof": event.asof + timedelta(microseconds=1)},
    ]
    ids = {signal_id(event.model_copy(update=other)) for other in others}
    assert len(ids | {signal_id(event)}) == len(others) + 1


def test_evaluate_is_repeatable() -> None:
    card = replace(CARD, kind="combined")
    assert evaluation_of(card, CANDLES) == evaluation_of(card, CANDLES)
