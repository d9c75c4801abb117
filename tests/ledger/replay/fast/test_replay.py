"""Long logs are rebuilt and verified by the fast replay alone, with the result of the event-by-event replay."""

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


class FoldedEventByEvent(Exception):
    """Events were folded one by one where the fast replay should have sufficed."""


def traded(story: Story, steps: int, minutes_late: int = 45, moves: Sequence[str] = MOVES) -> Story:
    """Play a story of many moves, some of them recorded late."""
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
    """Every log counts as long, and folding event by event raises."""

    def refuse(*_: object, **__: object) -> Any:
        raise FoldedEventByEvent

    with monkeypatch.context() as patch:
        patch.setattr(replay, "FAST_FROM", 0)
        patch.setattr(fast_replay, "CHUNK", 7)
        patch.setattr(replay, "_event_by_event", refuse)
        patch.setattr(replay, "_write_event_by_event", refuse)
        yield patch


@pytest.fixture(params=[0, 45], ids=["in order", "late entries"])
def story(request: pytest.FixtureRequest, postgres_book: PostgresBook, new_story: StoryMaker) -> Story:
    """A stored story whose views were written event by event."""
    story = new_story()
    traded(story, 90, request.param)
    record_all(postgres_book, story, [story.events])
    return story


def thorough(engine: Engine, portfolio_id: UUID) -> PortfolioReplay:
    return verify_portfolio(engine, portfolio_id, thorough=True)


def test_fast_verification_equals_event_by_event_verification(
    engine: Engine, story: Story, only_fast: pytest.MonkeyPatch
) -> None:
    progress: list[int] = []
    report = verify_portfolio(engine, story.portfolio_id, progress.append)
    only_fast.undo()

    assert report == thorough(engine, story.portfolio_id)
    assert (report.broken, report.differences, report.events) == (None, (), len(story.events))
    assert report.trades > 40
    assert sum(progress) == report.events


def test_fast_rebuild_passes_event_by_event_verification(
    engine: Engine, story: Story, only_fast: pytest.MonkeyPatch
) -> None:
    """The story continues correctly from the rebuilt rows."""
    before = verify_portfolio(engine, story.portfolio_id)
    with engine.begin() as connection:
        raw(connection).execute("update holdings set quantity = quantity * 2")
    progress: list[int] = []
    assert rebuild_portfolio(engine, story.portfolio_id, progress.append) == len(story.events)
    assert verify_portfolio(engine, story.portfolio_id) == before
    assert sum(progress) == len(story.events)
    only_fast.undo()
    assert thorough(engine, story.portfolio_id) == before

    book = PostgresBook(engine, SteppingClock())
    for batch in (story.buy(Step("buy")), story.sell(Step("sell", pick=1)), story.sell(Step("sell", minutes_late=60))):
        book.record(story.portfolio_id, batch)
    assert thorough(engine, story.portfolio_id).differences == ()


def test_fast_rebuild_of_a_portfolio_without_open_lots(
    engine: Engine, postgres_book: PostgresBook, only_fast: pytest.MonkeyPatch, new_story: StoryMaker
) -> None:
    story = new_story()
    record_all(postgres_book, story, [story.opened(), story.play(Step("deposit"))])

    assert rebuild_portfolio(engine, story.portfolio_id) == len(story.events)
    assert verify_portfolio(engine, story.portfolio_id).differences == ()


def test_fast_rebuild_folds_events_appended_meanwhile(
    engine: Engine, story: Story, only_fast: pytest.MonkeyPatch
) -> None:
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


@pytest.mark.campaign
@pytest.mark.parametrize("story", [45], indirect=True)
def test_fast_verification_finds_every_changed_row(
    engine: Engine, story: Story, superuser: Superuser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The report equals that of a thorough verification, and a rebuild repairs the rows."""
    monkeypatch.setattr(replay, "FAST_FROM", 0)
    for name, statement in _TAMPERINGS.items():
        assert superuser.execute(statement).rowcount > 0, name
        report = verify_portfolio(engine, story.portfolio_id)
        assert report.differences != (), name
        assert report == thorough(engine, story.portfolio_id), name
        superuser.execute("delete from limits where generation > 99")
        rebuild_portfolio(engine, story.portfolio_id)
        assert verify_portfolio(engine, story.portfolio_id).differences == (), name


def test_fast_rebuild_refuses_a_broken_log(
    engine: Engine, story: Story, superuser: Superuser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Verification reports the position, and the old rows remain."""
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


def test_unsupported_log_is_folded_event_by_event(
    engine: Engine, story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A log with a split is rebuilt and verified without the fast replay."""
    monkeypatch.setattr(replay, "FAST_FROM", 0)
    monkeypatch.setattr(fast_replay, "CHUNK", 7)
    book = PostgresBook(engine, SteppingClock())
    book.record(story.portfolio_id, story.play(Step("split", pick=1, quantity=Decimal(2))))

    assert rebuild_portfolio(engine, story.portfolio_id) == len(story.events)
    report = verify_portfolio(engine, story.portfolio_id)
    assert (report.differences, report.events) == ((), len(story.events))


# --- planted bugs -----------------------------------------------------------------------------------------------------


def test_planted_rounding_bug_is_found_by_event_by_event_verification(
    engine: Engine, story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disagreement of the two replays is reported for a short log and by a thorough verification."""
    monkeypatch.setattr(fast_fold, "rounded", lambda product: product // 10**18 + 1)
    found = [one.what for one in verify_portfolio(engine, story.portfolio_id).differences]

    assert any(what.startswith("fast replay: ") for what in found), found
    assert [one.what for one in thorough(engine, story.portfolio_id).differences] == found


def test_rows_of_a_planted_fast_rebuild_are_found_by_thorough_verification(
    engine: Engine, story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The faulty fast replay agrees with its own rows."""
    monkeypatch.setattr(replay, "FAST_FROM", 0)
    monkeypatch.setattr(fast_fold, "decimal_of", whole_part)
    rebuild_portfolio(engine, story.portfolio_id)

    assert verify_portfolio(engine, story.portfolio_id).differences == ()
    assert thorough(engine, story.portfolio_id).differences != ()


def whole_part(units: int) -> str:
    """The text of a number without its decimal places."""
    return str(units // 10**18)
