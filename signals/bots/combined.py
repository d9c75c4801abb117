"""Combined: the weighted mean of the signals of other bots."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Final, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator

from signals.bot import Needs, Parameters, Signal, Vectorised, Window
from signals.bots.ma_cross import MovingAverageCrossBot
from signals.bots.macd import MacdBot
from signals.bots.multi_timeframe import MultiTimeframeBot
from signals.bots.rsi import RsiBot
from signals.bots.vectorised import only_warm
from signals.bots.weighing import SINGLE, Component, mean_of, mean_scores, something_counts
from signals.indicators import Array

_KIND: Final = "combined"
_BOTS: Final[dict[str, Vectorised]] = {**SINGLE, MultiTimeframeBot.kind: MultiTimeframeBot()}


class CombinedComponent(Component):
    known: ClassVar[Mapping[str, Vectorised]] = _BOTS

    @field_validator("kind", mode="before")
    @classmethod
    def _is_another(cls, kind: object) -> object:
        if kind == _KIND:
            raise ValueError("a combined bot cannot contain a combined bot")
        return kind


class CombinedParams(Parameters):
    components: Annotated[tuple[CombinedComponent, ...], Field(max_length=20, description="the bots it combines")] = (
        CombinedComponent(kind=RsiBot.kind, weight=0.33),
        CombinedComponent(kind=MacdBot.kind, weight=0.34),
        CombinedComponent(kind=MovingAverageCrossBot.kind, weight=0.33),
    )

    @model_validator(mode="after")
    def _something_counts(self) -> Self:
        something_counts(self.components)
        return self


class CombinedBot:
    kind: ClassVar[str] = _KIND
    version: ClassVar[str] = "1"
    Params: ClassVar[type[Parameters]] = CombinedParams

    def needs(self, params: CombinedParams) -> Needs:
        return Needs(bars=max(component.needed for component in params.components if component.counts))

    def evaluate(self, window: Window, params: CombinedParams) -> Signal | None:
        """score = sum(weight * score) / sum(weight) over the enabled components that give a signal."""
        if len(window) < self.needs(params).bars:
            return None
        counting = (component for component in params.components if component.counts)
        found = ((component.kind, component.weight, component.evaluate(window)) for component in counting)
        return mean_of([(kind, weight, signal) for kind, weight, signal in found if signal is not None])

    def scores(self, bars: NDArray[np.void], params: CombinedParams) -> Array:
        weighed = ((component.weight, component.scores(bars)) for component in params.components if component.counts)
        return only_warm(mean_scores(weighed, len(bars)), self.needs(params).bars)
