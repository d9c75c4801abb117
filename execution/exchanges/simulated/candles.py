"""Random candles for a simulated venue, around the current price, seeded by instrument and time."""

import random
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from execution.exchanges.simulated.shape import EPOCH
from ledger.values import Instrument


@dataclass(frozen=True, slots=True)
class VenueCandle:
    """One candle; prices in quote, volume in base."""

    opened_at: datetime
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal


def candles(
    instrument: Instrument, price: Decimal, length: timedelta, now: datetime, since: datetime | None, limit: int
) -> list[VenueCandle]:
    """Return at most `limit` candles, oldest first: from `since`, or the last ones, including the one still open."""
    last = (now - EPOCH) // length
    first = last - limit + 1 if since is None else -((EPOCH - since) // length)
    return [
        _candle(instrument, price, EPOCH + number * length) for number in range(first, min(last, first + limit - 1) + 1)
    ]


def _candle(instrument: Instrument, price: Decimal, opened_at: datetime) -> VenueCandle:
    dice = random.Random(f"{instrument} {opened_at.isoformat()}")
    steps = [price * (1 + Decimal(dice.randint(-100, 100)) / 100_000) for _ in range(4)]
    rounded = [step.quantize(Decimal("0.01") if price > 10 else Decimal("0.00001")) for step in steps]
    return VenueCandle(opened_at, rounded[0], max(rounded), min(rounded), rounded[3], Decimal(dice.randint(1, 50)))
