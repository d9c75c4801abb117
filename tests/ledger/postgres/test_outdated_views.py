"""Outdated views are rebuilt, and portfolios are opened once."""

import psycopg
from sqlalchemy import Engine

from ledger.events import PortfolioOpened
from ledger.postgres.book import PostgresBook
from ledger.replay.verify import rebuild_outdated, verify_portfolio
from ledger.values import Asset
from tests.support.events import Step, Story


def test_rebuild_outdated_rebuilds_views_of_another_version(
    engine: Engine, postgres_book: PostgresBook, superuser: psycopg.Connection[tuple[object, ...]]
) -> None:
    """Views of the current version are left alone."""
    story = Story()
    postgres_book.record(story.portfolio_id, story.opened())
    superuser.execute("update view_checkpoints set versions = '{}'")
    superuser.execute("update balances set quantity = quantity + 1")

    assert rebuild_outdated(engine) == [story.portfolio_id]
    assert verify_portfolio(engine, story.portfolio_id).differences == ()
    assert rebuild_outdated(engine) == []


def test_rebuild_outdated_rebuilds_views_behind_the_log(engine: Engine, postgres_book: PostgresBook) -> None:
    """A killed import leaves events, and whole portfolios, without rows."""
    behind, without = Story("behind"), Story("without any rows")
    postgres_book.record(behind.portfolio_id, behind.opened())
    postgres_book.log.append(behind.portfolio_id, behind.buy(Step("buy")))
    postgres_book.log.append(without.portfolio_id, without.opened())

    assert set(rebuild_outdated(engine)) == {behind.portfolio_id, without.portfolio_id}
    assert all(not verify_portfolio(engine, one.portfolio_id).differences for one in (behind, without))
    assert rebuild_outdated(engine) == []


def test_views_stop_at_a_second_opening(engine: Engine, postgres_book: PostgresBook) -> None:
    """The second opening is stored and changes no base currency."""
    story = Story()
    postgres_book.record(story.portfolio_id, story.opened())
    again = story.new(PortfolioOpened(name="Another name", base_currency=Asset("EUR")))

    stored = postgres_book.record(story.portfolio_id, [again])

    with postgres_book.reading(story.portfolio_id) as reading:
        assert reading.stopped is not None
        assert reading.stopped.position == stored[0].position
        assert "opened once" in reading.stopped.reason


def test_verification_finds_a_changed_time_in_the_head_row(
    engine: Engine, postgres_book: PostgresBook, superuser: psycopg.Connection[tuple[object, ...]]
) -> None:
    """The time in the head row keeps times of recording from decreasing."""
    story = Story()
    postgres_book.record(story.portfolio_id, story.opened())
    superuser.execute("update portfolios set head_recorded_at = head_recorded_at + interval '1 microsecond'")

    assert verify_portfolio(engine, story.portfolio_id).broken is not None


def test_verification_reports_an_unreadable_row(
    engine: Engine, postgres_book: PostgresBook, superuser: psycopg.Connection[tuple[object, ...]]
) -> None:
    """A time out of range, written by hand, is reported for its table."""
    story = Story()
    postgres_book.record(story.portfolio_id, story.opened())
    superuser.execute("update accounts set opened_at = 'infinity'")

    (found,) = verify_portfolio(engine, story.portfolio_id).differences

    assert found.what == "accounts"
    assert found.stored.startswith("unreadable row: ")
