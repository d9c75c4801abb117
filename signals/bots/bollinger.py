"""Bollinger: buys below the lower band and sells above the upper one, back towards the mean."""

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from signals.bot import Needs, Parameters, Part, Signal, Window, bounded
from signals.bots.levels import category_of, levels
from signals.bots.vectorised import constant_close, only_warm, sliding_mean, windowed
from signals.indicators import Array, bbands
from signals.ta_lib import talib


class BollingerParams(Parameters):
    length: int = Field(20, ge=2, le=200, description="bars of the mean and of the deviation")
    std: float = Field(2.0, ge=0.5, le=5, description="standard deviations between the mean and the bands")


class BollingerBot:
    kind: ClassVar[str] = "bollinger"
    version: ClassVar[str] = "1"
    Params: ClassVar[type[Parameters]] = BollingerParams

    def needs(self, params: BollingerParams) -> Needs:
        return Needs(bars=params.length)

    def evaluate(self, window: Window, params: BollingerParams) -> Signal | None:
        """0.5 - %B: 0 at the mean, ±0.5 at the bands, ±1 at twice that distance.

        Outside the bands the target is the mean, and the stop is at the same distance on the other side.
        """
        bands = bbands(window.close[-params.length :], params.length, params.std)
        if bands is None:
            return None
        percent, middle, close = bands.percent.item(-1), bands.middle.item(-1), window.close.item(-1)
        score = bounded(0.5 - percent)
        horizon = params.length * window.timeframe
        outside = not 0 < percent < 1
        return Signal(
            score=score,
            horizon=horizon,
            category=category_of(horizon),
            parts=(Part(name="%B", score=score, weight=1, value=percent),),
            note=f"%B is {percent:.2f}, the mean {middle:.6g}",
            **(levels(close, middle, 2 * close - middle) if outside else {}),
        )

    def scores(self, bars: NDArray[np.void], params: BollingerParams) -> Array:
        close = np.ascontiguousarray(bars["close"])
        if len(bars) < params.length:
            return np.full(len(bars), np.nan)
        width = 2 * params.std * talib.STDDEV(close, params.length)
        scores = np.zeros(len(bars))
        moving = ~constant_close(close, params.length) & (width > 0)
        np.divide(sliding_mean(close, params.length) - close, width, out=scores, where=moving)
        # With bands this narrow, the order of summation shows.
        ends = np.flatnonzero((width < 1e-5 * close) & ~constant_close(close, params.length))
        scores[ends] = windowed(lambda part: _score_of(part["close"], params), bars, params.length, ends)
        return only_warm(np.clip(scores, -1, 1), params.length)


def _score_of(close: Array, params: BollingerParams) -> float | None:
    bands = bbands(close, params.length, params.std)
    return None if bands is None else bounded(0.5 - bands.percent.item(-1))
