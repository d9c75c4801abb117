"""Folds of value: the result does not depend on arrival order, batches or repeats, and the books balance."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from random import Random
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.booking.lots import Leg, Lot, Match, UnmatchedDisposal, book_leg
from ledger.events import Event, PortfolioOpened, SplitRecorded, TradeReversed
from ledger.log.envelope import NewEvent
from ledger.projections import PROJECTIONS, holdings
from ledger.projections.book import MemoryBook
from ledger.projections.holdings import Holding
from ledger.projections.invariants import broken_invariants
from ledger.projections.portfolio import Balance, PortfolioView
from ledger.rows import Change, MemoryRows, Row, Rows, all_rows, row_text, state_hash
from ledger.values import Asset, Side, decimal_text
from tests.support.events import btc_trade, fold_log
from tests.support.generators.random_lives import lives
from tests.support.generators.random_trades import BASE

PORTFOLIO = UUID(int=1)
BTC = Asset("BTC")
NOON = datetime(2024, 1, 1, 12, tzinfo=UTC)
KINDS: tuple[type[Row], ...] = tuple(kind for projection in PROJECTIONS for kind in projection.rows)


def fact(number: int, event: Event, minute: int) -> NewEvent:
    """Return the event, occurred `minute` minutes after noon."""
    event_id = UUID(int=1000 + number)
    return NewEvent(event, event_id, NOON + timedelta(minutes=minute), "test", event_id)


OPENED = fact(0, PortfolioOpened(name="p", base_currency=Asset(BASE)), 0)
histories = lives(12)
"""Events in arrival order, the opening first."""


def book_after(*batches: Sequence[NewEvent]) -> MemoryBook:
    """Return a book after these batches; opens a portfolio unless they do."""
    book = MemoryBook(lambda: NOON)
    if not any(isinstance(one.event, PortfolioOpened) for batch in batches[:1] for one in batch[:1]):
        book.record(PORTFOLIO, [OPENED])
    for batch in filter(None, batches):
        book.record(PORTFOLIO, batch)
    return book


def rows_of(book: MemoryBook) -> Rows:
    with book.reading(PORTFOLIO) as reading:
        assert reading.stopped is None
        return reading.rows


def texts(rows: Rows) -> list[str]:
    """Return the texts of all rows of all projections."""
    return sorted(row_text(row) for row in all_rows(rows, KINDS))


def other_arrival(facts: Sequence[NewEvent], dice: Random) -> list[NewEvent]:
    """Shuffle the arrival order of all but the first; events of equal time keep their order."""
    first, *mixed = facts
    waiting: dict[datetime, list[NewEvent]] = {}
    for one in mixed:
        waiting.setdefault(one.occurred_at, []).append(one)
    dice.shuffle(mixed)
    return [first, *(waiting[one.occurred_at].pop(0) for one in mixed)]


@given(facts=histories)
@settings(deadline=None, max_examples=60)
def test_invariants_hold_after_every_event(facts: list[NewEvent]) -> None:
    """Every invariant holds after every event, in any arrival order."""
    book = book_after(facts[:1])
    for one in facts[1:]:
        book.record(PORTFOLIO, [one])
        assert list(broken_invariants(rows_of(book))) == []


@given(facts=histories, splits=st.lists(st.integers(0, 14), max_size=3))
@settings(deadline=None, max_examples=60)
def test_batching_does_not_change_rows(facts: list[NewEvent], splits: list[int]) -> None:
    """One batch, any batches, single events, and a replay of the log give the same rows."""
    whole = book_after(facts)
    ends = sorted({0, *(min(split, len(facts)) for split in splits), len(facts)})
    pieces = [facts[start:end] for start, end in pairwise(ends)]

    assert texts(rows_of(book_after(*pieces))) == texts(rows_of(whole))
    assert texts(rows_of(book_after(*([one] for one in facts)))) == texts(rows_of(whole))
    assert texts(fold_log(whole.log.read(PORTFOLIO), MemoryRows())) == texts(rows_of(whole))


@given(facts=histories, dice=st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=60)
def test_arrival_order_does_not_change_rows(facts: list[NewEvent], dice: Random) -> None:
    """The same events in any arrival order give the same rows and state hash."""
    in_order, mixed = texts(rows_of(book_after(facts))), texts(rows_of(book_after(other_arrival(facts, dice))))

    assert mixed == in_order
    assert state_hash(mixed) == state_hash(in_order)


@given(facts=histories, dice=st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=60)
def test_recording_twice_does_not_change_rows(facts: list[NewEvent], dice: Random) -> None:
    """Events recorded again, alone or among new ones, keep their positions and change no row."""
    book = book_after(facts[: len(facts) // 2 + 1], facts)
    head, before = book.log.head(PORTFOLIO), texts(rows_of(book))
    again = dice.sample(facts, len(facts))

    assert [envelope.event_id for envelope in book.record(PORTFOLIO, again)] == [one.event_id for one in again]
    assert book.log.head(PORTFOLIO) == head
    assert texts(rows_of(book)) == before == texts(rows_of(book_after(facts)))


@given(facts=histories)
@settings(deadline=None, max_examples=60)
def test_rows_without_history_have_the_same_open_lots(facts: list[NewEvent]) -> None:
    """In order of time and without reversals or splits, a fold that drops closed rows has the same lots and holdings."""
    lasting = [one for one in facts if not isinstance(one.event, TradeReversed | SplitRecorded)]
    book = book_after(sorted(lasting, key=lambda one: one.occurred_at))
    lean = fold_log(book.log.read(PORTFOLIO), MemoryRows(keep_history=False))

    for kind in (Lot, Holding):
        assert list(lean.where(kind)) == list(rows_of(book).where(kind))


LATE = [
    fact(1, btc_trade(Side.BUY, "1", "200"), 10),
    fact(2, btc_trade(Side.SELL, "1", "300"), 20),
    fact(3, btc_trade(Side.BUY, "1", "100"), 5),
]


def test_late_purchase_is_sold_first() -> None:
    """A purchase that arrives late but happened first is the one sold."""
    rows = rows_of(book_after(*([one] for one in LATE)))

    sold = [(match.opening_event_id, decimal_text(match.cost_basis)) for match in rows.history(Match)]
    still_open = [(lot.event_id, decimal_text(lot.open_cost)) for lot in rows.where(Lot)]
    assert sold == [(LATE[2].event_id, "100")]
    assert still_open == [(LATE[0].event_id, "200")]
    assert list(broken_invariants(rows)) == []


def test_unmatched_sale_is_matched_by_a_late_purchase() -> None:
    """A sale without a lot has no P&L until the missing purchase arrives with its true time."""
    book = book_after([fact(1, btc_trade(Side.SELL, "2", "300"), 20)])
    assert holding_of(book) == {"quantity": "-2", "cost": "0", "gain": "0", "unmatched": "2", "for": "600"}

    book.record(PORTFOLIO, [fact(2, btc_trade(Side.BUY, "1.5", "100"), 10)])
    assert holding_of(book) == {"quantity": "-0.5", "cost": "0", "gain": "300", "unmatched": "0.5", "for": "150"}

    book.record(PORTFOLIO, [fact(3, btc_trade(Side.BUY, "1", "200"), 15)])
    assert holding_of(book) == {"quantity": "0.5", "cost": "100", "gain": "350", "unmatched": "0", "for": "0"}
    assert list(rows_of(book).history(UnmatchedDisposal)) == []


def test_late_split_converts_earlier_unmatched_sales() -> None:
    """Unmatched quantities are split as well, whether the split arrives in time or after a later purchase."""
    sale, split = (
        fact(1, btc_trade(Side.SELL, "1", "1"), 0),
        fact(2, SplitRecorded(asset=BTC, numerator=2, denominator=1), 1),
    )
    purchase = fact(3, btc_trade(Side.BUY, "1", "1"), 2)

    late = book_after([OPENED, sale, purchase, split])
    assert texts(rows_of(late)) == texts(rows_of(book_after([OPENED, sale, split, purchase])))


def holding_of(book: MemoryBook) -> dict[str, str]:
    holding = next(rows_of(book).where(Holding))
    return {
        "quantity": decimal_text(holding.quantity),
        "cost": decimal_text(holding.cost_basis),
        "gain": decimal_text(holding.realized_pnl),
        "unmatched": decimal_text(holding.unmatched_quantity),
        "for": decimal_text(holding.unmatched_proceeds),
    }


def test_purchase_after_the_sale_leaves_it_unmatched() -> None:
    """A later purchase opens a lot, and the sale stays unmatched."""
    rows = rows_of(
        book_after([fact(1, btc_trade(Side.SELL, "1", "300"), 10), fact(2, btc_trade(Side.BUY, "1", "100"), 20)])
    )

    assert [one.quantity for one in rows.history(UnmatchedDisposal)] == [1]
    assert [lot.open_quantity for lot in rows.where(Lot)] == [1]


def in_arrival_order(rows: Rows, _portfolio: PortfolioView, _asset: str, _start: object, *, late: Leg) -> list[Change]:
    """Planted: book a late leg as if it were the newest."""
    booking = book_leg(late, rows.where(Lot, late.asset))
    holding = next(rows.where(Holding, late.asset))
    return [late, *booking.lots, *booking.matches, holdings.after_booking(holding, late, booking)]


def test_arrival_order_check_finds_a_fold_that_ignores_lateness(monkeypatch: pytest.MonkeyPatch) -> None:
    """Arrival order matters when late legs are not folded again."""
    in_order = sorted(LATE, key=lambda one: one.occurred_at)
    assert texts(rows_of(book_after(LATE))) == texts(rows_of(book_after(in_order)))

    monkeypatch.setattr(holdings, "_fold_again", in_arrival_order)
    assert texts(rows_of(book_after(LATE))) != texts(rows_of(book_after(in_order)))


def one_unit_more(total: Decimal, part: Decimal, whole: Decimal) -> Decimal:
    return total if part == whole else total * part / whole + Decimal("1e-18")


def unmoved(_rows: Rows, leg: Leg) -> Balance:
    return Balance(leg.asset, leg.account, *[Decimal(0)] * 4)


@pytest.mark.parametrize(
    ("place", "planted", "broken"),
    [
        ("ledger.booking.lots.share18", one_unit_more, "cost of open lots of BTC"),
        ("ledger.projections.holdings.legs_of", lambda *_: [], "net deposits + income + realised P&L"),
        ("ledger.projections.holdings.cash_changes", lambda *_: [], "net deposits + income + realised P&L"),
        ("ledger.projections.holdings._moved", unmoved, "balances of all accounts = position of BTC"),
    ],
)
def test_invariants_find_a_planted_mistake(
    place: str, planted: Callable[..., object], broken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fold that is off by one unit, drops a leg or drops a balance violates an invariant."""
    facts = [fact(1, btc_trade(Side.BUY, "3", "100"), 1), fact(2, btc_trade(Side.SELL, "1", "120"), 2)]
    rows = rows_of(book_after(facts))
    assert list(broken_invariants(rows)) == []

    monkeypatch.setattr(place, planted)
    names = [name for name, _, _ in broken_invariants(rows_of(book_after(facts)))]
    assert any(name.startswith(broken) for name in names), names
