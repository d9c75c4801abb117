"""Markets and bots for tests of the backtest: bots with scripted scores, and twins within their allowed error."""

from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from api.backtest.market import Market
from api.backtest.run import BacktestSpec, BotSpec
from execution.exchanges.paper.exchange import PaperTerms
from signals.bot import Needs, Parameters, Signal, Window
from signals.market.candle import Candle
from signals.market.simulated import BEGINS_AT, simulated_candles
from tests.support.trading import BTC

TERMS: Final = PaperTerms(taker_fee=Decimal("0.001"), maker_fee=Decimal("0.001"))
AT_ONCE: Final = (("confirmation_minutes", Decimal(0)), ("cooldown_minutes", Decimal(0)))
"""Limits under which every clear signal is traded."""


def simulated_market(bars: int, seed: int = 3, timeframe: timedelta = timedelta(hours=1)) -> Market:
    """Candles of a simulated market."""
    return Market.of(tuple(islice(simulated_candles(seed, BTC, timeframe), bars)), "simulated.csv")


def market_of_prices(*bars: tuple[str, str, str, str], volume: str = "1000") -> Market:
    """Hourly candles of these opens, highs, lows and closes."""
    hour = timedelta(hours=1)
    candles = [
        Candle(BTC, hour, BEGINS_AT + n * hour, *(Decimal(o), Decimal(h), Decimal(low), Decimal(c)), Decimal(volume))
        for n, (o, h, low, c) in enumerate(bars)
    ]
    return Market.of(candles, "by-hand.csv")


def spec_of(*bots: str, **others: Any) -> BacktestSpec:
    """A backtest of bots of these kinds with 10,000 USD, usual costs, and the policy of `AT_ONCE`."""
    chosen: dict[str, Any] = {
        "candles": Path("nowhere.csv"),
        "cash": Decimal(10_000),
        "terms": TERMS,
        "limits": AT_ONCE,
        **others,
    }
    return BacktestSpec(bots=tuple(BotSpec(kind) for kind in bots), **chosen)


class Saying:
    """Says these scores one after the other, by the time of the candle, over and over; None is no opinion.

    `levels` are its stop and target as fractions of the close. Its twin is off by 1e-9, to and fro.
    """

    kind: ClassVar[str] = "saying"
    version: ClassVar[str] = "1"
    Params: ClassVar[type[Parameters]] = Parameters

    def __init__(self, scores: Sequence[float | None], levels: tuple[str, str] | None = None) -> None:
        self._scores = scores
        self._levels = levels

    def needs(self, params: Parameters) -> Needs:
        return Needs(bars=2)

    def evaluate(self, window: Window, params: Parameters) -> Signal | None:
        score = self._scores[int(_number(window.bars[-1:])[0]) % len(self._scores)]
        if score is None:
            return None
        close = Decimal(str(window.close.item(-1)))
        if self._levels is None or score <= 0:
            return Signal(score=score)
        stop, target = ((close * Decimal(share)).quantize(Decimal("0.01")) for share in self._levels)
        return Signal(score=score, stop_loss=stop, take_profit=target)

    def scores(self, bars: NDArray[np.void], params: Parameters) -> NDArray[np.float64]:
        said = np.array([np.nan if score is None else score for score in self._scores])
        numbers = _number(bars)
        found = said[numbers % len(said)] + np.where(numbers % 2, 1e-9, -1e-9)
        found[: self.needs(params).bars - 1] = np.nan
        bounded: NDArray[np.float64] = np.clip(found, -1, 1)
        return bounded


def _number(bars: NDArray[np.void]) -> NDArray[np.int64]:
    """Hours from the start of simulated markets to the open of each bar."""
    begins = np.datetime64(BEGINS_AT.replace(tzinfo=None))
    hours: NDArray[np.int64] = (bars["opened_at"] - begins).astype("timedelta64[h]").astype(np.int64)
    return hours
