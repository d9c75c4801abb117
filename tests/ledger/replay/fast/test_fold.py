"""The column road says what the plain road says, to the last digit, or says that it does not know."""

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
from ledger.replay.fast.fold import Unusual
from ledger.replay.fast.lines import decimal_of, line_of, rounded, text_of, time_of, units_in, units_of
from ledger.replay.fast.replay import FastReplay
from ledger.replay.fast.reversals import FastReversals
from ledger.rows import MemoryRows, Row, all_rows, row_text
from ledger.values import Asset, Instrument, Side, decimal_text, round18
from tests.support.events import MOVES, Step, SteppingClock, Story, batches_of, fold_log, realistic_batches, steps
from tests.support.random_trades import BASE
from tests.support.random_values import value_events

PORTFOLIO = UUID(int=1)
numbers = count(2)
NOON = datetime(2024, 1, 1, 12, tzinfo=UTC)


def fact(number: int, event: Event, minute: int) -> NewEvent:
    """The event that was true `minute` minutes after noon."""
    event_id = UUID(int=1000 + number)
    return NewEvent(event, event_id, NOON + timedelta(minutes=minute), "test", event_id)


OPENED = fact(0, PortfolioOpened(name="p", base_currency=Asset(BASE)), 0)

facts_of_value = value_events().filter(lambda event: not isinstance(event, SplitRecorded))
histories = st.lists(st.tuples(facts_of_value, st.integers(0, 6)), min_size=1, max_size=12).map(
    lambda found: [fact(number, event, minute) for number, (event, minute) in enumerate(found, start=1)]
)


def plain_rows(portfolio_id: UUID, events: Sequence[NewEvent]) -> list[Row]:
    """What the plain road makes of the events."""
    log = MemoryLog(SteppingClock())
    log.append(portfolio_id, events)
    rows = fold_log(log.read(portfolio_id), MemoryRows())
    assert list(broken_invariants(rows)) == []
    return list(all_rows(rows, row_kinds()))


def fast_lines(engine: Engine, portfolio_id: UUID, events: Sequence[NewEvent]) -> list[tuple[type[Row], str]]:
    """What the column road makes of them once they are stored."""
    PostgresLog(engine, SteppingClock()).append(portfolio_id, events)
    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        replay = FastReplay(raw(connection), portfolio_id)
        with closing(replay.lines()) as chunks:
            found = [(kind, line) for kind, lines in chunks for line in lines]
    assert replay.broken_invariants() == []
    assert replay.head.position == len(events)
    return found


def check_same(engine: Engine, portfolio_id: UUID, events: Sequence[NewEvent]) -> None:
    """Both roads make the same rows, as lines and as texts."""
    rows = plain_rows(portfolio_id, events)
    lines = fast_lines(engine, portfolio_id, events)
    assert Counter(lines) == Counter((type(row), line_of(row)) for row in rows)
    assert Counter(text_of(kind, line) for kind, line in lines) == Counter(map(row_text, rows))


@given(facts=histories)
def test_columns_say_what_the_plain_fold_says(engine: Engine, facts: list[NewEvent]) -> None:
    """Random trades in any pair with fees and rebates anywhere, coins that come and go, at known cost and unknown, late,
    at equal times, oversold: the same rows."""
    check_same(engine, UUID(int=next(numbers)), [OPENED, *facts])


@given(moves=st.lists(steps(*(move for move in MOVES if move != "split")), max_size=25))
def test_columns_follow_a_whole_life(engine: Engine, moves: list[Step]) -> None:
    """Trades of orders and bots among signals, marks, late imports and reversals: the same rows in every table."""
    story = Story(f"columns {next(numbers)}")
    check_same(engine, story.portfolio_id, [new for batch in batches_of(story, moves) for new in batch])


def test_what_is_unknown_here_is_left_to_the_plain_road(engine: Engine) -> None:
    """A story with a split in it is no matter for columns, and they say so."""
    story = Story("realistic")
    events = [new for batch in realistic_batches(story, 400) for new in batch]

    with pytest.raises(Unusual):
        fast_lines(engine, story.portfolio_id, events)


# --- numbers and texts ------------------------------------------------------------------------------------------------

exact = st.builds(lambda units: Decimal(units).scaleb(-18), st.integers(-(10**38) + 1, 10**38 - 1))


@given(value=exact)
@example(value=Decimal("-0.000000000000000001"))
@example(value=Decimal("0"))
@example(value=Decimal("-10.5"))
def test_whole_numbers_are_the_decimals(value: Decimal) -> None:
    """A decimal, its text and its number of units of the 18th place say the same."""
    units = units_of(value)

    assert decimal_of(units) == decimal_text(value)
    if units >= 0:
        assert units_in(decimal_text(value)) == units


@given(left=st.integers(-(10**30), 10**30), right=st.integers(0, 10**30))
@example(left=5, right=10**17)
@example(left=15, right=10**17)
@example(left=-5, right=10**17)
@example(left=-15, right=10**17)
def test_products_are_rounded_as_decimals_are(left: int, right: int) -> None:
    """Half to even at the 18th place, below zero as above."""
    product = Decimal(left).scaleb(-18) * Decimal(right).scaleb(-18)

    assert decimal_of(rounded(left * right)) == decimal_text(round18(product))


def test_more_than_18_places_are_refused() -> None:
    """A decimal that has a 19th place is no whole number of units."""
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
def test_a_line_says_what_its_row_says(
    one: str, other: str | None, time: datetime, number: int | None, value: Decimal | None, flag: bool
) -> None:
    """Whatever stands in a row, its text can be had from its line, letter for letter."""
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
def test_lines_are_what_the_database_writes(engine: Engine, time: datetime) -> None:
    """Times read and written by PostgreSQL stand in lines as it writes them."""
    microseconds = (time - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    with engine.connect() as connection:
        row = raw(connection).execute("select %s::timestamptz::text", (time,)).fetchone()

    assert row == (time_of(microseconds),)


# --- planted bugs -----------------------------------------------------------------------------------------------------


def cut_off(product: int) -> int:
    return product // 10**18


@pytest.mark.parametrize(
    ("place", "planted"),
    [
        ("rounded", cut_off),
        ("units_of", lambda value: int(value * 10**18) + (value > 7)),
        ("decimal_of", lambda units: decimal_of(units)[:20]),
    ],
)
def test_a_planted_mistake_in_the_fold_is_found(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, place: str, planted: Callable[[Any], Any]
) -> None:
    """A product cut off, a unit too many or a digit lost shows as a difference between the roads."""
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


def test_a_fold_that_takes_the_newest_lot_is_found(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """LIFO where FIFO is meant shows as a difference between the roads."""

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


def test_a_reversal_that_is_overlooked_is_found(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counting what was taken back shows as a difference between the roads."""
    events = reversed_purchase(UUID(int=1001))
    check_same(engine, PORTFOLIO, events)

    meet = FastReversals.meet
    monkeypatch.setattr(FastReversals, "meet", lambda self, event_id: meet(self, event_id) and False)
    with pytest.raises(AssertionError):
        check_same(engine, UUID(int=10**6), events)


@pytest.mark.parametrize("target", [UUID(int=1000), UUID(int=1004), UUID(int=7)], ids=["no value", "later", "unknown"])
def test_a_reversal_of_nothing_is_left_to_the_plain_road(engine: Engine, target: UUID) -> None:
    """What moved no value, stands behind its reversal or is not there cannot be taken back: columns do not guess."""
    with pytest.raises(Unusual):
        fast_lines(engine, PORTFOLIO, reversed_purchase(target))


def reversed_purchase(target: UUID) -> list[NewEvent]:
    """Two purchases and a sale between them; the reversal of the target comes before the second purchase."""
    sides = (trade(Side.BUY, "1", "100"), trade(Side.SELL, "1", "300"))
    told = (*sides, TradeReversed(reverses=target, reason="never was"), trade(Side.BUY, "2", "200"))
    return [OPENED, *(fact(number, one, number) for number, one in enumerate(told, start=1))]
