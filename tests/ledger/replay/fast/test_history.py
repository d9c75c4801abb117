"""Points in time have the rows of the naive replay on every path: fast replay, earlier point in time, stored views."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any
from unittest.mock import Mock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine

from ledger.log import point_in_time
from ledger.log.point_in_time import AsOfFilter, PointInTime
from ledger.postgres.book import PostgresBook
from ledger.postgres.views import row_kinds
from ledger.projections import PROJECTIONS, VALUE_PROJECTIONS
from ledger.projections.book import MemoryBook, attempt_fold
from ledger.replay import history as past
from ledger.replay.fast import replay as fast_replay
from ledger.replay.fast.lines import line_of
from ledger.replay.fast.rows import row_reader
from ledger.replay.history import History, replay_at
from ledger.rows import Projection, all_rows
from tests.ledger.replay.fast.test_replay import MOVES, traded
from tests.ledger.replay.test_history import replayed, texts
from tests.support.events import START, Step, SteppingClock, Story, batches_of, record_all, steps

StoryMaker = Callable[[], Story]
lives = st.lists(steps(), min_size=1, max_size=25)
moments = st.none() | st.integers(-60, 60 * 30).map(lambda seconds: START + timedelta(seconds=seconds))
STEP = timedelta(seconds=40)


@contextmanager
def paths(*, fast: bool, earlier: bool) -> Iterator[None]:
    """Use the fast replay for every log or none, and start from earlier points in time always or never."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(past, "FAST_FROM", 0 if fast else 10**9)
        patch.setattr(past, "TIMES_SLOWER", 0 if earlier else 10**9)
        yield


def rows_at(found: History, story: Story, point: PointInTime, projections: tuple[Projection, ...]) -> list[str]:
    with found.reading(story.portfolio_id, point, projections) as reading:
        assert reading.stopped is None
        return texts(reading.rows, row_kinds(projections))


@given(
    life=lives,
    more=lives,
    points=st.lists(st.tuples(moments, moments), min_size=2, max_size=6),
    fast=st.booleans(),
    earlier=st.booleans(),
    projections=st.sampled_from([PROJECTIONS, VALUE_PROJECTIONS]),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=25)
def test_reading_equals_the_naive_replay_on_every_path(
    engine: Engine,
    new_story: StoryMaker,
    life: list[Step],
    more: list[Step],
    points: list[tuple[datetime | None, datetime | None]],
    fast: bool,
    earlier: bool,
    projections: tuple[Projection, ...],
) -> None:
    """At any times, in any order, and again after more events were recorded."""
    book, story, found = PostgresBook(engine, SteppingClock(step=STEP)), new_story(), History(engine)
    tables = [f'["{kind.table}",' for kind in row_kinds(projections)]
    record_all(book, story, batches_of(story, life))
    with paths(fast=fast, earlier=earlier):
        for _ in range(2):
            log = list(book.log.read(story.portfolio_id))
            for as_of, known_at in points:
                wanted = [one for one in replayed(log, PointInTime(as_of, known_at)) if one.startswith(tuple(tables))]
                assert rows_at(found, story, PointInTime(as_of, known_at), projections) == wanted
            record_all(book, story, [batch for step in more if (batch := story.play(step))])


@pytest.fixture(params=[0, 45], ids=["in order", "late entries"])
def long(request: pytest.FixtureRequest, engine: Engine, new_story: StoryMaker) -> Story:
    """A stored story without reversals, after which events are folded one by one."""
    moves = [move for move in MOVES if move != "reverse"]
    story = traded(new_story(), 90, request.param, moves)
    record_all(PostgresBook(engine, SteppingClock(step=STEP)), story, [story.events])
    return story


def middle_of(story: Story) -> tuple[datetime, datetime]:
    """Two times of occurrence: in the middle of the story and shortly after."""
    times = sorted(one.occurred_at for one in story.events)
    return times[len(times) // 2], times[len(times) // 2 + 9]


def check_moments(engine: Engine, story: Story) -> None:
    """Compare both moments with the naive replay: the first from a fast replay, the second from the first."""
    log, found = list(PostgresBook(engine, SteppingClock()).log.read(story.portfolio_id)), History(engine)
    tables = tuple(f'["{kind.table}",' for kind in row_kinds(VALUE_PROJECTIONS))
    with paths(fast=True, earlier=True):
        for moment in middle_of(story):
            wanted = [one for one in replayed(log, PointInTime(moment)) if one.startswith(tables)]
            assert rows_at(found, story, PointInTime(moment), VALUE_PROJECTIONS) == wanted


def test_reading_takes_the_expected_path(engine: Engine, long: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first reading folds no event one by one, the next only those in between, the present none."""
    first, later = middle_of(long)
    fold = Mock(wraps=attempt_fold)
    monkeypatch.setattr(past, "attempt_fold", fold)
    found = History(engine)
    with paths(fast=True, earlier=True):
        rows_at(found, long, PointInTime(first), VALUE_PROJECTIONS)
        assert fold.call_count == 0
        rows_at(found, long, PointInTime(later), VALUE_PROJECTIONS)
        assert 0 < fold.call_count <= 9
        fold.reset_mock()
        rows_at(found, long, PointInTime(max(one.occurred_at for one in long.events)), VALUE_PROJECTIONS)
        assert fold.call_count == 0


def test_replay_at_gives_the_same_result_on_both_paths(engine: Engine, long: Story) -> None:
    """State hash, invariants and valuation of `daybook replay --as-of`."""
    point = PointInTime(middle_of(long)[1])
    with paths(fast=False, earlier=False):
        expected = replay_at(engine, long.portfolio_id, point)
    progress: list[int] = []
    with paths(fast=True, earlier=False):
        assert replay_at(engine, long.portfolio_id, point, progress.append) == expected
    assert (sum(progress), expected.replay.differences) == (len(long.events), ())


def _counts_all(*_: object) -> bool:
    return True


def _adds_nothing(points: AsOfFilter, moment: datetime | None, _more: Iterable[Any]) -> tuple[AsOfFilter, list[Any]]:
    return AsOfFilter(moment), []


@pytest.mark.parametrize(
    ("place", "name", "planted"),
    [(fast_replay, "_counts", _counts_all), (point_in_time.AsOfFilter, "later", _adds_nothing)],
    ids=["fast replay ignores the time", "later point in time taken for the earlier one"],
)
def test_planted_path_bugs_are_found(
    engine: Engine, long: Story, monkeypatch: pytest.MonkeyPatch, place: object, name: str, planted: object
) -> None:
    check_moments(engine, long)
    monkeypatch.setattr(place, name, planted)
    with pytest.raises(AssertionError):
        check_moments(engine, long)


def test_row_reader_inverts_line_of(new_story: StoryMaker) -> None:
    story, book = traded(new_story(), 120), MemoryBook(SteppingClock())
    book.record(story.portfolio_id, story.events)
    with book.reading(story.portfolio_id) as reading:
        rows = list(all_rows(reading.rows, row_kinds()))
    assert len({type(row) for row in rows}) > 8
    for row in rows:
        assert row_reader(type(row))(line_of(row)) == row
