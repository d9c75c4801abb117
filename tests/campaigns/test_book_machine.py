"""A state machine of book operations: after every step the stored book equals the one in memory and a replay of the log."""

from collections.abc import Callable
from dataclasses import replace
from itertools import count
from typing import Any

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import Engine

from ledger.log.envelope import NewEvent
from ledger.log.event_log import Conflict
from ledger.postgres.book import PostgresBook
from ledger.postgres.views import StoredRows, ViewCheckpoint, row_kinds
from ledger.projections.book import MemoryBook
from ledger.projections.invariants import broken_invariants
from ledger.replay.verify import rebuild_portfolio, stray_differences, verify_portfolio
from ledger.rows import Change, Deleted, all_rows, key_of, row_text, state_hash
from tests.support.events import Step, SteppingClock, Story, steps

StoryMaker = Callable[[], Story]
books = st.sampled_from((0, 1))


class BookMachine(RuleBasedStateMachine):
    """Two stored books on one database, written in turn, and a book in memory as the model."""

    def __init__(self, engine: Engine, new_story: StoryMaker) -> None:
        super().__init__()
        self.engine = engine
        self.story = new_story()
        self.portfolio_id = self.story.portfolio_id
        self.memory = MemoryBook(SteppingClock())
        self.stored = [PostgresBook(engine, SteppingClock()) for _ in range(2)]
        self.last: list[NewEvent] = []

    def record(self, batch: list[NewEvent], book: int) -> None:
        if batch:
            mine = self.memory.record(self.portfolio_id, batch)
            theirs = self.stored[book].record(self.portfolio_id, batch)
            assert [(one.position, one.event_id) for one in mine] == [(one.position, one.event_id) for one in theirs]
            self.last = batch

    @initialize(book=books)
    def open(self, book: int) -> None:
        self.record(self.story.opened(), book)

    # Movements of money come up more often than the rest.
    @rule(step=steps("buy", "sell", "import", "deposit", "withdraw"), book=books)
    def money_moves(self, step: Step, book: int) -> None:
        self.record(self.story.play(step), book)

    @rule(step=steps("asset_in", "asset_out", "transfer", "split", "expense", "reverse", "reverse"), book=books)
    def value_moves_without_a_trade(self, step: Step, book: int) -> None:
        self.record(self.story.play(step), book)

    @rule(step=steps("bot", "signal", "approve", "reject", "expire"), book=books)
    def a_signal_is_emitted_or_judged(self, step: Step, book: int) -> None:
        self.record(self.story.play(step), book)

    @rule(step=steps("order", "order_event", "order_and_fill"), book=books)
    def an_order_progresses(self, step: Step, book: int) -> None:
        self.record(self.story.play(step), book)

    @rule(step=steps("account", "mark", "limit", "halt"), book=books)
    def accounts_marks_and_limits_change(self, step: Step, book: int) -> None:
        self.record(self.story.play(step), book)

    @rule(several=st.lists(steps(), min_size=2, max_size=6), book=books)
    def a_batch_has_several_steps(self, several: list[Step], book: int) -> None:
        self.record([new for step in several for new in self.story.play(step)], book)

    @rule(book=books)
    def a_batch_is_sent_again(self, book: int) -> None:
        self.record(self.last, book)

    @rule(book=books)
    def a_conflict_is_rejected(self, book: int) -> None:
        for one in (self.memory, self.stored[book]):
            with pytest.raises(Conflict):
                one.record(self.portfolio_id, [replace(self.last[-1], actor="somebody else")])

    @rule(step=steps("buy", "sell", "mark"), book=books)
    def an_outdated_position_is_rejected(self, step: Step, book: int) -> None:
        position = self.memory.log.head(self.portfolio_id).position
        batch = self.story.play(step)
        for one in (self.memory, self.stored[book]):
            with pytest.raises(Conflict):
                one.record(self.portfolio_id, batch, expected_position=position - 1)
        self.record(batch, book)

    @rule(book=books)
    def a_process_restarts(self, book: int) -> None:
        self.stored[book] = PostgresBook(self.engine, SteppingClock())

    @rule()
    def views_are_rebuilt(self) -> None:
        position = self.memory.log.head(self.portfolio_id).position
        assert rebuild_portfolio(self.engine, self.portfolio_id) == position

    @invariant()
    @precondition(lambda self: self.last)
    def stored_rows_equal_replayed_and_memory_rows(self) -> None:
        report = verify_portfolio(self.engine, self.portfolio_id)
        rows = self.memory_rows()
        assert report.broken is None
        assert report.differences == ()
        assert report.events == self.memory.log.head(self.portfolio_id).position
        assert report.state_hash == state_hash(row_text(row) for row in all_rows(rows, row_kinds()))
        assert list(broken_invariants(rows)) == []
        for book in self.stored:
            with book.reading(self.portfolio_id) as reading:
                assert (reading.position, reading.stopped) == (report.events, None)

    def memory_rows(self) -> Any:
        with self.memory.reading(self.portfolio_id) as reading:
            return reading.rows

    def teardown(self) -> None:
        assert stray_differences(self.engine) == []


def run(engine: Engine, new_story: StoryMaker, **values: Any) -> None:
    """Run the machine on this database."""

    class Bound(BookMachine):
        def __init__(self) -> None:
            super().__init__(engine, new_story)

    run_state_machine_as_test(Bound, settings=settings(**{"max_examples": 25, "stateful_step_count": 20, **values}))


@pytest.mark.parametrize("lives", [4, pytest.param(25, marks=pytest.mark.campaign)])
def test_stored_book_equals_the_memory_book(engine: Engine, new_story: StoryMaker, lives: int) -> None:
    """Stored rows = replayed rows = rows in memory, the invariants hold, and the chain is valid."""
    run(engine, new_story, max_examples=lives)


@pytest.mark.nightly
def test_stored_book_equals_the_memory_book_for_long(engine: Engine, new_story: StoryMaker) -> None:
    """The same over many long runs."""
    run(engine, new_story, max_examples=400, stateful_step_count=60)


@pytest.mark.parametrize("lives", [3, pytest.param(15, marks=pytest.mark.campaign)])
def test_stored_book_equals_the_memory_book_with_short_selling(engine: Engine, lives: int) -> None:
    """The same in portfolios that allow short lots."""
    numbers = count(1)
    run(engine, lambda: Story(f"short {next(numbers)}", allow_short=True), max_examples=lives)


# --- planted bugs -----------------------------------------------------------------------------------------------------


def forget_pending_changes(self: StoredRows, changes: list[Change]) -> None:
    for change in changes:
        if not isinstance(change, Deleted):
            self._absent.discard((type(change), key_of(change)))
        self._kept.apply([change])


def ignore_other_writers(_self: ViewCheckpoint, _other: object) -> bool:
    return True


@pytest.mark.campaign
@pytest.mark.parametrize(
    ("owner", "name", "planted"),
    [(StoredRows, "apply", forget_pending_changes), (ViewCheckpoint, "__eq__", ignore_other_writers)],
    ids=["batches see stale rows", "rows kept too long"],
)
def test_machine_finds_a_planted_bug(
    engine: Engine, new_story: StoryMaker, monkeypatch: pytest.MonkeyPatch, owner: type, name: str, planted: Any
) -> None:
    """Planted: a book that ignores its own batch, or the events of another process, fails."""
    monkeypatch.setattr(owner, name, planted)

    with pytest.raises(AssertionError):
        run(engine, new_story, max_examples=2000, phases=[Phase.generate], database=None)
