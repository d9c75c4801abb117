"""Playback of candles as a feed: market time runs at a multiple of real time."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import islice
from typing import Final, Protocol

from ledger.values import Instrument
from signals.market.candle import Candle, Quote

BURST: Final = 50
"""The most candles one poll releases."""

KEPT: Final = 5_000
"""The candles of history that a feed keeps per instrument, unless its warm-up is longer."""

# About 950 years: longer than any playback, and still a valid datetime.
_LONGEST_S: Final = 3e10


class PlayedFeed:
    """A `CandleFeed` over a tape: after t real seconds, the candles of `speed` * t market seconds are released.

    A poll releases at most `BURST` candles. Where more are due, market time continues from the last of them: after a
    pause of the machine the feed resumes where it was, without flooding its reader.
    """

    def __init__(
        self,
        tape: "Tape",
        label: str,
        mark_source: str,
        speed: Decimal,
        elapsed: Callable[[], float],
        *,
        simulated: bool,
    ) -> None:
        self.label = label
        self.mark_source = mark_source
        self.simulated = simulated
        self.instruments = tape.instruments
        self.timeframe = tape.timeframe
        self._tape = tape
        self._speed = float(speed)
        self._elapsed = elapsed
        self._history = {instrument: deque[Candle](maxlen=KEPT) for instrument in tape.instruments}
        self._upcoming: Iterator[Candle] = iter(())
        self._next: Candle | None = None
        self._started = False
        # Market time: where the newest candle closed, and a moment from which real seconds are counted.
        self._now = self._anchor = tape.begins_at
        self._anchored_at = elapsed()

    def start(self, warmup_bars: int, resume_after: datetime | None) -> None:
        split = self._tape.split(warmup_bars, resume_after)
        kept = max(KEPT, warmup_bars)
        self._history = {instrument: deque[Candle](maxlen=kept) for instrument in self.instruments}
        self._now = self._anchor = split.starts_at
        for candle in split.past:
            self._release(candle)
        self._upcoming = split.upcoming
        self._next = next(self._upcoming, None)
        self._started = True
        self._anchored_at = self._elapsed()

    def history(self, instrument: Instrument, bars: int) -> list[Candle]:
        kept = self._history[instrument]
        return list(islice(kept, max(0, len(kept) - bars), None))

    def reach_back(self, instrument: Instrument, bars: int) -> None:
        kept = self._history[instrument]
        if kept and len(kept) < bars:
            past = self._tape.split(bars, self._now).past
            older = [one for one in past if one.instrument == instrument and one.closed_at < kept[0].closed_at]
            self._history[instrument] = with_older(older, kept, bars)

    def poll(self) -> list[Candle]:
        real_seconds = self._elapsed() - self._anchored_at
        due_until = self._anchor + timedelta(seconds=min(self._speed * real_seconds, _LONGEST_S))
        released: list[Candle] = []
        while self._next is not None and self._next.closed_at <= due_until:
            if len(released) == BURST:
                self._anchor, self._anchored_at = self._now, self._elapsed()
                break
            released.append(self._next)
            self._release(self._next)
            self._next = next(self._upcoming, None)
        return released

    def now(self) -> datetime:
        return self._now

    def quotes(self) -> list[Quote]:
        return []

    @property
    def interval_s(self) -> float:
        return min(5.0, max(0.05, self.timeframe.total_seconds() / self._speed))

    @property
    def finished(self) -> bool:
        return self._started and self._next is None

    def _release(self, candle: Candle) -> None:
        self._history[candle.instrument].append(candle)
        self._now = candle.closed_at


def with_older(older: Sequence[Candle], kept: deque[Candle], bars: int) -> deque[Candle]:
    """Prepend older candles of the same instrument, with room for `bars` of them and `KEPT` new ones."""
    return deque((*older, *kept), maxlen=bars + KEPT)


@dataclass(frozen=True, slots=True)
class Split:
    """A tape divided at its starting point, the market time `starts_at` (UTC). Both parts are in order of `closed_at`."""

    past: Iterable[Candle]
    upcoming: Iterator[Candle]
    starts_at: datetime


class Tape(Protocol):
    """Candles that are recorded or can be generated."""

    @property
    def instruments(self) -> tuple[Instrument, ...]: ...

    @property
    def timeframe(self) -> timedelta: ...

    @property
    def begins_at(self) -> datetime:
        """The open time of its first candle (UTC)."""

    def split(self, warmup_bars: int, resume_after: datetime | None) -> Split:
        """Divide after the last candle closed by `resume_after`, or without it after `warmup_bars` candles."""
