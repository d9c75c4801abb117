"""The runner: from closed candles and a bot to an event to store, to silence, or to a recorded failure."""

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
    """Says what it was made with, or raises it."""

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


def asked(card: BotView, candles: list[Candle], bots: Mapping[str, Bot] = NO_BOTS) -> Evaluation:
    """What comes of asking the bot at the moment at which the last of these candles closed."""
    return evaluate(card, candles, POLICY, candles[-1].closed_at if candles else LAST.closed_at, bots)


def told(answer: object, card: BotView = CARD, candles: list[Candle] = CANDLES) -> Evaluation:
    bots: dict[str, Bot] = {"echo": Echo(answer)}
    return asked(card, candles, bots)


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
def test_only_news_and_what_was_asked_for_again_is_told(now: float, before: float | None, repeats: bool) -> None:
    """An opinion becomes an event when it is the first, when its band changed, or when it is wanted again and no hold."""
    stored, last = Decimal(f"{now:.6f}"), None if before is None else f"{before:.6f}"
    found = told(Signal(score=now), CARD if last is None else after(last, repeats=repeats))
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
def test_the_edges_of_an_opinion(before: str | None, now: float, outcome: str) -> None:
    """Bands begin at the stored scores 0.05, 0.15 and 0.30, in either direction."""
    assert told(Signal(score=now), CARD if before is None else after(before)).outcome == outcome


@pytest.mark.parametrize(("late_s", "outcome"), [(0, "signal"), (600, "signal"), (601, "stale")])
@pytest.mark.parametrize(("horizon_s", "late_enough"), [(None, 601), (60, 61)])
def test_what_is_too_old_to_be_traded_is_not_told(
    late_s: int, outcome: str, horizon_s: int | None, late_enough: int
) -> None:
    """Past the policy's longest age or the signal's own horizon, whichever is shorter, there is no event but a reason."""
    bots: dict[str, Bot] = {
        "echo": Echo(Signal(score=1.0, horizon=None if horizon_s is None else timedelta(seconds=horizon_s)))
    }
    found = evaluate(CARD, CANDLES, POLICY, LAST.closed_at + timedelta(seconds=late_s), bots)
    assert found.outcome == ("stale" if late_s >= late_enough else outcome)
    assert (found.signal_event is None) == (found.outcome == "stale")


@given(st.integers(0, 100))
@settings(deadline=None)
def test_no_candle_is_signalled_twice(minutes: int) -> None:
    """At or before the time of the bot's last signal there is no other, however strong the opinion."""
    found = told(Signal(score=1.0), after("-1", LAST.closed_at + timedelta(minutes=minutes)))
    assert found.outcome == "unchanged"
    assert found.signal_event is None
    assert "recorded already" in found.reason


def test_an_opinion_becomes_an_event_without_loss() -> None:
    """The event carries the bot, its code's version, its settings, the last close, and the opinion at 6 places."""
    said = Signal(
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
    event = told(said).signal_event
    assert event is not None
    assert (event.bot_id, event.bot_version, event.parameters_hash) == ("one", "7", parameters_hash(Parameters()))
    assert (event.instrument, event.asof, event.price) == (BTC, LAST.closed_at, LAST.close)
    assert (str(event.score), str(event.confidence), event.horizon_s) == ("0.123457", "0.666667", 901)
    assert (event.entry, event.take_profit, event.stop_loss) == (said.entry, said.take_profit, said.stop_loss)
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
def test_whatever_a_bot_does_wrong_becomes_a_recorded_failure(answer: object) -> None:
    """An exception, an answer of another kind and one that no event can hold end as BotFailed, not as exceptions."""
    found = told(answer)
    assert found.outcome == "failed"
    assert found.signal_event is None
    assert found.failure is not None
    assert (found.failure.bot_id, found.failure.asof) == ("one", LAST.closed_at)
    assert found.reason == found.failure.error
    assert found.reason
    assert "\n" not in found.reason
    assert decode("BotFailed", 1, encode(found.failure)) == found.failure


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), SystemExit()])
def test_stopping_the_program_is_not_a_failure_of_the_bot(stop: BaseException) -> None:
    """Ctrl-C and the end of the program pass through an evaluation."""
    with pytest.raises(type(stop)):
        told(stop)


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
def test_a_bot_that_cannot_run_fails_in_a_sentence(change: dict[str, Any], sentence: str) -> None:
    """An unknown kind, wrong parameters and candles of another market are the bot's failure, with the reason."""
    found = told(Signal(score=1.0), replace(CARD, **change))
    assert found.outcome == "failed"
    assert sentence in found.reason


@pytest.mark.parametrize("kind", ["rsi", "macd", "ma_cross", "combined"])
def test_a_bot_is_asked_from_the_first_bar_it_declared(kind: str) -> None:
    """One candle too few is "not warm", the declared number is enough; a bot may still say nothing."""
    card = replace(CARD, kind=kind)
    needed = asked(card, CANDLES).bars_needed
    assert needed > 1
    short, enough = asked(card, CANDLES[: needed - 1]), asked(card, CANDLES[:needed])
    assert (short.outcome, short.bars_seen, short.signal_event) == ("not_warm", needed - 1, None)
    assert short.reason == f"{needed - 1} of {needed} candles are available"
    assert (enough.outcome, enough.bars_seen) == ("signal", needed)
    assert asked(card, []).outcome == "not_warm"
    assert told(None).outcome == "nothing_to_say"


def test_the_same_evaluation_has_the_same_id() -> None:
    """The signal id follows from bot, version, settings, market and moment; a change of any of them changes it."""
    event = told(Signal(score=0.5)).signal_event
    again = told(Signal(score=-0.5)).signal_event
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


def test_an_evaluation_is_repeatable() -> None:
    """Evaluating the same card on the same candles gives an equal evaluation."""
    card = replace(CARD, kind="combined")
    assert asked(card, CANDLES) == asked(card, CANDLES)
