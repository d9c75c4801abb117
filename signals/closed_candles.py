"""Candles up to a moment, beside the array that windows are cut from: evaluating many bots copies no candle twice."""

from collections.abc import Sequence
from typing import Self, overload

import numpy as np
from numpy.typing import NDArray

from signals.bot import Window, bars_of
from signals.market import Candle


class ClosedCandles(Sequence[Candle]):
    """The first `end` of some candles of one instrument and timeframe, oldest first. Nothing later can be reached.

    `bars` are all of them as an array (`bars_of`); making another moment of the same candles costs nothing.
    """

    __slots__ = ("_bars", "_candles", "_end")

    def __init__(self, candles: Sequence[Candle], bars: NDArray[np.void], end: int) -> None:
        self._candles = candles
        self._bars = bars
        self._end = end

    @classmethod
    def of(cls, candles: Sequence[Candle]) -> Self:
        """All of these candles."""
        return cls(candles, bars_of(candles), len(candles))

    def window(self, n: int) -> Window:
        """The window of the last `n`. Raises ValueError when there are fewer."""
        last = self[-1]
        return Window.cut(last.instrument, last.timeframe, self._bars, self._end, n)

    def __len__(self) -> int:
        return self._end

    @overload
    def __getitem__(self, index: int) -> Candle: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Candle]: ...
    def __getitem__(self, index: int | slice) -> Candle | Sequence[Candle]:
        chosen = range(self._end)[index]
        return self._candles[chosen] if isinstance(chosen, int) else [self._candles[number] for number in chosen]
