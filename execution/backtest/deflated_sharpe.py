"""How much of a Sharpe ratio is luck: the chance that it is real, given its length, its shape and how many were tried.

Statistics, not money: everything here is a float. Ratios are those of one period, not annualised.
"""

from math import e, sqrt
from statistics import NormalDist
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

EULER_MASCHERONI: Final = 0.5772156649015329
_NORMAL: Final = NormalDist()


class Track(NamedTuple):
    """A record of returns: its Sharpe ratio per period, how many periods, and their skewness and (full) kurtosis."""

    sharpe: float
    periods: int
    skewness: float
    kurtosis: float


def probabilistic_sharpe(track: Track, benchmark: float = 0.0) -> float | None:
    """The probability, 0 … 1, that the true Sharpe ratio is above `benchmark` (Bailey and López de Prado 2012).

    None for fewer than two periods, or where the estimate of its error is not above 0.
    """
    spread = 1 - track.skewness * track.sharpe + (track.kurtosis - 1) / 4 * track.sharpe**2
    if track.periods < 2 or spread <= 0:
        return None
    return _NORMAL.cdf((track.sharpe - benchmark) * sqrt((track.periods - 1) / spread))


def expected_best(sharpes: ArrayLike) -> float:
    """The Sharpe ratio that the best of so many trials shows by luck alone (Bailey and López de Prado 2014); 0 for one."""
    tried = np.asarray(sharpes, dtype=np.float64)
    if tried.size < 2:
        return 0.0
    low, high = _NORMAL.inv_cdf(1 - 1 / tried.size), _NORMAL.inv_cdf(1 - 1 / (tried.size * e))
    spread: float = tried.std(ddof=1).item()
    return spread * ((1 - EULER_MASCHERONI) * low + EULER_MASCHERONI * high)


def deflated_sharpe(track: Track, sharpes: ArrayLike) -> float | None:
    """The probability that the track's ratio is above what the best of all these trials, itself one, shows by luck."""
    return probabilistic_sharpe(track, expected_best(sharpes))
