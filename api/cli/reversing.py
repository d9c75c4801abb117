"""`daybook reverse`: an event that moved value is taken back, as POST /trades/{id}/reverse takes it back."""

import json
from typing import Final
from uuid import UUID

import click
from pydantic import TypeAdapter, ValidationError

from api.runtime.portfolios import chosen_portfolios, open_ledger
from api.runtime.settings import Settings
from ledger.entries.recording import record_checked
from ledger.entries.rules import reversal_of
from ledger.errors import CannotRecord
from ledger.events.fields import Text
from ledger.log.envelope import Envelope, NewEvent
from ledger.postgres.book import PostgresBook, StoredReading
from ledger.postgres.log import Raw
from ledger.projections.reversals import NothingToReverse
from ledger.replay.verify import rebuild_outdated
from ledger.reports.trade_names import trades_called
from ledger.rows import Rows
from ledger.values import new_id, system_clock

REASON: Final = TypeAdapter(Text)


def run_reverse(settings: Settings, name: str, portfolio: str, reason: str, *, as_json: bool) -> None:
    """The event called `name` counts for nothing from now on, and a line (or a JSON object) says so.

    `name` is an event id or what its venue calls a trade. Raises NothingToReverse and, for a portfolio that is not
    there, BadSettings; nothing is recorded then.
    """
    try:
        REASON.validate_python(reason)
    except ValidationError as error:
        raise NothingToReverse(f"this reason cannot be kept: {error.errors()[0]['msg']}") from None
    with open_ledger(settings) as engine:
        portfolio_id = chosen_portfolios(engine, portfolio)[0]
        rebuild_outdated(engine)
        event, reversal_id = _reverse(PostgresBook(engine, system_clock), portfolio_id, name, reason)
    found = {
        "portfolio": portfolio,
        "event_id": str(event.event_id),
        "type": event.type,
        "reversed_by": str(reversal_id),
        "reason": reason,
    }
    sentence = f"{event.type} {name} of {portfolio} is taken back: {reason}"
    click.echo(json.dumps(found, ensure_ascii=False, indent=2) if as_json else sentence)


def _reverse(book: PostgresBook, portfolio_id: UUID, name: str, reason: str) -> tuple[Envelope, UUID]:
    reversal_id = new_id()
    event_id = UUID(int=0)

    def prepare(reading: StoredReading) -> list[NewEvent]:
        nonlocal event_id
        event_id = _named(reading.rows, name)
        return [reversal_of(event_id, reason, reversal_id, reading.rows)]

    def alone(_connection: Raw) -> None:
        """Nothing is written beside it."""

    try:
        record_checked(book, portfolio_id, prepare, alone)
    except CannotRecord as error:
        raise NothingToReverse(f"{error}: nothing was recorded") from None
    with book.reading(portfolio_id) as reading:
        event = reading.rows.recorded(event_id)
        assert event is not None, "it was reversed"
        return event, reversal_id


def _named(rows: Rows, name: str) -> UUID:
    """The event that is meant. Raises NothingToReverse for a name that no trade has, or several."""
    found = trades_called(rows, name)
    if len(found) > 1:
        ids = ", ".join(str(one) for one in found[:10])
        raise NothingToReverse(f"{len(found)} trades are called {name!r}: name one of them by its event id: {ids}")
    try:
        return found[0] if found else UUID(name)
    except ValueError:
        raise NothingToReverse(f"there is no trade called {name[:100]!r}, and it is no event id") from None
