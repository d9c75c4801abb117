"""The same market in other clothes: what a bot is shown to see what it looks at."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Final

import numpy as np

from signals.bot import Window
from signals.market import Candle

SCALE: Final = Decimal(1000)
AGES: Final = timedelta(days=146_097)
"""400 years: every date has the same weekday, month and day as before, and none is known from anywhere."""


def standing(candles: Sequence[Candle]) -> list[Candle]:
    """Every price is the first close."""
    price = candles[0].close
    return [replace(candle, open=price, high=price, low=price, close=price) for candle in candles]


def untraded(candles: Sequence[Candle]) -> list[Candle]:
    """Nothing was ever traded at these prices."""
    return [replace(candle, volume=Decimal(0)) for candle in candles]


def with_a_gap(candles: Sequence[Candle]) -> list[Candle]:
    """One candle in the middle is missing."""
    middle = len(candles) // 2
    return [*candles[:middle], *candles[middle + 1 :]]


def dearer(candles: Sequence[Candle]) -> list[Candle]:
    """Every price is `SCALE` times as high."""
    return [_times(candle, SCALE) for candle in candles]


def ages_later(candles: Sequence[Candle]) -> list[Candle]:
    """The same candles 400 years later."""
    return [replace(candle, opened_at=candle.opened_at + AGES) for candle in candles]


def poisoned(candles: Sequence[Candle]) -> list[Candle]:
    """Other prices at the same times: every second candle is far dearer, the others far cheaper."""
    return [_times(candle, Decimal(7) if number % 2 else Decimal("0.125")) for number, candle in enumerate(candles)]


def without_a_number(window: Window) -> Window:
    """The window, with a last close that is no number. Raises ValueError where no such window can be."""
    bars = window.bars.copy()
    bars["close"][-1] = np.nan
    return Window(window.instrument, window.timeframe, window.asof, np.frombuffer(bars.tobytes(), dtype=bars.dtype))


def _times(candle: Candle, factor: Decimal) -> Candle:
    prices = {name: getattr(candle, name) * factor for name in ("open", "high", "low", "close")}
    return replace(candle, **prices)
