"""Record checked events, their consequences and the command's key in one transaction, or nothing.

Where the portfolio's views cannot fold the events, the whole transaction is rolled back.
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
"""Names of market portfolios, as `api.runtime.wiring.portfolio_name` forms them."""

Prepare = Callable[[StoredReading], Sequence[NewEvent]]
"""Returns the events to record for the portfolio as read, or raises."""


def record_checked(book: PostgresBook, portfolio_id: UUID, prepare: Prepare, alongside: Alongside) -> None:
    """Record the events that `prepare` returns, their consequences and the writes of `alongside` in one transaction.

    Raises:
        ViewsStopped: the views have stopped already.
        NotBookable: the views would stop at one of the events.
        Exception: any error of `prepare` and `alongside`.
    """
    while True:
        position = book.log.head(portfolio_id).position
        with book.reading(portfolio_id) as reading:
            if reading.stopped is not None:
                raise ViewsStopped(
                    f"the views have stopped before position {reading.stopped.position}: run daybook replay first"
                )
            events = prepare(reading)
        if not events:
            return
        try:
            book.record(portfolio_id, events, position, alongside=booked_and(alongside, portfolio_id))
        except Conflict:
            if book.log.head(portfolio_id).position == position:
                raise
        else:
            return  # On a conflict another event was stored meanwhile: check again.


def booked_and(alongside: Alongside, portfolio_id: UUID) -> Alongside:
    """Wrap `alongside` to raise NotBookable first if the views could not fold the events of the transaction."""

    def checked(connection: Raw) -> None:
        checkpoint = read_checkpoint(connection, portfolio_id)
        if checkpoint is not None and checkpoint.stopped is not None:
            raise NotBookable(f"this cannot be booked: {checkpoint.stopped.reason[:300]}")
        if checkpoint is not None:
            _must_fit(StoredRows(portfolio_id, checkpoint.generation).within(connection))
        alongside(connection)

    return checked


def _must_fit(rows: Rows) -> None:
    """Raise NotBookable if a sum has more than `INTEGER_DIGITS` integer digits."""
    kept: list[Holding | Balance] = [*rows.where(Holding), *rows.where(Balance)]
    for row in kept:
        for name in field_names(type(row)):
            value = getattr(row, name)
            if isinstance(value, Decimal) and abs(value) >= LARGEST:
                raise NotBookable(f"the {name} of {row.asset} would have more than {INTEGER_DIGITS} digits")


def open_portfolio(
    book: PostgresBook,
    opened: PortfolioOpened,
    accounts: Sequence[AccountOpened],
    event_id: Callable[[int], UUID],
    now: datetime,
    alongside: Alongside,
    actor: str = "owner",
) -> None:
    """Open an empty portfolio with its accounts. Raises ReservedName, AccountTwice and PortfolioExists."""
    if MARKETS_OWN.fullmatch(opened.name):
        raise ReservedName(f"{opened.name!r} is reserved for a market: choose another name")
    names = [one.account for one in accounts]
    if len(set(names)) < len(names):
        raise AccountTwice("each account needs a name of its own")
    story, portfolio_id = event_id(0), portfolio_id_of(opened.name)
    events = [NewEvent(event, event_id(number), now, actor, story) for number, event in enumerate([opened, *accounts])]
    try:
        book.record(portfolio_id, events, 0, alongside=booked_and(alongside, portfolio_id))
    except PositionConflict:
        raise PortfolioExists(f"there is a portfolio called {opened.name!r} already") from None
