"""Signals from freqtrade's rows: one per condition, when it begins, at the close of a candle, and not too late.

The result depends on the known rows and the time, never on the order or path of their arrival.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final

from ledger.events import SignalEmitted
from ledger.events.fields import SignalPart
from ledger.log.envelope import canonical_json
from ledger.values import ZERO, Instrument, time_text
from signals.inbound.freqtrade.frames import SIDES, Frame, Row
from signals.market.candle import timeframe_text

KEPT: Final = 5000
"""The newest rows kept per pair."""

SHORT: Final = frozenset({"enter_short", "exit_short"})


@dataclass(frozen=True, slots=True)
class Strategy:
    """The source of rows: the configured name of a freqtrade, its strategy and the strategy's version."""

    instance: str
    name: str
    version: str


@dataclass(frozen=True, slots=True)
class Edge:
    """The begin of a strategy's condition (`side`) on a pair, at the close of a candle."""

    strategy: Strategy
    pair: str
    timeframe: timedelta
    side: str
    row: Row

    @property
    def asof(self) -> datetime:
        """The close time of the candle."""
        return self.row.opened_at + self.timeframe

    def signal(self, instrument: Instrument, price: Decimal) -> SignalEmitted:
        """The event of this edge. Its id follows from strategy, pair, timeframe, the candle's open time and the side."""
        score, timeframe = Decimal(SIDES[self.side]), timeframe_text(self.timeframe)
        strategy = self.strategy
        identity = [strategy.name, strategy.version, self.pair, timeframe, time_text(self.row.opened_at), self.side]
        texts = [f"{self.side} {self.pair} {timeframe}"]
        texts += [f"{name}: {text}" for name, text in (*self.row.tags, *self.row.labels)]
        part = SignalPart(name=self.side, score=score, weight=Decimal(1))
        outputs = (SignalPart(name=name, score=ZERO, weight=ZERO, value=value) for name, value in self.row.outputs)
        return SignalEmitted(
            bot_id=f"freqtrade:{strategy.instance}",
            bot_version=f"{strategy.name} {strategy.version}".strip()[:100],
            parameters_hash=hashlib.sha256(canonical_json(identity).encode()).hexdigest()[:16],
            instrument=instrument,
            asof=self.asof,
            price=price,
            score=score,
            confidence=Decimal(1),
            parts=(part, *outputs),
            note=", ".join(texts)[:2000],
        )


@dataclass(slots=True)
class _Known:
    """The rows of one pair in one timeframe by open time, the open times that are done, and the sides to repeat."""

    rows: dict[datetime, Row]
    done: set[datetime]
    again: set[tuple[datetime, str]]


class Edges:
    """Collects rows with `add`; returns edges from `due` until they are marked `done`. `counts` has the ignored rows.

    A side is due where it begins, and where it continues although review deferred it at the candle before. Sides of
    short positions count only with `shorts`. Call `due` until it returns nothing.
    """

    def __init__(self, strategy: Strategy, pairs: Collection[str], *, shorts: bool = False) -> None:
        self.strategy = strategy
        self.counts: Counter[str] = Counter()
        self._pairs = frozenset(pairs)
        self._shorts = shorts
        self._known: dict[tuple[str, timedelta], _Known] = {}

    def add(self, frame: Frame, now: datetime) -> None:
        """Add the closed rows of the frame; a known row keeps its first content."""
        if frame.pair not in self._pairs:
            self.counts["unmapped_pair"] += 1
            return
        known = self._known.setdefault((frame.pair, frame.timeframe), _Known({}, set(), set()))
        for row in frame.rows:
            if row.opened_at + frame.timeframe > now:
                self.counts["unclosed"] += 1
            elif row.opened_at in known.rows:
                self.counts["repeated" if known.rows[row.opened_at] == row else "revised"] += 1
            else:
                known.rows[row.opened_at] = row
        for old in sorted(known.rows)[:-KEPT]:
            del known.rows[old]
            known.done.discard(old)
            known.again -= {(old, side) for side in SIDES}

    def due(self, now: datetime, longest: timedelta) -> list[Edge]:
        """Every edge that is not done, oldest first. Rows older than `longest` are counted and done."""
        found = []
        for (pair, timeframe), known in self._known.items():
            for opened_at in sorted(known.rows.keys() - known.done):
                sides = self._sides(known, opened_at, timeframe)
                late = now - (opened_at + timeframe) > longest
                if not late and self._depends(known, opened_at, timeframe):
                    continue  # the edge at the candle before has no result yet
                if sides and not late:
                    row = known.rows[opened_at]
                    found += [Edge(self.strategy, pair, timeframe, side, row) for side in SIDES if side in sides]
                elif sides is not None or late:
                    known.done.add(opened_at)
                    self._count(known.rows[opened_at], sides, late=late)
        return sorted(found, key=lambda edge: edge.asof)

    def done(self, edges: Collection[Edge], again: Collection[Edge] = ()) -> None:
        """Mark edges as done; those in `again` are due again if their condition continues."""
        for edge in edges:
            self._known[edge.pair, edge.timeframe].done.add(edge.row.opened_at)
        for edge in again:
            self._known[edge.pair, edge.timeframe].again.add((edge.row.opened_at, edge.side))

    def gaps(self) -> list[str]:
        """The pairs with a row whose predecessor is needed and missing."""
        return sorted({pair for (pair, timeframe), known in self._known.items() if _gap(known, timeframe, self._sides)})

    def _sides(self, known: _Known, opened_at: datetime, timeframe: timedelta) -> frozenset[str] | None:
        """The sides that begin at the row, or None while its predecessor is needed and missing."""
        now = self._valid_sides(known.rows[opened_at])
        if not now:
            return now
        before = known.rows.get(opened_at - timeframe)
        if before is None:
            return None
        continued = self._valid_sides(before)
        return (now - continued) | {side for side in now & continued if (before.opened_at, side) in known.again}

    def _depends(self, known: _Known, opened_at: datetime, timeframe: timedelta) -> bool:
        """`True` when the row continues a side of its predecessor that is not done."""
        before = known.rows.get(opened_at - timeframe)
        if before is None or before.opened_at in known.done:
            return False
        return bool(self._valid_sides(known.rows[opened_at]) & self._valid_sides(before))

    def _valid_sides(self, row: Row) -> frozenset[str]:
        """The sides of the row without contradictions, rejected predictions and, unless enabled, shorts."""
        sides = row.signals if self._shorts else row.signals - SHORT
        if row.predicted is False:
            return frozenset()
        # freqtrade ignores a row that enters and exits at once, or enters both directions.
        for pair in ({"enter_long", "exit_long"}, {"enter_short", "exit_short"}, {"enter_long", "enter_short"}):
            if pair <= sides:
                sides -= pair
        return sides

    def _count(self, row: Row, sides: frozenset[str] | None, *, late: bool) -> None:
        if late and row.signals:
            self.counts["stale" if sides is not None else "gap"] += 1
        elif row.signals and row.predicted is False:
            self.counts["not_predicted"] += 1
        elif row.signals and not self._valid_sides(row):
            self.counts["short" if row.signals <= SHORT and not self._shorts else "contradictory"] += 1
        elif row.signals:
            self.counts["standing"] += 1


def _gap(
    known: _Known, timeframe: timedelta, sides: Callable[[_Known, datetime, timedelta], frozenset[str] | None]
) -> bool:
    return any(sides(known, opened_at, timeframe) is None for opened_at in known.rows.keys() - known.done)
