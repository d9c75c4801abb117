"""Views are the log's consequences: written with it, true after it, and any cell that is not is named."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import count, pairwise
from typing import Any, Final
from uuid import UUID

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine

from ledger.log.envelope import Envelope, NewEvent
from ledger.postgres import book as stored_book
from ledger.postgres.book import PostgresBook
from ledger.postgres.log import Raw, raw
from ledger.postgres.views import ViewCheckpoint, row_kinds, write_changes, write_checkpoint
from ledger.projections import PROJECTIONS
from ledger.projections.book import MemoryBook, Reading
from ledger.projections.holdings import Holding
from ledger.projections.portfolio import Balance
from ledger.projections.trades import TradesProjection, TradeView
from ledger.replay.differences import Difference
from ledger.replay.verify import rebuild_portfolio, stray_differences, verify_portfolio
from ledger.rows import Change, Projection, Rows, all_rows, replaced, row_text, state_hash
from ledger.values import ZERO
from tests.support.events import (
    START,
    Step,
    SteppingClock,
    Story,
    altered,
    batches_of,
    realistic_batches,
    record_all,
    steps,
)

StoryMaker = Callable[[], Story]
Superuser = psycopg.Connection[tuple[Any, ...]]
TABLES = ("view_checkpoints", *(kind.table for kind in row_kinds()))
KEYS = {"view_checkpoints": ("portfolio_id",), **{kind.table: kind.key for kind in row_kinds()}}
_examples = count(1)


def state_of(reading: Reading) -> str:
    return state_hash(row_text(row) for row in all_rows(reading.rows, row_kinds()))


# --- the same, however it arrives -------------------------------------------------------------------------------------


@given(moves=st.lists(steps(), max_size=10), cuts=st.sets(st.integers(1, 30)), restarts=st.booleans())
def test_cutting_a_history_anywhere_changes_nothing(
    engine: Engine, moves: list[Step], cuts: set[int], restarts: bool
) -> None:
    """Event by event, in any batches, or all at once: the rows are the same, and the same as in memory."""
    story = Story(f"cuts {next(_examples)}")
    events = [new for batch in batches_of(story, moves) for new in batch]
    memory = MemoryBook(SteppingClock())
    for new in events:
        memory.record(story.portfolio_id, [new])
    book = PostgresBook(engine, SteppingClock())
    for batch in cut_at(events, cuts):
        book.record(story.portfolio_id, batch)
        book = PostgresBook(engine, SteppingClock()) if restarts else book

    report = verify_portfolio(engine, story.portfolio_id)
    with memory.reading(story.portfolio_id) as reading:
        assert report.state_hash == state_of(reading)
    with book.reading(story.portfolio_id) as reading:
        assert report.state_hash == state_of(reading)
    assert (report.broken, report.differences) == (None, ())


def cut_at(events: Sequence[NewEvent], cuts: set[int]) -> Iterator[Sequence[NewEvent]]:
    places = [0, *sorted(cut for cut in cuts if cut < len(events)), len(events)]
    for start, end in pairwise(places):
        yield events[start:end]


def test_a_writer_reads_what_it_wrote(book: Any, new_story: StoryMaker) -> None:
    """The moment recording is through, the rows say so, and the position with them."""
    story = new_story()
    for number, batch in enumerate(batches_of(story, [Step("buy", pick=5, quantity=Decimal(1))] * 4)):
        last = book.record(story.portfolio_id, batch)[-1]
        with book.reading(story.portfolio_id) as reading:
            holding = reading.rows.get(Holding, "ETH")
            assert reading.position == last.position
            assert (holding.quantity if holding else ZERO) == number


def test_a_reading_holds_still(postgres_book: PostgresBook, engine: Engine, new_story: StoryMaker) -> None:
    """What was begun to be read stays as it was to the end, through appends and a rebuild."""
    story = new_story()
    batches = realistic_batches(story, 40)
    record_all(postgres_book, story, batches[:20])
    with postgres_book.reading(story.portfolio_id) as reading:
        position, before = reading.position, state_of(reading)
        record_all(postgres_book, story, batches[20:])
        rebuild_portfolio(engine, story.portfolio_id)
        assert (reading.position, state_of(reading)) == (position, before)
    with postgres_book.reading(story.portfolio_id) as reading:
        assert (reading.position, state_of(reading)) != (position, before)


# --- both or neither --------------------------------------------------------------------------------------------------


class GivenUp(Exception):
    """The caller changes its mind inside the recording."""


def give_up(_connection: Raw) -> None:
    raise GivenUp


def check_a_recording_given_up(book: PostgresBook, engine: Engine, story: Story) -> None:
    """A recording that does not commit leaves neither event nor row, and the next one finds all as it was."""
    record_all(book, story, realistic_batches(story, 10))
    before = verify_portfolio(engine, story.portfolio_id)
    lost = story.buy(Step("buy", quantity=Decimal(3)))
    with pytest.raises(GivenUp):
        book.record(story.portfolio_id, lost, alongside=give_up)

    assert verify_portfolio(engine, story.portfolio_id) == before
    book.record(story.portfolio_id, story.sell(Step("sell")))
    assert verify_portfolio(engine, story.portfolio_id).differences == ()
    book.record(story.portfolio_id, lost)
    assert verify_portfolio(engine, story.portfolio_id).differences == ()


def test_a_recording_given_up_leaves_nothing(
    postgres_book: PostgresBook, engine: Engine, new_story: StoryMaker
) -> None:
    """Log, rows and checkpoint are stored together or not at all."""
    check_a_recording_given_up(postgres_book, engine, new_story())


def test_a_checkpoint_stored_by_itself_would_be_noticed(
    postgres_book: PostgresBook, engine: Engine, new_story: StoryMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planted: a checkpoint written in a transaction of its own runs ahead of its rows, and the check finds it."""

    def in_two(connection: Raw, portfolio_id: UUID, checkpoint: ViewCheckpoint, changes: Sequence[Change]) -> None:
        write_changes(connection, portfolio_id, checkpoint.generation, changes)
        with engine.begin() as another:
            write_checkpoint(raw(another), portfolio_id, checkpoint)

    monkeypatch.setattr(stored_book, "write_step", in_two)
    with pytest.raises(AssertionError):
        check_a_recording_given_up(postgres_book, engine, new_story())


def test_a_fold_that_forgets_fees_would_be_noticed(engine: Engine, new_story: StoryMaker) -> None:
    """Planted: rows made by a fold that leaves fees out are named, row by row, with both values."""

    class Forgetful(TradesProjection):
        def fold(self, rows: Rows, envelope: Envelope) -> list[Change]:
            return [
                replaced(row, fees=ZERO) if isinstance(row, TradeView) else row for row in super().fold(rows, envelope)
            ]

    folds: tuple[Projection, ...] = tuple(
        Forgetful() if isinstance(one, TradesProjection) else one for one in PROJECTIONS
    )
    story = new_story()
    record_all(PostgresBook(engine, SteppingClock(), folds), story, realistic_batches(story, 60))

    found = verify_portfolio(engine, story.portfolio_id).differences
    with_fees = [new for new in story.events if getattr(new.event, "fees", ())]
    assert {one.what for one in found} == {f"trades[{new.event_id}].fees" for new in with_fees}
    assert {one.stored for one in found} == {"fees=0"}
    assert [one.first_event for one in found] == [
        story.events.index(new) + 1 for one in found for new in with_fees if str(new.event_id) in one.what
    ]


# --- every cell counts ------------------------------------------------------------------------------------------------


@dataclass
class Book:
    """A stored book with rows in every view table, and a copy of each table to restore it from."""

    engine: Engine
    superuser: Superuser
    portfolio_id: UUID

    def columns(self, table: str) -> list[tuple[str, str]]:
        statement = "select column_name, data_type from information_schema.columns where table_name = %s order by 1"
        return [(row[0], row[1]) for row in self.superuser.execute(statement, (table,))]

    def differences_after(self, table: str, statement: str, values: Sequence[Any] = ()) -> list[Difference]:
        """What verification finds after a hand has changed the table; the table is restored."""
        try:
            assert self.superuser.execute(statement, values).rowcount == 1
            report = verify_portfolio(self.engine, self.portfolio_id)
            assert report.broken is None
            return [*report.differences, *stray_differences(self.engine)]
        finally:
            with self.superuser.transaction():
                self.superuser.execute(f"delete from {table}")
                self.superuser.execute(f"insert into {table} select * from saved_{table}")


@pytest.fixture
def full(engine: Engine, superuser: Superuser, new_story: StoryMaker) -> Book:
    story = new_story()
    book = PostgresBook(engine, SteppingClock())
    record_all(book, story, realistic_batches(story, 60))
    rebuild_portfolio(engine, story.portfolio_id)
    for table in TABLES:
        assert superuser.execute(f"select count(*) from {table}").fetchone() != (0,), f"no row in {table}"
        superuser.execute(f"create table saved_{table} as select * from {table}")
    return Book(engine, superuser, story.portfolio_id)


EVERY_PUSH: Final = ("lots", "matches", "orders", "signals")
"""Tables with every type of column."""

OTHERS: dict[str, Any] = {
    "text": "x",
    "bigint": 7,
    "numeric": Decimal("0.000000000000000001"),
    "timestamp with time zone": START,
    "uuid": UUID(int=5),
    "boolean": True,
}


@pytest.mark.parametrize(
    "table", [one if one in EVERY_PUSH else pytest.param(one, marks=pytest.mark.campaign) for one in TABLES[1:]]
)
def test_every_changed_cell_is_named(full: Book, table: str) -> None:
    """One altered value in any column of a view table, key columns too, is reported with its table, row and column."""
    keys = KEYS[table]
    row = full.superuser.execute(
        f"select ctid::text, {', '.join(keys)} from {table} order by {', '.join(keys)}"
    ).fetchone()
    assert row is not None
    for column, kind in full.columns(table):
        (old,) = full.superuser.execute(f"select {column} from {table} where ctid = %s::tid", row[:1]).fetchone() or (
            (),
        )
        new = OTHERS[kind] if old is None else altered(old)
        where = " and ".join(f"{key} = %s" for key in keys)
        found = full.differences_after(table, f"update {table} set {column} = %s where {where}", (new, *row[1:]))

        named = f"{table}[{', '.join(str(part) for part in row[1:])}]"
        ours = [one.what for one in found if one.what.startswith(named)]
        assert ours == [named if column in (*keys, "portfolio_id", "generation") else f"{named}.{column}"], column
        if column == "portfolio_id":
            assert f"{table}: 1 rows" in [one.what for one in found]
        elif column == "generation":
            assert table in [one.what for one in found]
        row = full.superuser.execute(
            f"select ctid::text, {', '.join(keys)} from {table} where {where}", row[1:]
        ).fetchone()
        assert row is not None
    assert verify_portfolio(full.engine, full.portfolio_id).differences == ()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("portfolio_id = gen_random_uuid()", "view_checkpoints"),
        ("generation = generation + 1", "portfolio_details["),
        ("generation = generation - 1", "portfolio_details"),
        ("position = position - 1", "view_checkpoints.position"),
        ("position = position + 1", "view_checkpoints.position"),
        ("versions = versions || ' '", "view_checkpoints.versions"),
        ("stopped_position = 3, stopped_reason = 'x'", "view_checkpoints.stopped_position"),
    ],
)
def test_every_changed_checkpoint_is_named(full: Book, change: str, named: str) -> None:
    """An altered checkpoint is reported as such, or by the rows that it makes unfindable."""
    found = full.differences_after("view_checkpoints", f"update view_checkpoints set {change}")

    assert any(one.what.startswith(named) for one in found), found
    assert verify_portfolio(full.engine, full.portfolio_id).differences == ()


@pytest.mark.parametrize("column", ["stopped_position", "stopped_reason"])
def test_half_a_stop_cannot_be_stored(full: Book, column: str) -> None:
    """A checkpoint says both where and why it stopped, or neither: the table refuses anything else."""
    with pytest.raises(psycopg.errors.CheckViolation):
        full.superuser.execute(f"update view_checkpoints set {column} = '3'")


def test_every_missing_row_is_named(full: Book) -> None:
    """A row taken out of any view table is reported, with what it should say."""
    for table in TABLES:
        check_a_missing_row(full, table)


def check_a_missing_row(full: Book, table: str) -> None:
    keys = ", ".join(KEYS[table])
    row = full.superuser.execute(f"select ctid::text, {keys} from {table} order by {keys} desc").fetchone()
    assert row is not None
    found = full.differences_after(table, f"delete from {table} where ctid = '{row[0]}'")

    named = table if table == "view_checkpoints" else f"{table}[{', '.join(str(part) for part in row[1:])}]"
    assert [(one.what, one.stored) for one in found] == [(named, "no row")]


def test_every_invented_row_is_named(full: Book) -> None:
    """A row put into any view table is reported, also when it stands in a generation that nobody reads yet."""
    for table in TABLES[1:]:
        check_an_invented_row(full, table)


def check_an_invented_row(full: Book, table: str) -> None:
    columns = [column for column, _ in full.columns(table)]
    last_key = KEYS[table][-1]
    kind = dict(full.columns(table))[last_key]
    invented = {"text": "'invented'", "bigint": "4711", "uuid": "gen_random_uuid()"}[kind]
    for change in ({last_key: invented}, {"generation": "generation + 1"}):
        values = ", ".join(change.get(column, column) for column in columns)
        copy = f"insert into {table} ({', '.join(columns)}) select {values} from {table} limit 1"
        found = full.differences_after(table, copy)

        assert [one.what.partition("[")[0] for one in found] == [table]
        assert "generation" in change or found[0].replayed == "no row"


def test_rows_of_nobody_are_named(full: Book) -> None:
    """Rows of a portfolio that has no log are reported table by table."""
    columns = "generation, asset, account, quantity, deposited, income, expenses"
    copy = f"insert into balances select gen_random_uuid(), {columns} from balances limit 1"
    found = full.differences_after("balances", copy)

    assert [one.what for one in found] == ["balances: 1 rows"]


def test_a_hidden_decimal_place_is_no_difference(full: Book) -> None:
    """Numbers are compared as numbers: 1.50 is 1.5."""
    row = full.superuser.execute("select asset, account, quantity from balances where quantity <> 0").fetchone()
    assert row is not None
    longer = Decimal(f"{row[2]:f}" + ("0" if "." in f"{row[2]:f}" else ".0"))
    update = "update balances set quantity = %s where asset = %s and account = %s"

    assert full.differences_after("balances", update, (longer, row[0], row[1])) == []


def test_balances_add_up_in_the_database_too(full: Book) -> None:
    """What SQL sums over the stored rows is what the fold in memory sums: the numbers lost nothing on their way."""
    sums: dict[str, Decimal] = dict(
        full.superuser.execute("select asset, sum(quantity) from balances group by 1").fetchall()
    )
    book = PostgresBook(full.engine, SteppingClock())
    with book.reading(full.portfolio_id) as reading:
        folded: dict[str, Decimal] = {}
        for balance in reading.rows.history(Balance):
            folded[balance.asset] = folded.get(balance.asset, ZERO) + balance.quantity
    assert sums == folded
    assert all(isinstance(value, Decimal) for value in sums.values())
