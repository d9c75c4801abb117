"""Bots that each break one rule, and two that break none, in a module that another process can import."""

import random
import time
from collections import deque
from datetime import timedelta
from itertools import islice
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ledger.values import Instrument
from signals.bot import Needs, Parameters, Signal, Window
from signals.market.simulated import simulated_candles

Bars = NDArray[np.void]


class Honest:
    """Breaks no rule, and has a twin that breaks none."""

    kind: ClassVar[str] = "honest"
    version: ClassVar[str] = "1"
    Params: ClassVar[type[Parameters]] = Parameters

    def needs(self, params: Any) -> Needs:
        return Needs(bars=5)

    def evaluate(self, window: Window, params: Any) -> Signal | None:
        return Signal(score=0.1 if window.close[-1] > window.close[0] else -0.1)

    def scores(self, bars: Bars, params: Any) -> NDArray[np.float64]:
        found = np.full(len(bars), np.nan)
        found[4:] = np.where(bars["close"][4:] > bars["close"][:-4], 0.1, -0.1)
        return found


class Plain(Honest):
    """Without a twin."""

    scores: Any = None


SEEN: dict[Any, float] = {}


class FutureInAGlobal(Plain):
    """Looks up bars after the window that it saw in earlier evaluations."""

    def evaluate(self, window: Window, params: Any) -> Signal | None:
        SEEN.update(zip(window.opened_at.tolist(), window.close.tolist(), strict=True))
        after = [close for at, close in SEEN.items() if at > window.opened_at[-1].item()]
        return Signal(score=0.0 if not after else 1.0 if after[-1] > window.close[-1] else -1.0)


KNOWN = {
    candle.opened_at.replace(tzinfo=None): float(candle.close)
    for candle in islice(simulated_candles(1, Instrument("BTC-USD"), timedelta(minutes=1)), 100)
}


class FutureByHeart(Plain):
    """Knows the market by its dates, like a bot fitted to them or one that reads a file."""

    def evaluate(self, window: Window, params: Any) -> Signal | None:
        after = KNOWN.get(window.opened_at[-1].item() + timedelta(minutes=1))
        return Signal(score=0.0 if after is None else 1.0 if after > window.close[-1] else -1.0)


class Clock(Plain):
    """Sells in the afternoon: two evaluations within half a day agree."""

    def evaluate(self, window: Window, params: Any) -> Signal | None:
        return Signal(score=-0.5 if time.time() % 86_400 > 43_200 else 0.5)


class Chance(Plain):
    def evaluate(self, window: Window, params: Any) -> Signal | None:
        return Signal(score=random.uniform(-1, 1))


class RareChance(Plain):
    """Uses chance, which hardly ever changes its score."""

    def evaluate(self, window: Window, params: Any) -> Signal | None:
        return Signal(score=0.9 if random.random() < 1e-12 else 0.1)


class Mutation(Plain):
    def evaluate(self, window: Window, params: Any) -> Signal | None:
        window.close[-1] = 1.0
        return Signal(score=0.0)


class Unlocking(Plain):
    def evaluate(self, window: Window, params: Any) -> Signal | None:
        window.bars.setflags(write=True)
        return Signal(score=0.0)


class ThroughTheBack(Plain):
    """Writes into the window's memory past numpy."""

    def evaluate(self, window: Window, params: Any) -> Signal | None:
        import ctypes

        place = window.bars.ctypes.data
        ctypes.memset(place + 8, 0, 8)
        return Signal(score=0.0)


class NeedsMore(Plain):
    """Declares 5 bars and gives a signal only on 20."""

    def evaluate(self, window: Window, params: Any) -> Signal | None:
        return Signal(score=0.5) if len(window) >= 20 else None


class RemembersBars(Plain):
    """Looks back 30 bars by keeping those that have left its window."""

    seen: ClassVar[dict[Any, float]] = {}

    def evaluate(self, window: Window, params: Any) -> Signal | None:
        self.seen.update(zip(window.opened_at.tolist(), window.close.tolist(), strict=True))
        before = self.seen.get(window.opened_at[-1].item() - timedelta(minutes=29))
        return None if before is None else Signal(score=0.5 if window.close[-1] > before else -0.5)


class Counting(Plain):
    """Counts its evaluations, and changes its score with the count."""

    calls: ClassVar[deque[float]] = deque(maxlen=1000)

    def evaluate(self, window: Window, params: Any) -> Signal | None:
        self.calls.append(1.0)
        return Signal(score=len(self.calls) / 1000)


class CountsDollars(Plain):
    def evaluate(self, window: Window, params: Any) -> Signal | None:
        return Signal(score=float(np.tanh((window.close[-1] - window.close[-2]) / 1000)))


class MeansToCountDollars(CountsDollars):
    scale_free = False


class ElsewhereAnother(Plain):
    """Returns another score in a process in which no test has changed it."""

    score: ClassVar[float] = 0.1

    def evaluate(self, window: Window, params: Any) -> Signal | None:
        return Signal(score=self.score)


class NoNumber(Plain):
    """Returns a NaN for a NaN, unchecked."""

    def evaluate(self, window: Window, params: Any) -> Signal | None:
        score = float(window.close[-1] / window.close[0] - 1)
        return Signal.model_construct(score=score, confidence=1.0)


class PeekingTwin(Honest):
    """Its twin compares with the next bar."""

    def scores(self, bars: Bars, params: Any) -> NDArray[np.float64]:
        found = super().scores(bars, params)
        found[4:-1] += np.where(bars["close"][5:] > bars["close"][4:-1], 1e-10, 0.0)
        return found


class EarlyTwin(Honest):
    """Its twin returns scores before it has enough bars."""

    def scores(self, bars: Bars, params: Any) -> NDArray[np.float64]:
        return np.nan_to_num(super().scores(bars, params))


class OtherTwin(Honest):
    def scores(self, bars: Bars, params: Any) -> NDArray[np.float64]:
        found = super().scores(bars, params)
        found[30] += 2e-9
        return found


class OutOfBounds(Plain):
    def evaluate(self, window: Window, params: Any) -> Signal | None:
        return Signal.model_construct(score=1.5, confidence=1.0)


class NotASignal(Plain):
    def evaluate(self, window: Window, params: Any) -> Any:
        return 0.5


class Silent(Plain):
    def evaluate(self, window: Window, params: Any) -> Signal | None:
        return None


class DividingByTheRange(Plain):
    """Fails at a constant price."""

    def evaluate(self, window: Window, params: Any) -> Signal | None:
        low, high = float(window.low.min()), float(window.high.max())
        return Signal(score=(float(window.close[-1]) - low) / (high - low))
