"""Bars of a backtest, and a fast search in arrays for those that may touch a price; callers confirm it in decimals."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from execution.backtest.simulate import ClosedBar
from ledger.values import Instrument

Array = NDArray[np.float64]

MARGIN: Final = 1e-9
"""Maximum relative error of a float price against its decimal."""

STRETCH: Final = 4096
"""Bars per step of the search for one that touches a price."""


@dataclass(frozen=True, slots=True, eq=False)
class BarSeries:
    """The closed candles of one instrument, oldest first, at least one, with arrays of their lows and highs.

    `day_ends` are the numbers of the bars that close last on their UTC day; a close at 24:00 belongs to the day it ends.
    """

    bars: Sequence[ClosedBar]
    low: Array
    high: Array
    day_ends: NDArray[np.int64]

    @classmethod
    def of(cls, bars: Sequence[ClosedBar]) -> Self:
        """Create the series of these bars. Raises ValueError if there are none."""
        if not bars:
            raise ValueError("a backtest needs at least one candle")
        days = np.array([(bar.closed_at - _JUST_AFTER_EPOCH) // _DAY for bar in bars], dtype=np.int64)
        return cls(
            bars,
            np.array([float(bar.low) for bar in bars]),
            np.array([float(bar.high) for bar in bars]),
            np.flatnonzero(np.append(days[1:] != days[:-1], True)),
        )

    @property
    def instrument(self) -> Instrument:
        return self.bars[0].instrument

    def __len__(self) -> int:
        return len(self.bars)

    def ends_day(self, bar: int) -> bool:
        """Return `True` if no later bar closes on the same UTC day."""
        return self.day_ends_in(bar, bar + 1) == [bar]

    def day_ends_in(self, first: int, end: int) -> list[int]:
        """Return the bars from `first` to before `end` that are the last of their day."""
        start, stop = np.searchsorted(self.day_ends, (first, end))
        return [int(bar) for bar in self.day_ends[start:stop]]

    def first_touch(self, stop: Decimal | None, target: Decimal | None, first: int, end: int) -> int:
        """Return the first bar from `first` on that may reach `stop` or `target`; `end` if none before it may."""
        if stop is None and target is None:
            return end
        floor = -np.inf if stop is None else float(stop) * (1 + MARGIN)
        ceiling = np.inf if target is None else float(target) * (1 - MARGIN)
        for start in range(first, end, STRETCH):
            part = slice(start, min(start + STRETCH, end))
            found = (self.low[part] <= floor) | (self.high[part] >= ceiling)
            if found.any():
                return start + int(found.argmax())
        return end


_JUST_AFTER_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=1)
_DAY: Final = timedelta(days=1)
