"""The feed port, and `open_feed`, which opens the feed named by DAYBOOK_FEED."""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import parse_qsl

from ledger.values import Clock, Instrument
from signals.market.candle import DEFAULT_INSTRUMENTS, BadFeed, Candle, Quote, timeframe_of
from signals.market.recorded import recorded_feed
from signals.market.simulated import simulated_feed


class CandleFeed(Protocol):
    """Closed candles of some instruments in one timeframe, each released once, in order of their close.

    `label` is shown to users and contains SIMULATED for a simulated feed; `mark_source` names the feed in recorded marks.
    """

    label: str
    simulated: bool
    mark_source: str
    instruments: tuple[Instrument, ...]
    timeframe: timedelta

    def start(self, warmup_bars: int, resume_after: datetime | None) -> None:
        """Load the history up to the starting point. Nothing is released yet.

        Playback continues with the first candle that closes after `resume_after`; without it, `warmup_bars` candles are
        history. A live feed starts at the present. Raises FeedUnavailable (start again), BadFeed and BadCandle.
        """

    def history(self, instrument: Instrument, bars: int) -> list[Candle]:
        """Up to `bars` closed candles, oldest first, ending with the last released one."""

    def reach_back(self, instrument: Instrument, bars: int) -> None:
        """Extend `history` to `bars` candles, as far as the market reaches back, and keep that many from now on.

        Releases nothing. Raises FeedUnavailable (retry).
        """

    def poll(self) -> list[Candle]:
        """The candles that closed since the last poll, in order of `closed_at`. Raises FeedUnavailable (retry)."""

    def now(self) -> datetime:
        """Market time in UTC: the clock's for a live feed, else the close of the last candle in `history`."""

    def quotes(self) -> list[Quote]:
        """The current best bid and ask of each instrument; empty for recorded and simulated feeds."""

    @property
    def interval_s(self) -> float:
        """The useful interval between two polls, in real seconds."""

    @property
    def finished(self) -> bool:
        """`True` when recorded data ran out: no further candle will be released."""


def open_feed(
    spec: str,
    *,
    clock: Clock,
    elapsed: Callable[[], float],
    instruments: Sequence[Instrument] = DEFAULT_INSTRUMENTS,
    prepare: Callable[[Any], None] = lambda client: None,
) -> CandleFeed:
    """Open the feed named by `spec`, without starting it. Raises BadFeed or BadCandle with one sentence.

    "file:PATH?speed=60" plays a CSV file (instrument and timeframe from a name like coinbase-BTC-USD-1h.csv, or as
    options); "simulated?seed=7&speed=300&timeframe=1m"; "ccxt:coinbase?timeframe=1m". Several instruments are written
    instrument=BTC-USD,ETH-USD; the default is `instruments`. `elapsed` returns monotonic real seconds; `prepare`
    receives a venue's client before its first use.
    """
    head, _, query = spec.partition("?")
    kind, _, name = head.partition(":")
    match kind, bool(name):
        case "file", True:
            chosen = _options(query, {"speed", "instrument", "timeframe"})
            named = _instruments(chosen, ())
            if len(named) > 1:
                raise BadFeed(f"{name} holds one instrument, not {', '.join(named)}")
            length = _timeframe(chosen["timeframe"]) if "timeframe" in chosen else None
            speed = _speed(chosen.get("speed", "1"))
            return recorded_feed(Path(name), speed, elapsed, named[0] if named else None, length)
        case "simulated", False:
            chosen = _options(query, {"seed", "speed", "timeframe", "instrument"})
            seed, speed = _seed(chosen.get("seed", "7")), _speed(chosen.get("speed", "300"))
            timeframe = _timeframe(chosen.get("timeframe", "1m"))
            return simulated_feed(seed, speed, elapsed, _instruments(chosen, instruments), timeframe)
        case "ccxt", True:
            # ccxt takes a second to import; recorded and simulated markets do without it.
            from signals.market.ccxt import CcxtFeed

            chosen = _options(query, {"timeframe", "instrument"})
            timeframe = _timeframe(chosen.get("timeframe", "1m"))
            return CcxtFeed(name, _instruments(chosen, instruments), timeframe, clock, elapsed, prepare)
        case _:
            raise BadFeed(f"{spec[:80]!r} is not a feed: write file:PATH?speed=60, simulated or ccxt:VENUE")


def _options(query: str, known: set[str]) -> dict[str, str]:
    """Parse the options after the question mark. Raises BadFeed for unknown and repeated ones."""
    try:
        pairs = parse_qsl(query, strict_parsing=True, keep_blank_values=True) if query else []
    except ValueError:
        raise BadFeed(f"{query[:80]!r} cannot be read: write options as name=value, joined by &") from None
    names = [name for name, _ in pairs]
    for name in names:
        if name not in known:
            raise BadFeed(f"unknown option {name!r} (allowed: {', '.join(sorted(known))})")
        if names.count(name) > 1:
            raise BadFeed(f"option {name!r} is given twice")
    return dict(pairs)


def _speed(text: str) -> Decimal:
    """Parse the number of market seconds per real second."""
    if not re.fullmatch(r"\d{1,9}(\.\d{1,6})?", text, re.ASCII) or not 0 < Decimal(text) <= _FASTEST:
        raise BadFeed(f"speed {text[:40]!r} is not a number above 0 and at most {_FASTEST}")
    return Decimal(text)


_FASTEST: Final = 10_000_000


def _seed(text: str) -> int:
    if not re.fullmatch(r"\d{1,18}", text, re.ASCII):
        raise BadFeed(f"seed {text[:40]!r} is not a whole number of at most 18 digits")
    return int(text)


def _timeframe(text: str) -> timedelta:
    try:
        return timeframe_of(text)
    except ValueError as error:
        raise BadFeed(str(error)) from None


def _instruments(options: Mapping[str, str], default: Sequence[Instrument]) -> tuple[Instrument, ...]:
    if "instrument" not in options:
        return tuple(default)
    try:
        return tuple(dict.fromkeys(map(Instrument, options["instrument"].split(","))))
    except ValueError as error:
        raise BadFeed(str(error)) from None
