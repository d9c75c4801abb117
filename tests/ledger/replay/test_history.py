"""Points in time: the rows at a time of occurrence and of recording are those of a replay of the events known then."""

import json
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine

from ledger.log import point_in_time
from ledger.log.envelope import Envelope
from ledger.log.point_in_time import PointInTime
from ledger.postgres.book import PostgresBook
from ledger.postgres.views import row_kinds
from ledger.projections import VALUE_PROJECTIONS
from ledger.projections.holdings import Holding
from ledger.projections.portfolio import PortfolioView
from ledger.projections.valuation import value_portfolio
from ledger.replay.history import History
from ledger.rows import MemoryRows, Row, Rows, all_rows, row_text
from tests.support.events import START, Step, SteppingClock, Story, batches_of, fold_log, record_all, steps

StoryMaker = Callable[[], Story]
lives = st.lists(steps(), min_size=1, max_size=25)
moments = st.none() | st.integers(-60, 60 * 30).map(lambda seconds: START + timedelta(seconds=seconds))


def replayed(log: Iterable[Envelope], point: PointInTime) -> list[str]:
    """Replay naively: select events by their times and by those of the events they answer, then fold once."""
    known = [one for one in log if point.known_at is None or one.recorded_at <= point.known_at]
    by_id = {one.event_id: one for one in known}
    return texts(fold_log([one for one in known if happened(one, by_id, point.as_of)], MemoryRows()))


def happened(one: Envelope, by_id: dict[UUID, Envelope], as_of: datetime | None) -> bool:
    if as_of is None or one.type in ("PortfolioOpened", "AccountOpened"):
        return True
    names = (getattr(one.event, name, None) for name in ("signal_id", "order_id", "reverses"))
    causes = [by_id[name] for name in names if name in by_id]
    in_time = one.type == "TradeReversed" or one.occurred_at <= as_of
    return in_time and all(happened(cause, by_id, as_of) for cause in causes)


def texts(rows: Rows, kinds: Iterable[type[Row]] = row_kinds()) -> list[str]:
    return sorted(row_text(row) for row in all_rows(rows, kinds))


@given(life=lives, more=lives, points=st.lists(st.tuples(moments, moments), min_size=1, max_size=6))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=25)
def test_reading_equals_the_naive_replay_at_any_point_in_time(
    engine: Engine,
    new_story: StoryMaker,
    life: list[Step],
    more: list[Step],
    points: list[tuple[datetime | None, datetime | None]],
) -> None:
    """At any two times, and again after more events were recorded."""
    book, story, past = PostgresBook(engine, SteppingClock(step=timedelta(seconds=40))), new_story(), History(engine)
    record_all(book, story, batches_of(story, life))
    check(book, past, story, points)
    record_all(book, story, [batch for step in more if (batch := story.play(step))])
    check(book, past, story, points)


def check(
    book: PostgresBook, past: History, story: Story, points: Iterable[tuple[datetime | None, datetime | None]]
) -> None:
    log = list(book.log.read(story.portfolio_id))
    for as_of, known_at in points:
        point = PointInTime(as_of, known_at)
        with past.reading(story.portfolio_id, point) as reading:
            assert reading.stopped is None
            assert reading.position == sum(1 for one in log if known_at is None or one.recorded_at <= known_at)
            assert texts(reading.rows) == replayed(log, point)
            if next(reading.rows.where(PortfolioView), None):
                value_portfolio(reading.rows)


def test_as_of_and_known_at_are_independent(engine: Engine, new_story: StoryMaker) -> None:
    """A late entry changes the position of a past day, but not the report that was made before it."""
    book, story, past = PostgresBook(engine, SteppingClock()), new_story(), History(engine)
    record_all(book, story, [story.opened(), story.buy(Step("buy"))])
    evening = story.now
    reported = list(book.log.read(story.portfolio_id))[-1].recorded_at
    record_all(book, story, [story.buy(Step("buy", minutes_late=1)), story.sell(Step("sell"))])

    quantities = {
        name: quantity_at(past, story, point)
        for name, point in {
            "now": PointInTime(),
            "that evening": PointInTime(as_of=evening),
            "that evening, as reported then": PointInTime(as_of=evening, known_at=reported),
            "as reported then": PointInTime(known_at=reported),
        }.items()
    }
    assert quantities == {
        "now": "0.5",
        "that evening": "1.0",
        "that evening, as reported then": "0.5",
        "as reported then": "0.5",
    }


def quantity_at(past: History, story: Story, point: PointInTime) -> str:
    with past.reading(story.portfolio_id, point) as reading:
        return str(next(reading.rows.where(Holding, "BTC")).quantity)


def test_planted_filter_that_ignores_the_time_is_found(
    engine: Engine, new_story: StoryMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(point_in_time.AsOfFilter, "counts", lambda *_: True)

    with pytest.raises(AssertionError):
        test_as_of_and_known_at_are_independent(engine, new_story)


@given(life=lives, point=st.builds(PointInTime, moments, moments))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=15)
def test_reading_of_value_projections_equals_their_rows_in_the_whole(
    engine: Engine, new_story: StoryMaker, life: list[Step], point: PointInTime
) -> None:
    book, story, past = PostgresBook(engine, SteppingClock()), new_story(), History(engine)
    record_all(book, story, batches_of(story, life))
    with past.reading(story.portfolio_id, point) as reading:
        whole = texts(reading.rows)
    with past.reading(story.portfolio_id, point, VALUE_PROJECTIONS) as reading:
        part = texts(reading.rows, row_kinds(VALUE_PROJECTIONS))

    tables = {kind.table for kind in row_kinds(VALUE_PROJECTIONS)}
    assert part == [text for text in whole if json.loads(text)[0] in tables]


def test_reading_folds_again_after_a_failure(
    engine: Engine, new_story: StoryMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fold may fail because the database is gone for a moment."""
    book, story, past = PostgresBook(engine, SteppingClock()), new_story(), History(engine)
    record_all(book, story, [story.opened(), story.buy(Step("buy"))])
    point = PointInTime(as_of=story.now)
    record_all(book, story, [story.buy(Step("buy"))])
    with monkeypatch.context() as broken:
        broken.setattr("ledger.replay.history.attempt_fold", lambda *_: ([], "OperationalError: gone"))
        with past.reading(story.portfolio_id, point) as reading:
            assert reading.stopped is not None
    with past.reading(story.portfolio_id, point) as reading:
        assert reading.stopped is None
    assert quantity_at(past, story, point) == "0.5"
