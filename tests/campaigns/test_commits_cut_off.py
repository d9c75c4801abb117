"""The connection is cut at a COMMIT of unknown outcome: everything is sent again, and stored once."""

import random
from collections.abc import Iterator
from decimal import Decimal

import pytest
from sqlalchemy import Engine

from execution.orders.trade_service import SUBMIT_TIMEOUT, TradeService
from ledger.events import CashDeposited, SignalApproved, TradeExecuted
from ledger.log.envelope import NewEvent
from ledger.postgres.book import PostgresBook
from ledger.postgres.database import DATABASE_GONE, WRITER, engine_for
from ledger.postgres.halt_lock import PostgresHaltLock
from ledger.postgres.leadership import PostgresLeadership
from ledger.replay.verify import verify_portfolio
from ledger.values import Asset
from tests.support.commit_cutter import CUTS, CommitCutter, Cut, cutter
from tests.support.events import SteppingClock, Story
from tests.support.trading import Room, ScriptedExchange


@pytest.fixture
def way(database_url: str) -> Iterator[tuple[CommitCutter, Engine]]:
    """A connection to the fresh database that can be cut, and connections that take it."""
    with cutter(database_url) as (cutting, through):
        engine = engine_for(through, WRITER)
        yield cutting, engine
        engine.dispose()


def make_deposits(cutting: CommitCutter, book: PostgresBook, cuts: int, *, anew: bool = False) -> Story:
    """Two deposits for each cut, repeated until acknowledged; with `anew`, under a new id each time."""
    dice, story = random.Random(cuts), Story("cut")
    book.record(story.portfolio_id, story.opened())
    for _ in range(cuts):
        events = _deposits(story)
        cutting.plan(dice.choice(CUTS))
        with pytest.raises(DATABASE_GONE):
            book.record(story.portfolio_id, events)
        book.record(story.portfolio_id, _deposits(story) if anew else events)
    return story


def _deposits(story: Story) -> list[NewEvent]:
    return [story.new(CashDeposited(account="main", asset=Asset("USD"), amount=Decimal(1))) for _ in range(2)]


@pytest.mark.parametrize("cuts", [45, pytest.param(500, marks=pytest.mark.nightly)])
def test_repeated_event_after_a_cut_commit_is_stored_once(
    way: tuple[CommitCutter, Engine], engine: Engine, cuts: int
) -> None:
    """No acknowledged event is missing, none is doubled, and the views follow from the log."""
    cutting, through = way
    story = make_deposits(cutting, book := PostgresBook(through, SteppingClock()), cuts)

    assert [one.event_id for one in book.log.read(story.portfolio_id)] == [one.event_id for one in story.events]
    proven = verify_portfolio(engine, story.portfolio_id)
    assert (proven.differences, proven.broken) == ((), None)


def test_repeat_with_another_id_is_detected(way: tuple[CommitCutter, Engine]) -> None:
    """Planted: with another id the repeat is another event, and the cash is too high."""
    cutting, through = way
    story = make_deposits(cutting, book := PostgresBook(through, SteppingClock()), 9, anew=True)

    deposited = [one for one in book.log.read(story.portfolio_id) if one.type == "CashDeposited"]
    assert len(deposited) > 1 + 2 * 9


# --- a trader ---------------------------------------------------------------------------------------------------------


class Trader:
    """A signal traded through connections that are cut; after each cut the same program continues."""

    def __init__(self, plain: PostgresBook, cutting: CommitCutter, engine: Engine, name: str) -> None:
        self.room, self.venue = Room(plain, name), ScriptedExchange()
        self.room.mark()
        self.room.signal()
        book = PostgresBook(engine, self.room.clock)
        self._leadership = PostgresLeadership(book, engine, self.room.portfolio_id, name, self.room.clock)
        self._service = TradeService(
            book,
            self.room.portfolio_id,
            {self.venue.venue: self.venue},
            self.room.clock,
            name,
            self._leadership,
            halt_lock=PostgresHaltLock(engine),
        )
        self._cutting = cutting
        self._before = cutting.commits

    def play(self) -> int:
        """The number of COMMITs until nothing is open."""
        for _ in range(5):
            try:
                self._service.step()
            except DATABASE_GONE:
                self._service.step()
            self.room.clock.move(seconds=SUBMIT_TIMEOUT.total_seconds())
        self._leadership.close()
        return self._cutting.commits - self._before

    def faults(self) -> Iterator[str]:
        orders = self.room.orders()
        yield from (f"still {one.status}" for one in orders if one.live)
        if len(self.room.of(SignalApproved)) != 1 or len(orders) != 1:
            yield "not one verdict and one order"
        if len(self.venue.submitted) > 1 or len(self.room.of(TradeExecuted)) != 2 * len(self.venue.submitted):
            yield f"sent {len(self.venue.submitted)} times, {len(self.room.of(TradeExecuted))} trades"
        yield from map(str, self.room.broken_invariants())


@pytest.mark.parametrize("cut", CUTS)
def test_trader_with_cut_commits_sends_and_books_once(
    way: tuple[CommitCutter, Engine], postgres_book: PostgresBook, cut: Cut
) -> None:
    """At any COMMIT: one verdict, one order, sent at most once, each fill one trade."""
    cutting, engine = way
    number, faults = 0, list[str]()
    while True:
        trader = Trader(postgres_book, cutting, engine, f"{cut} {number}")
        cutting.plan(cut, number)
        trader.play()
        if cutting.planned:
            break
        faults += [f"cut {cut} COMMIT {number}: {fault}" for fault in trader.faults()]
        number += 1
    assert faults == []
    assert number >= 6
