"""Verification confirms the views or reports where they differ; it neither blocks nor is blocked."""

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


def intact(report: PortfolioReplay) -> bool:
    return report.broken is None and report.differences == ()


def state_in_memory(book: Book, portfolio_id: UUID) -> str:
    """The state hash of the book's log, folded in memory."""
    rows = fold_log(book.log.read(portfolio_id), MemoryRows())
    return state_hash(row_text(row) for row in all_rows(rows, row_kinds()))


# --- results ----------------------------------------------------------------------------------------------------------


def test_verification_reports_name_counts_and_state_hash(
    postgres_book: PostgresBook, engine: Engine, new_story: StoryMaker
) -> None:
    """The state hash is the same every time."""
    story = new_story()
    record_all(postgres_book, story, realistic_batches(story, 40))
    progress: list[int] = []

    report = verify_portfolio(engine, story.portfolio_id, progress.append)
    assert intact(report)
    assert (report.name, report.events) == (f"The {story.name} portfolio", len(story.events))
    assert report.trades == sum(1 for new in story.events if new.event.type == "TradeExecuted")
    assert report.state_hash == state_in_memory(postgres_book, story.portfolio_id)
    assert sum(progress) == report.events
    assert verify_portfolio(engine, story.portfolio_id) == report
    assert all_portfolios(engine) == [story.portfolio_id]


def test_rebuild_gives_the_same_rows(postgres_book: PostgresBook, engine: Engine, new_story: StoryMaker) -> None:
    """Views rebuilt once or twice, with rows or without, equal those written event by event."""
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
    assert intact(verify_portfolio(engine, story.portfolio_id))


def test_rebuild_repairs_changed_rows_and_deletes_old_ones(
    postgres_book: PostgresBook, engine: Engine, new_story: StoryMaker
) -> None:
    story = new_story()
    record_all(postgres_book, story, realistic_batches(story, 40))
    with engine.begin() as connection:
        raw(connection).execute("update holdings set quantity = quantity * 2")
        raw(connection).execute("delete from trades")
    assert not intact(verify_portfolio(engine, story.portfolio_id))

    rebuild_portfolio(engine, story.portfolio_id)
    assert intact(verify_portfolio(engine, story.portfolio_id))
    with engine.begin() as connection:
        for kind in row_kinds():
            generations = raw(connection).execute(f"select distinct generation from {kind.table}").fetchall()
            assert generations in ([], [(2,)])


def test_rebuild_refuses_an_unknown_portfolio(engine: Engine) -> None:
    with pytest.raises(NoSuchPortfolio):
        rebuild_portfolio(engine, UUID(int=8))
    assert stray_differences(engine) == []


def test_rebuild_refuses_a_broken_log(
    postgres_book: PostgresBook, engine: Engine, superuser: Superuser, new_story: StoryMaker
) -> None:
    """The views remain as they were."""
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


def test_read_stream_leaves_no_cursor_open_when_stopped_early(
    postgres_book: PostgresBook, engine: Engine, new_story: StoryMaker
) -> None:
    """The garbage collector would close a cursor during the connection's next statement, and deadlock."""
    story = new_story()
    record_all(postgres_book, story, [story.opened()])
    with engine.connect() as connection:
        stream = read_stream(raw(connection), story.portfolio_id)
        assert next(stream).position == 1
        assert raw(connection).execute("select name from pg_cursors").fetchall() == []
        del stream
        gc.collect()
        assert raw(connection).execute("select 1").fetchone() == (1,)


# --- events that cannot be folded -------------------------------------------------------------------------------------


class FromTheFuture(TradingHalted):
    """An event of a newer program."""

    type: ClassVar[str] = "FromTheFuture"


class UnknownDeposit(CashDeposited):
    type: ClassVar[str] = "UnknownDeposit"


def check_stopped(book: Book, story: Story, other: Story, position: int, reason: str) -> None:
    """The log is complete, the views stopped before `position` with this reason, the other portfolio continues."""
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


def test_unknown_event_stops_only_its_portfolio(
    book: Book, new_story: StoryMaker, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """The event is stored; an upgraded program rebuilds the views."""
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
    """Verification reports the position; a rebuild stops there again until the program is upgraded."""
    report = verify_portfolio(engine, story.portfolio_id)
    assert [(one.what, one.first_event) for one in report.differences] == [("replay", position)]
    assert report.events == len(story.events)
    assert rebuild_portfolio(engine, story.portfolio_id) == position - 1
    assert verify_portfolio(engine, story.portfolio_id) == report
    assert intact(verify_portfolio(engine, other.portfolio_id))

    monkeypatch.setitem(EVENTS, ("FromTheFuture", 1), FromTheFuture)
    assert not intact(verify_portfolio(engine, story.portfolio_id))
    assert rebuild_portfolio(engine, story.portfolio_id) == len(story.events)
    repaired = verify_portfolio(engine, story.portfolio_id)
    assert intact(repaired)
    assert repaired.state_hash == state_in_memory(book, story.portfolio_id)
    book.record(story.portfolio_id, story.sell(Step("sell")))
    assert intact(verify_portfolio(engine, story.portfolio_id))


class Raising:
    """A fold that raises on one of the events."""

    name = "raising"
    version = 1
    events: tuple[type[Event], ...] = tuple(EVENTS.values())
    rows: tuple[type[Row], ...] = ()

    def fold(self, rows: Rows, envelope: Envelope) -> list[Change]:
        if envelope.type == "TradingHalted":
            raise ZeroDivisionError("a halt of no length")
        return []


@dataclass(frozen=True, slots=True)
class RowWithoutTable(Row):
    table: ClassVar[str] = "no_such_table"
    key: ClassVar[tuple[str, ...]] = ("name",)
    name: str


class Misreading(Raising):
    """A fold whose query fails, which aborts the transaction."""

    def fold(self, rows: Rows, envelope: Envelope) -> list[Change]:
        if envelope.type == "TradingHalted":
            rows.get(RowWithoutTable, "x")
        return []


class Miswriting(Raising):
    """A fold whose rows the database refuses."""

    def fold(self, rows: Rows, envelope: Envelope) -> list[Change]:
        return [RowWithoutTable("x")] if envelope.type == "TradingHalted" else []


@pytest.mark.parametrize(
    ("fold", "reason"),
    [(Raising, "ZeroDivisionError: a halt of no length"), (Misreading, "no_such_table"), (Miswriting, "no_such_table")],
)
def test_failing_fold_loses_no_event(engine: Engine, new_story: StoryMaker, fold: type[Raising], reason: str) -> None:
    """The event is stored and the views stop there; a rebuild without the bug repairs them."""
    book = PostgresBook(engine, SteppingClock(), (*PROJECTIONS, fold()))
    story, other = new_story(), new_story()
    for one in (story, other):
        record_all(book, one, [one.opened(), one.buy(Step("buy")), one.signal(Step("signal"))])
    position = len(story.events) + 1
    book.record(story.portfolio_id, story.halt(Step("halt")))
    book.record(story.portfolio_id, story.buy(Step("buy")))

    check_stopped(book, story, other, position, reason)
    assert not intact(verify_portfolio(engine, story.portfolio_id))
    assert rebuild_portfolio(engine, story.portfolio_id) == len(story.events)
    assert verify_portfolio(engine, story.portfolio_id).state_hash == state_in_memory(book, story.portfolio_id)
    assert intact(verify_portfolio(engine, story.portfolio_id))


def test_failing_fold_in_memory_loses_no_event(new_story: StoryMaker) -> None:
    """The event is stored and the views stop there."""
    book = MemoryBook(SteppingClock(), (*PROJECTIONS, Raising()))
    story, other = new_story(), new_story()
    for one in (story, other):
        record_all(book, one, [one.opened(), one.buy(Step("buy"))])
    position = len(story.events) + 1
    book.record(story.portfolio_id, story.halt(Step("halt")))
    book.record(story.portfolio_id, story.buy(Step("buy")))

    check_stopped(book, story, other, position, "ZeroDivisionError: a halt of no length")


def test_row_refused_by_the_database_loses_no_event(
    postgres_book: PostgresBook, engine: Engine, superuser: Superuser, new_story: StoryMaker
) -> None:
    """The event is stored, the views stop with the database's reason, and can be rebuilt."""
    story, other = two_stories(postgres_book, new_story)
    superuser.execute("alter table trading_states add constraint no_halts check (reason <> 'full') not valid")
    position = len(story.events) + 1
    postgres_book.record(story.portfolio_id, [story.new(TradingHalted(reason="full"))])
    check_stopped(postgres_book, story, other, position, "no_halts")
    report = verify_portfolio(engine, story.portfolio_id)
    assert ("view_checkpoints.position", position) in [(one.what, one.first_event) for one in report.differences]

    superuser.execute("alter table trading_states drop constraint no_halts")
    rebuild_portfolio(engine, story.portfolio_id)
    assert intact(verify_portfolio(engine, story.portfolio_id))
    with postgres_book.reading(story.portfolio_id) as reading:
        state = reading.rows.get(TradingState, "portfolio")
        assert state is not None
        assert (state.reason, reading.stopped) == ("full", None)


def test_verification_compares_the_reason_of_a_stop(
    postgres_book: PostgresBook, engine: Engine, new_story: StoryMaker
) -> None:
    story, _ = two_stories(postgres_book, new_story)
    postgres_book.record(story.portfolio_id, [story.new(FromTheFuture(reason="new"))])
    with engine.begin() as connection:
        raw(connection).execute("update view_checkpoints set stopped_reason = 'all is well' where stopped_position > 0")

    found = [one.what for one in verify_portfolio(engine, story.portfolio_id).differences]
    assert found == ["replay", "view_checkpoints.stopped_position,stopped_reason"]


def test_views_stay_stopped_at_the_first_failure(new_story: StoryMaker) -> None:
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
    """Continue the story in another thread until the context ends; the future holds the number of rounds."""
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
    """A story for another thread to continue."""
    story = new_story()
    record_all(postgres_book, story, realistic_batches(story, 30))
    return story


def test_verification_reports_no_difference_while_others_write(engine: Engine, busy: Story) -> None:
    """Verification reads a single snapshot."""
    seen = set[int]()
    with writing(engine, busy):
        while len(seen) < 12:
            report = verify_portfolio(engine, busy.portfolio_id)
            assert intact(report), report
            seen.add(report.events)


def test_rebuild_loses_no_event_written_meanwhile(engine: Engine, busy: Story) -> None:
    """Repeated rebuilds under a writer leave no row missing or duplicated."""
    with writing(engine, busy):
        positions = [rebuild_portfolio(engine, busy.portfolio_id) for _ in range(10)]
        assert intact(verify_portfolio(engine, busy.portfolio_id))

    assert positions == sorted(positions)
    report = verify_portfolio(engine, busy.portfolio_id)
    assert intact(report)
    assert report.events == len(busy.events)


def test_concurrent_rebuilds_succeed(engine: Engine, busy: Story) -> None:
    """Under a writer, all rebuilds succeed and leave one set of rows."""
    with writing(engine, busy), ThreadPoolExecutor(4) as pool:
        rebuilds = [pool.submit(rebuild_portfolio, engine, busy.portfolio_id) for _ in range(12)]
        assert all(rebuild.result() > 0 for rebuild in rebuilds)

    assert intact(verify_portfolio(engine, busy.portfolio_id))
    with engine.connect() as connection:
        assert raw(connection).execute("select count(distinct generation) from trades").fetchone() == (1,)


def test_rebuild_blocks_rebuilds_but_no_appends(database_url: str, engine: Engine, busy: Story) -> None:
    book = PostgresBook(engine, SteppingClock())
    with ThreadPoolExecutor(1) as pool, engine.connect() as connection:
        lock_rebuild(raw(connection), busy.portfolio_id)
        book.record(busy.portfolio_id, busy.buy(Step("buy")))
        waiting = pool.submit(rebuild_portfolio, engine, busy.portfolio_id)
        wait_until_blocked(database_url, waiting)
        book.record(busy.portfolio_id, busy.buy(Step("buy")))
        raw(connection).rollback()
        assert waiting.result() == len(busy.events)


def test_new_portfolios_are_never_reported_as_strays(engine: Engine, new_story: StoryMaker) -> None:
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


def test_verification_does_not_wait_for_a_writer(database_url: str, engine: Engine, busy: Story) -> None:
    """Verification reads the snapshot before an append that holds the head."""
    before = verify_portfolio(engine, busy.portfolio_id)
    other = engine_for(database_url, None)
    with other.connect() as connection:
        raw(connection).execute("select lock_portfolio(%s)", (busy.portfolio_id,))
        assert verify_portfolio(engine, busy.portfolio_id) == before
    other.dispose()
