"""Smart-money detectors: swings, fair value gaps, structure, order blocks, liquidity; causal by construction.

One pass over closed bars, oldest first, adds findings and never removes one: the findings known at a bar follow from
the bars up to it. The terms are those of the ICT school; whether they predict anything is for a backtest to show.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import nan
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from signals.indicators import atr

Kind = Literal[
    "swing", "gap", "gap_mitigated", "gap_filled", "bos", "choch", "order_block", "breaker", "liquidity", "sweep"
]


def findings(bars: NDArray[np.void], settings: "Settings | None" = None) -> list["Finding"]:
    """All findings known at the last of these bars (see `Window.bars`), in order of `known_at`."""
    reader = _Reader(bars, settings or Settings())
    for at in range(len(bars)):
        reader.read(at)
    return reader.found


@dataclass(frozen=True, slots=True)
class Finding:
    """A finding between two prices; a level has `bottom` = `top`.

    `formed_at` and `known_at` are bar numbers within the given bars, not times: `bars["opened_at"][formed_at]` is the
    open time (UTC). The finding is known from the close of bar `known_at` on: never use it before. `side` is +1 for
    highs and -1 for lows in swing and liquidity; in all others +1 is bullish and -1 bearish.

    swing          a high above the k before it and not below the k after it (a low mirrored); known k bars later
    gap            a low above the high two bars before, or a high below the low; formed at the bar between
    gap_mitigated  a later price reached into the gap; gap_filled: reached through it
    bos, choch     a break of the last swing with the trend (or the first of all), or against it
    order_block    the last opposite candle before the move that made a bos
    breaker        an order block that was closed through; its side is the other one
    liquidity      two or more swings at nearly one price, none of them closed beyond
    sweep          a price beyond liquidity whose bar closed back inside
    """

    kind: Kind
    side: Literal[1, -1]
    bottom: float
    top: float
    formed_at: int
    known_at: int


@dataclass(frozen=True, slots=True)
class Settings:
    """`swing`: bars on either side of a swing. `strict`: a break needs a price beyond the level, not at it.

    `zone`: an order block is its candle's whole range, or its body. Liquidity is within `liquidity_reach` times the
    average true range over `range_length` bars.
    """

    swing: int = 2
    break_by: Literal["close", "wick"] = "close"
    strict: bool = True
    zone: Literal["range", "body"] = "range"
    liquidity_reach: float = 0.1
    range_length: int = 14

    def __post_init__(self) -> None:
        if self.swing < 1:
            raise ValueError(f"a swing needs at least 1 bar on either side, not {self.swing}")


def open_zones(found: Iterable[Finding]) -> list[Finding]:
    """The unfilled gaps and unbroken order blocks, in order of `known_at`."""
    zones: dict[tuple[str, int, int], Finding] = {}
    for one in found:
        if one.kind in ("gap", "order_block"):
            zones[one.kind, one.side, one.formed_at] = one
        elif one.kind == "gap_filled":
            zones.pop(("gap", one.side, one.formed_at), None)
        elif one.kind == "breaker":
            zones.pop(("order_block", -one.side, one.formed_at), None)
    return list(zones.values())


def last_range(found: Sequence[Finding]) -> tuple[float, float] | None:
    """The last confirmed swing low and swing high; None without both, or when the low is not below the high."""
    low = next((one.bottom for one in reversed(found) if one.kind == "swing" and one.side < 0), None)
    high = next((one.top for one in reversed(found) if one.kind == "swing" and one.side > 0), None)
    return (low, high) if low is not None and high is not None and low < high else None


def premium(found: Sequence[Finding], price: float) -> float | None:
    """The position of the price in the last range: 0 its low, 1 its high; above 0.5 is premium, below it discount."""
    ends = last_range(found)
    return None if ends is None else (price - ends[0]) / (ends[1] - ends[0])


class _Reader:
    """The findings so far, and those that may still be touched, broken or swept."""

    def __init__(self, bars: NDArray[np.void], settings: Settings) -> None:
        self.settings = settings
        self.open: list[float] = bars["open"].tolist()
        self.high: list[float] = bars["high"].tolist()
        self.low: list[float] = bars["low"].tolist()
        self.close: list[float] = bars["close"].tolist()
        reach = atr(bars["high"], bars["low"], bars["close"], settings.range_length)
        self.reach: list[float] = [] if reach is None else (settings.liquidity_reach * reach).tolist()
        self.found: list[Finding] = []
        self.trend = 0
        self.untouched: list[Finding] = []
        self.mitigated: list[Finding] = []
        self.blocks: list[Finding] = []
        self.pools: list[Finding] = []
        self.unclosed: list[Finding] = []  # swings without a close beyond them
        self.last: dict[int, Finding] = {}  # the last swing of each side, until it is broken

    def read(self, at: int) -> None:
        """Add the findings of this bar. Only later bars touch them."""
        self._gaps(at)
        self._breakers(at)
        self._sweeps(at)
        self._structure(at)
        self._swings(at)

    def _add(self, kind: Kind, side: int, zone: tuple[float, float], formed_at: int, known_at: int) -> Finding:
        one = Finding(kind, 1 if side > 0 else -1, *zone, formed_at, known_at)
        self.found.append(one)
        return one

    def _gaps(self, at: int) -> None:
        high, low = self.high[at], self.low[at]
        touched = [gap for gap in self.untouched if (low <= gap.top if gap.side > 0 else high >= gap.bottom)]
        for gap in touched:
            self._add("gap_mitigated", gap.side, (gap.bottom, gap.top), gap.formed_at, at)
            self.untouched.remove(gap)
            self.mitigated.append(gap)
        filled = [gap for gap in self.mitigated if (low <= gap.bottom if gap.side > 0 else high >= gap.top)]
        for gap in filled:
            self._add("gap_filled", gap.side, (gap.bottom, gap.top), gap.formed_at, at)
            self.mitigated.remove(gap)
        if at >= 2 and low > self.high[at - 2]:
            self.untouched.append(self._add("gap", 1, (self.high[at - 2], low), at - 1, at))
        elif at >= 2 and high < self.low[at - 2]:
            self.untouched.append(self._add("gap", -1, (high, self.low[at - 2]), at - 1, at))

    def _breakers(self, at: int) -> None:
        close = self.close[at]
        for block in list(self.blocks):
            if close < block.bottom if block.side > 0 else close > block.top:
                self._add("breaker", -block.side, (block.bottom, block.top), block.formed_at, at)
                self.blocks.remove(block)

    def _sweeps(self, at: int) -> None:
        high, low, close = self.high[at], self.low[at], self.close[at]
        for pool in list(self.pools):
            if high > pool.top if pool.side > 0 else low < pool.bottom:
                if close < pool.top if pool.side > 0 else close > pool.bottom:
                    self._add("sweep", -pool.side, (pool.bottom, pool.top), pool.formed_at, at)
                self.pools.remove(pool)
        self.unclosed = [one for one in self.unclosed if (close <= one.top if one.side > 0 else close >= one.bottom)]

    def _structure(self, at: int) -> None:
        by_close = self.settings.break_by == "close"
        for side, price in (
            (1, self.close[at] if by_close else self.high[at]),
            (-1, self.close[at] if by_close else self.low[at]),
        ):
            swing = self.last.get(side)
            if swing is None:
                continue
            beyond = (price - swing.top) * side
            if beyond < 0 or (beyond == 0 and self.settings.strict):
                continue
            del self.last[side]
            against = self.trend == -side
            self.trend = side
            self._add("choch" if against else "bos", side, (swing.bottom, swing.top), swing.formed_at, at)
            if not against:
                self._order_block(side, swing.formed_at, at)

    def _order_block(self, side: int, since: int, at: int) -> None:
        """Add the last opposite candle up to the start of the move: its lowest low, or highest high of a fall."""
        bars = range(since, at + 1)
        start = min(bars, key=self.low.__getitem__) if side > 0 else max(bars, key=self.high.__getitem__)
        for bar in range(start, since - 1, -1):
            body = self.open[bar], self.close[bar]
            if (body[1] - body[0]) * side < 0:
                whole = self.settings.zone == "range"
                zone = (self.low[bar], self.high[bar]) if whole else (min(body), max(body))
                self.blocks.append(self._add("order_block", side, zone, bar, at))
                return

    def _swings(self, at: int) -> None:
        k = self.settings.swing
        bar = at - k
        if bar < k:
            return
        high, low = self.high[bar], self.low[bar]
        if high > max(self.high[bar - k : bar]) and high >= max(self.high[bar + 1 : at + 1]):
            self._swing(1, high, bar, at)
        if low < min(self.low[bar - k : bar]) and low <= min(self.low[bar + 1 : at + 1]):
            self._swing(-1, low, bar, at)

    def _swing(self, side: int, price: float, bar: int, at: int) -> None:
        swing = self._add("swing", side, (price, price), bar, at)
        reach = self.reach[at] if self.reach else nan
        # During the warm-up of the range it is NaN, and no swing is near.
        near = [one for one in self.unclosed if one.side == side and abs(one.top - price) <= reach]
        if near:
            zone = min(one.bottom for one in (*near, swing)), max(one.top for one in (*near, swing))
            # The new pool replaces those that it covers.
            self.pools = [
                one for one in self.pools if one.side != side or not zone[0] <= one.bottom <= one.top <= zone[1]
            ]
            self.pools.append(self._add("liquidity", side, zone, min(one.formed_at for one in near), at))
        self.last[side] = swing
        self.unclosed.append(swing)
