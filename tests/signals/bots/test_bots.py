"""Bots: conformance of the built-in ones, windows and signals, scores, weighted means, and the registry."""

import tomllib
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache
from importlib import import_module
from itertools import islice
from math import nan, tanh
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from ledger.values import Instrument
from signals.bot import Bot, Needs, Parameters, Part, Signal, Window
from signals.bots import combined
from signals.bots.combined import CombinedBot, CombinedComponent, CombinedParams
from signals.bots.ma_cross import MovingAverageCrossBot, MovingAverageCrossParams
from signals.bots.macd import MacdBot, MacdParams
from signals.bots.rsi import RsiBot, RsiParams
from signals.market.candle import Candle
from signals.market.simulated import simulated_candles
from signals.registry import (
    BUILT_IN,
    BadParameters,
    UnknownBotKind,
    bot_kinds,
    bot_of,
    parameters_hash,
    parameters_of,
    parameters_schema,
    parameters_text,
)
from signals.testkit.conformance import breaches
from tests.support.bots.cheating_bots import Plain

BTC = Instrument("BTC-USD")
MINUTE = timedelta(minutes=1)


@cache
def market(seed: int, size: int) -> tuple[Candle, ...]:
    return tuple(islice(simulated_candles(seed, BTC, MINUTE), size))


def candles_of(closes: Sequence[float]) -> list[Candle]:
    """Candles with these closes, each opening at the close before."""
    found = []
    texts = [Decimal(f"{close:.8f}") for close in closes]
    for number, (opened, close) in enumerate(zip([texts[0], *texts], texts, strict=False)):
        at = datetime(2025, 1, 1, tzinfo=UTC) + number * MINUTE
        found.append(Candle(BTC, MINUTE, at, opened, max(opened, close), min(opened, close), close, Decimal(1)))
    return found


def signal_of(bot: Bot, closes: Sequence[float], params: Parameters | None = None) -> Signal:
    """The signal of the bot for a market with these closes."""
    params = params or bot.Params()
    answer = bot.evaluate(Window.of(candles_of(closes), bot.needs(params).bars), params)
    assert answer is not None
    return answer


# --- conformance ------------------------------------------------------------------------------------------------------

SLOW = ("combined", '{"components":[{"kind":"smc","weight":1},{"kind":"multi_timeframe","weight":1}]}')
SETTINGS: list[tuple[str, str]] = [
    *((kind, "{}") for kind in BUILT_IN),
    ("rsi", '{"smoothing":"simple","oversold":20,"overbought":65.5}'),
    ("macd", '{"fast":3,"slow":7,"signal":4,"range_length":5}'),
    ("ma_cross", '{"fast":2,"slow":50}'),
    ("ma_cross", '{"average":"exponential"}'),
    ("bollinger", '{"length":5,"std":1.5}'),
    ("breakout", '{"length":5,"volume_factor":0}'),
    ("obv", '{"length":3}'),
    ("smc", '{"bars":40,"swing":1,"break_by":"wick","zone":"body"}'),
    (
        "multi_timeframe",
        '{"components":[{"kind":"obv","weight":1,"every":7},{"kind":"rsi","weight":2,"every":3,"params":{"length":3}}]}',
    ),
    SLOW,
    ("combined", '{"components":[{"kind":"ma_cross","weight":1},{"kind":"rsi","weight":2,"params":{"length":5}}]}'),
]


# The contract tests run the kit with the default settings.
OTHER_SETTINGS = [setting for setting in SETTINGS if setting[1] != "{}"]


@pytest.mark.parametrize(
    ("kind", "text", "seed"),
    [
        *((*setting, 1) for setting in OTHER_SETTINGS if setting != SLOW),
        *(pytest.param(*setting, 2, marks=pytest.mark.campaign) for setting in SETTINGS),
    ],
)
def test_built_in_bots_conform(kind: str, text: str, seed: int) -> None:
    """They depend on their window alone, change nothing, stay in bounds, and do not depend on the price level."""
    params = parameters_of(kind, text)
    candles = market(seed, bot_of(kind).needs(params).bars + 60)
    assert breaches(bot_of(kind), params, candles) == []


# --- the window and the signal ----------------------------------------------------------------------------------------


@given(st.integers(1, 30), st.integers(0, 30))
@settings(deadline=None)
def test_window_holds_exactly_the_last_bars(n: int, more: int) -> None:
    """It ends at the last close, and no other bars are next to it in memory."""
    candles = market(1, n + more)
    window = Window.of(candles, n)
    assert len(window) == n
    assert window.asof == candles[-1].closed_at
    assert window.close.tolist() == [float(candle.close) for candle in candles[-n:]]
    assert window.volume.tolist() == [float(candle.volume) for candle in candles[-n:]]
    opened_at = [candle.opened_at.replace(tzinfo=None) for candle in candles[-n:]]
    assert window.opened_at.tolist() == opened_at
    root: Any = window.bars
    while isinstance(root, np.ndarray) and root.base is not None:
        root = root.base
    assert len(root) == n * window.bars.dtype.itemsize
    shorter = window.last(1 + n // 2)
    assert shorter.asof == window.asof
    assert shorter.close.tolist() == window.close.tolist()[-(1 + n // 2) :]


def test_window_refuses_candles_that_are_not_one_history() -> None:
    """Too few, another instrument or timeframe, or a wrong order."""
    candles = list(market(1, 5))
    other = replace(candles[2], instrument=Instrument("ETH-USD"))
    longer = replace(candles[2], timeframe=timedelta(hours=1))
    for wrong, n in [
        (candles, 6),
        (candles, 0),
        ([], 1),
        ([*candles[:2], other], 3),
        ([*candles[:2], longer], 3),
        ([candles[1], candles[0]], 2),
        ([candles[0], candles[0]], 2),
    ]:
        with pytest.raises(ValueError, match=r"window|order"):
            Window.of(wrong, n)
    with pytest.raises(ValueError, match="there is no window"):
        Window.of(candles, 5).last(6)


@pytest.mark.parametrize(
    "wrong",
    [
        {"score": 1.0000001},
        {"score": -2},
        {"score": nan},
        {"score": float("inf")},
        {"score": "0.5"},
        {"score": True},
        {"score": 0.5, "confidence": 1.1},
        {"score": 0.5, "confidence": -0.1},
        {"score": 0.5, "confidence": nan},
        {"score": 0.5, "horizon": timedelta(0)},
        {"score": 0.5, "entry": 100.5},
        {"score": 0.5, "stop_loss": Decimal(-1)},
        {"score": 0.5, "category": "yolo"},
        {"score": 0.5, "size": 3},
        {"score": 0.5, "parts": ({"name": "x", "score": nan, "weight": 1.0},)},
        {},
    ],
)
def test_signal_refuses_invalid_fields(wrong: dict[str, Any]) -> None:
    """Scores and confidences out of bounds or not finite, floats as prices, unknown fields."""
    with pytest.raises(ValidationError):
        Signal.model_validate(wrong)


def test_signal_is_immutable() -> None:
    with pytest.raises(ValidationError):
        Signal(score=0.5).score = 1.0  # type: ignore[misc]


# --- scores ----------------------------------------------------------------------------------------------------------


@given(st.lists(st.floats(1, 1000), min_size=15, max_size=15))
@settings(deadline=None)
def test_rsi_score_is_piecewise_linear(closes: list[float]) -> None:
    """+1 at RSI 0, +0.5 at oversold, 0 at 50, -0.5 at overbought, -1 at 100."""
    params = RsiParams(smoothing="simple", oversold=30, overbought=70)
    answer = signal_of(RsiBot(), closes, params)
    value = answer.parts[0].value
    assert value is not None
    if value <= 30:
        assert answer.score == pytest.approx(0.5 + 0.5 * (30 - value) / 30)
    elif value >= 70:
        assert answer.score == pytest.approx(-0.5 - 0.5 * (value - 70) / 30)
    else:
        assert answer.score == pytest.approx((50 - value) / 40)


def test_rsi_buys_a_fall_and_sells_a_rise() -> None:
    """A market that only fell gives 1, one that only rose -1, with either smoothing."""
    for params in (RsiParams(), RsiParams(smoothing="simple")):
        bars = RsiBot().needs(params).bars
        assert signal_of(RsiBot(), np.linspace(200, 100, bars).tolist(), params).score == 1
        assert signal_of(RsiBot(), np.linspace(100, 200, bars).tolist(), params).score == -1


@given(st.integers(0, 2**32))
@settings(deadline=None)
def test_rsi_warm_up_is_long_enough(seed: int) -> None:
    """Bars before the 518 of the default RSI change its score by less than 1e-9."""
    closes = (100 * np.exp(np.cumsum(np.random.default_rng(seed).normal(0, 0.01, 1200)))).tolist()
    bars = RsiBot().needs(RsiParams()).bars
    assert bars == 518
    window = Window.of(candles_of(closes), 1200)
    long, short = (RsiBot().evaluate(part, RsiParams()) for part in (window, window.last(bars)))
    assert long is not None
    assert short is not None
    assert short.score == pytest.approx(long.score, abs=1e-9)


def test_macd_follows_an_accelerating_trend() -> None:
    """A rise scores between 0.7 (line and zero parts alone) and 1; a fall is its mirror image."""
    bars = MacdBot().needs(MacdParams()).bars
    rise = (100 + 50 * np.linspace(0, 1, bars) ** 3).tolist()
    fall = [250 - close for close in rise]
    assert 0.7 < signal_of(MacdBot(), rise).score <= 1
    assert -1 <= signal_of(MacdBot(), fall).score < -0.7


def test_ma_cross_scores_a_fresh_cross_higher() -> None:
    """The bar of the cross has score 0.8 and confidence 0.9; later bars tanh of a tenth of the distance in percent."""
    bot, params = MovingAverageCrossBot(), MovingAverageCrossParams(fast=2, slow=4)
    crossing = signal_of(bot, [100, 99, 98, 97, 110], params)
    assert (crossing.score, crossing.confidence) == (0.8, 0.9)
    assert signal_of(bot, [100, 101, 102, 103, 90], params).score == -0.8
    assert signal_of(bot, [100, 100, 100, 100, 101], params).score == 0.8
    later = signal_of(bot, [97, 110, 111, 112, 113], params)
    percent = 100 * (112.5 / 111.5 - 1)
    assert later.score == pytest.approx(tanh(0.1 * percent))
    assert later.confidence < 0.9


@pytest.mark.parametrize("kind", BUILT_IN)
@given(price=st.floats(0.01, 1e6), seed=st.integers(0, 2**32))
@settings(max_examples=20, deadline=None)
def test_built_in_bots_hold_at_a_constant_price(kind: str, price: float, seed: int) -> None:
    """Rounding from earlier prices does not move the cross bot."""
    bot = bot_of(kind)
    flat = [price] * bot.needs(bot.Params()).bars
    assert signal_of(bot, flat).score == 0
    before = (price * np.random.default_rng(seed).uniform(0.5, 2, 30)).tolist()
    window = Window.of(candles_of([*before, *[price] * 40]), 70)
    cross = MovingAverageCrossBot().evaluate(window, MovingAverageCrossParams())
    assert cross is not None
    assert cross.score == 0


# --- the weighted mean ------------------------------------------------------------------------------------------------


class Fixed(Plain):
    """Always gives the same signal."""

    def __init__(self, answer: Signal | None, bars: int = 1) -> None:
        self.answer = answer
        self.bars = bars

    def needs(self, params: Any) -> Needs:
        return Needs(bars=self.bars)

    def evaluate(self, window: Window, params: Any) -> Signal | None:
        assert len(window) == self.bars
        return self.answer


component_signals = st.none() | st.builds(Signal, score=st.floats(-1, 1), confidence=st.floats(0, 1))
members = st.tuples(component_signals, st.just(0.0) | st.floats(0.001, 10), st.booleans(), st.integers(1, 9))


def mean_of(chosen: list[tuple[Signal | None, float, bool, int]]) -> Signal | None:
    """The signal of a combined bot with these signals, weights and switches of its components."""
    with pytest.MonkeyPatch.context() as patch:
        for number, (signal, _, _, bars) in enumerate(chosen):
            patch.setitem(combined._BOTS, f"fixed{number}", Fixed(signal, bars))
        components = tuple(
            CombinedComponent(kind=f"fixed{number}", weight=weight, enabled=enabled)
            for number, (_, weight, enabled, _) in enumerate(chosen)
        )
        params = CombinedParams(components=components)
        bot = CombinedBot()
        return bot.evaluate(Window.of(market(1, 20), bot.needs(params).bars), params)


@given(st.lists(members, min_size=1, max_size=5).filter(lambda m: any(on and w > 0 for _, w, on, _ in m)))
@settings(deadline=None)
def test_combined_bot_averages_the_components_that_give_a_signal(
    chosen: list[tuple[Signal | None, float, bool, int]],
) -> None:
    """score = sum(w s) / sum(w); the others are in neither sum."""
    found = mean_of(chosen)
    counted = [(signal, weight) for signal, weight, on, _ in chosen if on and weight > 0 and signal is not None]
    if not counted:
        assert found is None
        return
    assert found is not None
    total = sum(weight for _, weight in counted)
    confidence = sum(weight * signal.confidence for signal, weight in counted) / total
    assert found.confidence == pytest.approx(confidence)
    assert [part.weight for part in found.parts] == pytest.approx([weight / total for _, weight in counted])
    assert [part.score for part in found.parts] == [signal.score for signal, _ in counted]
    if found.confidence < 0.2:
        assert found.score == 0
        assert found.note.startswith("hold: mean confidence")
    else:
        mean = sum(weight * signal.score for signal, weight in counted) / total
        assert found.score == pytest.approx(mean, abs=1e-12)


def test_combined_bot_weighs_its_defaults_equally() -> None:
    """RSI, MACD and the cross have weights 0.33, 0.34 and 0.33."""
    answer = CombinedBot().evaluate(Window.of(market(1, 518), 518), CombinedParams())
    assert answer is not None
    assert [(part.name, round(part.weight, 6)) for part in answer.parts] == [
        ("rsi", 0.33),
        ("macd", 0.34),
        ("ma_cross", 0.33),
    ]
    rsi = RsiBot().evaluate(Window.of(market(1, 518), 518), RsiParams())
    assert rsi is not None
    assert answer.parts[0] == Part(name="rsi", score=rsi.score, weight=0.33, value=rsi.parts[0].value)


# --- by kind ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "text", "sentence"),
    [
        ("rsi", '{"length":1}', "the parameters of rsi are wrong: length must be greater than or equal to 2"),
        ("rsi", '{"lenght":10}', "the parameters of rsi are wrong: lenght is not known here"),
        ("rsi", '{"length":"14"}', "length must be a valid integer"),
        ("rsi", '{"oversold":NaN}', "are wrong"),
        ("rsi", "14", "are wrong"),
        ("rsi", "", "it is not JSON"),
        ("macd", '{"fast":30}', "wrong: the fast average \\(30\\) must be shorter than the slow one \\(26\\)"),
        ("ma_cross", '{"fast":20}', "must be shorter"),
        ("combined", '{"components":[]}', "at least one enabled component must have a weight above 0"),
        ("combined", '{"components":[{"kind":"rsi","weight":0}]}', "must have a weight above 0"),
        ("combined", '{"components":[{"kind":"rsi","weight":1,"enabled":false}]}', "must have a weight above 0"),
        (
            "combined",
            '{"components":[{"kind":"x","weight":1}]}',
            "there is no bot 'x' to combine: there are bollinger, breakout, ma_cross",
        ),
        ("combined", '{"components":[{"kind":"combined","weight":1}]}', "cannot contain a combined bot"),
        ("combined", '{"components":[{"kind":"rsi","weight":-1}]}', "components.0.weight"),
        (
            "combined",
            '{"components":[{"kind":"rsi","weight":1,"params":{"length":1}}]}',
            "components.0.params: the parameters of rsi are wrong: length must be greater",
        ),
    ],
)
def test_parameters_of_names_the_fault_in_one_line(kind: str, text: str, sentence: str) -> None:
    """Out of range, unknown, of a wrong type, or contradictory."""
    with pytest.raises(BadParameters, match=sentence) as refused:
        parameters_of(kind, text)
    assert "\n" not in str(refused.value)


def test_bot_of_refuses_an_unknown_kind() -> None:
    """The message lists the known kinds."""
    with pytest.raises(UnknownBotKind, match="no bot of kind 'nope': there are bollinger, breakout, combined"):
        bot_of("nope")


def test_bot_of_finds_an_enabled_bot_that_replaces_no_built_in_one() -> None:
    extra: dict[str, Bot] = {"planted": Plain(), "rsi": Plain()}
    assert bot_of("planted", extra) is extra["planted"]
    assert bot_of("rsi", extra) is BUILT_IN["rsi"]
    built_in = {"bollinger", "breakout", "combined", "ma_cross", "macd", "multi_timeframe", "obv", "rsi", "smc"}
    assert bot_kinds(extra) == tuple(sorted({*built_in, "planted"}))
    assert bot_kinds() == tuple(sorted(built_in))


def test_entry_points_name_exactly_the_built_in_bots() -> None:
    project = Path(__file__).resolve().parents[3] / "pyproject.toml"
    announced = tomllib.loads(project.read_text(encoding="utf-8"))["project"]["entry-points"]["daybook.bots"]
    classes = {kind: place.split(":") for kind, place in announced.items()}
    found = {kind: getattr(import_module(module), name) for kind, (module, name) in classes.items()}
    assert found == {kind: type(bot) for kind, bot in BUILT_IN.items()}
    assert all(kind == bot.kind for kind, bot in BUILT_IN.items())


@pytest.mark.parametrize(("kind", "text"), SETTINGS)
def test_parameters_text_is_parsed_back(kind: str, text: str) -> None:
    """The canonical text alone decides the hash."""
    params = parameters_of(kind, text)
    again = parameters_of(kind, parameters_text(params))
    assert again == params
    assert parameters_text(again) == parameters_text(params)
    assert parameters_hash(again) == parameters_hash(params)
    assert len(parameters_hash(params)) == 16


def test_parameters_hash_differs_for_each_setting() -> None:
    hashes = {parameters_hash(parameters_of(kind, text)) for kind, text in SETTINGS}
    assert len(hashes) == len(SETTINGS)
    for kind in bot_kinds():
        assert parameters_schema(kind)["type"] == "object"
