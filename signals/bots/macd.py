"""MACD: follows the trend while it gathers strength."""

from math import tanh
from typing import ClassVar, Self

from pydantic import Field, model_validator

from signals.bot import Needs, Parameters, Part, Signal, Window, bounded
from signals.indicators import atr, ema_bars, last, macd, wilder_bars


class MacdParams(Parameters):
    fast: int = Field(12, ge=2, le=200, description="bars of the fast average")
    slow: int = Field(26, ge=2, le=200, description="bars of the slow average")
    signal: int = Field(9, ge=2, le=200, description="bars of the signal line")
    range_length: int = Field(14, ge=2, le=100, description="bars of the average true range, the measure of change")
    sensitivity: float = Field(20, gt=0, le=1000, description="how soon a growing histogram counts fully")

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
        found = macd(window.close, params.fast, params.slow, params.signal)
        reach = last(atr(window.high, window.low, window.close, params.range_length))
        if found is None or reach is None or len(window) < params.slow + params.signal:
            return None
        line, histogram, change = found.line[-1], found.histogram[-1], found.histogram[-1] - found.histogram[-2]
        # Averages of a standing price differ by rounding only; that is no opinion.
        nothing = 1e-9 * window.close[-1]
        parts = (
            Part(name="line against signal", score=_sign(histogram, nothing), weight=0.4, value=float(histogram)),
            Part(name="line against zero", score=_sign(line, nothing), weight=0.3, value=float(line)),
            Part(
                name="histogram change",
                score=tanh(params.sensitivity * change / reach) if reach > nothing else 0.0,
                weight=0.3,
                value=float(change),
            ),
        )
        score = bounded(sum(part.weight * part.score for part in parts))
        return Signal(score=score, parts=parts, note=f"MACD {line:.6g}, histogram {histogram:.6g}")


def _sign(value: float, nothing: float) -> float:
    return 0.0 if abs(value) <= nothing else 1.0 if value > 0 else -1.0
