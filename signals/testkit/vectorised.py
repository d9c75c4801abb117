"""Comparison of a bot's vectorised twin, `scores`, with its `evaluate`, bar by bar."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ledger.values import time_text
from signals.bot import Bot, Parameters, Window
from signals.market.candle import Candle
from signals.sandbox.guard import Failure, answer_of
from signals.testkit.markets import poisoned as poisoned_bars

WITHIN: Final = 1e-9


def twin_breaches(
    bot: Bot, params: Parameters, candles: Sequence[Candle], needed: int, evaluated: Mapping[int, float]
) -> Iterator[str]:
    """Every rule that the twin breaks; none for a bot without one.

    `evaluated` holds the scores of `evaluate` by the number of closed candles.
    """
    scores = getattr(bot, "scores", None)
    if scores is None:
        return
    bars = Window.of(candles, len(candles)).bars
    whole = _scores(scores, bars, params)
    if isinstance(whole, str):
        yield whole
        return
    expected = np.full(len(candles), np.nan)
    for end, score in evaluated.items():
        expected[end - 1] = score
    for index in np.flatnonzero(~_same(whole, expected, WITHIN))[:1]:
        yield f"at {_place(candles, index)} its twin returns {_shown(whole[index])} and evaluate {_shown(expected[index])}"
    for last in range(needed - 1, len(candles) - 1, max(1, (len(candles) - needed) // 6)):
        # Other prices rather than NaN, which indicators refuse.
        poisoned = _scores(scores, poisoned_bars(bars, last + 1, len(bars)), params)
        if isinstance(poisoned, str):
            yield f"with other prices after {_place(candles, last)}: {poisoned}"
            return
        for index in np.flatnonzero(~_same(whole[: last + 1], poisoned[: last + 1], 0.0))[:1]:
            yield (
                f"at {_place(candles, index)} its twin returns {_shown(whole[index])} and,"
                f" with other prices after {_place(candles, last)}, {_shown(poisoned[index])}: it uses the future"
            )
            return


def _scores(scores: Any, bars: NDArray[np.void], params: Parameters) -> NDArray[np.float64] | str:
    """The twin's scores of these bars, or the rule that it breaks."""
    before = bars.tobytes()
    found: object = answer_of(lambda: scores(bars, params))
    if isinstance(found, Failure):
        return f"its twin raises {found.text}"
    if bars.tobytes() != before:
        return "its twin changes the bars it was given"
    if not isinstance(found, np.ndarray) or found.dtype != np.float64 or found.shape != bars.shape:
        return f"its twin does not return an array of {len(bars)} scores"
    return found


def _same(one: NDArray[np.float64], other: NDArray[np.float64], within: float) -> NDArray[np.bool_]:
    """For each bar, `True` when both are NaN or differ by at most `within`."""
    close: NDArray[np.bool_] = np.abs(one - other) <= within
    return close | (np.isnan(one) & np.isnan(other))


def _shown(score: float) -> str:
    return "no score" if np.isnan(score) else f"score {float(score)!r}"


def _place(candles: Sequence[Candle], index: int) -> str:
    return f"bar {index} ({time_text(candles[index].closed_at)})"
