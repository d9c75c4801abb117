"""The same market in other clothes: what a bot is shown to see what it looks at. Each gives new bars of `signals.bot.BAR`."""

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
AGES: Final = np.timedelta64(146_097, "D")
"""400 years: every date has the same weekday, month and day as before, and none is known from anywhere."""


def window_at(whole: Window, bars: Bars, end: int, needed: int) -> Window:
    """The window of the `needed` bars before number `end`, cut from `bars` of the same market as `whole`."""
    chosen = np.frombuffer(bars[end - needed : end].tobytes(), dtype=bars.dtype)
    closed_at = chosen["opened_at"][-1].item().replace(tzinfo=UTC) + whole.timeframe
    return replace(whole, asof=closed_at, bars=chosen)


def standing(bars: Bars) -> Bars:
    """Every price is the first close."""
    return _with_prices(bars, lambda _: np.full(len(bars), bars["close"][0]))


def untraded(bars: Bars) -> Bars:
    """Nothing was ever traded at these prices."""
    found = bars.copy()
    found["volume"] = 0.0
    return found


def with_a_gap(bars: Bars) -> Bars:
    """One bar in the middle is missing."""
    return np.delete(bars, len(bars) // 2)


def dearer(bars: Bars) -> Bars:
    """Every price is `SCALE` times as high."""
    return _with_prices(bars, lambda prices: prices * SCALE)


def ages_later(bars: Bars) -> Bars:
    """The same bars 400 years later."""
    found = bars.copy()
    found["opened_at"] += AGES
    return found


def poisoned(bars: Bars, start: int, stop: int) -> Bars:
    """Other prices at the same times from bar `start` up to `stop`: far dearer and far cheaper in turn."""
    factors = np.ones(len(bars))
    factors[start:stop] = np.where(np.arange(start, stop) % 2, 7.0, 0.125)
    return _with_prices(bars, lambda prices: prices * factors)


def without_a_number(bars: Bars) -> Bars:
    """A last close that is no number."""
    found = bars.copy()
    found["close"][-1] = np.nan
    return found


def _with_prices(bars: Bars, change: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> Bars:
    found = bars.copy()
    for name in PRICES:
        found[name] = change(bars[name])
    return found
