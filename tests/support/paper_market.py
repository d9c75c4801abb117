"""Candles by number for tests of the paper venue."""

from datetime import timedelta
from decimal import Decimal
from typing import Final

from ledger.values import Instrument
from signals.market.candle import Candle
from tests.support.trading import BTC, NOON

MINUTE: Final = timedelta(minutes=1)


def bar(
    number: int,
    *,
    opened: str = "100",
    high: str = "102",
    low: str = "98",
    volume: str = "1000",
    instrument: Instrument = BTC,
) -> Candle:
    """The minute candle that opens `number` minutes after noon and closes where it opened."""
    numbers = [Decimal(text) for text in (opened, high, low, opened, volume)]
    return Candle(instrument, MINUTE, NOON + number * MINUTE, *numbers)
