"""Bots inside bots: components with weights, and the mean of their opinions."""

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
"""The built-in bots that contain no other. Their confidence is never below LEAST_CONFIDENCE."""

LEAST_CONFIDENCE: Final = 0.2
"""A mean confidence below this is hold."""


class Component(Parameters):
    """One bot in the mean: its own parameters (complete after validation) and its share before normalising."""

    known: ClassVar[Mapping[str, Vectorised]] = SINGLE

    kind: str = Field(description="the kind of bot: a built-in one")
    weight: float = Field(ge=0, le=1_000_000, description="its share, in proportion to the others")
    params: dict[str, Any] = Field(default_factory=dict, validate_default=True, description="its own parameters")
    enabled: bool = Field(True, description="whether it counts at all")

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
        if kind is None:  # already refused
            return params
        try:
            return cls._read(kind, params).model_dump(mode="json")
        except ValidationError as error:
            raise ValueError(f"the parameters of {kind} are wrong: {first_fault(error)}") from None

    @classmethod
    def _read(cls, kind: str, params: dict[str, Any]) -> Parameters:
        # As JSON, where a list is what a tuple of components looks like.
        return cls.known[kind].Params.model_validate_json(to_json(params))

    @cached_property
    def settings(self) -> Parameters:
        """`params` as the bot takes them; kept, so that an evaluation does not have to validate them again."""
        return self._read(self.kind, self.params)

    @cached_property
    def own_bars(self) -> int:
        """How many bars the bot itself reads."""
        return self.known[self.kind].needs(self.settings).bars

    @property
    def counts(self) -> bool:
        return self.enabled and self.weight > 0

    @property
    def needed(self) -> int:
        """How many bars of the container's timeframe it reads."""
        return self.own_bars

    def ask(self, window: Window) -> Signal | None:
        """Its opinion at the end of the window; None also where the window is too short for it."""
        if len(window) < self.own_bars:
            return None
        return self.known[self.kind].evaluate(window.last(self.own_bars), self.settings)

    def scores(self, bars: NDArray[np.void]) -> Array:
        """Its vectorised twin."""
        return self.known[self.kind].scores(bars, self.settings)


def something_counts(components: Iterable[Component]) -> None:
    """Raises ValueError unless at least one component is enabled with a weight."""
    if not any(component.counts for component in components):
        raise ValueError("at least one enabled component must have a weight above 0")


Answered = list[tuple[str, float, Signal]]
"""The components that have an opinion: name, weight, opinion."""


def mean_of(answered: Answered) -> Signal | None:
    """sum(weight * score) / sum(weight) over the opinions, each of them a part; hold where few are confident."""
    if not answered:
        return None
    total = sum(weight for _, weight, _ in answered)
    parts = tuple(_part(name, opinion, weight / total) for name, weight, opinion in answered)
    score = bounded(sum(part.weight * part.score for part in parts))
    confidence = sum(part.weight * opinion.confidence for part, (_, _, opinion) in zip(parts, answered, strict=True))
    confidence = min(1.0, confidence)
    if confidence < LEAST_CONFIDENCE:
        note = f"hold: the mean confidence {confidence:.2f} is below {LEAST_CONFIDENCE}"
        return Signal(score=0.0, confidence=confidence, parts=parts, note=note)
    note = "; ".join(f"{name} {opinion.score:+.2f}: {opinion.note}" for name, _, opinion in answered)[:500]
    return Signal(score=score, confidence=confidence, parts=parts, note=note)


def mean_scores(weighed: Iterable[tuple[float, Array]], size: int) -> Array:
    """The same mean of whole series of scores, where NaN is no opinion; NaN where there is none at all."""
    total, said = np.zeros(size), np.zeros(size)
    for weight, scores in weighed:
        warm = ~np.isnan(scores)
        total += weight * warm
        said += weight * np.where(warm, scores, 0.0)
    mean: Array = np.full(size, np.nan)
    np.divide(said, total, out=mean, where=total > 0)
    clipped: Array = np.clip(mean, -1, 1)
    return clipped


def _part(name: str, opinion: Signal, weight: float) -> Part:
    """What the component said, under its weight among those that answered."""
    value = opinion.parts[0].value if len(opinion.parts) == 1 else None
    return Part(name=name, score=opinion.score, weight=weight, value=value)
