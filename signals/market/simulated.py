"""A seeded simulated market: each candle is a function of seed, instrument and candle number."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from heapq import merge
from itertools import count, islice, takewhile
from math import pi, sin
from typing import Final
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from ledger.values import Instrument, decimal_text
from signals.market.candle import DEFAULT_INSTRUMENTS, Candle
from signals.market.playback import PlayedFeed, Split

BEGINS_AT: Final = datetime(2025, 1, 1, tzinfo=UTC)
"""The open time of candle 0."""

BLOCK: Final = 240
"""Candles per block. Each block has its own seed and regime, and meets its neighbours at a known level."""


def simulated_feed(
    seed: int,
    speed: Decimal,
    elapsed: Callable[[], float],
    instruments: tuple[Instrument, ...] = DEFAULT_INSTRUMENTS,
    timeframe: timedelta = timedelta(minutes=1),
) -> PlayedFeed:
    """Open the simulated market as a feed without end, labelled SIMULATED."""
    label = f"SIMULATED market, seed {seed}, at {decimal_text(speed)}x"
    tape = SimulatedTape(seed, instruments, timeframe)
    return PlayedFeed(tape, label, f"simulated:seed={seed}", speed, elapsed, simulated=True)


def simulated_candles(seed: int, instrument: Instrument, timeframe: timedelta, first: int = 0) -> Iterator[Candle]:
    """Generate the candles of a simulated market from number `first` on, without end; 0.2 % are missing.

    Blocks of trend, range and turbulence alternate around a bounded level. Prices have 2 decimal places, volumes 8, and
    volume grows with movement. Starting at any number yields the same candles.
    """
    for block in count(first // BLOCK):
        for number, candle in enumerate(_block(seed, instrument, timeframe, block), block * BLOCK):
            if candle is not None and number >= first:
                yield candle


@dataclass(frozen=True, slots=True)
class SimulatedTape:
    """The simulated markets of some instruments with one seed."""

    seed: int
    instruments: tuple[Instrument, ...]
    timeframe: timedelta

    @property
    def begins_at(self) -> datetime:
        return BEGINS_AT

    def split(self, warmup_bars: int, resume_after: datetime | None) -> Split:
        """See `Tape.split`; every instrument has `warmup_bars` candles of history where the market is that old."""
        if resume_after is None:
            at, starts_at = self._warm_at(warmup_bars), None
        else:
            starts_at = max(resume_after, BEGINS_AT)
            at = (starts_at - BEGINS_AT) // self.timeframe
        # Ten percent more than enough for the missing candles.
        oldest = max(0, at - warmup_bars * 11 // 10 - BLOCK)
        split_at = BEGINS_AT + at * self.timeframe
        past = takewhile(lambda candle: candle.closed_at <= split_at, self._from(oldest))
        return Split(past, self._from(at), starts_at or split_at)

    def _from(self, first: int) -> Iterator[Candle]:
        markets = (simulated_candles(self.seed, instrument, self.timeframe, first) for instrument in self.instruments)
        return merge(*markets, key=lambda candle: (candle.closed_at, candle.instrument))

    def _warm_at(self, bars: int) -> int:
        """The first candle number at which every instrument has this many candles."""
        if bars == 0:
            return 0
        markets = (simulated_candles(self.seed, instrument, self.timeframe) for instrument in self.instruments)
        last = max(next(islice(market, bars - 1, None)).closed_at for market in markets)
        return (last - BEGINS_AT) // self.timeframe


@dataclass(frozen=True, slots=True)
class _Regime:
    """Movement of a block in log price: noise per candle, and height and cycles of a wave."""

    noise: float
    wave: float
    cycles: int


_REGIMES: Final = (
    _Regime(noise=0.0008, wave=0.004, cycles=2),  # trend: mostly the move from one level to the next
    _Regime(noise=0.0008, wave=0.014, cycles=4),  # range: between two prices
    _Regime(noise=0.0030, wave=0.010, cycles=3),  # turbulence
)
_SHARES: Final = (0.4, 0.4, 0.2)
_LEVEL_SPREAD: Final = 0.04
_SLOW_WAVE: Final = 0.15
_SLOW_BLOCKS: Final = 37
_MISSING: Final = 0.002
_FIRST_PRICES: Final = {"BTC-USD": 60_000.0, "ETH-USD": 3_000.0}
_OTHER_PRICE: Final = 100.0
_TURNOVER: Final = 300_000.0
"""Mean turnover of a candle, in the quote currency."""

Array = NDArray[np.float64]


@lru_cache(maxsize=64)
def _block(seed: int, instrument: Instrument, timeframe: timedelta, block: int) -> tuple[Candle | None, ...]:
    """The candles of one block by number, None for a missing one. Cached: a warm-up reads each block twice."""
    key = crc32(instrument.encode())
    dice = np.random.default_rng((seed, key, block))
    regime = _REGIMES[dice.choice(len(_REGIMES), p=_SHARES)]
    steps = dice.normal(0.0, regime.noise, BLOCK)
    begin = _level(seed, key, 0)
    logs = _path(_level(seed, key, block) - begin, _level(seed, key, block + 1) - begin, regime, steps)
    path: Array = _FIRST_PRICES.get(instrument, _OTHER_PRICE) * np.exp(logs)
    opens, closes = path[:-1], path[1:]
    wicks = np.abs(dice.normal(0.0, regime.noise, (2, BLOCK)))
    highs, lows = np.maximum(opens, closes) * np.exp(wicks[0]), np.minimum(opens, closes) * np.exp(-wicks[1])
    volumes = _TURNOVER / closes * (0.3 + 500 * np.log(highs / lows)) * dice.lognormal(0.0, 0.4, BLOCK)
    missing = dice.random(BLOCK) < _MISSING
    begins_at = BEGINS_AT + block * BLOCK * timeframe
    rows = zip(opens, highs, lows, closes, volumes, strict=True)
    return tuple(
        None if missing[number] else _candle(instrument, timeframe, begins_at + number * timeframe, *row)
        for number, row in enumerate(rows)
    )


def _path(level: float, next_level: float, regime: _Regime, steps: Array) -> Array:
    """The log price at the start of the block and at each close, from one level to the next."""
    way = np.linspace(0.0, 1.0, BLOCK + 1)
    walk = np.concatenate(([0.0], np.cumsum(steps)))
    bridge: Array = walk - way * walk[-1]
    wave = regime.wave * np.sin(2 * pi * regime.cycles * way) * np.sin(pi * way)
    return level + (next_level - level) * way + wave + bridge


def _level(seed: int, key: int, block: int) -> float:
    """The log level at which a block begins: a slow wave plus seeded noise, so that it stays bounded."""
    chance = np.random.default_rng((seed, key, block, 1)).normal(0.0, _LEVEL_SPREAD)
    return float(chance) + _SLOW_WAVE * sin(2 * pi * (block / _SLOW_BLOCKS + key / 2**32))


def _candle(instrument: Instrument, timeframe: timedelta, opened_at: datetime, *numbers: float) -> Candle:
    """The candle of open, high, low, close and volume, rounded. Rounding keeps low <= open, close <= high."""
    opened, high, low, closed = (Decimal(f"{price:.2f}") for price in numbers[:4])
    return Candle(instrument, timeframe, opened_at, opened, high, low, closed, Decimal(f"{numbers[4]:.8f}"))
