"""However a cut is reached (columns, an earlier cut, the stored views), its rows are those of the plain fold."""

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
def roads(*, columns: bool, earlier: bool) -> Iterator[None]:
    """Whether columns fold every log, and whether every cut goes on from an earlier one where there is one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(past, "FAST_FROM", 0 if columns else 10**9)
        patch.setattr(past, "TIMES_SLOWER", 0 if earlier else 10**9)
        yield


def told(found: History, story: Story, point: PointInTime, projections: tuple[Projection, ...]) -> list[str]:
    with found.reading(story.portfolio_id, point, projections) as reading:
        assert reading.stopped is None
        return texts(reading.rows, row_kinds(projections))


@given(
    life=lives,
    more=lives,
    asked=st.lists(st.tuples(moments, moments), min_size=2, max_size=6),
    columns=st.booleans(),
    earlier=st.booleans(),
    projections=st.sampled_from([PROJECTIONS, VALUE_PROJECTIONS]),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=25)
def test_every_road_is_the_plain_fold(
    engine: Engine,
    new_story: StoryMaker,
    life: list[Step],
    more: list[Step],
    asked: list[tuple[datetime | None, datetime | None]],
    columns: bool,
    earlier: bool,
    projections: tuple[Projection, ...],
) -> None:
    """At any times, asked in any order, before and after more was recorded, the rows are those of the naive replay."""
    book, story, found = PostgresBook(engine, SteppingClock(step=STEP)), new_story(), History(engine)
    tables = [f'["{kind.table}",' for kind in row_kinds(projections)]
    record_all(book, story, batches_of(story, life))
    with roads(columns=columns, earlier=earlier):
        for _ in range(2):
            log = list(book.log.read(story.portfolio_id))
            for as_of, known_at in asked:
                wanted = [one for one in replayed(log, PointInTime(as_of, known_at)) if one.startswith(tuple(tables))]
                assert told(found, story, PointInTime(as_of, known_at), projections) == wanted
            record_all(book, story, [batch for step in more if (batch := story.play(step))])


@pytest.fixture(params=[0, 45], ids=["in order", "late entries"])
def long(request: pytest.FixtureRequest, engine: Engine, new_story: StoryMaker) -> Story:
    """A stored life of trades with all that stands around them; behind a reversal cuts are folded event by event."""
    moves = [move for move in MOVES if move != "reverse"]
    story = traded(new_story(), 90, request.param, moves)
    record_all(PostgresBook(engine, SteppingClock(step=STEP)), story, [story.events])
    return story


def middle_of(story: Story) -> tuple[datetime, datetime]:
    """Two times of occurrence: in the middle of the life, and a little later."""
    times = sorted(one.occurred_at for one in story.events)
    return times[len(times) // 2], times[len(times) // 2 + 9]


def check_cuts(engine: Engine, story: Story) -> None:
    """The cuts in the middle and a little later, by columns and from each other, are the replay there."""
    log, found = list(PostgresBook(engine, SteppingClock()).log.read(story.portfolio_id)), History(engine)
    tables = tuple(f'["{kind.table}",' for kind in row_kinds(VALUE_PROJECTIONS))
    with roads(columns=True, earlier=True):
        for moment in middle_of(story):
            wanted = [one for one in replayed(log, PointInTime(moment)) if one.startswith(tables)]
            assert told(found, story, PointInTime(moment), VALUE_PROJECTIONS) == wanted


def test_each_road_is_taken(engine: Engine, long: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first question is told by columns alone, the next one folds only what lies between, the present folds nothing."""
    first, later = middle_of(long)
    fold = Mock(wraps=attempt_fold)
    monkeypatch.setattr(past, "attempt_fold", fold)
    found = History(engine)
    with roads(columns=True, earlier=True):
        told(found, long, PointInTime(first), VALUE_PROJECTIONS)
        assert fold.call_count == 0
        told(found, long, PointInTime(later), VALUE_PROJECTIONS)
        assert 0 < fold.call_count <= 9
        fold.reset_mock()
        told(found, long, PointInTime(max(one.occurred_at for one in long.events)), VALUE_PROJECTIONS)
        assert fold.call_count == 0


def test_a_replay_at_a_cut_is_the_same_by_columns(engine: Engine, long: Story) -> None:
    """State, identities and worth of `daybook replay --as-of` do not depend on the road."""
    point = PointInTime(middle_of(long)[1])
    with roads(columns=False, earlier=False):
        plain = replay_at(engine, long.portfolio_id, point)
    told_events: list[int] = []
    with roads(columns=True, earlier=False):
        assert replay_at(engine, long.portfolio_id, point, told_events.append) == plain
    assert (sum(told_events), plain.replay.differences) == (len(long.events), ())


def _counts_all(*_: object) -> bool:
    return True


def _adds_nothing(asked: AsOfFilter, moment: datetime | None, _more: Iterable[Any]) -> tuple[AsOfFilter, list[Any]]:
    return AsOfFilter(moment), []


@pytest.mark.parametrize(
    ("place", "name", "planted"),
    [(fast_replay, "_counts", _counts_all), (point_in_time.AsOfFilter, "later", _adds_nothing)],
    ids=["columns that forget the time", "an earlier cut taken for the later one"],
)
def test_a_road_that_goes_astray_is_found(
    engine: Engine, long: Story, monkeypatch: pytest.MonkeyPatch, place: object, name: str, planted: object
) -> None:
    """Planted: with one of the roads wrong, the rows are not those of the replay."""
    check_cuts(engine, long)
    monkeypatch.setattr(place, name, planted)
    with pytest.raises(AssertionError):
        check_cuts(engine, long)


def test_a_line_is_read_as_its_row(new_story: StoryMaker) -> None:
    """A row written as a line and read again is the same row, of every kind."""
    story, book = traded(new_story(), 120), MemoryBook(SteppingClock())
    book.record(story.portfolio_id, story.events)
    with book.reading(story.portfolio_id) as reading:
        rows = list(all_rows(reading.rows, row_kinds()))
    assert len({type(row) for row in rows}) > 8
    for row in rows:
        assert row_reader(type(row))(line_of(row)) == row
