"""SMC: structure, zones, sweeps and discount of the smart-money school, weighted into one score."""

from collections.abc import Sequence
from typing import ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from signals.bot import Needs, Parameters, Part, Signal, Window, bounded
from signals.bots.levels import Levels, levels
from signals.bots.smart_money import Finding, Settings, findings, last_range, open_zones, premium
from signals.bots.vectorised import windowed
from signals.indicators import Array


class SmcParams(Parameters):
    bars: int = Field(120, ge=30, le=1000, description="bars it reads")
    swing: int = Field(2, ge=1, le=10, description="bars on either side that make a high or low a swing")
    break_by: Literal["close", "wick"] = Field("close", description="the price that must pass a swing to break it")
    zone: Literal["range", "body"] = Field("range", description="an order block: the candle's range, or its body")
    recent: int = Field(5, ge=1, le=100, description="bars for which a sweep counts")
    structure: float = Field(0.4, ge=0, le=1, description="weight of the last break of structure")
    zones: float = Field(0.25, ge=0, le=1, description="weight of the gaps and order blocks the price is in")
    sweeps: float = Field(0.2, ge=0, le=1, description="weight of a recent sweep")
    discount: float = Field(0.15, ge=0, le=1, description="weight of the position in the last range: low is a buy")
    reward: float = Field(2.0, ge=1, le=10, description="distance of the target, in distances of the stop")

    @model_validator(mode="after")
    def _something_counts(self) -> Self:
        if self.structure + self.zones + self.sweeps + self.discount == 0:
            raise ValueError("at least one of structure, zones, sweeps and discount must weigh more than 0")
        return self


class SmcBot:
    kind: ClassVar[str] = "smc"
    version: ClassVar[str] = "1"
    Params: ClassVar[type[Parameters]] = SmcParams

    def needs(self, params: SmcParams) -> Needs:
        return Needs(bars=params.bars)

    def evaluate(self, window: Window, params: SmcParams) -> Signal | None:
        """The weighted mean of four parts. Confidence is 0.5 plus half the weight of the parts that agree.

        A score of at least 0.15 gets a stop at the last swing behind it and a target `reward` times as far.
        """
        if len(window) < params.bars:
            return None
        close = window.close.item(-1)
        found = _found(window.bars[-params.bars :], params)
        parts = _parts(found, close, params)
        score = _score(parts)
        agreeing = sum(part.weight for part in parts if part.score * score > 0)
        names = ", ".join(f"{part.name} {part.score:+.2f}" for part in parts if part.score) or "no structure"
        prices = _levels(found, close, score, params.reward)
        return Signal(score=score, confidence=min(1.0, 0.5 + 0.5 * agreeing), parts=parts, note=names, **prices)

    def scores(self, bars: NDArray[np.void], params: SmcParams) -> Array:
        """Window by window: the findings depend on where the window begins."""
        ends = np.arange(params.bars - 1, len(bars))
        scores = windowed(lambda part: _score_of(part, params), bars, params.bars, ends)
        return np.concatenate((np.full(len(bars) - len(scores), np.nan), scores))


def _score_of(bars: NDArray[np.void], params: SmcParams) -> float:
    return _score(_parts(_found(bars, params), bars["close"].item(-1), params))


def _found(bars: NDArray[np.void], params: SmcParams) -> list[Finding]:
    return findings(bars, Settings(swing=params.swing, break_by=params.break_by, zone=params.zone))


def _parts(found: Sequence[Finding], close: float, params: SmcParams) -> tuple[Part, ...]:
    breaks = [one.side for one in found if one.kind in ("bos", "choch")]
    inside = [one.side for one in open_zones(found) if one.bottom <= close <= one.top]
    since = params.bars - params.recent
    swept = [one.side for one in found if one.kind == "sweep" and one.known_at >= since]
    place = premium(found, close)
    scores = {
        "structure": breaks[-1] if breaks else 0.0,
        "zones": sum(inside) / len(inside) if inside else 0.0,
        "sweeps": swept[-1] if swept else 0.0,
        "discount": bounded(1 - 2 * place) if place is not None else 0.0,
    }
    total = params.structure + params.zones + params.sweeps + params.discount
    return tuple(
        Part(name=name, score=float(score), weight=getattr(params, name) / total) for name, score in scores.items()
    )


def _score(parts: Sequence[Part]) -> float:
    return bounded(sum(part.weight * part.score for part in parts))


def _levels(found: Sequence[Finding], close: float, score: float, reward: float) -> Levels:
    ends = last_range(found)
    if ends is None or abs(score) < 0.15:
        return {}
    stop = ends[0] if score > 0 else ends[1]
    return levels(close, close + reward * (close - stop), stop)
