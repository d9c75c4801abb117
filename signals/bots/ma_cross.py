"""Moving-average cross: buys when the fast average crosses above the slow one, sells when it crosses below."""

from math import tanh
from typing import ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from signals.bot import Needs, Parameters, Part, Signal, Window
from signals.bots.vectorised import fallen, only_warm, sliding_mean, windowed
from signals.indicators import Array, ema, ema_bars, sma
from signals.ta_lib import talib


class MovingAverageCrossParams(Parameters):
    fast: int = Field(10, ge=2, le=200, description="bars of the fast average")
    slow: int = Field(20, ge=2, le=200, description="bars of the slow average")
    average: Literal["simple", "exponential"] = Field("simple", description="simple, or exponential (EMA)")

    @model_validator(mode="after")
    def _fast_is_faster(self) -> Self:
        if self.fast >= self.slow:
            raise ValueError(f"the fast average ({self.fast}) must be shorter than the slow one ({self.slow})")
        return self


class MovingAverageCrossBot:
    kind: ClassVar[str] = "ma_cross"
    version: ClassVar[str] = "1"
    Params: ClassVar[type[Parameters]] = MovingAverageCrossParams

    def needs(self, params: MovingAverageCrossParams) -> Needs:
        return Needs(bars=params.slow + 1 if params.average == "simple" else ema_bars(params.slow))

    def evaluate(self, window: Window, params: MovingAverageCrossParams) -> Signal | None:
        found = _last_two(window.close, params) if len(window) >= self.needs(params).bars else None
        if found is None:
            return None
        before, now = found
        score, crossed = _score(before, now)
        part = Part(name="averages", score=score, weight=1, value=now)
        note = f"the fast average is {now:+.3f} % from the slow one{', just crossed' if crossed else ''}"
        return Signal(score=score, confidence=0.9 if crossed else 0.7, parts=(part,), note=note)

    def scores(self, bars: NDArray[np.void], params: MovingAverageCrossParams) -> Array:
        needed = self.needs(params).bars
        if len(bars) < needed:
            return np.full(len(bars), np.nan)
        close = np.ascontiguousarray(bars["close"])
        average = sliding_mean if params.average == "simple" else talib.EMA
        percent = 100 * (average(close, params.fast) / average(close, params.slow) - 1)
        doubtful = np.abs(np.abs(percent) - _NOTHING) < 1e-10
        if params.average == "exponential":
            doubtful |= fallen(close, needed, 1000)
        percent[np.abs(percent) <= _NOTHING] = 0.0
        before = np.roll(percent, 1)
        crossed = (percent != 0) & (before * percent <= 0)
        scores = np.where(crossed, np.copysign(0.8, percent), np.tanh(0.1 * percent))
        ends = np.flatnonzero((doubtful | np.roll(doubtful, 1))[needed - 1 :]) + needed - 1
        scores[ends] = windowed(lambda part: _score_of(part["close"], params), bars, needed, ends)
        return only_warm(scores, needed)


_NOTHING = 1e-7  # percent: at a constant price the averages differ by rounding only


def _last_two(close: Array, params: MovingAverageCrossParams) -> tuple[float, float] | None:
    """The fast average above the slow one in percent, at the last bar but one and at the last."""
    average = sma if params.average == "simple" else ema
    fast, slow = average(close, params.fast), average(close, params.slow)
    if fast is None or slow is None:
        return None
    return _percent_apart(fast.item(-2), slow.item(-2)), _percent_apart(fast.item(-1), slow.item(-1))


def _percent_apart(fast: float, slow: float) -> float:
    percent = 100 * (fast / slow - 1)
    return percent if abs(percent) > _NOTHING else 0.0


def _score(before: float, now: float) -> tuple[float, bool]:
    """The score, and `True` when the averages have just crossed."""
    crossed = now != 0 and before * now <= 0
    return (0.8 if now > 0 else -0.8) if crossed else tanh(0.1 * now), crossed


def _score_of(close: Array, params: MovingAverageCrossParams) -> float | None:
    found = _last_two(close, params)
    return None if found is None else _score(*found)[0]
