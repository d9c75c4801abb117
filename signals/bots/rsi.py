"""RSI: buys oversold and sells overbought markets."""

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from signals.bot import Needs, Parameters, Part, Signal, Window
from signals.bots.vectorised import constant_close, older_share, only_warm, windowed
from signals.indicators import Array, Smoothing, atr, last, rsi, wilder_bars


class RsiParams(Parameters):
    length: int = Field(14, ge=2, le=100, description="bars the index looks back")
    oversold: float = Field(30, gt=0, lt=50, description="at or below: a clear buy")
    overbought: float = Field(70, gt=50, lt=100, description="at or above: a clear sell")
    smoothing: Smoothing = Field("wilder", description="wilder, or the simple mean (Cutler)")


class RsiBot:
    kind: ClassVar[str] = "rsi"
    version: ClassVar[str] = "1"
    Params: ClassVar[type[Parameters]] = RsiParams

    def needs(self, params: RsiParams) -> Needs:
        return Needs(bars=wilder_bars(params.length) if params.smoothing == "wilder" else params.length + 1)

    def evaluate(self, window: Window, params: RsiParams) -> Signal | None:
        value = last(rsi(window.close, params.length, params.smoothing))
        if value is None or len(window) < self.needs(params).bars:
            return None
        score = _score(value, params)
        part = Part(name="rsi", score=score, weight=1, value=value)
        return Signal(score=score, parts=(part,), note=f"RSI({params.length}) is {value:.1f}")

    def scores(self, bars: NDArray[np.void], params: RsiParams) -> Array:
        needed = self.needs(params).bars
        close = np.ascontiguousarray(bars["close"])
        values = rsi(close, params.length, params.smoothing)
        if values is None or len(bars) < needed:
            return np.full(len(bars), np.nan)
        scores = np.interp(values, *_marks(params))
        if params.smoothing == "wilder":
            flat = constant_close(close, needed)
            scores[flat] = 0.0
            moved = atr(close, close, close, params.length)  # the mean of all absolute changes
            assert moved is not None
            steepness = 100 * max(0.5 / params.oversold, 0.5 / (100 - params.overbought), 1 / 20)
            doubtful = (steepness * older_share(moved, params.length, needed) > 1e-10) & ~flat
            ends = np.flatnonzero(doubtful[needed - 1 :]) + needed - 1
            scores[ends] = windowed(lambda part: _score_of(part["close"], params), bars, needed, ends)
        return only_warm(scores, needed)


def _score_of(close: Array, params: RsiParams) -> float | None:
    value = last(rsi(close, params.length, params.smoothing))
    return None if value is None else _score(value, params)


def _score(value: float, params: RsiParams) -> float:
    """+1 at RSI 0, +0.5 at `oversold`, 0 at 50, -0.5 at `overbought`, -1 at 100; linear in between."""
    marks, scores = _marks(params)
    for at in range(3):
        if value < marks[at + 1]:
            break
    else:
        at = 3
    slope = (scores[at + 1] - scores[at]) / (marks[at + 1] - marks[at])
    return slope * (value - marks[at]) + scores[at]


def _marks(params: RsiParams) -> tuple[tuple[float, ...], tuple[float, ...]]:
    return (0.0, params.oversold, 50.0, params.overbought, 100.0), (1.0, 0.5, 0.0, -0.5, -1.0)
