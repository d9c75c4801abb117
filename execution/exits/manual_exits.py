"""Exits that a person sets, changes and removes: the checks, and the events that follow."""

from decimal import Decimal
from uuid import UUID

from execution.exchanges.paper.prices import tick_of
from execution.exits.exit_service import armed_exits
from execution.review.state import DecisionState
from ledger.errors import CannotRecord
from ledger.events import ExitArmed, ExitChanged, ExitDisarmed
from ledger.projections.exits import ExitView
from ledger.values import ZERO, Instrument


class UnknownExitAccount(CannotRecord):
    """The portfolio has no account of this name."""

    kind = "unknown-account"


class NothingHeld(CannotRecord):
    """The account has no position in the product."""

    kind = "nothing-held"


class NoStopPrice(CannotRecord):
    """A trailing stop has neither a stop nor a mark to start from."""

    kind = "no-price"


class ExitExists(CannotRecord):
    """A manual exit guards the position already. Extra: `exit_id`."""

    kind = "exit-exists"


class UnknownExit(CannotRecord):
    """There is no exit with this id."""

    kind = "unknown-exit"


class ExitEnded(CannotRecord):
    """The exit is not armed any more."""

    kind = "exit-ended"


def new_exit(
    state: DecisionState,
    exit_id: UUID,
    instrument: Instrument,
    account_name: str | None,
    *,
    stop: Decimal | None,
    target: Decimal | None,
    trail: Decimal | None,
) -> ExitArmed:
    """An exit for the whole position of an account, by default the first. Raises the errors of this module."""
    account = state.account(account_name) if account_name else state.first_account()
    if account is None:
        raise UnknownExitAccount(f"there is no account {account_name!r} in this portfolio")
    if state.balance(account.account, instrument.base) <= 0:
        raise NothingHeld(f"{account.account} holds no {instrument.base}: an exit needs a position")
    for exit in armed_exits(state.rows):
        if exit.order_id is None and (exit.account, exit.instrument) == (account.account, instrument):
            detail = f"exit {exit.exit_id} guards this position already: change it, or remove it first"
            raise ExitExists(detail, exit_id=str(exit.exit_id))
    return ExitArmed(
        exit_id=exit_id,
        account=account.account,
        instrument=instrument,
        bought=ZERO,
        stop=_initial_stop(state, instrument, stop, trail),
        target=target,
        trail=trail,
    )


def changed_exit(
    state: DecisionState, exit_id: UUID, *, stop: Decimal | None, target: Decimal | None, trail: Decimal | None
) -> ExitChanged:
    """Replace all levels of an armed exit. Raises UnknownExit, ExitEnded and NoStopPrice."""
    exit = _armed(state, exit_id)
    return ExitChanged(
        exit_id=exit_id,
        quantity=exit.quantity,
        bought=exit.bought,
        stop=_initial_stop(state, Instrument(exit.instrument), stop, trail),
        target=target,
        trail=trail,
    )


def removed_exit(state: DecisionState, exit_id: UUID, reason: str) -> ExitDisarmed:
    """Disarm an armed exit. Raises UnknownExit and ExitEnded."""
    return ExitDisarmed(exit_id=_armed(state, exit_id).exit_id, reason=reason)


def _initial_stop(
    state: DecisionState, instrument: Instrument, stop: Decimal | None, trail: Decimal | None
) -> Decimal | None:
    """`stop`; without one a trailing stop starts below the last mark, rounded down to a tick. Raises NoStopPrice."""
    if stop is not None or trail is None:
        return stop
    mark = state.mark(instrument)
    if mark is None:
        raise NoStopPrice(f"{instrument} has no price yet: set stop_loss as well")
    tick = tick_of(mark.price)
    return max(mark.price * (1 - trail) // tick * tick, tick)


def _armed(state: DecisionState, exit_id: UUID) -> ExitView:
    exit = state.rows.get(ExitView, exit_id)
    if exit is None:
        raise UnknownExit(f"there is no exit {exit_id}")
    if exit.status != "armed":
        raise ExitEnded(f"the exit is {exit.status}: only an armed exit can be changed or removed")
    return exit
