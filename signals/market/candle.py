"""Candles and quotes, and the errors of reading them."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Final

from ledger.errors import DaybookError
from ledger.values import Instrument, exact_decimal, time_text

DEFAULT_INSTRUMENTS: Final = (Instrument("BTC-USD"), Instrument("ETH-USD"))


class BadFeed(DaybookError, ValueError):
    """The feed named by DAYBOOK_FEED cannot be opened."""


class BadCandle(DaybookError, ValueError):
    """A candle with impossible values, or out of order."""


class FeedUnavailable(DaybookError):
    """The market could not be read; a later attempt loses nothing."""


@dataclass(frozen=True, slots=True)
class Candle:
    """One closed candle: prices in the quote currency, volume in the base, `opened_at` in UTC.

    Raises BadCandle for a naive time, a number that is not finite or not positive (volume may be 0), low above high, and
    open or close outside them.
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
    """The best bid and ask of an instrument at `at` (UTC). Raises ValueError unless 0 < bid <= ask."""

    instrument: Instrument
    bid: Decimal
    ask: Decimal
    at: datetime

    def __post_init__(self) -> None:
        if not 0 < exact_decimal(self.bid) <= exact_decimal(self.ask):
            raise ValueError(f"{self.instrument}: bid {self.bid} and ask {self.ask} are not a quote")


def in_order(candles: Iterable[Candle]) -> list[Candle]:
    """Return the candles, checked to be in order per instrument. Gaps are allowed.

    Raises BadCandle for the first one that repeats, overlaps or precedes the one before it.
    """
    checked: list[Candle] = []
    last: dict[Instrument, Candle] = {}
    for candle in candles:
        before = last.get(candle.instrument)
        if before is not None and candle.opened_at < before.closed_at:
            name = f"the {candle.instrument} candle of {time_text(candle.opened_at)}"
            raise BadCandle(f"{name} {_disorder(before, candle)}")
        last[candle.instrument] = candle
        checked.append(candle)
    return checked


def timeframe_of(text: str) -> timedelta:
    """Parse a timeframe such as "1m", "15m", "1h", "1d" or "1w". Raises ValueError."""
    found = re.fullmatch(r"([1-9]\d{0,3})([smhdw])", text, re.ASCII)
    if not found:
        raise ValueError(f"{text[:20]!r} is not a timeframe such as 1m, 15m, 1h or 1d")
    return int(found[1]) * _UNITS[found[2]]


def timeframe_text(timeframe: timedelta) -> str:
    """Write a timeframe of whole seconds in its largest unit: 60 minutes are "1h"."""
    for letter, unit in reversed(_UNITS.items()):
        if timeframe % unit == timedelta(0):
            return f"{timeframe // unit}{letter}"
    raise ValueError(f"{timeframe} is not a timeframe of whole seconds")


def decimal_of(text: str, name: str) -> Decimal:
    """Parse a market's decimal, exponents included. Raises BadCandle, naming the field `name`."""
    try:
        # Python accepts 1_000; no market writes that.
        return Decimal(text.replace("_", "?"))
    except InvalidOperation:
        raise BadCandle(f"{name} {text[:40]!r} is not a number") from None


def _fault(candle: Candle) -> str | None:
    """The first impossible value of the candle, or None."""
    if candle.opened_at.utcoffset() is None:
        return "has a time without a zone"
    if candle.timeframe <= timedelta(0):
        return f"has timeframe {candle.timeframe}, which must be more than 0"
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
