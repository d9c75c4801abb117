"""The column road says what the plain road says, to the last digit, or says that it does not know."""

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from itertools import count
from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from sqlalchemy import Engine

from ledger import column_fold
from ledger.book import fold_log
from ledger.column_fold import Unusual
from ledger.column_replay import ColumnReplay
from ledger.column_rows import decimal_of, line_of, rounded, text_of, time_of, units_in, units_of
from ledger.envelope import NewEvent
from ledger.events import CashDeposited, CashWithdrawn, Event, PortfolioOpened
from ledger.identities import broken_identities
from ledger.log import MemoryLog
from ledger.postgres import PostgresLog, raw
from ledger.rows import MemoryRows, Row, all_rows, row_text
from ledger.values import Asset, decimal_text, round18
from ledger.views import row_kinds
from tests.factories import SteppingClock, Step, Story, batches_of, realistic_batches, steps
from tests.random_trades import BASE, decimals, trades

numbers = count(1)
NOON = datetime(2024, 1, 1, 12, tzinfo=UTC)


def fact(number: int, event: Event, minute: int) -> NewEvent:
    """The event that was true `minute` minutes after noon."""
    event_id = UUID(int=1000 + number)
    return NewEvent(event, event_id, NOON + timedelta(minutes=minute), "test", event_id)


OPENED = fact(0, PortfolioOpened(name="p", base_currency=Asset(BASE)), 0)

cash = st.builds(
    lambda kind, amount: kind(account="a", asset=Asset(BASE), amount=amount),
    st.sampled_from((CashDeposited, CashWithdrawn)),
    decimals(1, 10**19),
)
histories = st.lists(st.tuples(st.one_of(trades(), trades(), cash), st.integers(0, 6)), min_size=1, max_size=12).map(
    lambda found: [fact(number, event, minute) for number, (event, minute) in enumerate(found, start=1)]
)


def plain_rows(portfolio_id: UUID, events: Sequence[NewEvent]) -> list[Row]:
    """What the plain road makes of the events."""
    log = MemoryLog(SteppingClock())
    log.append(portfolio_id, events)
    rows = fold_log(log.read(portfolio_id), MemoryRows())
    assert list(broken_identities(rows)) == []
    return list(all_rows(rows, row_kinds()))


def column_lines(engine: Engine, portfolio_id: UUID, events: Sequence[NewEvent]) -> list[tuple[type[Row], str]]:
    """What the column road makes of them once they are stored."""
    PostgresLog(engine, SteppingClock()).append(portfolio_id, events)
    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        replay = ColumnReplay(raw(connection), portfolio_id)
        with closing(replay.chunks()) as chunks:
            found = [(kind, line) for kind, lines in chunks for line in lines]
    assert replay.broken_identities == []
    assert replay.last.position == len(events)
    return found


def check_same(engine: Engine, portfolio_id: UUID, events: Sequence[NewEvent]) -> None:
    """Both roads make the same rows, as lines and as texts."""
    rows = plain_rows(portfolio_id, events)
    lines = column_lines(engine, portfolio_id, events)
    assert Counter(lines) == Counter((type(row), line_of(row)) for row in rows)
    assert Counter(text_of(kind, line) for kind, line in lines) == Counter(map(row_text, rows))


@given(facts=histories)
def test_columns_say_what_the_plain_fold_says(engine: Engine, facts: list[NewEvent]) -> None:
    """Random trades in any pair with fees and rebates anywhere, late, at equal times, oversold: the same rows."""
    check_same(engine, UUID(int=next(numbers)), [OPENED, *facts])


@given(moves=st.lists(steps("buy", "sell", "import", "order_and_fill", "signal", "bot", "mark", "deposit"), max_size=25))
def test_columns_follow_a_whole_life(engine: Engine, moves: list[Step]) -> None:
    """Trades of orders and bots among signals, marks and late imports: the same rows in every table."""
    story = Story(f"columns {next(numbers)}")
    check_same(engine, story.portfolio_id, [new for batch in batches_of(story, moves) for new in batch])


def test_a_realistic_portfolio_is_the_same_on_both_roads(engine: Engine) -> None:
    """A long story with everything in it gives the same rows on both roads."""
    story = Story("realistic")
    check_same(engine, story.portfolio_id, [new for batch in realistic_batches(story, 400) for new in batch])
