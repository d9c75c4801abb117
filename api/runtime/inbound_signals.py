"""How a signal from outside comes in: checked, recorded once, and judged by the same review as those of bots."""

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
    """Nothing is written beside the signal."""


def emit(
    system: System,
    signal: SignalEmitted,
    actor: str,
    alongside: Callable[[Raw], None] = nothing_else,
    *,
    first_wins: bool = False,
) -> bool:
    """The signal is in the log and has its verdict; whether it is new. `alongside` is written in the same transaction.

    What was said before, word for word, is not new (with `first_wins` also what has the same identity and says something
    else). Raises SignalDiffers for other words under a known identity, StaleSignal and FutureSignal.
    """
    new = _record(system, signal, actor, alongside, first_wins=first_wins)
    system.trader.step()
    return new


def price_of(system: System, instrument: Instrument) -> Decimal:
    """Our own price of the instrument, by which a signal is sized: a sender's price is never trusted with that.

    Raises UnknownProduct for what is not traded here, NoPrice for what has no price yet.
    """
    if instrument not in system.feed.instruments:
        traded = ", ".join(sorted(system.feed.instruments))
        raise UnknownProduct(f"{instrument} is not traded here: this market has {traded}")
    with system.book.reading(system.portfolio_id) as reading:
        mark = reading.rows.get(Mark, str(instrument))
    if mark is None:
        raise NoPrice(f"no price of {instrument} has been seen yet: send it again in a moment")
    return mark.price


def longest_age(system: System) -> timedelta:
    """How old a signal may be by the policy in force."""
    with system.book.reading(system.portfolio_id) as reading:
        return _longest(system, reading)


def not_yet(system: System, signal: SignalEmitted) -> bool:
    """Whether review refused the recorded signal for reasons that may pass by themselves."""
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
                said = f"{signal.bot_id} has said something else about {signal.instrument} at {time_text(signal.asof)}"
                raise SignalDiffers(f"{said}: what was said stays, send a new asof with a new opinion")
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
            continue  # the same signal came in on another way just now: look at what it said
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
