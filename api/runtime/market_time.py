"""Market time of stored portfolios: the latest moment that their logs reflect."""

from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from ledger.booking.legs import MOVING
from ledger.entries.recording import MARKETS_OWN
from ledger.events import Event, SplitRecorded, TradeExecuted, TradeReversed
from ledger.log.envelope import Envelope
from ledger.log.event_log import NoSuchPortfolio
from ledger.postgres.book import PostgresBook, StoredReading
from ledger.projections.portfolio import portfolio_of
from ledger.values import system_clock

PAGE: Final = 200
"""Events are read from the end of the log in pages of this size."""


def portfolio_time(book: PostgresBook, reading: StoredReading) -> datetime:
    """Return the market time of a paper portfolio that `daybook serve` opened, the clock's time of any other."""
    market = last_market_time(book, reading.portfolio_id)
    by_market = market is not None and MARKETS_OWN.fullmatch(portfolio_of(reading.rows).name)
    return market if market is not None and by_market else system_clock()


def last_market_time(book: PostgresBook, portfolio_id: UUID) -> datetime | None:
    """Return a microsecond before the latest time among the portfolio's newest events; None for a new portfolio.

    The candle that closed at that time may have been processed in part only, so it has to be played again. Never earlier
    than the opening of the portfolio. Entered and imported events do not advance market time.
    """
    try:
        head = book.log.head(portfolio_id)
    except NoSuchPortfolio:
        return None
    newest: list[Envelope] = []
    beyond = head.position
    while beyond and len(newest) < PAGE:
        after = max(beyond - PAGE, 0)
        page = book.log.read(portfolio_id, after, beyond - after)
        newest += (envelope for envelope in page if not _entered(envelope.event))
        beyond = after
    latest = max(envelope.occurred_at for envelope in newest)
    opened_at = next(iter(book.log.read(portfolio_id, 0, 1))).occurred_at
    return max(opened_at, latest - timedelta(microseconds=1))


def _entered(event: Event) -> bool:
    """True for an entered or imported event, which may have happened at any time."""
    if isinstance(event, TradeExecuted):
        return event.order_id is None
    return isinstance(event, (*MOVING, SplitRecorded, TradeReversed))
