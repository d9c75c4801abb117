"""Record what was checked: events, their consequences and the command's key in one transaction, or nothing.

Nothing is recorded that the portfolio's views cannot be brought up to: when they stop in the transaction, all of it is
undone.
"""

import re
from collections.abc import Callable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Final
from uuid import UUID

from ledger.entries.errors import AccountTwice, NotBookable, PortfolioExists, ReservedName, ViewsStopped
from ledger.entries.rules import LARGEST
from ledger.events import AccountOpened, PortfolioOpened
from ledger.log.envelope import NewEvent
from ledger.log.event_log import Conflict, PositionConflict
from ledger.postgres.book import Alongside, PostgresBook, StoredReading
from ledger.postgres.log import Raw
from ledger.postgres.views import StoredRows, read_checkpoint
from ledger.projections.holdings import Holding
from ledger.projections.portfolio import Balance, portfolio_id_of
from ledger.rows import Rows, field_names
from ledger.values import INTEGER_DIGITS

MARKETS_OWN: Final = re.compile(r"paper \S+-\S+ \S+ .*")
"""What `api.runtime.wiring.portfolio_name` calls the portfolio of a market."""

Prepare = Callable[[StoredReading], Sequence[NewEvent]]
"""What is to be recorded, seen from the portfolio as it is. Raises for what cannot be."""


def record_checked(book: PostgresBook, portfolio_id: UUID, prepare: Prepare, alongside: Alongside) -> None:
    """What `prepare` gives is in the log with its consequences and with what `alongside` writes, or nothing is.

    Raises ViewsStopped when the views stand still already, NotBookable when they would stop at one of the events; and
    what `prepare` and `alongside` raise.
    """
    while True:
        position = book.log.head(portfolio_id).position
        with book.reading(portfolio_id) as reading:
            if reading.stopped is not None:
                said = f"the views stand still before position {reading.stopped.position}: run daybook replay first"
                raise ViewsStopped(said)
            events = prepare(reading)
        if not events:
            return
        try:
            book.record(portfolio_id, events, position, alongside=booked_and(alongside, portfolio_id))
        except Conflict:
            if book.log.head(portfolio_id).position == position:
                raise
        else:
            return  # else something was stored since we looked: look again


def booked_and(alongside: Alongside, portfolio_id: UUID) -> Alongside:
    """Writes `alongside` when the views hold what was recorded before it in the transaction. Raises NotBookable otherwise."""

    def checked(connection: Raw) -> None:
        checkpoint = read_checkpoint(connection, portfolio_id)
        if checkpoint is not None and checkpoint.stopped is not None:
            raise NotBookable(f"this cannot be booked: {checkpoint.stopped.reason[:300]}")
        if checkpoint is not None:
            _must_fit(StoredRows(portfolio_id, checkpoint.generation).within(connection))
        alongside(connection)

    return checked


def _must_fit(rows: Rows) -> None:
    """Raises NotBookable when a sum has more digits than a decimal may have in an answer."""
    kept: list[Holding | Balance] = [*rows.where(Holding), *rows.where(Balance)]
    for row in kept:
        for name in field_names(type(row)):
            value = getattr(row, name)
            if isinstance(value, Decimal) and abs(value) >= LARGEST:
                said = f"the {name} of {row.asset} would have more than {INTEGER_DIGITS} digits"
                raise NotBookable(said)


def open_portfolio(
    book: PostgresBook,
    opened: PortfolioOpened,
    accounts: Sequence[AccountOpened],
    event_id: Callable[[int], UUID],
    now: datetime,
    alongside: Alongside,
    actor: str = "owner",
) -> None:
    """The portfolio is there, empty, with its accounts. Raises ReservedName, AccountTwice and PortfolioExists."""
    if MARKETS_OWN.fullmatch(opened.name):
        raise ReservedName(f"{opened.name!r} is kept for a market that this program trades in: say another")
    names = [one.account for one in accounts]
    if len(set(names)) < len(names):
        raise AccountTwice("each account needs a name of its own")
    story, portfolio_id = event_id(0), portfolio_id_of(opened.name)
    events = [NewEvent(event, event_id(number), now, actor, story) for number, event in enumerate([opened, *accounts])]
    try:
        book.record(portfolio_id, events, 0, alongside=booked_and(alongside, portfolio_id))
    except PositionConflict:
        raise PortfolioExists(f"there is a portfolio called {opened.name!r} already") from None
