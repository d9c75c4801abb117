"""Where do prices come from? Candles, quotes, the port `CandleFeed`, and `open_feed`, which reads DAYBOOK_FEED."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import parse_qsl

from ledger.errors import DaybookError
from ledger.values import Clock, Instrument, exact_decimal, time_text


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

    def history(self, instrument: Instrument, bars: int) -> list["Candle"]:
        """The last `bars` closed candles up to the last released one, oldest first; fewer where there are fewer."""

    def reach_back(self, instrument: Instrument, bars: int) -> None:
        """Afterwards `history` has `bars` candles, unless the market is not that old, and keeps as many from now on.

        What was released is as it was. Raises FeedUnavailable (ask again).
        """

    def poll(self) -> list["Candle"]:
        """The candles that closed since the last poll, in order of `closed_at`. Raises FeedUnavailable (ask again)."""

    def now(self) -> datetime:
        """Market time in UTC: the clock's for a live feed, else the close of the last candle in `history`."""

    def quotes(self) -> list["Quote"]:
        """The best bid and ask of each instrument now; empty for recorded and simulated feeds."""

    @property
    def interval_s(self) -> float:
        """How often, in real seconds, `poll` is worth calling."""

    @property
    def finished(self) -> bool:
        """Whether no candle will ever come again: recorded data ran out."""


class BadFeed(DaybookError, ValueError):
    """What DAYBOOK_FEED asks for cannot be had; the text says what and why."""


class BadCandle(DaybookError, ValueError):
    """A candle that cannot be true, or does not follow the one before it; the text says which and why."""


class FeedUnavailable(DaybookError):
    """The market could not be read just now. Nothing is lost: asking again later is right."""


@dataclass(frozen=True, slots=True)
class Candle:
    """One closed candle: prices in the quote currency, volume in the base, `opened_at` in UTC.

    Raises BadCandle for a naive time, a number that is not finite or positive (volume: not negative), low above high,
    and open or close outside them.
    """

    instrument: Instrument
    timeframe: timedelta
    opened_at: datetime
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal

    def __post_init__(self) -> None:
        fault = _fault(self)
        if fault:
            raise BadCandle(f"the {self.instrument} candle of {self.opened_at.isoformat()} {fault}")
        object.__setattr__(self, "opened_at", self.opened_at.astimezone(UTC))

    @property
    def closed_at(self) -> datetime:
        return self.opened_at + self.timeframe


@dataclass(frozen=True, slots=True)
class Quote:
    """The best bid and ask of an instrument, seen at `at` (UTC). Raises ValueError unless 0 < bid <= ask."""

    instrument: Instrument
    bid: Decimal
    ask: Decimal
    at: datetime

    def __post_init__(self) -> None:
        if not 0 < exact_decimal(self.bid) <= exact_decimal(self.ask):
            raise ValueError(f"{self.instrument}: a bid of {self.bid} and an ask of {self.ask} are no quote")


def in_order(candles: Iterable[Candle]) -> list[Candle]:
    """The same candles, known to follow each other per instrument; gaps are allowed.

    Raises BadCandle for the first one that repeats, overlaps or precedes the one before it.
    """
    checked: list[Candle] = []
    last: dict[Instrument, Candle] = {}
    for candle in candles:
        before = last.get(candle.instrument)
        if before is not None and candle.opened_at < before.closed_at:
            what = f"the {candle.instrument} candle of {time_text(candle.opened_at)}"
            raise BadCandle(f"{what} {_disorder(before, candle)}")
        last[candle.instrument] = candle
        checked.append(candle)
    return checked


def timeframe_of(text: str) -> timedelta:
    """The length of time that "1m", "15m", "1h", "1d" or "1w" says. Raises ValueError for anything else."""
    found = re.fullmatch(r"([1-9]\d{0,3})([smhdw])", text, re.ASCII)
    if not found:
        raise ValueError(f"{text[:20]!r} is not a timeframe such as 1m, 15m, 1h or 1d")
    return int(found[1]) * _UNITS[found[2]]


def timeframe_text(timeframe: timedelta) -> str:
    """The shortest way to write a timeframe of whole seconds: 60 minutes are "1h"."""
    for letter, unit in reversed(_UNITS.items()):
        if timeframe % unit == timedelta(0):
            return f"{timeframe // unit}{letter}"
    raise ValueError(f"{timeframe} is not a timeframe of whole seconds")


DEFAULT_INSTRUMENTS: Final = (Instrument("BTC-USD"), Instrument("ETH-USD"))


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
    # Each kind is imported when asked for: a recorded market needs no venue library, which is slow to load.
    match kind, bool(name):
        case "file", True:
            from signals.market.recorded import recorded_feed

            chosen = _options(query, {"speed", "instrument", "timeframe"})
            named = _instruments(chosen, ())
            if len(named) > 1:
                raise BadFeed(f"{name} holds one instrument, not {', '.join(named)}")
            length = _timeframe(chosen["timeframe"]) if "timeframe" in chosen else None
            speed = _speed(chosen.get("speed", "1"))
            return recorded_feed(Path(name), speed, elapsed, named[0] if named else None, length)
        case "simulated", False:
            from signals.market.simulated import simulated_feed

            chosen = _options(query, {"seed", "speed", "timeframe", "instrument"})
            seed, speed = _seed(chosen.get("seed", "7")), _speed(chosen.get("speed", "300"))
            timeframe = _timeframe(chosen.get("timeframe", "1m"))
            return simulated_feed(seed, speed, elapsed, _instruments(chosen, instruments), timeframe)
        case "ccxt", True:
            from signals.market.ccxt import CcxtFeed

            chosen = _options(query, {"timeframe", "instrument"})
            timeframe = _timeframe(chosen.get("timeframe", "1m"))
            return CcxtFeed(name, _instruments(chosen, instruments), timeframe, clock, elapsed, prepare)
        case _:
            raise BadFeed(f"{spec[:80]!r} is not a feed: write file:PATH?speed=60, simulated or ccxt:VENUE")


def decimal_of(text: str, what: str) -> Decimal:
    """The decimal that a market's text says, exponents included. Raises BadCandle, naming `what`, for anything else."""
    try:
        # Python reads 1_000 as a number; no market writes one so.
        return Decimal(text.replace("_", "?"))
    except InvalidOperation:
        raise BadCandle(f"{what} is {text[:40]!r}, which is not a number") from None


def _fault(candle: Candle) -> str | None:
    """What cannot be true about the candle, or None."""
    if candle.opened_at.utcoffset() is None:
        return "has a time without a zone"
    if candle.timeframe <= timedelta(0):
        return f"lasts {candle.timeframe}, which is no length of time"
    for name in ("open", "high", "low", "close", "volume"):
        value = getattr(candle, name)
        try:
            exact_decimal(value)
        except ValueError as error:
            return f"has a wrong {name}: {error}"
        if value < 0 or (value == 0 and name != "volume"):
            return f"has {name} {value}, which must be {'0 or more' if name == 'volume' else 'more than 0'}"
    if candle.low > candle.high:
        return f"has its low {candle.low} above its high {candle.high}"
    for name in ("open", "close"):
        if not candle.low <= getattr(candle, name) <= candle.high:
            return f"has {name} {getattr(candle, name)} outside its range {candle.low} to {candle.high}"
    return None


def _disorder(before: Candle, candle: Candle) -> str:
    if candle.opened_at == before.opened_at:
        return "comes twice"
    if candle.opened_at < before.opened_at:
        return f"comes after the one of {time_text(before.opened_at)}"
    return f"begins before the one of {time_text(before.opened_at)} closes"


_UNITS: Final = {
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
}


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
