"""`daybook halt` and `daybook resume`: the kill switch, which also acts on a running Daybook."""

from collections.abc import Callable
from typing import Final

import rich_click as click

from api.cli.options import ONE_PORTFOLIO, warn
from api.runtime.market_time import portfolio_time
from api.runtime.portfolios import chosen_portfolios, open_ledger
from api.runtime.settings import BadSettings, Settings, load_settings
from execution.halts import store_halt
from ledger.events import TradingHalted, TradingResumed
from ledger.locks import HaltLock
from ledger.log.envelope import NewEvent
from ledger.postgres.book import PostgresBook, StoredReading
from ledger.postgres.halt_lock import PostgresHaltLock
from ledger.projections.policy import halt_reason
from ledger.projections.portfolio import portfolio_of
from ledger.values import new_id, system_clock

LONGEST: Final = 500


def _reason(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    if not (value.strip() and value.isprintable() and len(value) <= LONGEST):
        raise click.BadParameter(f"must be one line of 1 to {LONGEST} characters")
    return value


REASON: Final = click.option(
    "--reason", required=True, callback=_reason, metavar="TEXT", help="Reason; kept in the log."
)


@click.command()
@ONE_PORTFOLIO
@REASON
def halt(portfolio: str | None, reason: str) -> None:
    """Halt trading now: after this returns, no order is sent until daybook resume.

    Orders sent before stay at their exchange, and their fills are still recorded. Exit codes: 0 done, 1 failure, 2 usage.

    Example: daybook halt --reason "the market is broken"
    """

    def act(book: PostgresBook, halt_lock: HaltLock, reading: StoredReading) -> str:
        event_id = new_id()
        event = NewEvent(TradingHalted(reason=reason), event_id, portfolio_time(book, reading), "owner", event_id)
        if not store_halt(book, halt_lock, reading.portfolio_id, event):
            warn("an order was being sent when trading was halted: check the open orders")
        return "is halted"

    _each(load_settings(), portfolio, act)


@click.command()
@ONE_PORTFOLIO
@REASON
def resume(portfolio: str | None, reason: str) -> None:
    """Resume trading after a halt. Orders that were not sent meanwhile stay unsent.

    Exit codes: 0 done, 1 failure, 2 usage.

    Example: daybook resume --reason "the market is whole again"
    """

    def act(book: PostgresBook, _halt_lock: HaltLock, reading: StoredReading) -> str:
        if halt_reason(reading.rows) is None:
            return "was not halted"
        event_id = new_id()
        event = NewEvent(TradingResumed(reason=reason), event_id, portfolio_time(book, reading), "owner", event_id)
        book.record(reading.portfolio_id, [event])
        return "is resumed"

    _each(load_settings(), portfolio, act)


def _each(
    settings: Settings, portfolio: str | None, act: Callable[[PostgresBook, HaltLock, StoredReading], str]
) -> None:
    """Call `act` for each chosen portfolio and print its result. Raises BadSettings if there is none."""
    with open_ledger(settings) as engine:
        book, halt_lock = PostgresBook(engine, system_clock), PostgresHaltLock(engine)
        chosen = chosen_portfolios(engine, portfolio)
        if not chosen:
            raise BadSettings("there is no portfolio yet: daybook serve opens one")
        for one in chosen:
            with book.reading(one) as reading:
                done = act(book, halt_lock, reading)
                click.echo(f"Trading in {portfolio_of(reading.rows).name!r} {done}.")
