"""Whether a bot's vectorised twin, `scores`, says what its `evaluate` says, bar by bar."""

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
    bot: Bot, params: Parameters, candles: Sequence[Candle], needed: int, said: Mapping[int, float]
) -> Iterator[str]:
    """What the twin does that it must not do; nothing where the bot has none.

    `said` holds the scores of the contract path, by the number of candles that had closed.
    """
    scores = getattr(bot, "scores", None)
    if scores is None:
        return
    bars = Window.of(candles, len(candles)).bars
    whole = _asked(scores, bars, params)
    if isinstance(whole, str):
        yield whole
        return
    wanted = np.full(len(candles), np.nan)
    for end, score in said.items():
        wanted[end - 1] = score
    for index in np.flatnonzero(~_same(whole, wanted, WITHIN))[:1]:
        yield f"at {_place(candles, index)} its twin says {_told(whole[index])} and evaluate {_told(wanted[index])}"
    for last in range(needed - 1, len(candles) - 1, max(1, (len(candles) - needed) // 6)):
        # Far other prices rather than none: what is no number never passes the boundary, and indicators refuse it.
        poisoned = _asked(scores, poisoned_bars(bars, last + 1, len(bars)), params)
        if isinstance(poisoned, str):
            yield f"with poison after {_place(candles, last)}: {poisoned}"
            return
        for index in np.flatnonzero(~_same(whole[: last + 1], poisoned[: last + 1], 0.0))[:1]:
            yield (
                f"at {_place(candles, index)} its twin says {_told(whole[index])} and,"
                f" with poison after {_place(candles, last)}, {_told(poisoned[index])}: it sees the future"
            )
            return


def _asked(scores: Any, bars: NDArray[np.void], params: Parameters) -> NDArray[np.float64] | str:
    """What the twin says of these bars, or what is wrong with its answer."""
    before = bars.tobytes()
    found: object = answer_of(lambda: scores(bars, params))
    if isinstance(found, Failure):
        return f"its twin raises {found.text}"
    if bars.tobytes() != before:
        return "its twin changes the bars it was given"
    if not isinstance(found, np.ndarray) or found.dtype != np.float64 or found.shape != bars.shape:
        return f"its twin answers with no array of {len(bars)} scores"
    return found


def _same(one: NDArray[np.float64], other: NDArray[np.float64], within: float) -> NDArray[np.bool_]:
    """Where both say the same: no score either, or scores no further apart than this."""
    close: NDArray[np.bool_] = np.abs(one - other) <= within
    return close | (np.isnan(one) & np.isnan(other))


def _told(score: float) -> str:
    return "nothing" if np.isnan(score) else f"score {float(score)!r}"


def _place(candles: Sequence[Candle], index: int) -> str:
    return f"bar {index} ({time_text(candles[index].closed_at)})"
