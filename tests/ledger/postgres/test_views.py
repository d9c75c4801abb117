"""Views are written in one transaction with the log, and verification reports every wrong value."""

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


# --- batches and snapshots --------------------------------------------------------------------------------------------


@given(moves=st.lists(steps(), max_size=10), splits=st.sets(st.integers(1, 30)), restarts=st.booleans())
def test_views_are_the_same_for_any_batches(
    engine: Engine, moves: list[Step], splits: set[int], restarts: bool
) -> None:
    """The rows equal those in memory, recorded event by event."""
    story = Story(f"batches {next(_examples)}")
    events = [new for batch in batches_of(story, moves) for new in batch]
    memory = MemoryBook(SteppingClock())
    for new in events:
        memory.record(story.portfolio_id, [new])
    book = PostgresBook(engine, SteppingClock())
    for batch in split_at(events, splits):
        book.record(story.portfolio_id, batch)
        book = PostgresBook(engine, SteppingClock()) if restarts else book

    report = verify_portfolio(engine, story.portfolio_id)
    with memory.reading(story.portfolio_id) as reading:
        assert report.state_hash == state_of(reading)
    with book.reading(story.portfolio_id) as reading:
        assert report.state_hash == state_of(reading)
    assert (report.broken, report.differences) == (None, ())


def split_at(events: Sequence[NewEvent], splits: set[int]) -> Iterator[Sequence[NewEvent]]:
    places = [0, *sorted(one for one in splits if one < len(events)), len(events)]
    for start, end in pairwise(places):
        yield events[start:end]


def test_reading_includes_what_was_just_recorded(book: Any, new_story: StoryMaker) -> None:
    story = new_story()
    for number, batch in enumerate(batches_of(story, [Step("buy", pick=5, quantity=Decimal(1))] * 4)):
        last = book.record(story.portfolio_id, batch)[-1]
        with book.reading(story.portfolio_id) as reading:
            holding = reading.rows.get(Holding, "ETH")
            assert reading.position == last.position
            assert (holding.quantity if holding else ZERO) == number


def test_reading_is_a_snapshot(postgres_book: PostgresBook, engine: Engine, new_story: StoryMaker) -> None:
    """Appends and a rebuild do not change an open reading."""
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


# --- one transaction --------------------------------------------------------------------------------------------------


class Aborted(Exception):
    """The caller aborts the recording."""


def abort(_connection: Raw) -> None:
    raise Aborted


def check_aborted_recording(book: PostgresBook, engine: Engine, story: Story) -> None:
    """A recording that does not commit leaves neither event nor row, and the next one succeeds."""
    record_all(book, story, realistic_batches(story, 10))
    before = verify_portfolio(engine, story.portfolio_id)
    lost = story.buy(Step("buy", quantity=Decimal(3)))
    with pytest.raises(Aborted):
        book.record(story.portfolio_id, lost, alongside=abort)

    assert verify_portfolio(engine, story.portfolio_id) == before
    book.record(story.portfolio_id, story.sell(Step("sell")))
    assert verify_portfolio(engine, story.portfolio_id).differences == ()
    book.record(story.portfolio_id, lost)
    assert verify_portfolio(engine, story.portfolio_id).differences == ()


def test_aborted_recording_leaves_nothing(postgres_book: PostgresBook, engine: Engine, new_story: StoryMaker) -> None:
    """Log, rows and checkpoint are stored together."""
    check_aborted_recording(postgres_book, engine, new_story())


def test_planted_separate_checkpoint_is_found(
    postgres_book: PostgresBook, engine: Engine, new_story: StoryMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkpoint written in its own transaction is ahead of its rows."""

    def in_two(connection: Raw, portfolio_id: UUID, checkpoint: ViewCheckpoint, changes: Sequence[Change]) -> None:
        write_changes(connection, portfolio_id, checkpoint.generation, changes)
        with engine.begin() as another:
            write_checkpoint(raw(another), portfolio_id, checkpoint)

    monkeypatch.setattr(stored_book, "write_step", in_two)
    with pytest.raises(AssertionError):
        check_aborted_recording(postgres_book, engine, new_story())


def test_planted_fold_without_fees_is_found(engine: Engine, new_story: StoryMaker) -> None:
    """Every row is reported with both values."""

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


# --- changed values ---------------------------------------------------------------------------------------------------


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
        """Change the table, verify, and restore it."""
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
def test_verification_reports_every_changed_value(full: Book, table: str) -> None:
    """One changed value in any column, including keys, is reported with table, row and column."""
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
def test_verification_reports_every_changed_checkpoint(full: Book, change: str, named: str) -> None:
    """It is reported as such, or by the rows that it hides."""
    found = full.differences_after("view_checkpoints", f"update view_checkpoints set {change}")

    assert any(one.what.startswith(named) for one in found), found
    assert verify_portfolio(full.engine, full.portfolio_id).differences == ()


@pytest.mark.parametrize("column", ["stopped_position", "stopped_reason"])
def test_checkpoint_refuses_half_a_stop(full: Book, column: str) -> None:
    """A checkpoint has both the position and the reason of a stop, or neither."""
    with pytest.raises(psycopg.errors.CheckViolation):
        full.superuser.execute(f"update view_checkpoints set {column} = '3'")


@pytest.mark.campaign
def test_verification_reports_every_missing_row(full: Book) -> None:
    for table in TABLES:
        check_missing_row(full, table)


def check_missing_row(full: Book, table: str) -> None:
    keys = ", ".join(KEYS[table])
    row = full.superuser.execute(f"select ctid::text, {keys} from {table} order by {keys} desc").fetchone()
    assert row is not None
    found = full.differences_after(table, f"delete from {table} where ctid = '{row[0]}'")

    named = table if table == "view_checkpoints" else f"{table}[{', '.join(str(part) for part in row[1:])}]"
    assert [(one.what, one.stored) for one in found] == [(named, "no row")]


def test_verification_reports_every_invented_row(full: Book) -> None:
    """Also in a generation that is not in use."""
    for table in TABLES[1:]:
        check_invented_row(full, table)


def check_invented_row(full: Book, table: str) -> None:
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


def test_stray_rows_are_reported(full: Book) -> None:
    """Rows of a portfolio without a log are reported by table."""
    columns = "generation, asset, account, quantity, deposited, income, expenses"
    copy = f"insert into balances select gen_random_uuid(), {columns} from balances limit 1"
    found = full.differences_after("balances", copy)

    assert [one.what for one in found] == ["balances: 1 rows"]


def test_verification_ignores_trailing_zeros(full: Book) -> None:
    """1.50 equals 1.5."""
    row = full.superuser.execute("select asset, account, quantity from balances where quantity <> 0").fetchone()
    assert row is not None
    longer = Decimal(f"{row[2]:f}" + ("0" if "." in f"{row[2]:f}" else ".0"))
    update = "update balances set quantity = %s where asset = %s and account = %s"

    assert full.differences_after("balances", update, (longer, row[0], row[1])) == []


def test_balances_add_up_in_sql(full: Book) -> None:
    """Sums in SQL equal those of the fold in memory."""
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
