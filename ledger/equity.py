"""What a portfolio was worth at the close of every UTC day, and what came in from outside, from its log alone.

Equity is cash plus each position at the last mark known at that moment, by time of occurrence. So an event that arrives
late changes the days it belongs to, and the order of arrival changes nothing.
"""

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Final
from uuid import UUID

from ledger.envelope import Envelope
from ledger.events import MarkRecorded, SplitRecorded, TradeExecuted, TradeReversed
from ledger.legs import MOVING, AssetMove, gross_value, moves_of
from ledger.lots import Leg, Split
from ledger.metrics import Close, Flow, known_sum, utc_day
from ledger.projections.portfolio import base_currency_of
from ledger.rows import Rows
from ledger.values import ZERO, decimal_text, round18

EXTERNAL: Final = frozenset({"deposit", "opening", "withdrawal"})
"""Moves of these kinds come from outside or go there; all others are the portfolio's own doing."""
VALUE_EVENTS: Final = frozenset(kind.type for kind in (*MOVING, SplitRecorded))
"""The types of the events that change what is held."""
_MICROSECOND: Final = timedelta(microseconds=1)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class EquityHistory:
    """A portfolio's worth, a close for every day from `began_at`, the first event that moved anything, to `until`.

    Without such an event there are no closes and `began_at` is None. Flows that follow each other on one day while nothing
    else happened are one. All amounts are in base currency.
    """

    base_currency: str
    began_at: datetime | None
    until: datetime | None
    closes: tuple[Close, ...]
    flows: tuple[Flow, ...]


def equity_history(rows: Rows, envelopes: Iterable[Envelope], until: datetime | None = None) -> EquityHistory:
    """The worth of the portfolio with these rows and these events, which are in log order.

    It ends at `until`, the latest occurrence unless given. The events are read once; kept in memory are the marks, some 70
    bytes each, and what moves something. The rows tell what splits made of fractions. Raises UnvaluedLeg as `moves_of`.
    """
    base_currency = base_currency_of(rows)
    log = _Log(base_currency)
    for envelope in envelopes:
        log.take(envelope)
    end = until.astimezone(UTC) if until else log.latest
    moments = log.moments_until(end) if end else []
    if end is None or not moments:
        return EquityHistory(base_currency, None, end, (), ())
    walk = _Walk(base_currency, log.marks, _split_gains(rows))
    coming = iter(moments)
    following = next(coming, None)
    closes: list[Close] = []
    for close_at, closed in _closes(moments[0].at, end):
        while following is not None and following.at <= close_at:
            walk.step(following)
            following = next(coming, None)
        closes.append(walk.close(close_at, closed=closed))
    return EquityHistory(base_currency, moments[0].at, end, tuple(closes), tuple(walk.flows))


def day_change(history: EquityHistory) -> Decimal | None:
    """Equity now less equity at the last UTC midnight less what came in since; None where one of them is unknown.

    At midnight itself it is the change of the day that ends there.
    """
    if not history.closes:
        return None
    last = history.closes[-1]
    before = history.closes[-2].equity if len(history.closes) > 1 else ZERO
    if last.equity is None or before is None or last.flow is None:
        return None
    return last.equity - before - last.flow


class Marks:
    """Marks of each asset in base currency, found by time. A mark that comes later in the log wins over one of the same time."""

    def __init__(self) -> None:
        self._times: dict[str, array[int]] = {}
        self._prices: dict[str, list[str]] = {}
        self._in_order = True

    def add(self, asset: str, at: datetime, price: Decimal) -> None:
        """`asset` was worth `price` at this moment."""
        times = self._times.setdefault(asset, array("q"))
        moment = (at - _EPOCH) // _MICROSECOND
        self._in_order = self._in_order and (not times or times[-1] <= moment)
        times.append(moment)
        self._prices.setdefault(asset, []).append(decimal_text(price))

    def at(self, asset: str, moment: datetime) -> Decimal | None:
        """The last price of `asset` seen at or before the moment, or None."""
        if not self._in_order:
            self._sort()
        times = self._times.get(asset, array("q"))
        found = bisect_right(times, (moment - _EPOCH) // _MICROSECOND)
        return Decimal(self._prices[asset][found - 1]) if found else None

    def _sort(self) -> None:
        for asset, times in self._times.items():
            order = sorted(range(len(times)), key=times.__getitem__)
            self._times[asset] = array("q", (times[index] for index in order))
            self._prices[asset] = [self._prices[asset][index] for index in order]
        self._in_order = True


@dataclass(frozen=True, slots=True)
class _Moment:
    """One event that changes what is held by its moves; a split has none. `traded` is the gross value of a trade."""

    at: datetime
    position: int
    event_id: UUID
    moves: tuple[AssetMove, ...] = ()
    traded: Decimal = ZERO


@dataclass(slots=True)
class _Log:
    """What the log says about worth."""

    base_currency: str
    marks: Marks = field(default_factory=Marks)
    latest: datetime | None = None
    _moments: list[_Moment] = field(default_factory=list)
    _reversed: set[UUID] = field(default_factory=set)

    def take(self, envelope: Envelope) -> None:
        """Takes in the next event of the log."""
        at = envelope.occurred_at
        self.latest = at if self.latest is None else max(self.latest, at)
        if envelope.type == MarkRecorded.type:
            mark = envelope.event
            assert isinstance(mark, MarkRecorded)
            base, _, quote = mark.instrument.partition("-")  # cheaper than checked parts, and marks are many
            if quote == self.base_currency:
                self.marks.add(base, at, mark.price)
        elif envelope.type == TradeReversed.type:
            voided = envelope.event
            assert isinstance(voided, TradeReversed)
            self._reversed.add(voided.reverses)
        elif envelope.type in VALUE_EVENTS:
            self._moments.append(_moment_of(envelope, self.base_currency))

    def moments_until(self, end: datetime) -> list[_Moment]:
        """What happened up to `end` and was not reversed, in order of occurrence."""
        valid = [one for one in self._moments if one.at <= end and one.event_id not in self._reversed]
        return sorted(valid, key=lambda one: (one.at, one.position))


def _moment_of(envelope: Envelope, base_currency: str) -> _Moment:
    event = envelope.event
    return _Moment(
        at=envelope.occurred_at,
        position=envelope.position,
        event_id=envelope.event_id,
        moves=moves_of(event, base_currency),
        traded=gross_value(event) if isinstance(event, TradeExecuted) else ZERO,
    )


def _closes(began_at: datetime, end: datetime) -> Iterator[tuple[datetime, bool]]:
    """Every midnight after `began_at` up to `end` and, unless it is one, `end` itself, which closes no day."""
    for day in range(utc_day(began_at).toordinal() + 1, end.toordinal() + 1):
        yield datetime.combine(date.fromordinal(day), time(), UTC), True
    if end.time() != time():
        yield end, False


def _split_gains(rows: Rows) -> dict[UUID, tuple[str, Decimal]]:
    """By the id of each split: the asset, and how many units there were more (or fewer) after it."""
    gains: dict[UUID, tuple[str, Decimal]] = {}
    for asset in sorted({split.asset for split in rows.history(Split)}):
        for leg in rows.history(Leg, asset):
            if leg.kind == "split":
                gains[leg.event_id] = (asset, gains.get(leg.event_id, (asset, ZERO))[1] + leg.quantity)
    return gains


class _Walk:
    """What is held, moment by moment, and the flows met on the way."""

    def __init__(self, base_currency: str, marks: Marks, split_gains: Mapping[UUID, tuple[str, Decimal]]) -> None:
        self.flows: list[Flow] = []
        self._base_currency = base_currency
        self._marks = marks
        self._split_gains = split_gains
        self._cash = ZERO
        self._held: dict[str, Decimal] = {}
        self._flow: Decimal | None = ZERO
        self._traded = ZERO
        self._undisturbed_since: datetime | None = None

    def step(self, moment: _Moment) -> None:
        """The moment's moves are made."""
        external = [move for move in moment.moves if move.kind in EXTERNAL]
        amount = known_sum([self._worth_of_flow(move, moment.at) for move in external])
        before = self._flow_before(moment.at, amount) if external else None
        for move in moment.moves:
            self._move(str(move.asset), move.quantity)
        if moment.event_id in self._split_gains:
            self._move(*self._split_gains[moment.event_id])
        if before is not None:
            self.flows.append(self._with_equity_after(before, moment.at))
        self._traded += moment.traded
        self._undisturbed_since = moment.at if external else None

    def close(self, at: datetime, *, closed: bool) -> Close:
        """The close of the day that ends at this moment; what counts by day begins anew."""
        values = list(self._values(at))
        equity = known_sum([self._cash, *values])
        invested = known_sum(value if value is None else abs(value) for value in values)
        close = Close(utc_day(at), equity, self._cash, invested, bool(self._held), self._flow, self._traded, closed)
        self._flow, self._traded, self._undisturbed_since = ZERO, ZERO, None
        return close

    def _flow_before(self, at: datetime, amount: Decimal | None) -> Flow:
        """The flow whose moves come next; it takes in the one before when nothing happened since."""
        self._flow = known_sum([self._flow, amount])
        if self._undisturbed_since is not None and self._prices(self._undisturbed_since) == self._prices(at):
            last = self.flows.pop()
            return Flow(last.at, known_sum([last.amount, amount]), last.equity_before, last.equity_after)
        equity = self._equity(at)
        return Flow(at, amount, equity, equity)

    def _with_equity_after(self, flow: Flow, at: datetime) -> Flow:
        """What came in without a mark counts at its cost until there is one."""
        equity = self._equity(at)
        if equity is None:
            equity = known_sum([flow.equity_before, flow.amount])
        return Flow(flow.at, flow.amount, flow.equity_before, equity)

    def _equity(self, at: datetime) -> Decimal | None:
        return known_sum([self._cash, *self._values(at)])

    def _worth_of_flow(self, move: AssetMove, at: datetime) -> Decimal | None:
        """With the sign of its quantity: cash at its face, an asset at its last mark, else what came in at its stated cost."""
        if move.asset == self._base_currency:
            return move.quantity
        price = self._marks.at(str(move.asset), at)
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
        return {asset: self._marks.at(asset, at) for asset in self._held}

    def _values(self, at: datetime) -> Iterator[Decimal | None]:
        """What each position is worth at its last mark, None without one."""
        for asset, price in self._prices(at).items():
            yield None if price is None else round18(self._held[asset] * price)
