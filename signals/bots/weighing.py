"""Bots inside bots: weighted components, and the mean of their signals."""

from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError, field_validator
from pydantic_core import to_json
from pydantic_core.core_schema import ValidationInfo

from signals.bot import Parameters, Part, Signal, Vectorised, Window, bounded, first_fault
from signals.bots.bollinger import BollingerBot
from signals.bots.breakout import BreakoutBot
from signals.bots.ma_cross import MovingAverageCrossBot
from signals.bots.macd import MacdBot
from signals.bots.obv import ObvBot
from signals.bots.rsi import RsiBot
from signals.bots.smc import SmcBot
from signals.indicators import Array

SINGLE: Final[Mapping[str, Vectorised]] = {
    bot.kind: bot
    for bot in (RsiBot(), MacdBot(), MovingAverageCrossBot(), BollingerBot(), BreakoutBot(), ObvBot(), SmcBot())
}
"""The built-in bots without components. Their confidence is never below LEAST_CONFIDENCE."""

LEAST_CONFIDENCE: Final = 0.2
"""A mean confidence below this gives hold."""


class Component(Parameters):
    """One bot in the mean: its parameters (complete after validation) and its weight before normalising."""

    known: ClassVar[Mapping[str, Vectorised]] = SINGLE

    kind: str = Field(description="the kind of a built-in bot")
    weight: float = Field(ge=0, le=1_000_000, description="its weight, relative to the others")
    params: dict[str, Any] = Field(default_factory=dict, validate_default=True, description="its own parameters")
    enabled: bool = Field(True, description="whether it is part of the mean")

    @field_validator("kind")
    @classmethod
    def _is_known(cls, kind: str) -> str:
        if kind not in cls.known:
            raise ValueError(f"there is no bot {kind[:40]!r} to combine: there are {', '.join(sorted(cls.known))}")
        return kind

    @field_validator("params")
    @classmethod
    def _completed(cls, params: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        kind = info.data.get("kind")
        if kind is None:  # refused by its own validator
            return params
        try:
            return cls._read(kind, params).model_dump(mode="json")
        except ValidationError as error:
            raise ValueError(f"the parameters of {kind} are wrong: {first_fault(error)}") from None

    @classmethod
    def _read(cls, kind: str, params: dict[str, Any]) -> Parameters:
        # Through JSON, where a tuple of components is a list.
        return cls.known[kind].Params.model_validate_json(to_json(params))

    @cached_property
    def settings(self) -> Parameters:
        """`params` as an instance of the bot's `Params`, validated once."""
        return self._read(self.kind, self.params)

    @cached_property
    def own_bars(self) -> int:
        """The bars that the bot itself reads."""
        return self.known[self.kind].needs(self.settings).bars

    @property
    def counts(self) -> bool:
        return self.enabled and self.weight > 0

    @property
    def needed(self) -> int:
        """The bars of the container's timeframe that it reads."""
        return self.own_bars

    def evaluate(self, window: Window) -> Signal | None:
        """Its signal at the end of the window; None also for a window that is too short."""
        if len(window) < self.own_bars:
            return None
        return self.known[self.kind].evaluate(window.last(self.own_bars), self.settings)

    def scores(self, bars: NDArray[np.void]) -> Array:
        """Its scores over a whole series."""
        return self.known[self.kind].scores(bars, self.settings)


def something_counts(components: Iterable[Component]) -> None:
    """Raise ValueError unless at least one component is enabled with a weight."""
    if not any(component.counts for component in components):
        raise ValueError("at least one enabled component must have a weight above 0")


Signals = list[tuple[str, float, Signal]]
"""Name, weight and signal of each component that gave one."""


def mean_of(signals: Signals) -> Signal | None:
    """sum(weight * score) / sum(weight) over the signals, each a part; hold at low confidence."""
    if not signals:
        return None
    total = sum(weight for _, weight, _ in signals)
    parts = tuple(_part(name, signal, weight / total) for name, weight, signal in signals)
    score = bounded(sum(part.weight * part.score for part in parts))
    confidence = sum(part.weight * signal.confidence for part, (_, _, signal) in zip(parts, signals, strict=True))
    confidence = min(1.0, confidence)
    if confidence < LEAST_CONFIDENCE:
        note = f"hold: mean confidence {confidence:.2f} is below {LEAST_CONFIDENCE}"
        return Signal(score=0.0, confidence=confidence, parts=parts, note=note)
    note = "; ".join(f"{name} {signal.score:+.2f}: {signal.note}" for name, _, signal in signals)[:500]
    return Signal(score=score, confidence=confidence, parts=parts, note=note)


def mean_scores(series: Iterable[tuple[float, Array]], size: int) -> Array:
    """The same mean over series of scores: NaN is no score, and the mean of none is NaN."""
    total, weighted = np.zeros(size), np.zeros(size)
    for weight, scores in series:
        warm = ~np.isnan(scores)
        total += weight * warm
        weighted += weight * np.where(warm, scores, 0.0)
    mean: Array = np.full(size, np.nan)
    np.divide(weighted, total, out=mean, where=total > 0)
    clipped: Array = np.clip(mean, -1, 1)
    return clipped


def _part(name: str, signal: Signal, weight: float) -> Part:
    """The signal of a component as a part, with its normalised weight."""
    value = signal.parts[0].value if len(signal.parts) == 1 else None
    return Part(name=name, score=signal.score, weight=weight, value=value)
