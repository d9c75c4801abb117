"""Random walks and patterns: built-in bots earn nothing on the former, and the right ones earn on the latter.

The measure is the Sharpe ratio of each bar's return, mean over deviation. A position is the sign of a score beyond the
action threshold, decided at the close of a bar, held from the next open to the one after, and pays for every turn.
"""

from collections.abc import Callable
from math import sqrt

import numpy as np
import pytest
from numpy.typing import NDArray

from signals.bot import Vectorised
from signals.bots.obv import ObvBot, ObvParams
from signals.registry import BUILT_IN
from tests.support.bots.bar_series import bars_from, walk

Array = NDArray[np.float64]

THRESHOLD = 0.15
COST = 0.001  # of what is turned over
BARS = 400
FEW, MANY = 8, 200


def sharpe(scores: Array, bars: NDArray[np.void], cost: float) -> float:
    """The Sharpe ratio per bar, log returns, of following these scores; 0 where nothing was ever held."""
    held = np.where(np.abs(np.nan_to_num(scores)) >= THRESHOLD, np.sign(scores), 0.0)[:-2]
    earned = held * np.diff(np.log(bars["open"]))[1:] - cost * np.abs(np.diff(held, prepend=0.0))
    earned = earned[np.flatnonzero(~np.isnan(scores))[0] :]
    spread = earned.std(ddof=1)
    return float(earned.mean() / spread) if spread > 0 else 0.0


def mean_sharpes(bot: Vectorised, market: Callable[[int, int], NDArray[np.void]], seeds: int) -> tuple[float, float]:
    """The mean over `seeds` markets, each with BARS bars after the warm-up: without costs, and with them."""
    params = bot.Params()
    found = []
    for seed in range(seeds):
        bars = market(seed, bot.needs(params).bars + BARS)
        scores = bot.scores(bars, params)
        found.append([sharpe(scores, bars, cost) for cost in (0.0, COST)])
    without, with_costs = np.mean(found, axis=0).tolist()
    return without, with_costs


def noise(seeds: int) -> float:
    """The standard deviation of the mean Sharpe ratio over `seeds` random walks."""
    return 1 / sqrt(seeds * BARS)


def built_in(kind: str) -> Vectorised:
    bot = BUILT_IN[kind]
    assert isinstance(bot, Vectorised)
    return bot


# Smart money takes a hundred times as long as the others.
SLOW = pytest.mark.campaign


@pytest.mark.parametrize("kind", [pytest.param(kind, marks=[SLOW] * (kind == "smc")) for kind in BUILT_IN])
def test_bots_earn_nothing_on_random_walks(kind: str) -> None:
    """The mean Sharpe ratio is within noise of zero, and below it after costs."""
    without, with_costs = mean_sharpes(built_in(kind), walk, FEW)
    assert abs(without) < 3 * noise(FEW)
    assert with_costs < 2 * noise(FEW)


@pytest.mark.nightly
@pytest.mark.parametrize("kind", BUILT_IN)
def test_bots_earn_nothing_on_many_random_walks(kind: str) -> None:
    """The same on 200 random walks, with a fifth of the noise."""
    without, with_costs = mean_sharpes(built_in(kind), walk, MANY)
    assert abs(without) < 3 * noise(MANY)
    assert with_costs < 2 * noise(MANY)


def reverting(seed: int, size: int) -> NDArray[np.void]:
    """A price that is drawn back to 100: a tenth of the distance with each bar."""
    dice = np.random.default_rng(seed)
    away = np.zeros(size)
    for at, step in enumerate(dice.normal(0, 0.01, size - 1), start=1):
        away[at] = 0.9 * away[at - 1] + step
    return bars_from(100 * np.exp(away), dice)


def trending(seed: int, size: int) -> NDArray[np.void]:
    """A price that drifts one way for 60 bars, then perhaps the other; the volume is larger with the drift."""
    dice = np.random.default_rng(seed)
    drift = np.repeat(dice.choice([-1.0, 1.0], size // 60 + 1), 60)[:size]
    steps = dice.normal(0.005 * drift, 0.01)
    bars = bars_from(100 * np.exp(np.cumsum(steps)), dice)
    bars["volume"] *= np.where(np.sign(steps) == drift, 2, 1)
    return bars


@pytest.mark.parametrize(
    ("kind", "market"),
    [
        ("rsi", reverting),
        ("bollinger", reverting),
        ("ma_cross", trending),
        ("macd", trending),
        ("breakout", trending),
        ("obv", trending),
        ("multi_timeframe", trending),
        pytest.param("smc", trending, marks=SLOW),
    ],
)
def test_bots_earn_on_their_pattern(kind: str, market: Callable[[int, int], NDArray[np.void]]) -> None:
    """Mean reversion for bots that fade, trends for bots that follow: well beyond noise after costs."""
    assert mean_sharpes(built_in(kind), market, FEW)[1] > 3 * noise(FEW)


class Ahead(ObvBot):
    """A bot whose scores use the next bar."""

    def scores(self, bars: NDArray[np.void], params: ObvParams) -> Array:
        return np.append(np.sign(np.diff(bars["close"])), np.nan)


def test_sharpe_measure_finds_look_ahead() -> None:
    """Scores taken from the next close earn far more than noise, also after costs."""
    assert mean_sharpes(Ahead(), walk, FEW)[1] > 20 * noise(FEW)
