"""Vectorised scores: a whole series has the scores of its windows."""

from typing import Any

import numpy as np
import pytest
import talib
from numpy.typing import NDArray

from signals.bot import Parameters, Vectorised
from signals.bots.breakout import BreakoutBot
from signals.bots.rsi import RsiBot, RsiParams
from signals.registry import BUILT_IN, parameters_of
from tests.support.bots.bar_series import rough, score_at, walk

SETTINGS: list[tuple[str, str]] = [
    *((kind, "{}") for kind in BUILT_IN),
    ("rsi", '{"length":2}'),
    ("rsi", '{"length":3,"oversold":1,"overbought":99}'),
    ("rsi", '{"smoothing":"simple"}'),
    ("macd", '{"fast":2,"slow":5,"signal":3,"range_length":2,"sensitivity":1000}'),
    ("ma_cross", '{"fast":2,"slow":3}'),
    ("ma_cross", '{"fast":3,"slow":8,"average":"exponential"}'),
    ("bollinger", '{"length":5,"std":0.5}'),
    ("breakout", '{"length":3,"volume_factor":0}'),
    ("obv", '{"length":2}'),
    ("smc", '{"bars":30}'),
    (
        "multi_timeframe",
        '{"components":[{"kind":"obv","weight":1,"every":7},{"kind":"ma_cross","weight":2,"every":24}]}',
    ),
    (
        "combined",
        '{"components":[{"kind":"obv","weight":1,"params":{"length":2}},{"kind":"multi_timeframe","weight":3},{"kind":"bollinger","weight":1}]}',
    ),
]


@pytest.mark.parametrize(("kind", "text"), SETTINGS)
@pytest.mark.parametrize("seed", range(4))
def test_vectorised_scores_equal_evaluate(kind: str, text: str, seed: int) -> None:
    """Within 1e-9 at every sampled bar, on walks and on markets with constant prices, jumps and gaps."""
    bot = BUILT_IN[kind]
    assert isinstance(bot, Vectorised)
    params = parameters_of(kind, text)
    size = bot.needs(params).bars + (60 if kind == "smc" else 600)  # its twin asks every window itself
    for bars in (walk(seed, size), rough(seed, size)):
        assert disagreements(bot, params, bars, seed) == []


def test_vectorised_scores_of_a_short_series_are_nan() -> None:
    """One bar too few, or none at all."""
    for kind, bot in BUILT_IN.items():
        assert isinstance(bot, Vectorised)
        params = bot.Params()
        for size in (0, 1, bot.needs(params).bars - 1):
            scores = bot.scores(walk(1, size), params)
            assert scores.shape == (size,), kind
            assert np.isnan(scores).all(), kind


class Forgetful(RsiBot):
    """Takes the whole series for each window, also where old moves outweigh the window's own."""

    def scores(self, bars: NDArray[np.void], params: RsiParams) -> NDArray[np.float64]:
        scores = np.interp(
            talib.RSI(np.ascontiguousarray(bars["close"]), 14), (0, 30, 50, 70, 100), (1, 0.5, 0, -0.5, -1)
        )
        scores[: self.needs(params).bars - 1] = np.nan
        return np.asarray(scores, dtype=np.float64)


class Ahead(BreakoutBot):
    """A twin that is one bar ahead."""

    def scores(self, bars: NDArray[np.void], params: Any) -> NDArray[np.float64]:
        return np.roll(super().scores(bars, params), -1)


def test_score_comparison_finds_a_wrong_twin() -> None:
    """One that looks a bar ahead, and one that ignores where its window begins."""
    assert disagreements(Ahead(), BreakoutBot.Params(), walk(1, 100), 1)
    quiet = walk(1, 1200)
    for name in ("open", "high", "low", "close"):
        quiet[name][600:] = quiet["close"][599]
        quiet[name][700:] *= 1.0001  # the only move that most of the windows know
    assert disagreements(Forgetful(), RsiParams(), quiet, 1)
    assert disagreements(RsiBot(), RsiParams(), quiet, 1) == []


def disagreements(bot: Vectorised, params: Parameters, bars: NDArray[np.void], seed: int) -> list[str]:
    """Where the twin and the contract differ, at some sixty bars: the first warm ones, the last, and others by chance."""
    needed = bot.needs(params).bars
    scores = bot.scores(bars, params)
    ends = {
        1,
        needed - 1,
        needed,
        needed + 1,
        len(bars),
        *np.random.default_rng(seed).integers(1, len(bars), 55).tolist(),
    }
    scores_at = {end: score_at(bot, params, bars, end) for end in sorted(ends) if end > 0}
    return [
        f"bar {end}: evaluate returns {score}, scores {scores[end - 1]}"
        for end, score in scores_at.items()
        if not np.isclose(score, scores[end - 1], rtol=0, atol=1e-9, equal_nan=True)
    ]
