"""Random histories of a portfolio in memory: value events of every kind, including late ones and reversals."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from hypothesis import strategies as st

from ledger.events import PortfolioOpened
from ledger.log.envelope import Envelope, NewEvent
from ledger.projections.book import MemoryBook
from ledger.projections.holdings import Holding
from ledger.rows import Rows
from ledger.values import Asset
from tests.support.generators.random_trades import BASE
from tests.support.generators.random_values import as_facts, value_events

PORTFOLIO: Final = UUID(int=1)
NOON: Final = datetime(2024, 1, 1, 12, tzinfo=UTC)


def lives(most: int = 14, minutes: int = 6) -> st.SearchStrategy[list[NewEvent]]:
    """Histories in arrival order, with and without short selling."""
    found = st.lists(st.tuples(st.none() | value_events(), st.integers(0, minutes)), min_size=1, max_size=most)
    return st.builds(lambda short, facts: [_opening(short=short), *as_facts(facts, NOON, 1001)], st.booleans(), found)


def _opening(*, short: bool) -> NewEvent:
    opened = PortfolioOpened(name="p", base_currency=Asset(BASE), allow_short=short)
    return NewEvent(opened, UUID(int=1000), NOON, "test", UUID(int=1000))


def fold_facts(facts: list[NewEvent]) -> tuple[Rows, list[Envelope]]:
    """Return the rows after the events, and the log."""
    book = MemoryBook(lambda: NOON)
    book.record(PORTFOLIO, facts)
    with book.reading(PORTFOLIO) as reading:
        assert reading.stopped is None
        return reading.rows, list(book.log.read(PORTFOLIO))


def assets_of(rows: Rows) -> Iterator[str]:
    return (holding.asset for holding in rows.where(Holding))
