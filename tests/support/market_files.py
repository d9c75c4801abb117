"""Recorded markets for tests: the seeded simulated market, written to a file."""

import csv
from itertools import islice
from pathlib import Path

from ledger.values import Instrument, decimal_text, time_text
from signals.market.candle import timeframe_of
from signals.market.simulated import simulated_candles

HEADER = ("timestamp", "open", "high", "low", "close", "volume")


def write_market(folder: Path, candles: int, seed: int = 7, timeframe: str = "1m") -> Path:
    """Write a file of BTC-USD candles, the same for the same seed."""
    path = folder / f"test-BTC-USD-{timeframe}.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(HEADER)
        for one in islice(simulated_candles(seed, Instrument("BTC-USD"), timeframe_of(timeframe)), candles):
            numbers = (decimal_text(value) for value in (one.open, one.high, one.low, one.close, one.volume))
            rows.writerow((time_text(one.opened_at), *numbers))
    path.chmod(0o644)
    return path
