"""The interface for bot authors: a bot turns a window of closed candles into a signal. It cannot trade."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, ClassVar, Final, Literal, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ledger.events.fields import Name, Text
from ledger.values import Instrument, Price
from signals.market.candle import Candle


class Bot(Protocol):
    """A pure function of a window of closed candles, with a name (`kind`) and a version.

    It keeps no state between calls and reads nothing else: no clock, no network, no portfolio. The same window and
    parameters always give the same signal. Raise `version` when a signal may change.
    """

    kind: ClassVar[str]
    version: ClassVar[str]
    Params: "ClassVar[type[Parameters]]"
    """The settings that users may choose, a subclass of `Parameters`; its JSON schema becomes the form."""

    def needs(self, params: Any) -> "Needs":
        """The bars of one evaluation. `params` is an instance of `Params`."""

    def evaluate(self, window: "Window", params: Any) -> "Signal | None":
        """The signal at the close of the window's last bar, or None.

        `window` holds exactly the number of bars that `needs` declared. An exception stops the bot and is recorded.
        """


@runtime_checkable
class Vectorised(Bot, Protocol):
    """A bot that can also score a whole series at once, so that backtests can skip bars.

    Scores only select bars: every signal that is emitted comes from `evaluate`.
    """

    def scores(self, bars: NDArray[np.void], params: Any) -> NDArray[np.float64]:
        """One score per bar: within 1e-9, the score of `evaluate` for the window that ends with that bar.

        `bars` is like `Window.bars`, of any length. NaN where `evaluate` returns None and where there are fewer bars
        than `needs` declared.
        """


class Parameters(BaseModel):
    """Base of every bot's `Params`: frozen, strictly typed, unknown names refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


@dataclass(frozen=True, slots=True)
class Needs:
    """`bars`: the number of closed candles that the bot reads, at least 1."""

    bars: int

    def __post_init__(self) -> None:
        if self.bars < 1:
            raise ValueError(f"a bot needs at least 1 bar, not {self.bars}")


class Signal(BaseModel):
    """A recommendation. score: -1 sell … 0 hold … +1 buy. confidence: 0 … 1. Prices are decimals in the quote currency.

    `horizon` is how long it is valid, `parts` are its components, `note` is free text for humans; never parsed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    score: "Score"
    confidence: "Share" = 1.0
    horizon: Annotated[timedelta, Field(ge=timedelta(seconds=1))] | None = None
    entry: Price | None = None
    take_profit: Price | None = None
    stop_loss: Price | None = None
    category: Literal["scalp", "intraday", "swing", "long_term"] | None = None
    parts: "tuple[Part, ...]" = ()
    note: Text = ""


Score = Annotated[float, Field(ge=-1, le=1, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class Part(BaseModel):
    """One component of a score: its own score, its weight, and the value it was computed from."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: Name
    score: Score
    weight: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    value: Annotated[float, Field(allow_inf_nan=False)] | None = None


Signal.model_rebuild()

Array = NDArray[np.float64]

BAR: Final = np.dtype(
    [
        ("opened_at", "datetime64[us]"),
        ("open", "f8"),
        ("high", "f8"),
        ("low", "f8"),
        ("close", "f8"),
        ("volume", "f8"),
    ]
)
"""One bar of a window: UTC open time, prices in the quote currency, volume in the base."""


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """Closed bars of one instrument, oldest first. `bars` is read-only and holds nothing after `asof`.

    `asof` is the close time (UTC) of the last bar: the time of the evaluation.
    """

    instrument: Instrument
    timeframe: timedelta
    asof: datetime
    bars: NDArray[np.void]

    @classmethod
    def of(cls, candles: Sequence[Candle], n: int) -> Self:
        """The window of the last `n` candles.

        Raises ValueError when there are fewer, when instrument or timeframe differ, and when they are not in order.
        """
        if n < 1 or len(candles) < n:
            raise ValueError(f"there is no window of {n} bars in {len(candles)} candles")
        chosen = candles[len(candles) - n :]
        last = chosen[-1]
        if any(candle.instrument != last.instrument or candle.timeframe != last.timeframe for candle in chosen):
            raise ValueError("a window holds candles of one instrument and one timeframe")
        bars = bars_of(chosen)
        if np.any(np.diff(bars["opened_at"]) < np.timedelta64(last.timeframe)):
            raise ValueError(f"the candles of {last.instrument} are not in order")
        return cls(last.instrument, last.timeframe, last.closed_at, _sealed(bars))

    @classmethod
    def slice(cls, instrument: Instrument, timeframe: timedelta, bars: NDArray[np.void], end: int, n: int) -> Self:
        """The window of the `n` bars before index `end` of `bars` (see `bars_of`; in order), copied.

        Raises ValueError when there are fewer.
        """
        if not 1 <= n <= end <= len(bars):
            raise ValueError(f"there is no window of {n} bars before bar {end} of {len(bars)}")
        asof = bars["opened_at"].item(end - 1).replace(tzinfo=UTC) + timeframe
        return cls(instrument, timeframe, asof, _sealed(bars[end - n : end]))

    def last(self, n: int) -> "Window":
        """The window of the last `n` bars. Raises ValueError when there are fewer."""
        if not 1 <= n <= len(self):
            raise ValueError(f"there is no window of {n} bars in {len(self)} bars")
        return self if n == len(self) else Window(self.instrument, self.timeframe, self.asof, _sealed(self.bars[-n:]))

    def every(self, timeframe: timedelta) -> "Window":
        """The same market in a longer timeframe: the closed bars that lie wholly inside this window.

        They begin at whole multiples of `timeframe` since Monday, 5 January 1970, 00:00 UTC, and are made of the bars
        that exist: a period without any is left out. The window may be empty; its `asof` is the close of the last bar,
        or that of this window. Raises ValueError unless `timeframe` is a multiple of this window's.
        """
        if timeframe < self.timeframe or timeframe % self.timeframe:
            raise ValueError(f"bars of {timeframe} cannot be made of bars of {self.timeframe}")
        bars = longer_bars(self.bars, np.timedelta64(self.timeframe), np.timedelta64(timeframe))
        asof = bars["opened_at"].item(-1).replace(tzinfo=UTC) + timeframe if len(bars) else self.asof
        return Window(self.instrument, timeframe, asof, _sealed(bars))

    def __len__(self) -> int:
        return len(self.bars)

    @property
    def opened_at(self) -> NDArray[np.datetime64]:
        return self.bars["opened_at"]

    @property
    def open(self) -> Array:
        return self.bars["open"]

    @property
    def high(self) -> Array:
        return self.bars["high"]

    @property
    def low(self) -> Array:
        return self.bars["low"]

    @property
    def close(self) -> Array:
        return self.bars["close"]

    @property
    def volume(self) -> Array:
        return self.bars["volume"]


def bounded(score: float) -> float:
    """Clamp a score to -1 … +1, which a weighted mean may exceed by a rounding error."""
    return max(-1.0, min(1.0, score))


def first_fault(error: ValidationError) -> str:
    """The first fault of a validation as one sentence, which begins with the field's name where there is one."""
    first = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] == "value_error":  # raised by a validator: a full sentence already
        text = first["msg"].removeprefix("Value error, ")
        return f"{where}: {text}" if where else text
    text = first["msg"].replace("Invalid JSON: ", "is not JSON: ", 1)
    return f"{where or 'it'} {_REWORDED.get(first['type']) or re.sub(r'^[A-Z][a-z]+ should ', 'must ', text)}"


_REWORDED: Final = {"missing": "is missing", "extra_forbidden": "is not known here"}


def bars_of(candles: Sequence[Candle]) -> NDArray[np.void]:
    """The candles as an array of dtype BAR, in the same order."""
    bars = np.empty(len(candles), dtype=BAR)
    # Whole microseconds since 1970: numpy converts them ten times faster than datetimes.
    bars["opened_at"] = np.array([(candle.opened_at - _EPOCH) // _MICROSECOND for candle in candles], dtype=np.int64)
    for name in ("open", "high", "low", "close", "volume"):
        bars[name] = [float(getattr(candle, name)) for candle in candles]
    return bars


def longer_bars(bars: NDArray[np.void], timeframe: np.timedelta64, length: np.timedelta64) -> NDArray[np.void]:
    """Aggregate bars to `length`: those that lie wholly between the first open and the last close."""
    period = (bars["opened_at"] - _MONDAY) // length
    starts = np.flatnonzero(np.diff(period, prepend=period[:1] - 1))
    opened = _MONDAY + period[starts] * length
    whole = (opened >= bars["opened_at"][:1]) & (opened + (length - timeframe) <= bars["opened_at"][-1:])
    found: NDArray[np.void] = np.empty(len(starts), dtype=BAR)
    if len(starts):
        ends = np.append(starts[1:], len(bars)) - 1
        found["opened_at"], found["open"], found["close"] = opened, bars["open"][starts], bars["close"][ends]
        found["high"], found["low"] = (
            np.maximum.reduceat(bars["high"], starts),
            np.minimum.reduceat(bars["low"], starts),
        )
        found["volume"] = np.add.reduceat(bars["volume"], starts)
    closed: NDArray[np.void] = found[whole]
    return closed


_MONDAY: Final = np.datetime64("1970-01-05", "us")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


def _sealed(bars: NDArray[np.void]) -> NDArray[np.void]:
    # An array over bytes can never be made writable, and a copy has no later bars behind it.
    return np.frombuffer(bars.tobytes(), dtype=BAR)
