"""Indicators that grow by one bar at a time, on TA-Lib's stream handles: a fraction of a microsecond for each bar.

Each answers what `signals.indicators` says at the same bar of the whole series, bit for bit, and None until it is warm.
`update` takes a closed bar; `peek` tells what a forming bar would make of it and keeps nothing. A number that is not
finite is refused with ValueError and changes nothing. A handle belongs to one process and is not stored: it is begun
anew from candles.
"""

from collections.abc import Callable
from math import isfinite
from typing import Any, NamedTuple

import numpy as np
from talib import stream

from signals.indicators import wilder_bars


class RsiStream:
    """RSI (Wilder), 0 … 100.

    50 once the last `window` closes are equal, as in a window of so many bars; by default as many as make up the whole
    memory of the index. Bars before that window are not forgotten otherwise: after a long quiet they may outweigh it.
    """

    def __init__(self, length: int = 14, window: int | None = None) -> None:
        self._window = window or wilder_bars(length)
        self._equal = 0
        self._close: float | None = None
        self._handle = _Handle(length + 1, lambda close: stream.RSI(close, timeperiod=length))

    def update(self, close: float) -> float | None:
        value = self._handle.update(close)
        self._equal = self._equal + 1 if close == self._close else 1
        self._close = close
        return value if value is None or self._equal < self._window else 50.0

    def peek(self, close: float) -> float | None:
        value = self._handle.peek(close)
        return value if value is None or close != self._close or self._equal + 1 < self._window else 50.0


class SmaStream:
    """Simple moving average."""

    def __init__(self, length: int = 10) -> None:
        self._handle = _Handle(length, lambda close: stream.SMA(close, timeperiod=length))
        self.update, self.peek = self._handle.update, self._handle.peek


class EmaStream:
    """Exponential moving average, begun with a simple one."""

    def __init__(self, length: int = 10) -> None:
        self._handle = _Handle(length, lambda close: stream.EMA(close, timeperiod=length))
        self.update, self.peek = self._handle.update, self._handle.peek


class AtrStream:
    """Average true range (Wilder), in price. A bar is its high, low and close."""

    def __init__(self, length: int = 14) -> None:
        self._handle = _Handle(length + 1, lambda high, low, close: stream.ATR(high, low, close, timeperiod=length))
        self.update, self.peek = self._handle.update, self._handle.peek


class MacdNow(NamedTuple):
    line: float
    histogram: float
    signal: float


class MacdStream:
    """MACD, in price; histogram = line - signal."""

    def __init__(self, fast: int = 12, slow: int = 26, signal: int = 9) -> None:
        def opened(close: np.ndarray[Any, np.dtype[np.float64]]) -> Any:
            return stream.MACD(close, fastperiod=fast, slowperiod=slow, signalperiod=signal)

        self._handle = _Handle(slow + signal - 1, opened)

    def update(self, close: float) -> MacdNow | None:
        return _macd(self._handle.update(close))

    def peek(self, close: float) -> MacdNow | None:
        return _macd(self._handle.peek(close))


def _macd(found: Any) -> MacdNow | None:
    return None if found is None else MacdNow(found[0], found[2], found[1])


class _Handle:
    """A stream handle that is opened with the first `first` bars, and says None before."""

    def __init__(self, first: int, opened: Callable[..., Any]) -> None:
        self._first = first
        self._opened = opened
        self._early: list[tuple[float, ...]] = []
        self._push: Callable[..., Any] | None = None
        self._look: Callable[..., Any] | None = None

    def update(self, *bar: float) -> Any:
        for number in bar:
            if not isfinite(number):
                _refuse(bar)
        if self._push is not None:
            return self._push(*bar)
        self._early.append(bar)
        if len(self._early) < self._first:
            return None
        handle = self._begun(self._early)
        self._early.clear()
        self._push, self._look = handle.update, handle.peek
        return handle.value

    def peek(self, *bar: float) -> Any:
        for number in bar:
            if not isfinite(number):
                _refuse(bar)
        if self._look is not None:
            return self._look(*bar)
        return self._begun([*self._early, bar]).value if len(self._early) + 1 == self._first else None

    def _begun(self, bars: list[tuple[float, ...]]) -> Any:
        return self._opened(*(np.array(column, dtype=np.float64) for column in zip(*bars, strict=True)))


def _refuse(bar: tuple[float, ...]) -> None:
    raise ValueError(f"a bar holds a number that is not finite: {', '.join(map(str, bar))}")
