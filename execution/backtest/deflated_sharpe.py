"""Deflated Sharpe ratio: the probability that a ratio is not luck, by its length, its shape and the number of trials.

Statistics, not money: all numbers are floats. Ratios are per period, not annualised.
"""

from math import e, sqrt
from statistics import NormalDist
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

EULER_MASCHERONI: Final = 0.5772156649015329
_NORMAL: Final = NormalDist()


class Track(NamedTuple):
    """A record of returns: Sharpe ratio per period, number of periods, skewness and (full) kurtosis."""

    sharpe: float
    periods: int
    skewness: float
    kurtosis: float


def probabilistic_sharpe(track: Track, benchmark: float = 0.0) -> float | None:
    """The probability, 0 … 1, that the true Sharpe ratio is above `benchmark` (Bailey and López de Prado 2012).

    None for fewer than two periods, or if the estimated error is not above 0.
    """
    spread = 1 - track.skewness * track.sharpe + (track.kurtosis - 1) / 4 * track.sharpe**2
    if track.periods < 2 or spread <= 0:
        return None
    return _NORMAL.cdf((track.sharpe - benchmark) * sqrt((track.periods - 1) / spread))


def expected_best(sharpes: ArrayLike) -> float:
    """The Sharpe ratio that the best of these trials shows by luck alone (Bailey and López de Prado 2014); 0 for one trial."""
    tried = np.asarray(sharpes, dtype=np.float64)
    if tried.size < 2:
        return 0.0
    low, high = _NORMAL.inv_cdf(1 - 1 / tried.size), _NORMAL.inv_cdf(1 - 1 / (tried.size * e))
    spread: float = tried.std(ddof=1).item()
    return spread * ((1 - EULER_MASCHERONI) * low + EULER_MASCHERONI * high)


def deflated_sharpe(track: Track, sharpes: ArrayLike) -> float | None:
    """The probability that the track's ratio exceeds the luckiest of these trials, the track included."""
    return probabilistic_sharpe(track, expected_best(sharpes))
