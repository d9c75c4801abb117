"""MACD: follows a trend that gains strength."""

from math import tanh
from typing import ClassVar, Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from signals.bot import Needs, Parameters, Part, Signal, Window, bounded
from signals.bots.vectorised import fallen, older_share, only_warm, windowed
from signals.indicators import Array, atr, ema_bars, last, macd, wilder_bars


class MacdParams(Parameters):
    fast: int = Field(12, ge=2, le=200, description="bars of the fast average")
    slow: int = Field(26, ge=2, le=200, description="bars of the slow average")
    signal: int = Field(9, ge=2, le=200, description="bars of the signal line")
    range_length: int = Field(14, ge=2, le=100, description="bars of the average true range, the measure of change")
    sensitivity: float = Field(
        20, gt=0, le=1000, description="scale of the histogram change; larger values saturate sooner"
    )

    @model_validator(mode="after")
    def _fast_is_faster(self) -> Self:
        if self.fast >= self.slow:
            raise ValueError(f"the fast average ({self.fast}) must be shorter than the slow one ({self.slow})")
        return self


class MacdBot:
    kind: ClassVar[str] = "macd"
    version: ClassVar[str] = "1"
    Params: ClassVar[type[Parameters]] = MacdParams

    def needs(self, params: MacdParams) -> Needs:
        settled = max(ema_bars(max(params.slow, params.signal)), wilder_bars(params.range_length))
        return Needs(bars=max(settled, params.slow + params.signal))

    def evaluate(self, window: Window, params: MacdParams) -> Signal | None:
        values = _values(window.bars, params) if len(window) >= self.needs(params).bars else None
        if values is None:
            return None
        against_signal, against_zero, growth = _components(values, params)
        parts = (
            Part(name="line against signal", score=against_signal, weight=0.4, value=values.histogram),
            Part(name="line against zero", score=against_zero, weight=0.3, value=values.line),
            Part(name="histogram change", score=growth, weight=0.3, value=values.change),
        )
        score = bounded(sum(part.weight * part.score for part in parts))
        return Signal(score=score, parts=parts, note=f"MACD {values.line:.6g}, histogram {values.histogram:.6g}")

    def scores(self, bars: NDArray[np.void], params: MacdParams) -> Array:
        needed = self.needs(params).bars
        high, low, close = (np.ascontiguousarray(bars[name]) for name in ("high", "low", "close"))
        found = macd(close, params.fast, params.slow, params.signal)
        reach = atr(high, low, close, params.range_length)
        if found is None or reach is None or len(bars) < needed:
            return np.full(len(bars), np.nan)
        nothing = _NOTHING * close
        change = np.diff(found.histogram, prepend=np.nan)
        with np.errstate(divide="ignore", invalid="ignore"):
            growth = np.where(reach > nothing, np.tanh(params.sensitivity * change / reach), 0.0)
            # The effect on the score of rounding by 1e-15 of the price, where the price hardly moves.
            unsure = 0.3 * params.sensitivity * 2e-15 * close / reach > 5e-10
        scores = 0.4 * _signs(found.histogram, nothing) + 0.3 * _signs(found.line, nothing) + 0.3 * growth
        doubtful = unsure & (reach > nothing / 2) | fallen(close, needed, 10)
        doubtful |= (older_share(reach, params.range_length, needed) > 1e-10) & (reach > nothing / 2)
        doubtful |= (
            np.minimum(np.abs(np.abs(found.histogram) / nothing - 1), np.abs(np.abs(found.line) / nothing - 1)) < 1e-3
        )
        ends = np.flatnonzero(doubtful[needed - 1 :]) + needed - 1
        scores[ends] = windowed(lambda part: _score_of(part, params), bars, needed, ends)
        return only_warm(np.clip(scores, -1, 1), needed)


_NOTHING: Final = 1e-9
"""A share of the price below which averages differ by rounding only."""


class _Values(NamedTuple):
    line: float
    histogram: float
    change: float
    reach: float
    nothing: float


def _values(bars: NDArray[np.void], params: MacdParams) -> _Values | None:
    """MACD and range at the last bar, or None with too few bars."""
    close = np.ascontiguousarray(bars["close"])
    found = macd(close, params.fast, params.slow, params.signal)
    reach = last(atr(bars["high"], bars["low"], close, params.range_length))
    if found is None or reach is None or close.size < params.slow + params.signal:
        return None
    histogram = found.histogram.item(-1)
    return _Values(
        found.line.item(-1), histogram, histogram - found.histogram.item(-2), reach, _NOTHING * close.item(-1)
    )


def _components(values: _Values, params: MacdParams) -> tuple[float, float, float]:
    """The scores of the three components."""
    growth = tanh(params.sensitivity * values.change / values.reach) if values.reach > values.nothing else 0.0
    return _sign(values.histogram, values.nothing), _sign(values.line, values.nothing), growth


def _score_of(bars: NDArray[np.void], params: MacdParams) -> float | None:
    values = _values(bars, params)
    if values is None:
        return None
    against_signal, against_zero, growth = _components(values, params)
    return bounded(0.4 * against_signal + 0.3 * against_zero + 0.3 * growth)


def _sign(value: float, nothing: float) -> float:
    return 0.0 if abs(value) <= nothing else 1.0 if value > 0 else -1.0


def _signs(values: Array, nothing: Array) -> Array:
    return np.where(np.abs(values) <= nothing, 0.0, np.sign(values))
