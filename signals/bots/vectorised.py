"""Shared by the vectorised scores of built-in bots: where a whole series gives the same score as its windows."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from signals.indicators import Array, rolling


def only_warm(scores: Array, needed: int) -> Array:
    """The scores, with NaN at the bars that have fewer than `needed` bars up to and including them."""
    warm = np.array(scores, dtype=np.float64)
    warm[: needed - 1] = np.nan
    return warm


def windowed(
    score_of: Callable[[NDArray[np.void]], float | None], bars: NDArray[np.void], needed: int, ends: NDArray[np.int64]
) -> Array:
    """The score of each window of `needed` bars that ends with one of the bars `ends`, computed one by one."""
    scores = (score_of(bars[end + 1 - needed : end + 1]) for end in ends.tolist())
    return np.array([np.nan if score is None else score for score in scores], dtype=np.float64)


def after(missing: int, values: Array, size: int) -> Array:
    """Pad the values to `size` numbers with `missing` NaN in front."""
    return np.concatenate((np.full(min(missing, size), np.nan), values))


def sliding_mean(values: Array, length: int) -> Array:
    """The mean of the last `length` values at each bar, each summed separately: a running sum accumulates rounding."""
    return after(length - 1, rolling(values, length).mean(axis=1), values.size)


def constant_close(close: Array, length: int) -> NDArray[np.bool_]:
    """For each bar, `True` when there are `length` closes up to it and they are equal."""
    bars = np.arange(close.size)
    moved = np.diff(close, prepend=np.nan) != 0
    constant: NDArray[np.bool_] = bars - np.maximum.accumulate(np.where(moved, bars, 0)) >= length - 1
    return constant


def older_share(smoothed: Array, length: int, needed: int) -> Array:
    """For each bar, an upper bound of the share of a Wilder mean that stems from before its window of `needed` bars.

    The mean that seeds the window's own smoothing, `length` bars in, loses 1 / length of its weight per bar and may be
    four times too large. Infinite where the mean has fallen to 0.
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
    """For each bar, `True` when the close is below 1 / `factor` of one of at least the 2 `needed` closes before it.

    There an exponential mean that began long before the window still contains more of the old prices than rounding.
    """
    # In blocks: the running maximum of a bar's own block, and the maximum of the whole block before.
    blocks = -(-close.size // (2 * needed))
    rows = np.full(blocks * 2 * needed, -np.inf)
    rows[: close.size] = close
    so_far = np.maximum.accumulate(rows.reshape(blocks, -1), axis=1)
    so_far[1:] = np.maximum(so_far[1:], so_far[:-1, -1:].copy())
    return np.less(close * factor, so_far.ravel()[: close.size])
