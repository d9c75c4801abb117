"""Views follow the version of the folds that made them, and a portfolio is opened once."""

import psycopg
from sqlalchemy import Engine

from ledger.events import PortfolioOpened
from ledger.postgres.book import PostgresBook
from ledger.replay.verify import rebuild_outdated, verify_portfolio
from ledger.values import Asset
from tests.support.events import Step, Story


def test_views_of_another_version_are_written_anew(
    engine: Engine, postgres_book: PostgresBook, superuser: psycopg.Connection[tuple[object, ...]]
) -> None:
    """Rows that an older fold made are replaced by what the fold makes now, and rows of the current version are left."""
    story = Story()
    postgres_book.record(story.portfolio_id, story.opened())
    superuser.execute("update view_checkpoints set versions = '{}'")
    superuser.execute("update balances set quantity = quantity + 1")

    assert rebuild_outdated(engine) == [story.portfolio_id]
    assert verify_portfolio(engine, story.portfolio_id).differences == ()
    assert rebuild_outdated(engine) == []


def test_views_that_an_import_left_behind_are_written_anew(engine: Engine, postgres_book: PostgresBook) -> None:
    """Events that are in the log alone, because whoever appended them was killed, get their rows; so do whole portfolios."""
    behind, without = Story("behind"), Story("without any rows")
    postgres_book.record(behind.portfolio_id, behind.opened())
    postgres_book.log.append(behind.portfolio_id, behind.buy(Step("buy")))
    postgres_book.log.append(without.portfolio_id, without.opened())

    assert set(rebuild_outdated(engine)) == {behind.portfolio_id, without.portfolio_id}
    assert all(not verify_portfolio(engine, one.portfolio_id).differences for one in (behind, without))
    assert rebuild_outdated(engine) == []


def test_a_portfolio_is_opened_once(engine: Engine, postgres_book: PostgresBook) -> None:
    """A second opening is kept in the log and changes no base currency: the views stop before it and say why."""
    story = Story()
    postgres_book.record(story.portfolio_id, story.opened())
    again = story.new(PortfolioOpened(name="Another name", base_currency=Asset("EUR")))

    stored = postgres_book.record(story.portfolio_id, [again])

    with postgres_book.reading(story.portfolio_id) as reading:
        assert reading.stopped is not None
        assert reading.stopped.position == stored[0].position
        assert "opened once" in reading.stopped.reason


def test_a_changed_time_of_the_head_is_found(
    engine: Engine, postgres_book: PostgresBook, superuser: psycopg.Connection[tuple[object, ...]]
) -> None:
    """The head row's time is part of the proof: it is what keeps recording times from running backwards."""
    story = Story()
    postgres_book.record(story.portfolio_id, story.opened())
    superuser.execute("update portfolios set head_recorded_at = head_recorded_at + interval '1 microsecond'")

    assert verify_portfolio(engine, story.portfolio_id).broken is not None


def test_a_row_that_no_value_can_be_is_a_difference(
    engine: Engine, postgres_book: PostgresBook, superuser: psycopg.Connection[tuple[object, ...]]
) -> None:
    """A time that we cannot even read, written by hand, is a difference that names the table, not a failure."""
    story = Story()
    postgres_book.record(story.portfolio_id, story.opened())
    superuser.execute("update accounts set opened_at = 'infinity'")

    (found,) = verify_portfolio(engine, story.portfolio_id).differences

    assert found.what == "accounts"
    assert "cannot be read" in found.stored
