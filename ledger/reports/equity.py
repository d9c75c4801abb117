"""Daily equity and external flows of a portfolio, from its log.

Equity is cash plus the open lots of each asset at their last mark, by time of occurrence: a late event changes the days it
belongs to, and the order of arrival has no effect. Units sold without a lot count as deposited immediately before, at
their proceeds.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time
from decimal import Decimal
from itertools import pairwise
from typing import Final
from uuid import UUID

from ledger.booking.legs import MOVING, AssetMove, gross_value, moves_of
from ledger.booking.lots import Leg, Match, Split, UnmatchedDisposal, split_unmatched
from ledger.events import MarkRecorded, SplitRecorded, TradeExecuted, TradeReversed
from ledger.log.envelope import Envelope
from ledger.projections.portfolio import base_currency_of
from ledger.reports.mark_history import MarkHistory
from ledger.reports.metrics import Close, Flow, known_sum
from ledger.rows import Rows, replaced
from ledger.values import ZERO, round18

EXTERNAL: Final = frozenset({"deposit", "opening", "withdrawal"})
"""Kinds of moves that are external flows."""
VALUE_EVENTS: Final = frozenset(kind.type for kind in (*MOVING, SplitRecorded))
"""Types of events that change quantities."""
LONGEST_GAP_DAYS: Final = 3653
"""Daily figures restart after longer gaps without events and marks (ten years: usually a mistyped date)."""


@dataclass(frozen=True, slots=True)
class EquityHistory:
    """Daily closes from `began_at`, the first event that moved value, to `until`, and external flows, in base currency.

    After a gap of more than `LONGEST_GAP_DAYS` the days restart: `gap_since` is the last day before the gap, `began_at` the
    midnight after it, and the first close, of the day before, contains all earlier flows. Without value events there are no
    closes and `began_at` is None. Consecutive flows of one day with no event in between are one flow. Without a lot,
    units of the assets `unrecorded` were sold or spent, and units of `vanished` were withdrawn.
    """

    base_currency: str
    began_at: datetime | None
    until: datetime | None
    closes: tuple[Close, ...]
    flows: tuple[Flow, ...]
    gap_since: date | None = None
    unrecorded: tuple[str, ...] = ()
    vanished: tuple[str, ...] = ()


def equity_history(rows: Rows, envelopes: Iterable[Envelope], until: datetime | None = None) -> EquityHistory:
    """Return the equity history of the portfolio with these rows and these events, in log order.

    `until` defaults to the time of the latest event. The events are read once; marks (some 70 bytes each) and value events
    are kept in memory. Splits and unmatched disposals come from the rows. Raises UnvaluedLeg as `moves_of`.
    """
    base_currency = base_currency_of(rows)
    log = _Log(base_currency, MarkHistory(rows.history(Split)))
    for envelope in envelopes:
        log.take(envelope)
    end = until.astimezone(UTC) if until else log.latest
    moments = log.moments_until(end) if end else []
    if end is None or not moments:
        return EquityHistory(base_currency, None, end, (), ())
    days, gap_since = _days(moments, end, log.marks)
    walk = _Walk(base_currency, log.marks, rows)
    coming = iter(moments)
    following = next(coming, None)
    closes: list[Close] = []
    for day in days:
        close_at, closed = _end_of(day, end)
        while following is not None and (following.at < close_at or not closed):
            walk.step(following)
            following = next(coming, None)
        closes.append(walk.close(date.fromordinal(day), close_at, closed=closed))
    return EquityHistory(
        base_currency=base_currency,
        began_at=moments[0].at if gap_since is None else _midnight(days[1]),
        until=end,
        closes=tuple(closes),
        flows=tuple(walk.flows),
        gap_since=gap_since,
        unrecorded=tuple(sorted(walk.unrecorded)),
        vanished=tuple(sorted(walk.vanished)),
    )


def day_change(history: EquityHistory) -> Decimal | None:
    """Return equity - equity at the last UTC midnight - net flows since; None if one is unknown.

    At midnight, before any event of the new day, it is the change of the day that ends.
    """
    if not history.closes:
        return None
    last = history.closes[-1]
    before = history.closes[-2].equity if len(history.closes) > 1 else ZERO
    if last.equity is None or before is None or last.flow is None:
        return None
    return last.equity - before - last.flow


@dataclass(frozen=True, slots=True)
class _Moment:
    """An event that changes quantities: by its moves, or as a `split` of this asset. `traded` is a trade's gross value."""

    at: datetime
    position: int
    event_id: UUID
    moves: tuple[AssetMove, ...]
    split: str | None
    traded: Decimal


@dataclass(slots=True)
class _Log:
    """Collects marks, value events and reversals of a log."""

    base_currency: str
    marks: MarkHistory
    latest: datetime | None = None
    _moments: list[_Moment] = field(default_factory=list)
    _reversed: set[UUID] = field(default_factory=set)

    def take(self, envelope: Envelope) -> None:
        at = envelope.occurred_at
        self.latest = at if self.latest is None else max(self.latest, at)
        if envelope.type == MarkRecorded.type:
            mark = envelope.event
            assert isinstance(mark, MarkRecorded)
            base, _, quote = mark.instrument.partition("-")  # faster than parsing an Instrument, and marks are many
            if quote == self.base_currency:
                self.marks.add(base, at, mark.price)
        elif envelope.type == TradeReversed.type:
            voided = envelope.event
            assert isinstance(voided, TradeReversed)
            self._reversed.add(voided.reverses)
        elif envelope.type in VALUE_EVENTS:
            self._moments.append(_moment_of(envelope, self.base_currency))

    def moments_until(self, end: datetime) -> list[_Moment]:
        """Return the events up to `end` that are not reversed, in order of occurrence."""
        valid = [one for one in self._moments if one.at <= end and one.event_id not in self._reversed]
        return sorted(valid, key=lambda one: (one.at, one.position))


def _moment_of(envelope: Envelope, base_currency: str) -> _Moment:
    event = envelope.event
    return _Moment(
        at=envelope.occurred_at,
        position=envelope.position,
        event_id=envelope.event_id,
        moves=moves_of(event, base_currency),
        split=str(event.asset) if isinstance(event, SplitRecorded) else None,
        traded=gross_value(event) if isinstance(event, TradeExecuted) else ZERO,
    )


def _days(moments: Sequence[_Moment], end: datetime, marks: MarkHistory) -> tuple[range, date | None]:
    """Return the days (ordinals) from the first moment, or the last long gap, to `end`, and the last day before the gap.

    An `end` at midnight belongs to the previous day unless an event occurs at that moment.
    """
    first, last = moments[0].at.toordinal(), end.toordinal()
    if end == _midnight(last) and moments[-1].at < end:
        last -= 1
    days = {first, last, *(one.at.toordinal() for one in moments)}
    if not any(_is_gap(*pair) for pair in pairwise(sorted(days))):
        return range(first, last + 1), None
    days |= {day for day in marks.days() if first <= day <= last}
    gaps = [pair for pair in pairwise(sorted(days)) if _is_gap(*pair)]
    if not gaps:
        return range(first, last + 1), None
    since, ended = gaps[-1]
    return range(ended - 1, last + 1), date.fromordinal(since)


def _is_gap(day: int, following: int) -> bool:
    return following - day > LONGEST_GAP_DAYS


def _end_of(day: int, end: datetime) -> tuple[datetime, bool]:
    """Return the closing midnight of the day, or `end` if it is earlier, and whether the day is over."""
    is_over = day < end.toordinal()
    return (_midnight(day + 1) if is_over else end), is_over


def _midnight(day: int) -> datetime:
    return datetime.combine(date.fromordinal(day), time(), UTC)


def _split_gains(rows: Rows) -> dict[UUID, Decimal]:
    """Return the change of units in the accounts by split event."""
    gains: dict[UUID, Decimal] = defaultdict(lambda: ZERO)
    for asset in sorted({split.asset for split in rows.history(Split)}):
        for leg in rows.history(Leg, asset):
            if leg.kind == "split":
                gains[leg.event_id] += leg.quantity
    return gains


def _unmatched(rows: Rows) -> dict[UUID, dict[int, UnmatchedDisposal]]:
    """Return unmatched disposals by event and number of the move, in units of that time."""
    found: dict[UUID, dict[int, UnmatchedDisposal]] = defaultdict(dict)
    for asset in sorted({one.asset for one in rows.history(UnmatchedDisposal)}):
        left = {(leg.event_id, leg.leg): -leg.quantity for leg in rows.history(Leg, asset) if leg.quantity < 0}
        for match in rows.history(Match, asset):
            if (place := (match.closing_event_id, match.closing_leg)) in left:
                left[place] -= match.quantity
        for one in rows.history(UnmatchedDisposal, asset):
            found[one.event_id][one.leg] = replaced(one, quantity=left[one.event_id, one.leg])
    return found


class _Walk:
    """State of the portfolio while moving through time, and the flows so far."""

    def __init__(self, base_currency: str, marks: MarkHistory, rows: Rows) -> None:
        self.flows: list[Flow] = []
        self.unrecorded: set[str] = set()
        self.vanished: set[str] = set()
        self._base_currency = base_currency
        self._marks = marks
        self._splits = {split.event_id: split for split in rows.history(Split)}
        self._split_gains = _split_gains(rows)
        self._splits_made: dict[str, int] = {}
        self._unmatched = _unmatched(rows)
        self._missing: dict[str, list[UnmatchedDisposal]] = {}
        self._cash = ZERO
        self._held: dict[str, Decimal] = {}
        self._flow: Decimal | None = ZERO
        self._traded = ZERO
        self._undisturbed_since: datetime | None = None

    def step(self, moment: _Moment) -> None:
        """Apply the moves of the next moment."""
        moves = self._matched_moves(moment) if moment.event_id in self._unmatched else moment.moves
        external = [move for move in moves if move.kind in EXTERNAL and move.quantity]
        amount = known_sum([self._flow_value(move, moment.at) for move in external])
        before = self._flow_before(moment.at, amount) if external else None
        for move in moves:
            self._move(str(move.asset), move.quantity)
        if moment.split is not None:
            self._split(moment.split, moment.event_id)
        if before is not None:
            self.flows.append(self._with_equity_after(before, moment.at))
        self._traded += moment.traded
        self._undisturbed_since = moment.at if external else None

    def close(self, day: date, at: datetime, *, closed: bool) -> Close:
        """Return the close of the day that ends at this moment, and reset the daily totals."""
        values = list(self._values(at))
        equity = known_sum([self._cash, *values])
        invested = known_sum(value if value is None else abs(value) for value in values)
        close = Close(day, equity, self._cash, invested, bool(self._held), self._flow, self._traded, closed)
        self._flow, self._traded, self._undisturbed_since = ZERO, ZERO, None
        return close

    def _matched_moves(self, moment: _Moment) -> list[AssetMove]:
        """Return the moves without unmatched units, whose proceeds are added as a flow, so they are no gain."""
        unmatched = self._unmatched[moment.event_id]
        proceeds = ZERO
        for one in unmatched.values():
            self._missing.setdefault(one.asset, []).append(one)
            if one.kind == "withdrawal":
                self.vanished.add(one.asset)
            else:
                self.unrecorded.add(one.asset)
                proceeds += one.proceeds
        if proceeds:
            equity = self._equity(moment.at)
            self._flow = known_sum([self._flow, proceeds])
            self.flows.append(Flow(moment.at, proceeds, equity, known_sum([equity, proceeds])))
        return [
            replace(move, quantity=move.quantity + unmatched[number].quantity) if number in unmatched else move
            for number, move in enumerate(moment.moves)
        ]

    def _split(self, asset: str, event_id: UUID) -> None:
        """Apply a split. Unmatched units were split in the accounts too, but are not part of the portfolio."""
        split, missing = self._splits[event_id], self._missing.get(asset, [])
        self._missing[asset] = [split_unmatched(one, split) for one in missing]
        more_missing = sum((one.quantity for one in self._missing[asset]), ZERO) - sum(one.quantity for one in missing)
        self._move(asset, self._split_gains.get(event_id, ZERO) + more_missing)
        self._splits_made[asset] = self._splits_made.get(asset, 0) + 1

    def _flow_before(self, at: datetime, amount: Decimal | None) -> Flow:
        """Return the flow of the following moves, merged with the previous one if nothing happened since."""
        self._flow = known_sum([self._flow, amount])
        if self._undisturbed_since is not None and self._prices(self._undisturbed_since) == self._prices(at):
            last = self.flows.pop()
            return Flow(last.at, known_sum([last.amount, amount]), last.equity_before, last.equity_after)
        equity = self._equity(at)
        return Flow(at, amount, equity, equity)

    def _with_equity_after(self, flow: Flow, at: datetime) -> Flow:
        """Add the equity after the flow. Deposits without a mark count at cost."""
        equity = self._equity(at)
        if equity is None:
            equity = known_sum([flow.equity_before, flow.amount])
        return Flow(flow.at, flow.amount, flow.equity_before, equity)

    def _equity(self, at: datetime) -> Decimal | None:
        return known_sum([self._cash, *self._values(at)])

    def _flow_value(self, move: AssetMove, at: datetime) -> Decimal | None:
        """Return the signed value: cash at face value, assets at their last mark, else deposits at their stated cost."""
        if move.asset == self._base_currency:
            return move.quantity
        price = self._price(str(move.asset), at)
        if price is not None:
            return round18(move.quantity * price)
        return move.value if move.quantity > 0 and move.cost_known else None

    def _move(self, asset: str, quantity: Decimal) -> None:
        if asset == self._base_currency:
            self._cash += quantity
            return
        held = self._held.pop(asset, ZERO) + quantity
        if held:
            self._held[asset] = held

    def _prices(self, at: datetime) -> dict[str, Decimal | None]:
        return {asset: self._price(asset, at) for asset in self._held}

    def _price(self, asset: str, at: datetime) -> Decimal | None:
        """Return the last mark, per current unit."""
        return self._marks.at(asset, at, self._splits_made.get(asset, 0))

    def _values(self, at: datetime) -> Iterator[Decimal | None]:
        """Yield the value of each position at its last mark, None without one."""
        for asset, price in self._prices(at).items():
            yield None if price is None else round18(self._held[asset] * price)
