"""Replay proves the views or says where they differ; nothing stops it, and it stops nothing."""

import gc
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar
from uuid import UUID

import psycopg
import pytest
from sqlalchemy import Engine

from ledger.events import EVENTS, CashDeposited, Event, TradingHalted
from ledger.log.envelope import Envelope
from ledger.log.event_log import BrokenLog, NoSuchPortfolio
from ledger.postgres.book import PostgresBook
from ledger.postgres.database import engine_for
from ledger.postgres.log import lock_rebuild, raw, read_stream
from ledger.postgres.views import row_kinds
from ledger.projections import PROJECTIONS
from ledger.projections.book import Book, MemoryBook, Stopped
from ledger.projections.holdings import Holding
from ledger.projections.policy import TradingState
from ledger.replay.differences import PortfolioReplay
from ledger.replay.verify import all_portfolios, rebuild_portfolio, stray_differences, verify_portfolio
from ledger.rows import Change, MemoryRows, Row, Rows, all_rows, row_text, state_hash
from tests.conftest import wait_until_blocked
from tests.support.events import Step, SteppingClock, Story, fold_log, realistic_batches, record_all

StoryMaker = Callable[[], Story]
Superuser = psycopg.Connection[tuple[Any, ...]]


def whole(report: PortfolioReplay) -> bool:
    return report.broken is None and report.differences == ()


def state_in_memory(book: Book, portfolio_id: UUID) -> str:
    """The state hash of a fresh fold of the book's log."""
    rows = fold_log(book.log.read(portfolio_id), MemoryRows())
    return state_hash(row_text(row) for row in all_rows(rows, row_kinds()))


# --- what replay says -------------------------------------------------------------------------------------------------


def test_a_replay_counts_and_names(postgres_book: PostgresBook, engine: Engine, new_story: StoryMaker) -> None:
    """A replay says which portfolio it read, how many events and trades, and the same state hash every time."""
    story = new_story()
    record_all(postgres_book, story, realistic_batches(story, 40))
    told: list[int] = []

    report = verify_portfolio(engine, story.portfolio_id, told.append)
    assert whole(report)
    assert (report.name, report.events) == (f"The {story.name} portfolio", len(story.events))
    assert report.trades == sum(1 for new in story.events if new.event.type == "TradeExecuted")
    assert report.state_hash == state_in_memory(postgres_book, story.portfolio_id)
    assert sum(told) == report.events
    assert verify_portfolio(engine, story.portfolio_id) == report
    assert all_portfolios(engine) == [story.portfolio_id]


def test_a_rebuild_gives_the_same_rows(postgres_book: PostgresBook, engine: Engine, new_story: StoryMaker) -> None:
    """Views that were rebuilt, once or twice, in full or from nothing, are the ones that had grown step by step."""
    story = new_story()
    record_all(postgres_book, story, realistic_batches(story, 40))
    before = verify_portfolio(engine, story.portfolio_id)

    for _ in range(2):
        assert rebuild_portfolio(engine, story.portfolio_id) == before.events
        assert verify_portfolio(engine, story.portfolio_id) == before
    with engine.begin() as connection:
        for table in ("view_checkpoints", *(kind.table for kind in row_kinds())):
            raw(connection).execute(f"delete from {table}")
    assert verify_portfolio(engine, story.portfolio_id).differences[0].what == "view_checkpoints"
    rebuild_portfolio(engine, story.portfolio_id)
    assert verify_portfolio(engine, story.portfolio_id) == before
    record_all(postgres_book, story, [story.buy(Step("buy"))])
    assert whole(verify_portfolio(engine, story.portfolio_id))


def test_only_the_log_is_believed(postgres_book: PostgresBook, engine: Engine, new_story: StoryMaker) -> None:
    """A rebuild repairs whatever was done to the rows, and old rows are gone afterwards."""
    story = new_story()
    record_all(postgres_book, story, realistic_batches(story, 40))
    with engine.begin() as connection:
        raw(connection).execute("update holdings set quantity = quantity * 2")
        raw(connection).execute("delete from trades")
    assert not whole(verify_portfolio(engine, story.portfolio_id))

    rebuild_portfolio(engine, story.portfolio_id)
    assert whole(verify_portfolio(engine, story.portfolio_id))
    with engine.begin() as connection:
        for kind in row_kinds():
            generations = raw(connection).execute(f"select distinct generation from {kind.table}").fetchall()
            assert generations in ([], [(2,)])


def test_a_portfolio_that_is_not_there_is_not_rebuilt(engine: Engine) -> None:
    """A rebuild of an unknown portfolio says so and writes nothing."""
    with pytest.raises(NoSuchPortfolio):
        rebuild_portfolio(engine, UUID(int=8))
    assert stray_differences(engine) == []


def test_a_broken_log_is_not_rebuilt(
    postgres_book: PostgresBook, engine: Engine, superuser: Superuser, new_story: StoryMaker
) -> None:
    """A rebuild from a log that does not hold together is refused, and the views stay as they were."""
    story = new_story()
    record_all(postgres_book, story, realistic_batches(story, 20))
    with postgres_book.reading(story.portfolio_id) as reading:
        before = [row_text(row) for row in all_rows(reading.rows, row_kinds())]
    superuser.execute("alter table events disable trigger refuse_change")
    superuser.execute("update events set actor = 'x' where position = 7")

    with pytest.raises(BrokenLog, match="position 7"):
        rebuild_portfolio(engine, story.portfolio_id)
    report = verify_portfolio(engine, story.portfolio_id)
    assert report.broken is not None
    assert (report.broken.position, report.events, report.state_hash) == (7, 6, "")
    with postgres_book.reading(story.portfolio_id) as reading:
        assert [row_text(row) for row in all_rows(reading.rows, row_kinds())] == before


def test_a_reader_that_stops_half_way_leaves_nothing_open(
    postgres_book: PostgresBook, engine: Engine, new_story: StoryMaker
) -> None:
    """A stream of events that is not read to its end holds nothing in the database that must be closed later.

    A cursor left open is closed by the garbage collector, in the middle of the connection's next statement: a deadlock.
    """
    story = new_story()
    record_all(postgres_book, story, [story.opened()])
    with engine.connect() as connection:
        stream = read_stream(raw(connection), story.portfolio_id)
        assert next(stream).position == 1
        assert raw(connection).execute("select name from pg_cursors").fetchall() == []
        del stream
        gc.collect()
        assert raw(connection).execute("select 1").fetchone() == (1,)


# --- poison -----------------------------------------------------------------------------------------------------------


class FromTheFuture(TradingHalted):
    """What a newer program wrote: this one does not know the type until it is upgraded."""

    type: ClassVar[str] = "FromTheFuture"


class UnknownDeposit(CashDeposited):
    type: ClassVar[str] = "UnknownDeposit"


def check_stopped(book: Book, story: Story, other: Story, position: int, reason: str) -> None:
    """The log has everything; the views stand before `position` and say why; the other portfolio goes on."""
    story_log = list(book.log.read(story.portfolio_id))
    assert [one.event_id for one in story_log] == [new.event_id for new in story.events]
    with book.reading(story.portfolio_id) as reading:
        assert reading.position == position - 1
        assert reading.stopped is not None
        assert reading.stopped.position == position
        assert reason in reading.stopped.reason
    book.record(other.portfolio_id, other.buy(Step("buy")))
    with book.reading(other.portfolio_id) as reading:
        assert (reading.position, reading.stopped) == (len(other.events), None)


def two_stories(book: Book, new_story: StoryMaker) -> tuple[Story, Story]:
    story, other = new_story(), new_story()
    for one in (story, other):
        record_all(book, one, realistic_batches(one, 20))
    return story, other


def test_an_event_from_the_future_stops_only_its_portfolio(
    book: Book, new_story: StoryMaker, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """An unknown event is stored and stops its portfolio's views there; an upgraded program rebuilds them in full."""
    story, other = two_stories(book, new_story)
    position = len(story.events) + 2
    batch = [*story.deposit(Step("deposit")), story.new(FromTheFuture(reason="new")), *story.buy(Step("buy"))]
    book.record(story.portfolio_id, batch)
    book.record(story.portfolio_id, story.sell(Step("sell")))

    check_stopped(book, story, other, position, "UnknownEvent: event type FromTheFuture version 1 is unknown here")
    if isinstance(book, PostgresBook):
        check_repair(request.getfixturevalue("engine"), book, story, other, position, monkeypatch)


def check_repair(
    engine: Engine, book: PostgresBook, story: Story, other: Story, position: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Replay names the position; rebuilding without an upgrade stops there again; with one it goes to the end."""
    report = verify_portfolio(engine, story.portfolio_id)
    assert [(one.what, one.first_event) for one in report.differences] == [("replay", position)]
    assert report.events == len(story.events)
    assert rebuild_portfolio(engine, story.portfolio_id) == position - 1
    assert verify_portfolio(engine, story.portfolio_id) == report
    assert whole(verify_portfolio(engine, other.portfolio_id))

    monkeypatch.setitem(EVENTS, ("FromTheFuture", 1), FromTheFuture)
    assert not whole(verify_portfolio(engine, story.portfolio_id))
    assert rebuild_portfolio(engine, story.portfolio_id) == len(story.events)
    repaired = verify_portfolio(engine, story.portfolio_id)
    assert whole(repaired)
    assert repaired.state_hash == state_in_memory(book, story.portfolio_id)
    book.record(story.portfolio_id, story.sell(Step("sell")))
    assert whole(verify_portfolio(engine, story.portfolio_id))


class Raising:
    """A fold with a bug: it cannot bear one of the events."""

    name = "raising"
    version = 1
    events: tuple[type[Event], ...] = tuple(EVENTS.values())
    rows: tuple[type[Row], ...] = ()

    def fold(self, rows: Rows, envelope: Envelope) -> list[Change]:
        if envelope.type == "TradingHalted":
            raise ZeroDivisionError("a halt of no length")
        return []


@dataclass(frozen=True, slots=True)
class Unheard(Row):
    table: ClassVar[str] = "no_such_table"
    key: ClassVar[tuple[str, ...]] = ("name",)
    name: str


class Misreading(Raising):
    """A fold that fails inside the database, whose transaction is of no use after that."""

    def fold(self, rows: Rows, envelope: Envelope) -> list[Change]:
        if envelope.type == "TradingHalted":
            rows.get(Unheard, "x")
        return []


class Miswriting(Raising):
    """A fold whose rows the database does not take."""

    def fold(self, rows: Rows, envelope: Envelope) -> list[Change]:
        return [Unheard("x")] if envelope.type == "TradingHalted" else []


@pytest.mark.parametrize(
    ("fold", "reason"),
    [(Raising, "ZeroDivisionError: a halt of no length"), (Misreading, "no_such_table"), (Miswriting, "no_such_table")],
)
def test_a_failing_fold_loses_no_event(engine: Engine, new_story: StoryMaker, fold: type[Raising], reason: str) -> None:
    """Wherever a fold fails, the event is stored and the views stop there; without the bug a rebuild makes them whole."""
    book = PostgresBook(engine, SteppingClock(), (*PROJECTIONS, fold()))
    story, other = new_story(), new_story()
    for one in (story, other):
        record_all(book, one, [one.opened(), one.buy(Step("buy")), one.signal(Step("signal"))])
    position = len(story.events) + 1
    book.record(story.portfolio_id, story.halt(Step("halt")))
    book.record(story.portfolio_id, story.buy(Step("buy")))

    check_stopped(book, story, other, position, reason)
    assert not whole(verify_portfolio(engine, story.portfolio_id))
    assert rebuild_portfolio(engine, story.portfolio_id) == len(story.events)
    assert verify_portfolio(engine, story.portfolio_id).state_hash == state_in_memory(book, story.portfolio_id)
    assert whole(verify_portfolio(engine, story.portfolio_id))


def test_a_failing_fold_in_memory_loses_no_event(new_story: StoryMaker) -> None:
    """The book in memory keeps the event and stops at the same place."""
    book = MemoryBook(SteppingClock(), (*PROJECTIONS, Raising()))
    story, other = new_story(), new_story()
    for one in (story, other):
        record_all(book, one, [one.opened(), one.buy(Step("buy"))])
    position = len(story.events) + 1
    book.record(story.portfolio_id, story.halt(Step("halt")))
    book.record(story.portfolio_id, story.buy(Step("buy")))

    check_stopped(book, story, other, position, "ZeroDivisionError: a halt of no length")


def test_rows_that_the_database_refuses_lose_no_event(
    postgres_book: PostgresBook, engine: Engine, superuser: Superuser, new_story: StoryMaker
) -> None:
    """When the database will not take a row the event is stored, the views stop with its reason, and can be rebuilt."""
    story, other = two_stories(postgres_book, new_story)
    superuser.execute("alter table trading_states add constraint no_halts check (reason <> 'full') not valid")
    position = len(story.events) + 1
    postgres_book.record(story.portfolio_id, [story.new(TradingHalted(reason="full"))])
    check_stopped(postgres_book, story, other, position, "no_halts")
    report = verify_portfolio(engine, story.portfolio_id)
    assert ("view_checkpoints.position", position) in [(one.what, one.first_event) for one in report.differences]

    superuser.execute("alter table trading_states drop constraint no_halts")
    rebuild_portfolio(engine, story.portfolio_id)
    assert whole(verify_portfolio(engine, story.portfolio_id))
    with postgres_book.reading(story.portfolio_id) as reading:
        state = reading.rows.get(TradingState, "portfolio")
        assert state is not None
        assert (state.reason, reading.stopped) == ("full", None)


def test_a_stop_is_compared_too(postgres_book: PostgresBook, engine: Engine, new_story: StoryMaker) -> None:
    """A stored reason that is not the replay's reason is a difference."""
    story, _ = two_stories(postgres_book, new_story)
    postgres_book.record(story.portfolio_id, [story.new(FromTheFuture(reason="new"))])
    with engine.begin() as connection:
        raw(connection).execute("update view_checkpoints set stopped_reason = 'all is well' where stopped_position > 0")

    found = [one.what for one in verify_portfolio(engine, story.portfolio_id).differences]
    assert found == ["replay", "view_checkpoints.stopped_position,stopped_reason"]


def test_a_story_after_a_stop_is_only_in_the_log(new_story: StoryMaker) -> None:
    """Stopped views stay stopped, at the first failure, whatever comes after it."""
    book = MemoryBook(SteppingClock())
    story = new_story()
    record_all(book, story, [story.opened(), [story.new(UnknownDeposit(**deposit()))], story.buy(Step("buy", pick=5))])

    with book.reading(story.portfolio_id) as reading:
        assert reading.position == 3
        assert isinstance(reading.stopped, Stopped)
        assert reading.rows.get(Holding, "ETH") is None


def deposit() -> dict[str, Any]:
    return Story("d").deposit(Step("deposit"))[0].event.model_dump()


# --- while others write -----------------------------------------------------------------------------------------------


@contextmanager
def writing(engine: Engine, story: Story) -> Iterator["Future[int]"]:
    """Another thread goes on with the story until the context ends; the future gives the number of its batches."""
    finished = threading.Event()

    def write() -> int:
        book, number = PostgresBook(engine, SteppingClock()), 0
        while not finished.is_set():
            step = Step("any", pick=number % 31, minutes_late=7 if number % 9 == 0 else 0)
            for batch in (story.buy(step), story.sell(step), story.signal(step), story.reject(step)):
                book.record(story.portfolio_id, batch)
            number += 1
        return number

    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(write)
        try:
            yield future
        finally:
            finished.set()
    assert future.result() > 0


@pytest.fixture
def busy(postgres_book: PostgresBook, new_story: StoryMaker) -> Story:
    """A story with a beginning, to be continued by another thread."""
    story = new_story()
    record_all(postgres_book, story, realistic_batches(story, 30))
    return story


def test_verification_raises_no_false_alarm(engine: Engine, busy: Story) -> None:
    """While others write a replay is of one moment: it never sees a difference that is none."""
    seen = set[int]()
    with writing(engine, busy):
        while len(seen) < 12:
            report = verify_portfolio(engine, busy.portfolio_id)
            assert whole(report), report
            seen.add(report.events)


def test_a_rebuild_loses_nothing_that_is_written_meanwhile(engine: Engine, busy: Story) -> None:
    """Rebuilding again and again under a writer leaves views in which nothing is missing and nothing stands twice."""
    with writing(engine, busy):
        positions = [rebuild_portfolio(engine, busy.portfolio_id) for _ in range(10)]
        assert whole(verify_portfolio(engine, busy.portfolio_id))

    assert positions == sorted(positions)
    report = verify_portfolio(engine, busy.portfolio_id)
    assert whole(report)
    assert report.events == len(busy.events)


def test_rebuilds_do_not_get_in_each_others_way(engine: Engine, busy: Story) -> None:
    """Several rebuilds of one portfolio at one moment, under a writer, all succeed and leave one whole set of rows."""
    with writing(engine, busy), ThreadPoolExecutor(4) as pool:
        rebuilds = [pool.submit(rebuild_portfolio, engine, busy.portfolio_id) for _ in range(12)]
        assert all(rebuild.result() > 0 for rebuild in rebuilds)

    assert whole(verify_portfolio(engine, busy.portfolio_id))
    with engine.connect() as connection:
        assert raw(connection).execute("select count(distinct generation) from trades").fetchone() == (1,)


def test_an_append_waits_for_the_end_of_a_rebuild_only(database_url: str, engine: Engine, busy: Story) -> None:
    """Another rebuild waits for the first, an append does not."""
    book = PostgresBook(engine, SteppingClock())
    with ThreadPoolExecutor(1) as pool, engine.connect() as connection:
        lock_rebuild(raw(connection), busy.portfolio_id)
        book.record(busy.portfolio_id, busy.buy(Step("buy")))
        waiting = pool.submit(rebuild_portfolio, engine, busy.portfolio_id)
        wait_until_blocked(database_url, waiting)
        book.record(busy.portfolio_id, busy.buy(Step("buy")))
        raw(connection).rollback()
        assert waiting.result() == len(busy.events)


def test_new_portfolios_are_no_strays(engine: Engine, new_story: StoryMaker) -> None:
    """While portfolios are being opened nobody's rows are ever called strays."""
    opened = 0
    book = PostgresBook(engine, SteppingClock())

    def open_many() -> int:
        for _ in range(60):
            story = new_story()
            book.record(story.portfolio_id, story.opened())
        return 60

    with ThreadPoolExecutor(1) as pool:
        work = pool.submit(open_many)
        while not work.done():
            assert stray_differences(engine) == []
        opened = work.result()
    assert len(all_portfolios(engine)) == opened


def test_reading_does_not_wait_for_a_writer(database_url: str, engine: Engine, busy: Story) -> None:
    """A replay goes through while an append holds the head, and sees the moment before it."""
    before = verify_portfolio(engine, busy.portfolio_id)
    other = engine_for(database_url, None)
    with other.connect() as connection:
        raw(connection).execute("select lock_portfolio(%s)", (busy.portfolio_id,))
        assert verify_portfolio(engine, busy.portfolio_id) == before
    other.dispose()
