"""Indicators over numpy arrays: names and parameters of pandas-ta, computed by TA-Lib, with rules of their own.

- None until there is enough history; from the first valid index on, an array holds numbers only (NaN before it).
- A constant price is neutral: RSI, stochastic and MFI 50, Williams %R -50, %B 0.5, CCI and ADX 0.
- Without volume, VWAP is the mean of the typical prices.
- Numbers that are not finite are refused: TA-Lib would return plausible but wrong values.
- The value at an index depends on nothing after it.
"""

from collections.abc import Callable
from inspect import unwrap
from math import isfinite, isnan
from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from signals.ta_lib import talib

Array = NDArray[np.float64]
Smoothing = Literal["wilder", "simple"]

# Where pandas is loaded, the wrapped functions first look for series in their arguments, a third of the call.
_RSI: Final[Callable[..., Array]] = unwrap(talib.RSI)
_SMA: Final[Callable[..., Array]] = unwrap(talib.SMA)
_EMA: Final[Callable[..., Array]] = unwrap(talib.EMA)
_ATR: Final[Callable[..., Array]] = unwrap(talib.ATR)
_MACD: Final[Callable[..., tuple[Array, Array, Array]]] = unwrap(talib.MACD)


def rsi(close: Array, length: int = 14, smoothing: Smoothing = "wilder") -> Array | None:
    """Relative strength index, 0 … 100, from index `length` on.

    `wilder` smooths gains and losses exponentially, `simple` takes their plain mean over `length` changes (Cutler).
    """
    close = _checked("close", close)
    if close.size <= length:
        return None
    if smoothing == "simple":
        return _simple_rsi(close, length)
    return _neutral_start(_RSI(close, length), close, neutral=50.0)


def last(values: Array | None) -> float | None:
    """The newest value of an indicator, or None during its warm-up."""
    return None if values is None else values.item(-1)


def wilder_bars(length: int) -> int:
    """The warm-up after which a Wilder-smoothed indicator no longer depends on earlier bars, to double precision."""
    return 37 * length  # 37 / alpha, alpha = 1 / length


def ema_bars(length: int) -> int:
    """The warm-up after which an exponential mean no longer depends on earlier bars, to double precision."""
    return -(-37 * (length + 1) // 2)  # 37 / alpha, alpha = 2 / (length + 1), rounded up


def rolling(values: Array, length: int) -> Array:
    """A view with one row of the last `length` values per bar, from the first complete row on; maybe no rows."""
    if values.size < length:
        return np.empty((0, length))
    return np.lib.stride_tricks.sliding_window_view(values, length)


# --- trend ------------------------------------------------------------------------------------------------------------


def sma(close: Array, length: int = 10) -> Array | None:
    """Simple moving average."""
    close = _checked("close", close)
    return _warm(_SMA(close, length)) if close.size else None


def ema(close: Array, length: int = 10) -> Array | None:
    """Exponential moving average, seeded with a simple one."""
    close = _checked("close", close)
    return _warm(_EMA(close, length)) if close.size else None


def wma(close: Array, length: int = 10) -> Array | None:
    """Weighted moving average: weight `length` for the newest bar, 1 for the oldest."""
    close = _checked("close", close)
    return _warm(talib.WMA(close, length)) if close.size else None


class Macd(NamedTuple):
    line: Array
    histogram: Array
    signal: Array


def macd(close: Array, fast: int = 12, slow: int = 26, signal: int = 9) -> Macd | None:
    """Moving average convergence divergence, in price; histogram = line - signal."""
    close = _checked("close", close)
    if close.size < slow + signal - 1:
        return None
    line, signal_line, histogram = _MACD(close, fast, slow, signal)
    return Macd(line, histogram, signal_line)


class Adx(NamedTuple):
    adx: Array
    plus: Array
    minus: Array


def adx(high: Array, low: Array, close: Array, length: int = 14) -> Adx | None:
    """Average directional index (0 … 100) with the plus and minus directional indicators."""
    high, low, close = _series(high=high, low=low, close=close)
    if close.size < 2 * length:
        return None
    found = [of(high, low, close, length) for of in (talib.ADX, talib.PLUS_DI, talib.MINUS_DI)]
    for direction in found[1:]:  # their warm-up is shorter
        direction[np.isnan(found[0])] = np.nan
    return Adx(*(_neutral_start(values, high, low, close, neutral=0.0) for values in found))


# --- momentum ---------------------------------------------------------------------------------------------------------


def mom(close: Array, length: int = 10) -> Array | None:
    """Momentum: the change in price over `length` bars."""
    close = _checked("close", close)
    return _warm(talib.MOM(close, length)) if close.size else None


def roc(close: Array, length: int = 10) -> Array | None:
    """Rate of change over `length` bars, in percent."""
    close = _checked("close", close)
    return _warm(talib.ROC(close, length)) if close.size else None


class Stochastic(NamedTuple):
    k: Array
    d: Array


def stoch(high: Array, low: Array, close: Array, k: int = 14, d: int = 3, smooth_k: int = 3) -> Stochastic | None:
    """Stochastic oscillator, 0 … 100: %K smoothed over `smooth_k` bars, and %D, its mean over `d` bars."""
    high, low, close = _series(high=high, low=low, close=close)
    if close.size < k + smooth_k + d - 2:
        return None
    raw, _ = talib.STOCHF(high, low, close, fastk_period=k, fastd_period=1)
    smooth = _SMA(_neutral(raw, _no_range(high, low, k), 50.0), smooth_k)
    mean = _SMA(smooth, d)
    return Stochastic(np.where(np.isnan(mean), np.nan, smooth), mean)


def willr(high: Array, low: Array, close: Array, length: int = 14) -> Array | None:
    """Williams %R, -100 … 0."""
    high, low, close = _series(high=high, low=low, close=close)
    if close.size < length:
        return None
    return _neutral(talib.WILLR(high, low, close, length), _no_range(high, low, length), -50.0)


def cci(high: Array, low: Array, close: Array, length: int = 14) -> Array | None:
    """Commodity channel index, with the usual constant 0.015."""
    high, low, close = _series(high=high, low=low, close=close)
    if close.size < length:
        return None
    typical = (high + low + close) / 3
    return _neutral(talib.CCI(high, low, close, length), _no_range(typical, typical, length), 0.0)


# --- volatility -------------------------------------------------------------------------------------------------------


def atr(high: Array, low: Array, close: Array, length: int = 14) -> Array | None:
    """Average true range (Wilder), in price."""
    high, low, close = _series(high=high, low=low, close=close)
    return _warm(_ATR(high, low, close, length)) if close.size else None


class Bands(NamedTuple):
    lower: Array
    middle: Array
    upper: Array
    bandwidth: Array
    percent: Array


def bbands(close: Array, length: int = 5, std: float = 2.0) -> Bands | None:
    """Bollinger bands in price; bandwidth in percent of the middle; percent (%B) is 0 at the lower, 1 at the upper."""
    close = _checked("close", close)
    if close.size < length:
        return None
    # Rounding leaves a width at a constant price, so compare the prices themselves.
    still = _no_range(close, close, length)
    upper, middle, lower = (np.where(still, close, band) for band in talib.BBANDS(close, length, std, std))
    width = upper - lower
    percent = np.full_like(close, 0.5)
    np.divide(close - lower, width, out=percent, where=~(width == 0))
    return Bands(lower, middle, upper, 100 * width / middle, percent)


class Channel(NamedTuple):
    lower: Array
    middle: Array
    upper: Array


def donchian(high: Array, low: Array, lower_length: int = 20, upper_length: int = 20) -> Channel | None:
    """Donchian channel in price: the lowest low and highest high including this bar, and their mean."""
    high, low = _series(high=high, low=low)
    if high.size < max(lower_length, upper_length):
        return None
    lower, upper = talib.MIN(low, lower_length), talib.MAX(high, upper_length)
    return Channel(lower, (lower + upper) / 2, upper)


# --- volume -----------------------------------------------------------------------------------------------------------


def obv(close: Array, volume: Array) -> Array | None:
    """On-balance volume, starting with the first bar's volume."""
    close, volume = _series(close=close, volume=volume)
    return _warm(talib.OBV(close, volume)) if close.size else None


def mfi(high: Array, low: Array, close: Array, volume: Array, length: int = 14) -> Array | None:
    """Money flow index, 0 … 100."""
    high, low, close, volume = _series(high=high, low=low, close=close, volume=volume)
    if close.size <= length:
        return None
    typical = (high + low + close) / 3
    return _neutral(talib.MFI(high, low, close, volume, length), _no_range(typical, typical, length + 1), 50.0)


def vwap(high: Array, low: Array, close: Array, volume: Array, length: int = 20) -> Array | None:
    """Volume-weighted mean of the typical price over `length` bars: rolling, as these markets have no sessions."""
    high, low, close, volume = _series(high=high, low=low, close=close, volume=volume)
    if close.size < length:
        return None
    typical, values = (high + low + close) / 3, np.full(close.size, np.nan)
    traded = rolling(volume, length).sum(axis=1)
    values[length - 1 :] = rolling(typical, length).mean(axis=1)
    turnover = rolling(typical * volume, length).sum(axis=1)
    np.divide(turnover, traded, out=values[length - 1 :], where=traded > 0)
    return values


# --- shared rules --------------------------------------------------------------------------------------------------------


def _series(**series: Array) -> list[Array]:
    """Check each series. Raises ValueError unless they have equal lengths."""
    arrays = [_checked(name, values) for name, values in series.items()]
    for name, values in zip(series, arrays, strict=True):
        if values.size != arrays[0].size:
            raise ValueError(f"{name} must be one-dimensional and as long as the others")
    return arrays


def _checked(name: str, values: Array) -> Array:
    """The values as a contiguous array. Raises ValueError unless they are finite and one-dimensional."""
    array = np.ascontiguousarray(values, dtype=np.float64)
    if array.ndim != 1:
        raise ValueError(f"{name} must be one-dimensional and as long as the others")
    if not _finite(array):
        at = int(np.argmin(np.isfinite(array)))
        raise ValueError(f"{name} holds a number that is not finite, at index {at}")
    return array


def _finite(array: Array) -> bool:
    # The sum of squares is finite only where every number is, and for a window costs a tenth of testing each. BLAS
    # would split a long series among threads, which costs more than it saves.
    return (array.size < 5000 and isfinite(array.dot(array))) or bool(np.isfinite(array).all())


def _warm(values: Array) -> Array | None:
    return None if isnan(values.item(-1)) else values


def _neutral(values: Array, where: NDArray[np.bool_], neutral: float) -> Array:
    """Replace warm values by the neutral one where `where` is true."""
    return np.where(where & ~np.isnan(values), neutral, values)


def _neutral_start(values: Array, *inputs: Array, neutral: float) -> Array:
    """Replace warm values by the neutral one up to the first index at which an input moves."""
    for series in inputs:
        if series.item(0) != series.item(1):  # the usual case, cheap to test
            return values
    constant = np.logical_and.reduce([np.logical_and.accumulate(series == series[0]) for series in inputs])
    return _neutral(values, constant, neutral)


def _no_range(high: Array, low: Array, length: int) -> NDArray[np.bool_]:
    """For each index, `True` when highest high and lowest low of the last `length` bars are equal."""
    return np.equal(talib.MAX(high, length), talib.MIN(low, length))


def _simple_rsi(close: Array, length: int) -> Array:
    changes = np.diff(close)
    gains = rolling(changes.clip(min=0), length).sum(axis=1)
    losses = rolling(-changes.clip(max=0), length).sum(axis=1)
    values = np.full(close.size, np.nan)
    values[length:] = 50.0
    np.divide(100 * gains, gains + losses, out=values[length:], where=gains + losses > 0)
    return values
