"""Long logs are rebuilt and verified by the column road alone, with the same result as by the plain one."""

import random
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from typing import Any
from uuid import UUID

import psycopg
import pytest
from sqlalchemy import Engine

from ledger.log.event_log import BrokenLog
from ledger.postgres.book import PostgresBook
from ledger.postgres.log import lock_head, raw
from ledger.postgres.views import row_kinds
from ledger.replay import verify as replay
from ledger.replay.differences import PortfolioReplay
from ledger.replay.fast import fold as fast_fold
from ledger.replay.fast import replay as fast_replay
from ledger.replay.verify import rebuild_portfolio, verify_portfolio
from tests.support.events import Step, SteppingClock, Story, record_all

Superuser = psycopg.Connection[tuple[Any, ...]]
StoryMaker = Callable[[], Story]
MOVES = (
    "buy",
    "sell",
    "buy",
    "import",
    "order_and_fill",
    "signal",
    "mark",
    "bot",
    "deposit",
    "withdraw",
    "limit",
    "reverse",
)


class PlainRoadTaken(Exception):
    """The plain road was asked where the column road should have been enough."""


def traded(story: Story, steps: int, minutes_late: int = 45, moves: Sequence[str] = MOVES) -> Story:
    """A life of trades with all that stands around them, some of them told late."""
    dice = random.Random(7)
    batches = [story.opened()]
    for number in range(steps):
        quantity = Decimal(dice.randrange(1, 10**10)).scaleb(-8)
        price = Decimal(dice.randrange(1, 10**9)).scaleb(-4)
        late = minutes_late if number % 11 == 5 else 0
        batches.append(story.play(Step(dice.choice(moves), dice.randrange(30), quantity, price, late)))
    return story


@pytest.fixture
def only_fast(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Every log counts as long, and the plain road is closed."""

    def closed(*_: object, **__: object) -> Any:
        raise PlainRoadTaken

    with monkeypatch.context() as patch:
        patch.setattr(replay, "FAST_FROM", 0)
        patch.setattr(fast_replay, "CHUNK", 7)
        patch.setattr(replay, "_event_by_event", closed)
        patch.setattr(replay, "_write_event_by_event", closed)
        yield patch


@pytest.fixture(params=[0, 45], ids=["in order", "late entries"])
def story(request: pytest.FixtureRequest, postgres_book: PostgresBook, new_story: StoryMaker) -> Story:
    """A stored story whose views grew step by step."""
    story = new_story()
    traded(story, 90, request.param)
    record_all(postgres_book, story, [story.events])
    return story


def thorough(engine: Engine, portfolio_id: UUID) -> PortfolioReplay:
    return verify_portfolio(engine, portfolio_id, thorough=True)


def test_columns_verify_what_grew_step_by_step(engine: Engine, story: Story, only_fast: pytest.MonkeyPatch) -> None:
    """Rows that were written event by event are what the column road expects, and its report is the plain road's."""
    told: list[int] = []
    report = verify_portfolio(engine, story.portfolio_id, told.append)
    only_fast.undo()

    assert report == thorough(engine, story.portfolio_id)
    assert (report.broken, report.differences, report.events) == (None, (), len(story.events))
    assert report.trades > 40
    assert sum(told) == report.events


def test_columns_rebuild_what_the_plain_road_verifies(
    engine: Engine, story: Story, only_fast: pytest.MonkeyPatch
) -> None:
    """Rows rebuilt in columns are those of the plain road, and the story goes on from them."""
    before = verify_portfolio(engine, story.portfolio_id)
    with engine.begin() as connection:
        raw(connection).execute("update holdings set quantity = quantity * 2")
    told: list[int] = []
    assert rebuild_portfolio(engine, story.portfolio_id, told.append) == len(story.events)
    assert verify_portfolio(engine, story.portfolio_id) == before
    assert sum(told) == len(story.events)
    only_fast.undo()
    assert thorough(engine, story.portfolio_id) == before

    book = PostgresBook(engine, SteppingClock())
    for batch in (story.buy(Step("buy")), story.sell(Step("sell", pick=1)), story.sell(Step("sell", minutes_late=60))):
        book.record(story.portfolio_id, batch)
    assert thorough(engine, story.portfolio_id).differences == ()


def test_what_was_appended_while_columns_were_folded_is_caught_up(
    engine: Engine, story: Story, only_fast: pytest.MonkeyPatch
) -> None:
    """Events that arrive between the reading and the taking into use are folded before the swap."""
    book = PostgresBook(engine, SteppingClock())

    def append_and_lock(connection: Any, portfolio_id: UUID) -> None:
        for step in (Step("buy", pick=1), Step("sell", pick=3, minutes_late=90)):
            book.record(portfolio_id, story.play(step))
        lock_head(connection, portfolio_id)

    only_fast.setattr(replay, "lock_head", append_and_lock)
    assert rebuild_portfolio(engine, story.portfolio_id) == len(story.events)
    only_fast.undo()
    assert thorough(engine, story.portfolio_id).differences == ()


_TAMPERINGS = {
    "legs": "update legs set value = value + 0.000000000000000001 where position = (select max(position) from legs)",
    "lots": "update lots set triggered_by = 'manual ' where position = (select max(position) from lots)",
    "matches": "delete from matches where closing_position = (select min(closing_position) from matches)",
    "trades": "update trades set reversed = true where not reversed",
    "balances": "insert into balances select portfolio_id, generation, 'DOGE', account, 0, 0, 0, 0 from balances limit 1",
    "holdings": "update holdings set last_leg = last_leg + 1 where asset = 'BTC'",
    "orders": "update orders set fills = fills + 1 where fills = 2",
    "marks": "update marks set observed_at = observed_at + interval '1 microsecond'",
    "checkpoint": "update view_checkpoints set position = position - 1",
    "a generation": "insert into limits select portfolio_id, generation + 99, name, value from limits limit 1",
    "unreadable": "update marks set observed_at = 'infinity'",
}


@pytest.mark.parametrize("story", [45], indirect=True)
def test_columns_see_every_change_of_a_row(
    engine: Engine, story: Story, superuser: Superuser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is changed in a view shows by the column road too, the plain fold names it, and a rebuild repairs it."""
    monkeypatch.setattr(replay, "FAST_FROM", 0)
    for name, statement in _TAMPERINGS.items():
        assert superuser.execute(statement).rowcount > 0, name
        report = verify_portfolio(engine, story.portfolio_id)
        assert report.differences != (), name
        assert report == thorough(engine, story.portfolio_id), name
        superuser.execute("delete from limits where generation > 99")
        rebuild_portfolio(engine, story.portfolio_id)
        assert verify_portfolio(engine, story.portfolio_id).differences == (), name


def test_columns_build_nothing_on_a_broken_log(
    engine: Engine, story: Story, superuser: Superuser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A log that does not hold together is named as by the plain road, and the old rows stay."""
    monkeypatch.setattr(replay, "FAST_FROM", 0)
    superuser.execute("alter table events disable trigger refuse_change")
    superuser.execute("update events set actor = 'x' where position = 67")

    report = verify_portfolio(engine, story.portfolio_id)
    assert report.broken is not None
    assert (report.broken.position, report.events) == (67, 66)
    with pytest.raises(BrokenLog, match="position 67"):
        rebuild_portfolio(engine, story.portfolio_id)
    with engine.connect() as connection:
        generations = {
            row
            for kind in row_kinds()
            for row in raw(connection).execute(f"select distinct generation from {kind.table}")
        }
    assert generations == {(1,)}


def test_an_unusual_log_is_rebuilt_and_verified_all_the_same(
    engine: Engine, story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A log with something in it that columns do not know goes the plain road from its beginning."""
    monkeypatch.setattr(replay, "FAST_FROM", 0)
    monkeypatch.setattr(fast_replay, "CHUNK", 7)
    book = PostgresBook(engine, SteppingClock())
    book.record(story.portfolio_id, story.play(Step("split", pick=1, quantity=Decimal(2))))

    assert rebuild_portfolio(engine, story.portfolio_id) == len(story.events)
    report = verify_portfolio(engine, story.portfolio_id)
    assert (report.differences, report.events) == ((), len(story.events))


# --- planted bugs -----------------------------------------------------------------------------------------------------


def test_the_plain_road_finds_out_a_column_road_that_miscounts(
    engine: Engine, story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the two roads disagree, a short log and a thorough verification say so."""
    monkeypatch.setattr(fast_fold, "rounded", lambda product: product // 10**18 + 1)
    found = [one.what for one in verify_portfolio(engine, story.portfolio_id).differences]

    assert any(what.startswith("column road: ") for what in found), found
    assert [one.what for one in thorough(engine, story.portfolio_id).differences] == found


def test_rows_built_by_a_column_road_that_miscounts_are_found(
    engine: Engine, story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows that a mistaken column road has built agree with it; the thorough verification finds them."""
    monkeypatch.setattr(replay, "FAST_FROM", 0)
    monkeypatch.setattr(fast_fold, "decimal_of", whole_part)
    rebuild_portfolio(engine, story.portfolio_id)

    assert verify_portfolio(engine, story.portfolio_id).differences == ()
    assert thorough(engine, story.portfolio_id).differences != ()


def whole_part(units: int) -> str:
    """A text of the number that forgets the last places."""
    return str(units // 10**18)
