"""Bars for tests of bots, as arrays: random walks, and markets that break indicators."""

from datetime import timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ledger.values import Instrument
from signals.bot import BAR, Bot, Window

BTC = Instrument("BTC-USD")
HOUR = timedelta(hours=1)


def bars_from(close: NDArray[np.float64], dice: np.random.Generator, spread: float = 0.002) -> NDArray[np.void]:
    """Hourly bars with these closes: each opens at the close before, with wicks beyond both."""
    bars: NDArray[np.void] = np.empty(close.size, dtype=BAR)
    bars["opened_at"] = np.datetime64("2025-01-01", "us") + np.arange(close.size) * np.timedelta64(HOUR)
    bars["close"], bars["open"] = close, np.concatenate((close[:1], close[:-1]))
    beyond = np.abs(dice.normal(0, spread, (2, close.size)))
    bars["high"] = np.maximum(bars["open"], bars["close"]) * (1 + beyond[0])
    bars["low"] = np.minimum(bars["open"], bars["close"]) / (1 + beyond[1])
    bars["volume"] = dice.lognormal(0, 1, close.size)
    return bars


def walk(seed: int, size: int, step: float = 0.01) -> NDArray[np.void]:
    """Bars of a random walk from 100 with steps of this standard deviation."""
    dice = np.random.default_rng(seed)
    return bars_from(100 * np.exp(np.cumsum(dice.normal(0, step, size))), dice, step / 5)


def rough(seed: int, size: int) -> NDArray[np.void]:
    """Bars with constant prices, jumps by orders of magnitude, quiet moves, no volume, and gaps, in seeded order."""
    dice = np.random.default_rng(seed)
    steps: list[NDArray[np.float64]] = []
    while sum(map(len, steps)) < size:
        length = int(dice.integers(1, 300))
        kind = dice.integers(5)
        if kind == 0:
            steps.append(np.zeros(length))
        elif kind == 1:
            steps.append(np.array([dice.uniform(-8, 8)]))
        else:
            steps.append(dice.normal(0, 10.0 ** dice.integers(-7, -1), length))
    close = 10.0 ** dice.integers(-6, 6) * np.exp(np.concatenate(steps)[:size].cumsum().clip(-20, 20))
    bars = bars_from(close, dice, float(dice.choice([0.0, 1e-6, 1e-3])))
    bars["volume"][dice.random(size) < 0.3] = 0
    bars["opened_at"] += np.cumsum(np.where(dice.random(size) < 0.02, dice.integers(1, 50), 0)) * np.timedelta64(HOUR)
    return bars


def window_at(bars: NDArray[np.void], end: int, n: int) -> Window:
    """The window of `n` bars before index `end`."""
    return Window.slice(BTC, HOUR, bars, end, n)


def score_at(bot: Bot, params: Any, bars: NDArray[np.void], end: int) -> float:
    """The score of `evaluate` for the window that ends before index `end`, or NaN."""
    needed = bot.needs(params).bars
    signal = bot.evaluate(window_at(bars, end, needed), params) if end >= needed else None
    return np.nan if signal is None else signal.score
