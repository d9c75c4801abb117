"""Market of a backtest: the candles of a file and arrays of them, read once in each process."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from api.backtest.bars import BarSeries
from ledger.values import Instrument, decimal_text, time_text
from signals.bot import bars_of
from signals.market.candle import Candle, timeframe_text
from signals.market.recorded import recorded_candles


@dataclass(frozen=True, slots=True, eq=False)
class Market:
    """Candles of one instrument and timeframe, oldest first; `data_hash` (sha256 in hex) covers every number."""

    name: str
    candles: Sequence[Candle]
    bars: NDArray[np.void]
    series: BarSeries
    data_hash: str

    @classmethod
    def of(cls, candles: Sequence[Candle], name: str) -> Self:
        """Create the market of these candles. Raises ValueError if there are none."""
        return cls(name, candles, bars_of(candles), BarSeries.of(candles), _data_hash(candles))

    @property
    def instrument(self) -> Instrument:
        return self.candles[0].instrument

    @property
    def timeframe(self) -> str:
        return timeframe_text(self.candles[0].timeframe)


def recorded_market(path: Path, instrument: Instrument | None = None, timeframe: timedelta | None = None) -> Market:
    """Return the market in the CSV file, read again only if the file has changed. Raises BadFeed and BadCandle."""
    state = path.stat() if path.exists() else None
    return _read(path, instrument, timeframe, (state.st_mtime_ns, state.st_size) if state else None)


@lru_cache(maxsize=4)
def _read(
    path: Path, instrument: Instrument | None, timeframe: timedelta | None, _state: tuple[int, int] | None
) -> Market:
    return Market.of(recorded_candles(path, instrument, timeframe), path.name)


def _data_hash(candles: Sequence[Candle]) -> str:
    digest = hashlib.sha256(f"{candles[0].instrument} {timeframe_text(candles[0].timeframe)}\n".encode())
    for candle in candles:
        numbers = (candle.open, candle.high, candle.low, candle.close, candle.volume)
        digest.update(f"{time_text(candle.opened_at)},{','.join(map(decimal_text, numbers))}\n".encode())
    return digest.hexdigest()
