"""Variants of a market that show on which inputs a bot depends. Each returns new bars of `signals.bot.BAR`."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC
from typing import Final

import numpy as np
from numpy.typing import NDArray

from signals.bot import Window

Bars = NDArray[np.void]
PRICES: Final = ("open", "high", "low", "close")
SCALE: Final = 1000.0
CENTURIES: Final = np.timedelta64(146_097, "D")
"""400 years: every date keeps its weekday, month and day, and no data exists for it."""


def window_at(whole: Window, bars: Bars, end: int, needed: int) -> Window:
    """The window of the `needed` bars before index `end` of `bars`, of the same market as `whole`."""
    chosen = np.frombuffer(bars[end - needed : end].tobytes(), dtype=bars.dtype)
    closed_at = chosen["opened_at"][-1].item().replace(tzinfo=UTC) + whole.timeframe
    return replace(whole, asof=closed_at, bars=chosen)


def constant_price(bars: Bars) -> Bars:
    """Every price is the first close."""
    return _with_prices(bars, lambda _: np.full(len(bars), bars["close"][0]))


def without_volume(bars: Bars) -> Bars:
    """Every volume is 0."""
    found = bars.copy()
    found["volume"] = 0.0
    return found


def with_a_gap(bars: Bars) -> Bars:
    """The bars without one in the middle."""
    return np.delete(bars, len(bars) // 2)


def scaled_up(bars: Bars) -> Bars:
    """Every price is `SCALE` times as high."""
    return _with_prices(bars, lambda prices: prices * SCALE)


def centuries_later(bars: Bars) -> Bars:
    """The same bars 400 years later."""
    found = bars.copy()
    found["opened_at"] += CENTURIES
    return found


def poisoned(bars: Bars, start: int, stop: int) -> Bars:
    """Other prices from bar `start` up to `stop`: alternately far higher and far lower."""
    factors = np.ones(len(bars))
    factors[start:stop] = np.where(np.arange(start, stop) % 2, 7.0, 0.125)
    return _with_prices(bars, lambda prices: prices * factors)


def with_nan(bars: Bars) -> Bars:
    """The last close is NaN."""
    found = bars.copy()
    found["close"][-1] = np.nan
    return found


def _with_prices(bars: Bars, change: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> Bars:
    found = bars.copy()
    for name in PRICES:
        found[name] = change(bars[name])
    return found
