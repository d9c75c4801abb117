"""Multi-timeframe: the weighted mean of bots on longer timeframes of the same market."""

from typing import Annotated, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from signals.bot import Needs, Parameters, Signal, Window, longer_bars
from signals.bots.ma_cross import MovingAverageCrossBot
from signals.bots.vectorised import only_warm
from signals.bots.weighing import Component, mean_of, mean_scores, something_counts
from signals.indicators import Array
from signals.market.candle import timeframe_text


class SlowComponent(Component):
    every: int = Field(1, ge=1, le=200, description="bars of the bot's timeframe that make one of the component's")

    @property
    def needed(self) -> int:
        # At each end of the window, up to `every` - 1 bars belong to an incomplete period.
        return self.own_bars * self.every + self.every - 1

    def evaluate(self, window: Window) -> Signal | None:
        if len(window) < self.needed:
            return None
        if self.every == 1:
            return super().evaluate(window)
        return super().evaluate(window.last(self.needed).every(self.every * window.timeframe))


class MultiTimeframeParams(Parameters):
    components: Annotated[tuple[SlowComponent, ...], Field(max_length=20, description="the bots it combines")] = (
        SlowComponent(kind=MovingAverageCrossBot.kind, weight=1.0, every=1),
        SlowComponent(kind=MovingAverageCrossBot.kind, weight=1.0, every=4),
        SlowComponent(kind=MovingAverageCrossBot.kind, weight=1.0, every=16),
    )

    @model_validator(mode="after")
    def _something_counts(self) -> Self:
        something_counts(self.components)
        return self


class MultiTimeframeBot:
    kind: ClassVar[str] = "multi_timeframe"
    version: ClassVar[str] = "1"
    Params: ClassVar[type[Parameters]] = MultiTimeframeParams

    def needs(self, params: MultiTimeframeParams) -> Needs:
        return Needs(bars=max(component.needed for component in params.components if component.counts))

    def evaluate(self, window: Window, params: MultiTimeframeParams) -> Signal | None:
        """Each component is evaluated at its own last closed bar, which may be older than the window's."""
        if len(window) < self.needs(params).bars:
            return None
        found = []
        for component in params.components:
            if component.counts and (signal := component.evaluate(window)) is not None:
                name = f"{component.kind} {timeframe_text(component.every * window.timeframe)}"
                found.append((name, component.weight, signal))
        return mean_of(found)

    def scores(self, bars: NDArray[np.void], params: MultiTimeframeParams) -> Array:
        """The timeframe of the bars is taken to be the shortest step between two of them."""
        needed = self.needs(params).bars
        if len(bars) < max(2, needed):
            return np.full(len(bars), np.nan)
        step = np.diff(bars["opened_at"]).min()
        counting = (component for component in params.components if component.counts)
        weighed = ((component.weight, _slow_scores(component, bars, step)) for component in counting)
        return only_warm(mean_scores(weighed, len(bars)), needed)


def _slow_scores(component: SlowComponent, bars: NDArray[np.void], step: np.timedelta64) -> Array:
    """At each bar, the score at the last bar of the component that had closed by then."""
    longer = longer_bars(bars, step, component.every * step)
    closed = longer["opened_at"] + component.every * step
    latest = np.searchsorted(closed, bars["opened_at"] + step, side="right") - 1
    known = np.append(component.scores(longer), np.nan)  # index -1: none has closed yet
    return known[latest]
