"""The fast replay gives exactly the rows of the event-by-event replay, or raises Unsupported."""

from collections import Counter, deque
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count
from typing import Any, ClassVar
from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from sqlalchemy import Engine

from ledger.events import Event, PortfolioOpened, SplitRecorded, TradeExecuted, TradeReversed
from ledger.log.envelope import NewEvent
from ledger.log.event_log import MemoryLog
from ledger.postgres.log import PostgresLog, raw
from ledger.postgres.views import row_kinds
from ledger.projections.invariants import broken_invariants
from ledger.replay.fast import fold as fast_fold
from ledger.replay.fast.fold import Unsupported
from ledger.replay.fast.lines import decimal_of, line_of, rounded, text_of, time_of, units_in, units_of
from ledger.replay.fast.replay import FastReplay
from ledger.replay.fast.reversals import FastReversals
from ledger.rows import MemoryRows, Row, all_rows, row_text
from ledger.values import Asset, Instrument, Side, decimal_text, round18
from tests.support.events import MOVES, Step, SteppingClock, Story, batches_of, fold_log, realistic_batches, steps
from tests.support.generators.random_trades import BASE
from tests.support.generators.random_values import value_events

PORTFOLIO = UUID(int=1)
numbers = count(2)
NOON = datetime(2024, 1, 1, 12, tzinfo=UTC)


def fact(number: int, event: Event, minute: int) -> NewEvent:
    """An event that occurred `minute` minutes after noon."""
    event_id = UUID(int=1000 + number)
    return NewEvent(event, event_id, NOON + timedelta(minutes=minute), "test", event_id)


OPENED = fact(0, PortfolioOpened(name="p", base_currency=Asset(BASE)), 0)

facts_of_value = value_events().filter(lambda event: not isinstance(event, SplitRecorded))
histories = st.lists(st.tuples(facts_of_value, st.integers(0, 6)), min_size=1, max_size=12).map(
    lambda found: [fact(number, event, minute) for number, (event, minute) in enumerate(found, start=1)]
)


def rows_event_by_event(portfolio_id: UUID, events: Sequence[NewEvent]) -> list[Row]:
    """The rows that follow from the events, folded one by one."""
    log = MemoryLog(SteppingClock())
    log.append(portfolio_id, events)
    rows = fold_log(log.read(portfolio_id), MemoryRows())
    assert list(broken_invariants(rows)) == []
    return list(all_rows(rows, row_kinds()))


def fast_lines(engine: Engine, portfolio_id: UUID, events: Sequence[NewEvent]) -> list[tuple[type[Row], str]]:
    """Store the events and return the lines of the fast replay."""
    PostgresLog(engine, SteppingClock()).append(portfolio_id, events)
    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        replay = FastReplay(raw(connection), portfolio_id)
        with closing(replay.lines()) as chunks:
            found = [(kind, line) for kind, lines in chunks for line in lines]
    assert list(replay.fold.broken_invariants()) == []
    assert replay.head.position == len(events)
    return found


def check_same(engine: Engine, portfolio_id: UUID, events: Sequence[NewEvent]) -> None:
    """Compare the rows of both replays, as lines and as row texts."""
    rows = rows_event_by_event(portfolio_id, events)
    lines = fast_lines(engine, portfolio_id, events)
    assert Counter(lines) == Counter((type(row), line_of(row)) for row in rows)
    assert Counter(text_of(kind, line) for kind, line in lines) == Counter(map(row_text, rows))


@given(facts=histories)
def test_fast_replay_equals_event_by_event_replay_for_random_value_events(
    engine: Engine, facts: list[NewEvent]
) -> None:
    """Trades in any pair, fees and rebates, transfers at known and unknown cost, late events, equal times, overselling."""
    check_same(engine, UUID(int=next(numbers)), [OPENED, *facts])


@given(moves=st.lists(steps(*(move for move in MOVES if move != "split")), max_size=25))
def test_fast_replay_equals_event_by_event_replay_for_random_stories(engine: Engine, moves: list[Step]) -> None:
    """Trades of orders and bots among signals, marks, late imports and reversals."""
    story = Story(f"fast replay {next(numbers)}")
    check_same(engine, story.portfolio_id, [new for batch in batches_of(story, moves) for new in batch])


def test_fast_replay_refuses_a_log_with_a_split(engine: Engine) -> None:
    story = Story("realistic")
    events = [new for batch in realistic_batches(story, 400) for new in batch]

    with pytest.raises(Unsupported):
        fast_lines(engine, story.portfolio_id, events)


# --- numbers and texts ------------------------------------------------------------------------------------------------

exact = st.builds(lambda units: Decimal(units).scaleb(-18), st.integers(-(10**38) + 1, 10**38 - 1))


@given(value=exact)
@example(value=Decimal("-0.000000000000000001"))
@example(value=Decimal("0"))
@example(value=Decimal("-10.5"))
def test_units_round_trip_decimals(value: Decimal) -> None:
    """Decimals, their texts and their units of 10^-18 convert into each other."""
    units = units_of(value)

    assert decimal_of(units) == decimal_text(value)
    if units >= 0:
        assert units_in(decimal_text(value)) == units


@given(left=st.integers(-(10**30), 10**30), right=st.integers(0, 10**30))
@example(left=5, right=10**17)
@example(left=15, right=10**17)
@example(left=-5, right=10**17)
@example(left=-15, right=10**17)
def test_rounded_equals_round18(left: int, right: int) -> None:
    """Half to even at the 18th place, also below zero."""
    product = Decimal(left).scaleb(-18) * Decimal(right).scaleb(-18)

    assert decimal_of(rounded(left * right)) == decimal_text(round18(product))


def test_units_of_refuses_more_than_18_places() -> None:
    with pytest.raises(ValueError, match="more than 18"):
        units_of(Decimal("1e-19"))


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)


@given(
    one=texts,
    other=st.none() | texts,
    time=st.datetimes(timezones=st.just(UTC)),
    number=st.none() | st.integers(),
    value=st.none() | exact,
    flag=st.booleans(),
)
@example(one='"\\', other="\\N", time=NOON, number=None, value=None, flag=True)
def test_text_of_a_line_equals_row_text(
    one: str, other: str | None, time: datetime, number: int | None, value: Decimal | None, flag: bool
) -> None:
    row = Anything(one, other, time, None if number is None else time, number, value, flag, 7)

    assert text_of(Anything, line_of(row)) == row_text(row)


@dataclass(frozen=True, slots=True)
class Anything(Row):
    table: ClassVar[str] = "anything"
    key: ClassVar[tuple[str, ...]] = ("one",)
    one: str
    other: str | None
    time: datetime
    later: datetime | None
    number: int | None
    value: Decimal | None
    flag: bool
    position: int


@given(time=st.datetimes(timezones=st.just(UTC)))
def test_time_of_equals_the_text_of_postgresql(engine: Engine, time: datetime) -> None:
    microseconds = (time - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    with engine.connect() as connection:
        row = raw(connection).execute("select %s::timestamptz::text", (time,)).fetchone()

    assert row == (time_of(microseconds),)


# --- planted bugs -----------------------------------------------------------------------------------------------------


def truncated(product: int) -> int:
    return product // 10**18


@pytest.mark.parametrize(
    ("place", "planted"),
    [
        ("rounded", truncated),
        ("units_of", lambda value: int(value * 10**18) + (value > 7)),
        ("decimal_of", lambda units: decimal_of(units)[:20]),
    ],
)
def test_planted_arithmetic_bugs_are_found(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, place: str, planted: Callable[[Any], Any]
) -> None:
    """A truncated product, a unit too many and a lost digit."""
    events = [OPENED, *(fact(number, one, number) for number, one in enumerate(EXAMPLES, start=1))]
    check_same(engine, PORTFOLIO, events)

    monkeypatch.setattr(fast_fold, place, planted)
    with pytest.raises(AssertionError):
        check_same(engine, UUID(int=10**6), events)


def trade(side: Side, quantity: str, price: str, instrument: str = "BTC-USD") -> TradeExecuted:
    return TradeExecuted(
        account="a",
        venue="v",
        venue_trade_id="1",
        instrument=Instrument(instrument),
        side=side,
        quantity=Decimal(quantity),
        price=Decimal(price),
        quote_rate=Decimal(1) if instrument.endswith("USD") else Decimal("61234.5"),
    )


EXAMPLES = (
    trade(Side.BUY, "0.123456789012345678", "99.999999999999999999"),
    trade(Side.BUY, "8", "0.03", "ETH-BTC"),
    trade(Side.SELL, "0.1", "120"),
    trade(Side.SELL, "1", "7000.000000000000000009", "ETH-USD"),
)


def test_planted_lifo_is_found(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:

    class Backwards(deque[Any]):
        def __getitem__(self, _: Any) -> Any:
            return super().__getitem__(-1)

        def popleft(self) -> Any:
            return super().pop()

    sides = (trade(Side.BUY, "1", "100"), trade(Side.BUY, "1", "200"), trade(Side.SELL, "1", "300"))
    events = [OPENED, *(fact(number, one, number) for number, one in enumerate(sides, start=1))]
    monkeypatch.setattr(fast_fold, "deque", Backwards)

    with pytest.raises(AssertionError):
        check_same(engine, PORTFOLIO, events)


def test_planted_ignored_reversal_is_found(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    events = reversed_purchase(UUID(int=1001))
    check_same(engine, PORTFOLIO, events)

    see = FastReversals.see
    monkeypatch.setattr(FastReversals, "see", lambda self, event_id: see(self, event_id) and False)
    with pytest.raises(AssertionError):
        check_same(engine, UUID(int=10**6), events)


@pytest.mark.parametrize("target", [UUID(int=1000), UUID(int=1004), UUID(int=7)], ids=["no value", "later", "unknown"])
def test_fast_replay_refuses_a_reversal_without_a_value_event_before_it(engine: Engine, target: UUID) -> None:
    with pytest.raises(Unsupported):
        fast_lines(engine, PORTFOLIO, reversed_purchase(target))


def reversed_purchase(target: UUID) -> list[NewEvent]:
    """Two buys with a sell between them; the reversal of the target precedes the second buy."""
    sides = (trade(Side.BUY, "1", "100"), trade(Side.SELL, "1", "300"))
    events = (*sides, TradeReversed(reverses=target, reason="never was"), trade(Side.BUY, "2", "200"))
    return [OPENED, *(fact(number, one, number) for number, one in enumerate(events, start=1))]
