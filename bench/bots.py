"""Evaluations of bots: window by window as in live trading, and a whole series at once."""

import time
from collections.abc import Callable
from datetime import timedelta
from itertools import islice
from typing import ClassVar

import numpy as np
import talib
from numpy.typing import NDArray

from bench.figures import Figure
from ledger.values import Instrument
from signals.bot import Bot, Needs, Parameters, Signal, Vectorised, Window, bars_of, bounded
from signals.indicators import last, macd, rsi, sma
from signals.market.simulated import simulated_candles
from signals.registry import BUILT_IN

BTC = Instrument("BTC-USD")
MINUTE = timedelta(minutes=1)
SERIES = 20_000


class FourIndicators:
    """RSI, MACD and two moving averages over a window of 250 bars, as in an ordinary bot."""

    kind: ClassVar[str] = "four_indicators"
    version: ClassVar[str] = "1"
    Params: ClassVar[type[Parameters]] = Parameters

    def needs(self, params: Parameters) -> Needs:
        return Needs(bars=250)

    def evaluate(self, window: Window, params: Parameters) -> Signal | None:
        close = np.ascontiguousarray(window.close)
        index, trend = last(rsi(close)), macd(close)
        fast, slow = last(sma(close, 10)), last(sma(close, 20))
        if index is None or trend is None or fast is None or slow is None:
            return None
        return Signal(score=bounded((50 - index) / 100 + (fast - slow + trend.histogram.item(-1)) / slow))


def measure_bots(evaluations: int = 2_000) -> list[Figure]:
    """Measure bars per second of CPU time: four indicators each way, then every built-in bot."""
    bars = bars_of(list(islice(simulated_candles(7, BTC, MINUTE), SERIES)))
    limit = _rate(
        "four TA-Lib calls on 250 bars", 10 * evaluations, lambda: _four_calls(bars["close"][:250], 10 * evaluations)
    )
    contract = _windows_per_second(FourIndicators(), bars, 10 * evaluations)
    figures = [
        limit,
        Figure("four indicators on windows (contract)", contract, "bars/s", limit),
    ]
    for kind, bot in BUILT_IN.items():
        # One smart-money window takes as long as a hundred others.
        count = evaluations // 10 if kind == "smc" else evaluations
        figures.append(Figure(f"{kind} on windows (contract)", _windows_per_second(bot, bars, count), "bars/s"))
        if isinstance(bot, Vectorised) and kind != "smc":
            figures.append(_rate(f"{kind} vectorised", len(bars), lambda bot=bot: bot.scores(bars, bot.Params())))  # type: ignore[misc]
    return figures


def _windows_per_second(bot: Bot, bars: NDArray[np.void], count: int) -> float:
    """Windows created and evaluated per second of CPU time."""
    params = bot.Params()
    needed = bot.needs(params).bars
    ends = [needed + at % (len(bars) - needed) for at in range(count)]
    started = time.process_time()
    for end in ends:
        bot.evaluate(Window.slice(BTC, MINUTE, bars, end, needed), params)
    return count / (time.process_time() - started)


def _four_calls(close: NDArray[np.float64], count: int) -> None:
    window = np.ascontiguousarray(close)
    for _ in range(count):
        talib.RSI(window, 14)
        talib.MACD(window, 12, 26, 9)
        talib.SMA(window, 10)
        talib.SMA(window, 20)


def _rate(name: str, count: int, work: Callable[[], object]) -> Figure:
    started = time.process_time()
    work()
    return Figure(name, count / (time.process_time() - started), "bars/s")
