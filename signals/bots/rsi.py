"""RSI: buys what has fallen fast, sells what has risen fast."""

from typing import ClassVar

import numpy as np
from pydantic import Field

from signals.bot import Needs, Parameters, Part, Signal, Window
from signals.indicators import Smoothing, last, rsi, wilder_bars


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
        if value is None:
            return None
        score = _score(value, params)
        part = Part(name="rsi", score=score, weight=1, value=value)
        return Signal(score=score, parts=(part,), note=f"RSI({params.length}) is {value:.1f}")


def _score(value: float, params: RsiParams) -> float:
    """+1 at RSI 0, +0.5 where oversold begins, 0 at 50, -0.5 where overbought begins, -1 at 100; straight between."""
    marks = (0.0, params.oversold, 50.0, params.overbought, 100.0)
    scores = (1.0, 0.5, 0.0, -0.5, -1.0)
    return float(np.interp(value, marks, scores))
