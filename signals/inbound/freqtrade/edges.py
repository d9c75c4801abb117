"""From freqtrade's rows to signals: a condition speaks when it begins, of a closed candle, once, and not too late.

What follows depends on which rows are known and on the time, never on the order or the way in which they came.
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
"""So many of the newest rows of a pair are remembered."""

SHORT: Final = frozenset({"enter_short", "exit_short"})


@dataclass(frozen=True, slots=True)
class Strategy:
    """Whose rows they are: our name for the freqtrade that sends them, its strategy and that one's version."""

    instance: str
    name: str
    version: str


@dataclass(frozen=True, slots=True)
class Edge:
    """A side that a strategy takes on a pair at the close of a candle."""

    strategy: Strategy
    pair: str
    timeframe: timedelta
    side: str
    row: Row

    @property
    def asof(self) -> datetime:
        """When the candle closed."""
        return self.row.opened_at + self.timeframe

    def signal(self, instrument: Instrument, price: Decimal) -> SignalEmitted:
        """The event it becomes. Its id follows from strategy, pair, timeframe, the candle's open and the side alone."""
        score, timeframe = Decimal(SIDES[self.side]), timeframe_text(self.timeframe)
        strategy = self.strategy
        identity = [strategy.name, strategy.version, self.pair, timeframe, time_text(self.row.opened_at), self.side]
        texts = [f"{self.side} {self.pair} {timeframe}"]
        texts += [f"{name}: {text}" for name, text in (*self.row.tags, *self.row.labels)]
        said = SignalPart(name=self.side, score=score, weight=Decimal(1))
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
            parts=(said, *outputs),
            note=", ".join(texts)[:2000],
        )


@dataclass(slots=True)
class _Known:
    """The rows of one pair in one timeframe by the open of their candle, those that are dealt with, and the sides of
    those that are to be said again."""

    rows: dict[datetime, Row]
    done: set[datetime]
    again: set[tuple[datetime, str]]


class Edges:
    """Rows go in with `hear`, edges that are due come out of `due` until they are `done`; `counts` tells what was left out.

    A side is due where it begins, and where it still stands although review said "not yet" to it at the candle before.
    Sides of short positions count only with `shorts`. `due` is to be called until it gives nothing.
    """

    def __init__(self, strategy: Strategy, pairs: Collection[str], *, shorts: bool = False) -> None:
        self.strategy = strategy
        self.counts: Counter[str] = Counter()
        self._pairs = frozenset(pairs)
        self._shorts = shorts
        self._known: dict[tuple[str, timedelta], _Known] = {}

    def hear(self, frame: Frame, now: datetime) -> None:
        """The frame's closed rows are known; a row that was known stays as it was first heard."""
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
        """Every edge that is not done, oldest first; rows that are older than `longest` are dealt with, and counted."""
        found = []
        for (pair, timeframe), known in self._known.items():
            for opened_at in sorted(known.rows.keys() - known.done):
                sides = self._sides(known, opened_at, timeframe)
                late = now - (opened_at + timeframe) > longest
                if not late and self._depends(known, opened_at, timeframe):
                    continue  # what was said at the candle before has no answer yet
                if sides and not late:
                    row = known.rows[opened_at]
                    found += [Edge(self.strategy, pair, timeframe, side, row) for side in SIDES if side in sides]
                elif sides is not None or late:
                    known.done.add(opened_at)
                    self._count(known.rows[opened_at], sides, late=late)
        return sorted(found, key=lambda edge: edge.asof)

    def done(self, edges: Collection[Edge], again: Collection[Edge] = ()) -> None:
        """These edges are signals now, or never will be; those of them in `again` are due again if they still stand."""
        for edge in edges:
            self._known[edge.pair, edge.timeframe].done.add(edge.row.opened_at)
        for edge in again:
            self._known[edge.pair, edge.timeframe].again.add((edge.row.opened_at, edge.side))

    def gaps(self) -> list[str]:
        """The pairs with a row that cannot be judged because the row before it is not known."""
        return sorted({pair for (pair, timeframe), known in self._known.items() if _gap(known, timeframe, self._sides)})

    def _sides(self, known: _Known, opened_at: datetime, timeframe: timedelta) -> frozenset[str] | None:
        """The sides that the row takes, or None while the row before it must be known and is not."""
        now = self._standing_sides(known.rows[opened_at])
        if not now:
            return now
        before = known.rows.get(opened_at - timeframe)
        if before is None:
            return None
        stood = self._standing_sides(before)
        return (now - stood) | {side for side in now & stood if (before.opened_at, side) in known.again}

    def _depends(self, known: _Known, opened_at: datetime, timeframe: timedelta) -> bool:
        """Whether the row repeats a side of the row before it that is not dealt with."""
        before = known.rows.get(opened_at - timeframe)
        if before is None or before.opened_at in known.done:
            return False
        return bool(self._standing_sides(known.rows[opened_at]) & self._standing_sides(before))

    def _standing_sides(self, row: Row) -> frozenset[str]:
        """What the row says, less what contradicts itself, what the model does not stand by, and what is for shorts only."""
        said = row.said if self._shorts else row.said - SHORT
        if row.predicted is False:
            return frozenset()
        # freqtrade acts on neither when a position is to be entered and left at once, nor when both ways are entered.
        for pair in ({"enter_long", "exit_long"}, {"enter_short", "exit_short"}, {"enter_long", "enter_short"}):
            if pair <= said:
                said -= pair
        return said

    def _count(self, row: Row, sides: frozenset[str] | None, *, late: bool) -> None:
        if late and row.said:
            self.counts["stale" if sides is not None else "gap"] += 1
        elif row.said and row.predicted is False:
            self.counts["not_predicted"] += 1
        elif row.said and not self._standing_sides(row):
            self.counts["short" if row.said <= SHORT and not self._shorts else "contradictory"] += 1
        elif row.said:
            self.counts["standing"] += 1


def _gap(
    known: _Known, timeframe: timedelta, sides: Callable[[_Known, datetime, timedelta], frozenset[str] | None]
) -> bool:
    return any(sides(known, opened_at, timeframe) is None for opened_at in known.rows.keys() - known.done)
