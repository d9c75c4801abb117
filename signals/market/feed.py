"""The feed port, and `open_feed`, which opens the feed that a DAYBOOK_FEED setting names."""

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

    `label` is shown to people and says SIMULATED where it is; `mark_source` names the feed in recorded marks.
    """

    label: str
    simulated: bool
    mark_source: str
    instruments: tuple[Instrument, ...]
    timeframe: timedelta

    def start(self, warmup_bars: int, resume_after: datetime | None) -> None:
        """Afterwards `history` holds what lies before the starting point, and nothing has been released.

        Playback goes on with the first candle that closes after `resume_after`; without it, `warmup_bars` candles are
        history first. A live feed starts at the present. Raises FeedUnavailable (start it again), BadFeed and BadCandle.
        """

    def history(self, instrument: Instrument, bars: int) -> list[Candle]:
        """The last `bars` closed candles up to the last released one, oldest first; fewer where there are fewer."""

    def reach_back(self, instrument: Instrument, bars: int) -> None:
        """Afterwards `history` has `bars` candles, unless the market is not that old, and keeps as many from now on.

        What was released is as it was. Raises FeedUnavailable (ask again).
        """

    def poll(self) -> list[Candle]:
        """The candles that closed since the last poll, in order of `closed_at`. Raises FeedUnavailable (ask again)."""

    def now(self) -> datetime:
        """Market time in UTC: the clock's for a live feed, else the close of the last candle in `history`."""

    def quotes(self) -> list[Quote]:
        """The best bid and ask of each instrument now; empty for recorded and simulated feeds."""

    @property
    def interval_s(self) -> float:
        """How often, in real seconds, `poll` is worth calling."""

    @property
    def finished(self) -> bool:
        """Whether no candle will ever come again: recorded data ran out."""


def open_feed(
    spec: str,
    *,
    clock: Clock,
    elapsed: Callable[[], float],
    instruments: Sequence[Instrument] = DEFAULT_INSTRUMENTS,
    prepare: Callable[[Any], None] = lambda client: None,
) -> CandleFeed:
    """The feed that `spec` names, not started yet; raises BadFeed or BadCandle with one sentence that says why not.

    "file:PATH?speed=60" plays a CSV file (instrument and timeframe from a name like coinbase-BTC-USD-1h.csv, or as
    options); "simulated?seed=7&speed=300&timeframe=1m"; "ccxt:coinbase?timeframe=1m". Several instruments are written
    instrument=BTC-USD,ETH-USD; `instruments` are taken where the spec names none. `elapsed` gives real seconds from
    any starting point and never runs backwards; `prepare` receives a venue's client before its first use.
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
    """The options after the question mark; each once, each known."""
    try:
        pairs = parse_qsl(query, strict_parsing=True, keep_blank_values=True) if query else []
    except ValueError:
        raise BadFeed(f"{query[:80]!r} cannot be read: write options as name=value, joined by &") from None
    names = [name for name, _ in pairs]
    for name in names:
        if name not in known:
            raise BadFeed(f"the option {name!r} is not known here: there are {', '.join(sorted(known))}")
        if names.count(name) > 1:
            raise BadFeed(f"the option {name!r} is given twice")
    return dict(pairs)


def _speed(text: str) -> Decimal:
    """How many seconds of market time pass in a real one."""
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
