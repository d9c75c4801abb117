"""Moving-average cross: buys when the fast average crosses above the slow one, sells when it crosses below."""

from math import tanh
from typing import ClassVar, Self

from pydantic import Field, model_validator

from signals.bot import Needs, Parameters, Part, Signal, Window
from signals.indicators import sma


class MovingAverageCrossParams(Parameters):
    fast: int = Field(10, ge=2, le=200, description="bars of the fast average")
    slow: int = Field(20, ge=2, le=200, description="bars of the slow average")

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
        return Needs(bars=params.slow + 1)

    def evaluate(self, window: Window, params: MovingAverageCrossParams) -> Signal | None:
        fast, slow = sma(window.close, params.fast), sma(window.close, params.slow)
        if fast is None or slow is None or len(window) <= params.slow:
            return None
        before, now = (_percent_apart(fast[at], slow[at]) for at in (-2, -1))
        crossed = now != 0 and before * now <= 0
        score = (0.8 if now > 0 else -0.8) if crossed else tanh(0.1 * now)
        part = Part(name="averages", score=score, weight=1, value=now)
        note = f"the fast average is {now:+.3f} % from the slow one{', just crossed' if crossed else ''}"
        return Signal(score=score, confidence=0.9 if crossed else 0.7, parts=(part,), note=note)


def _percent_apart(fast: float, slow: float) -> float:
    """How far fast is above slow, in percent; 0 where only rounding separates them, as on a standing price."""
    percent = 100 * (float(fast) / float(slow) - 1)
    return percent if abs(percent) > 1e-7 else 0.0
