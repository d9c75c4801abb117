"""What the vectorised twins of the built-in bots share: where a whole series may stand for its windows."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def only_warm(scores: Array, needed: int) -> Array:
    """The scores, with NaN at the bars that have fewer than `needed` bars up to and including them."""
    warm = np.array(scores, dtype=np.float64)
    warm[: needed - 1] = np.nan
    return warm


def windowed(
    score_of: Callable[[NDArray[np.void]], float | None], bars: NDArray[np.void], needed: int, ends: NDArray[np.int64]
) -> Array:
    """The score of each window of `needed` bars that ends with one of the bars `ends`, asked one by one."""
    answers = (score_of(bars[end + 1 - needed : end + 1]) for end in ends.tolist())
    return np.array([np.nan if answer is None else answer for answer in answers], dtype=np.float64)


def rolling(values: Array, length: int) -> Array:
    """A view with one row of the last `length` values for each bar that has as many; no rows where none has."""
    if values.size < length:
        return np.empty((0, length))
    return np.lib.stride_tricks.sliding_window_view(values, length)


def after(missing: int, values: Array, size: int) -> Array:
    """The values at the end of `size` numbers, after so many NaN."""
    return np.concatenate((np.full(min(missing, size), np.nan), values))


def sliding_mean(values: Array, length: int) -> Array:
    """The mean of the last `length` values at each bar, each summed anew: a running sum would remember old prices."""
    return after(length - 1, rolling(values, length).mean(axis=1), values.size)


def still(close: Array, length: int) -> NDArray[np.bool_]:
    """For each bar, whether the last `length` closes are there and equal."""
    bars = np.arange(close.size)
    moved = np.diff(close, prepend=np.nan) != 0
    standing: NDArray[np.bool_] = bars - np.maximum.accumulate(np.where(moved, bars, 0)) >= length - 1
    return standing


def older_share(smoothed: Array, length: int, needed: int) -> Array:
    """For each bar, how much of a Wilder mean may stem from before its window of `needed` bars, as a share of it.

    A bound: the mean that begins the window's own smoothing, `length` bars in, has weighed (1 - 1 / length) less with
    each bar since, and may be four times too large. Infinite where the mean has come down to nothing.
    """
    shares = np.zeros(smoothed.size)
    since = needed - 1 - length
    if smoothed.size > since:
        now, then = smoothed[since:], smoothed[: smoothed.size - since]
        with np.errstate(divide="ignore", invalid="ignore"):
            shares[since:] = 4 * (1 - 1 / length) ** since * then / now
    shares[np.isnan(shares) & ~np.isnan(smoothed)] = np.inf
    return np.nan_to_num(shares, nan=0.0, posinf=np.inf)


def fallen(close: Array, needed: int, factor: float) -> NDArray[np.bool_]:
    """For each bar, whether the close stands below 1 / `factor` of one of the 2 `needed` closes before it, or more.

    There an exponential mean, begun far before the window, carries more than rounding of the old prices.
    """
    # In blocks: the highest so far of a bar's own block, and the highest of the whole block before.
    blocks = -(-close.size // (2 * needed))
    rows = np.full(blocks * 2 * needed, -np.inf)
    rows[: close.size] = close
    so_far = np.maximum.accumulate(rows.reshape(blocks, -1), axis=1)
    so_far[1:] = np.maximum(so_far[1:], so_far[:-1, -1:].copy())
    return np.less(close * factor, so_far.ravel()[: close.size])
