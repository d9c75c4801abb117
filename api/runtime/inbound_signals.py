"""Signals from outside: checked, recorded once, and reviewed like those of bots."""

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from uuid import UUID

from api.runtime.wiring import System
from execution.review.state import DecisionState
from ledger.events import SignalEmitted, SignalRejected
from ledger.log.envelope import NewEvent
from ledger.log.event_log import Conflict
from ledger.postgres.log import Raw, read_page
from ledger.projections.book import Reading
from ledger.projections.signals import SignalView
from ledger.projections.valuation import Mark
from ledger.values import Instrument, time_text
from signals.inbound.errors import FutureSignal, NoPrice, SignalDiffers, StaleSignal, UnknownProduct
from signals.inbound.signals import same, untimely
from signals.runner import signal_id


def nothing_else(_connection: Raw) -> None:
    """Write nothing beside the signal."""


def emit(
    system: System,
    signal: SignalEmitted,
    actor: str,
    alongside: Callable[[Raw], None] = nothing_else,
    *,
    first_wins: bool = False,
) -> bool:
    """Record the signal and have it reviewed; return `True` if it is new. `alongside` writes in the same transaction.

    A repeated signal is not new. Raises SignalDiffers for different content under a known identity, unless `first_wins`,
    and StaleSignal and FutureSignal.
    """
    new = _record(system, signal, actor, alongside, first_wins=first_wins)
    system.trader.step()
    return new


def price_of(system: System, instrument: Instrument) -> Decimal:
    """Return the last mark of the instrument. Signals are sized by it, never by a sender's price.

    Raises UnknownProduct if the market does not have the instrument, NoPrice if it has no price yet.
    """
    if instrument not in system.feed.instruments:
        traded = ", ".join(sorted(system.feed.instruments))
        raise UnknownProduct(f"{instrument} is not traded here: this market has {traded}")
    with system.book.reading(system.portfolio_id) as reading:
        mark = reading.rows.get(Mark, str(instrument))
    if mark is None:
        raise NoPrice(f"no price of {instrument} yet: retry shortly")
    return mark.price


def longest_age(system: System) -> timedelta:
    """Return the maximum age of a signal under the current policy."""
    with system.book.reading(system.portfolio_id) as reading:
        return _longest(system, reading)


def not_yet(system: System, signal: SignalEmitted) -> bool:
    """Return `True` if review refused the recorded signal for reasons that may pass by themselves."""
    with system.book.reading(system.portfolio_id) as reading:
        view = reading.rows.get(SignalView, signal_id(signal))
        if view is None or view.verdict_position is None:
            return False
        verdict = read_page(reading.connection, system.portfolio_id, view.verdict_position - 1, 1)[0].event
        return isinstance(verdict, SignalRejected) and verdict.not_yet is True


def _record(
    system: System, signal: SignalEmitted, actor: str, alongside: Callable[[Raw], None], *, first_wins: bool
) -> bool:
    new_id = signal_id(signal)
    for attempt in (1, 2):
        with system.book.reading(system.portfolio_id) as reading:
            known = _known(reading, new_id)
            refused = untimely(signal, system.market_clock(), _longest(system, reading)) if known is None else None
        if known is not None:
            if not first_wins and not same(known, signal):
                known_as = f"{signal.bot_id} sent another signal for {signal.instrument} at {time_text(signal.asof)}"
                raise SignalDiffers(f"{known_as}, which stays: send a new signal with a new asof")
            with system.book.transaction() as connection:
                alongside(connection)
            return False
        if refused is not None:
            untimely_signal = FutureSignal if signal.asof > system.market_clock() else StaleSignal
            raise untimely_signal(f"{refused}; nothing was recorded")
        try:
            event = NewEvent(signal, new_id, signal.asof, actor, new_id)
            system.book.record(system.portfolio_id, [event], alongside=alongside)
        except Conflict:
            if attempt == 2:
                raise
            continue  # the same signal was recorded concurrently: compare with it
        return True
    raise AssertionError("the second attempt returns or raises")


def _known(reading: Reading, event_id: UUID) -> SignalEmitted | None:
    envelope = reading.rows.recorded(event_id)
    if envelope is None:
        return None
    event = envelope.event
    assert isinstance(event, SignalEmitted), "ids of signals belong to signals"
    return event


def _longest(system: System, reading: Reading) -> timedelta:
    return DecisionState.of(reading, system.market_clock()).window("signal_maximum_age_minutes")
