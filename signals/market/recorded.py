"""Recorded candles from a CSV file, played at a chosen speed."""

import csv
import re
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Final

from ledger.values import Instrument, decimal_text, utc_time
from signals.market.candle import BadCandle, BadFeed, Candle, decimal_of, in_order, timeframe_of
from signals.market.playback import PlayedFeed, Split


def recorded_feed(
    path: Path,
    speed: Decimal,
    elapsed: Callable[[], float],
    instrument: Instrument | None = None,
    timeframe: timedelta | None = None,
) -> PlayedFeed:
    """Open a CSV file as a feed; instrument and timeframe default to those in its name.

    Raises BadFeed for an unusable file and BadCandle for a wrong line, naming file and line.
    """
    candles = recorded_candles(path, instrument, timeframe)
    label = f"recorded candles {path.name} at {decimal_text(speed)}x"
    return PlayedFeed(RecordedTape(tuple(candles)), label, f"file:{path.name[:90]}", speed, elapsed, simulated=False)


def recorded_candles(
    path: Path, instrument: Instrument | None = None, timeframe: timedelta | None = None
) -> list[Candle]:
    """Read every candle of a CSV file. Raises as `recorded_feed`."""
    if not path.exists():
        raise BadFeed(f"{path} cannot be opened: No such file (relative to the folder in which Daybook was started)")
    if path.is_dir():
        raise BadFeed(f"{path} is a folder: name a CSV file in it")
    named = _from_name(path) if instrument is None or timeframe is None else None
    return read_candles(path, instrument or _known(path, named)[0], timeframe or _known(path, named)[1])


HEADER: Final = ("timestamp", "open", "high", "low", "close", "volume")


def read_candles(path: Path, instrument: Instrument, timeframe: timedelta) -> list[Candle]:
    """Read the candles of a CSV file with the header timestamp,open,high,low,close,volume, oldest first.

    `timestamp` is the open time in ISO-8601 with a zone. Raises BadFeed for an unreadable file, another header or no
    candle, and BadCandle for a wrong line or one out of order, naming file and line.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            candles = list(_checked(path, lines, instrument, timeframe))
    except OSError as error:
        raise BadFeed(f"{path} cannot be opened: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error):
        raise BadFeed(f"{path} is not a CSV file in UTF-8") from None
    if not candles:
        raise BadFeed(f"{path} holds no candle")
    return candles


@dataclass(frozen=True, slots=True)
class RecordedTape:
    """Recorded candles of one instrument, oldest first, at least one."""

    candles: tuple[Candle, ...]

    @property
    def instruments(self) -> tuple[Instrument, ...]:
        return (self.candles[0].instrument,)

    @property
    def timeframe(self) -> timedelta:
        return self.candles[0].timeframe

    @property
    def begins_at(self) -> datetime:
        return self.candles[0].opened_at

    def split(self, warmup_bars: int, resume_after: datetime | None) -> Split:
        """See `Tape.split`; a tape too short for the warm-up and 50 more candles is divided in the middle."""
        candles = self.candles
        if resume_after is None:
            at = warmup_bars if len(candles) >= warmup_bars + 50 else len(candles) // 2
            starts_at = candles[at - 1].closed_at if at else self.begins_at
        else:
            at = bisect_right(candles, resume_after, key=lambda candle: candle.closed_at)
            starts_at = max(resume_after, self.begins_at)
        return Split(candles[:at], iter(candles[at:]), starts_at)


def _checked(path: Path, lines: Iterator[str], instrument: Instrument, timeframe: timedelta) -> Iterator[Candle]:
    rows = csv.reader(lines, strict=True)
    header = tuple(next(rows, ()))
    if header != HEADER:
        raise BadFeed(f"{path} line 1 must be {','.join(HEADER)}, not {','.join(header)[:100]!r}")
    before: Candle | None = None
    for row in rows:
        try:
            candle = _candle(row, instrument, timeframe)
            in_order([candle] if before is None else [before, candle])
        except BadCandle as error:
            raise BadCandle(f"{path} line {rows.line_num}: {error}") from None
        yield candle
        before = candle


def _candle(row: list[str], instrument: Instrument, timeframe: timedelta) -> Candle:
    if len(row) != len(HEADER):
        raise BadCandle(f"there are {len(row)} fields, not {len(HEADER)}")
    try:
        opened_at = utc_time(row[0])
    except ValueError as error:
        raise BadCandle(str(error)) from None
    numbers = {name: decimal_of(text, name) for name, text in zip(HEADER[1:], row[1:], strict=True)}
    return Candle(instrument, timeframe, opened_at, **numbers)


def _from_name(path: Path) -> tuple[Instrument, timedelta] | None:
    """Instrument and timeframe in a name such as coinbase-BTC-USD-1h.csv, or None."""
    found = re.fullmatch(r"(?:.*-)?([A-Z0-9.]+-[A-Z0-9.]+)-(\d+[smhdw])\.csv", path.name, re.ASCII)
    if not found:
        return None
    try:
        return Instrument(found[1]), timeframe_of(found[2])
    except ValueError:
        return None


def _known(path: Path, named: tuple[Instrument, timedelta] | None) -> tuple[Instrument, timedelta]:
    if named is None:
        raise BadFeed(
            f"{path.name} names no instrument and timeframe: rename it like coinbase-BTC-USD-1h.csv"
            " (or, for a feed, add ?instrument=BTC-USD&timeframe=1h)"
        )
    return named
