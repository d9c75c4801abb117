"""Breakout: buys above the highest high of the bars before (Donchian), sells below their lowest low."""

from math import tanh
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from signals.bot import Needs, Parameters, Part, Signal, Window
from signals.bots.levels import category_of, levels
from signals.bots.vectorised import after, only_warm, sliding_mean
from signals.indicators import Array, donchian


class BreakoutParams(Parameters):
    length: int = Field(20, ge=2, le=200, description="bars of the channel that is broken")
    volume_factor: float = Field(
        1.0, ge=0, le=20, description="multiple of the mean volume that confirms a breakout; 0: any volume"
    )
    reward: float = Field(2.0, ge=1, le=10, description="distance of the target, in distances of the stop")


class BreakoutBot:
    kind: ClassVar[str] = "breakout"
    version: ClassVar[str] = "1"
    Params: ClassVar[type[Parameters]] = BreakoutParams

    def needs(self, params: BreakoutParams) -> Needs:
        return Needs(bars=params.length + 1)

    def evaluate(self, window: Window, params: BreakoutParams) -> Signal | None:
        """At least 0.8 outside the channel of the bars before, half of it without volume; up to 0.3 inside.

        Outside, entry is the close, the stop the middle of the channel, and the target `reward` times as far.
        """
        if len(window) <= params.length:
            return None
        bars = window.bars[-params.length - 1 :]
        channel = donchian(bars["high"][:-1], bars["low"][:-1], params.length, params.length)
        assert channel is not None
        lower, middle, upper = channel.lower.item(-1), channel.middle.item(-1), channel.upper.item(-1)
        close, volume, mean = window.close.item(-1), window.volume.item(-1), bars["volume"][:-1].mean().item()
        where = 2 * (close - middle) / (upper - lower) if upper > lower else float(np.sign(close - middle)) * 2
        confirmed = volume >= params.volume_factor * mean * _NEARLY
        score = _score(where, confirmed)
        horizon = params.length * window.timeframe
        broken = abs(where) > 1
        state = ("no breakout", "a breakout" if confirmed else "a breakout without volume")[broken]
        return Signal(
            score=score,
            confidence=(0.9 if confirmed else 0.6) if broken else 0.5,
            horizon=horizon,
            category=category_of(horizon),
            parts=(Part(name="channel", score=score, weight=1, value=where),),
            note=f"{state}; the channel is {lower:.6g} to {upper:.6g}",
            **(levels(close, close + params.reward * (close - middle), middle) if broken else {}),
        )

    def scores(self, bars: NDArray[np.void], params: BreakoutParams) -> Array:
        high, low, close, volume = (np.ascontiguousarray(bars[name]) for name in ("high", "low", "close", "volume"))
        channel = donchian(high, low, params.length, params.length)
        if channel is None or len(bars) <= params.length:
            return np.full(len(bars), np.nan)
        lower, middle, upper = (after(1, side[:-1], len(bars)) for side in channel)
        mean = after(1, sliding_mean(volume, params.length)[:-1], len(bars))
        where = 2 * np.sign(close - middle)
        np.divide(2 * (close - middle), upper - lower, out=where, where=upper > lower)
        confirmed = volume >= params.volume_factor * mean * _NEARLY
        broken = np.copysign(np.where(confirmed, 1.0, 0.5) * (0.8 + 0.2 * np.tanh(np.abs(where) - 1)), where)
        return only_warm(np.where(np.abs(where) > 1, broken, 0.3 * where), params.length + 1)


_NEARLY = 1 - 1e-9  # equal volumes compare as equal despite rounding


def _score(where: float, confirmed: bool) -> float:
    """The score of a close at `where` in the channel: -1 is its lower end, +1 its upper; beyond them is outside."""
    if abs(where) <= 1:
        return 0.3 * where
    strength = (1.0 if confirmed else 0.5) * (0.8 + 0.2 * tanh(abs(where) - 1))
    return strength if where > 0 else -strength
