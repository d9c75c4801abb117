"""Candles up to a moment, beside the array that windows are cut from: evaluating many bots copies no candle twice."""

from collections.abc import Sequence
from typing import overload

import numpy as np
from numpy.typing import NDArray

from signals.bot import Window, bars_of
from signals.market import Candle


class ClosedCandles(Sequence[Candle]):
    """The first `end` of some candles of one instrument and timeframe, oldest first. Nothing later can be reached.

    `bars` are all of the candles as an array (`bars_of`): then any moment of them costs nothing. Without it, as many as
    the longest window needs are put into one.
    """

    __slots__ = ("_bars", "_candles", "_end", "_first")

    def __init__(self, candles: Sequence[Candle], end: int | None = None, bars: NDArray[np.void] | None = None) -> None:
        self._candles = candles
        self._end = len(candles) if end is None else end
        self._bars = bars_of(()) if bars is None else bars
        self._first = self._end if bars is None else 0

    def window(self, n: int) -> Window:
        """The window of the last `n`. Raises ValueError when there are fewer."""
        if 0 <= self._end - n < self._first:
            self._first = self._end - n
            self._bars = bars_of(self._candles[self._first : self._end])
        last = self[-1]
        return Window.cut(last.instrument, last.timeframe, self._bars, self._end - self._first, n)

    def __len__(self) -> int:
        return self._end

    @overload
    def __getitem__(self, index: int) -> Candle: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Candle]: ...
    def __getitem__(self, index: int | slice) -> Candle | Sequence[Candle]:
        chosen = range(self._end)[index]
        return self._candles[chosen] if isinstance(chosen, int) else [self._candles[number] for number in chosen]
