"""Should trading be halted? The kill switch, and the conditions that halt trading automatically."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from decimal import Decimal
from typing import Final
from uuid import UUID

from execution.review.state import DecisionState
from ledger.booking.lots import Match
from ledger.events import TradingHalted
from ledger.locks import HaltLock
from ledger.log.envelope import NewEvent
from ledger.projections.book import Book
from ledger.projections.holdings import Holding
from ledger.projections.policy import minutes
from ledger.projections.portfolio import unexplained
from ledger.values import ZERO, Clock, decimal_text, derived_id, time_text

ACTOR: Final = "kill-switch"


@dataclass(frozen=True, slots=True)
class Signs:
    """Findings from outside the rows: the failure of the last verification, and the clock skew to the database."""

    verification: str | None = None
    skew: timedelta = timedelta()


@dataclass(frozen=True, slots=True)
class Trip:
    """A reason to halt. `cause` identifies it: each cause halts once, so that trading resumed by a person stays resumed."""

    cause: tuple[object, ...]
    reason: str


Record = Callable[[Sequence[NewEvent]], object]
"""Stores events."""


def store_halt(
    book: Book, halt_lock: HaltLock, portfolio_id: UUID, halt: NewEvent, record: Record | None = None
) -> bool:
    """Store the halt; no send starts afterwards. Returns whether every send that had started before has finished."""
    with halt_lock.halting(portfolio_id) as through:
        (record or (lambda events: book.record(portfolio_id, events)))([halt])
        return through


def trip_event(portfolio_id: UUID, trip: Trip, now: datetime) -> NewEvent:
    """The event that halts trading for this reason."""
    event_id = derived_id(portfolio_id, "trip", *trip.cause)
    return NewEvent(TradingHalted(reason=trip.reason), event_id, now, ACTOR, event_id)


def new_trips(state: DecisionState, portfolio_id: UUID, signs: Signs) -> list[Trip]:
    """The reasons to halt now that have not halted trading before; none while trading is halted."""
    if state.halted:
        return []
    found = (trip for trips in (_unknown_orders, _differences, _daily_loss) for trip in trips(state))
    return [
        trip
        for trip in (*found, *_signs(state, signs))
        if state.rows.recorded(derived_id(portfolio_id, "trip", *trip.cause)) is None
    ]


def _unknown_orders(state: DecisionState) -> Iterator[Trip]:
    """Orders of unknown outcome for longer than `halt_unknown_seconds`."""
    longest = state.limit("halt_unknown_seconds")
    for order in state.open_orders():
        since = state.now - (order.submitted_at or order.requested_at)
        if longest and order.status == "unknown" and since > minutes(longest / 60):
            seconds = int(since.total_seconds())
            reason = f"order {order.order_id} has an unknown outcome for {seconds} s (limit: {longest} s)"
            yield Trip(("unknown", order.order_id), reason)


def _differences(state: DecisionState) -> Iterator[Trip]:
    """At least `halt_differences` unresolved differences between ledger and venues."""
    most = state.limit("halt_differences")
    found = sorted(unexplained(state.rows), key=lambda one: one.position)
    if most and len(found) >= most:
        newest = found[-1]
        reason = f"unresolved difference between ledger and venue of account {newest.account}: {newest.subject}"
        yield Trip(("difference", newest.difference_id), reason)


def _daily_loss(state: DecisionState) -> Iterator[Trip]:
    """A realised loss since 00:00 UTC above `halt_daily_loss`, in base currency."""
    most = state.limit("halt_daily_loss")
    lost = -realized_since_midnight(state) if most else ZERO
    if most and lost > most:
        day = state.now.date()
        yield Trip(("daily-loss", day), f"{decimal_text(lost)} {state.base_currency} lost on {day} (limit: {most})")


def realized_since_midnight(state: DecisionState) -> Decimal:
    """The realised gain of lots closed since 00:00 UTC, in base currency."""
    midnight = datetime.combine(state.now.date(), time(), state.now.tzinfo)
    assets = [holding.asset for holding in state.rows.where(Holding)]
    return sum((one.realized_pnl for asset in assets for one in state.rows.since(Match, asset, midnight)), ZERO)


def _signs(state: DecisionState, signs: Signs) -> Iterator[Trip]:
    if signs.verification is not None:
        yield Trip(("verification", signs.verification), f"verification failed: {signs.verification}")
    most = state.limit("halt_clock_skew_seconds")
    skew = Decimal(str(abs(signs.skew.total_seconds())))
    if most and skew > most:
        reason = f"the clocks of program and database differ by {skew} s (limit: {most} s)"
        yield Trip(("skew", time_text(state.now)), reason)


class HaltWatch:
    """Halts a portfolio's trading when there is a new reason to. `unverified` is the failure of the last verification."""

    def __init__(
        self,
        book: Book,
        portfolio_id: UUID,
        clock: Clock,
        halt_lock: HaltLock,
        skew: Callable[[], timedelta] = timedelta,
    ) -> None:
        self._book = book
        self._portfolio_id = portfolio_id
        self._clock = clock
        self._halt_lock = halt_lock
        self._skew = skew
        self.unverified: str | None = None

    def look(self) -> None:
        """Store a halt for every new reason."""
        signs = Signs(self.unverified, self._skew())
        with self._book.reading(self._portfolio_id) as reading:
            state = DecisionState.of(reading, self._clock())
            trips = new_trips(state, self._portfolio_id, signs)
        for trip in trips:
            store_halt(self._book, self._halt_lock, self._portfolio_id, trip_event(self._portfolio_id, trip, state.now))
