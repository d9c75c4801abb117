"""The folds of money: however the facts arrive, are cut or repeated, the books say the same, and they balance."""

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
from ledger.events import Event, PortfolioOpened, SplitRecorded, TradeExecuted, TradeReversed
from ledger.log.envelope import NewEvent
from ledger.projections import PROJECTIONS, holdings
from ledger.projections.book import MemoryBook
from ledger.projections.holdings import Holding
from ledger.projections.invariants import broken_invariants
from ledger.projections.portfolio import Balance, PortfolioView
from ledger.rows import Change, MemoryRows, Row, Rows, all_rows, row_text, state_hash
from ledger.values import Asset, Instrument, Side, decimal_text
from tests.support.events import fold_log
from tests.support.random_trades import BASE
from tests.support.random_values import told, value_events

PORTFOLIO = UUID(int=1)
BTC = Asset("BTC")
NOON = datetime(2024, 1, 1, 12, tzinfo=UTC)
KINDS: tuple[type[Row], ...] = tuple(kind for projection in PROJECTIONS for kind in projection.rows)


def fact(number: int, event: Event, minute: int) -> NewEvent:
    """The event that was true `minute` minutes after noon."""
    event_id = UUID(int=1000 + number)
    return NewEvent(event, event_id, NOON + timedelta(minutes=minute), "test", event_id)


OPENED = fact(0, PortfolioOpened(name="p", base_currency=Asset(BASE)), 0)
SHORT = fact(0, PortfolioOpened(name="p", base_currency=Asset(BASE), allow_short=True), 0)

openings = st.sampled_from((OPENED, SHORT))
histories = st.builds(
    lambda opened, found: [opened, *told(found, NOON, 1001)],
    openings,
    st.lists(st.tuples(st.none() | value_events(), st.integers(0, 6)), min_size=1, max_size=12),
)
"""Facts in the order in which they are told, which need not be the order in which they happened; the opening first."""


def trade(side: Side, quantity: str, price: str) -> TradeExecuted:
    return TradeExecuted(
        account="a",
        venue="v",
        venue_trade_id="1",
        instrument=Instrument("BTC-USD"),
        side=side,
        quantity=Decimal(quantity),
        price=Decimal(price),
        quote_rate=Decimal(1),
    )


def book_after(*batches: Sequence[NewEvent]) -> MemoryBook:
    """A book that was told the batches one after the other, of a plain portfolio unless they open another."""
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
    """What every row of every projection says."""
    return sorted(row_text(row) for row in all_rows(rows, KINDS))


def other_arrival(facts: Sequence[NewEvent], dice: Random) -> list[NewEvent]:
    """The facts in another order of arrival behind the first; those of one moment keep the order they had."""
    first, *mixed = facts
    waiting: dict[datetime, list[NewEvent]] = {}
    for one in mixed:
        waiting.setdefault(one.occurred_at, []).append(one)
    dice.shuffle(mixed)
    return [first, *(waiting[one.occurred_at].pop(0) for one in mixed)]


@given(facts=histories)
@settings(deadline=None, max_examples=60)
def test_the_books_balance_after_every_fact(facts: list[NewEvent]) -> None:
    """Every identity of the ledger holds at every step, whatever is traded, in whatever order it is told."""
    book = book_after(facts[:1])
    for one in facts[1:]:
        book.record(PORTFOLIO, [one])
        assert list(broken_invariants(rows_of(book))) == []


@given(facts=histories, cuts=st.lists(st.integers(0, 14), max_size=3))
@settings(deadline=None, max_examples=60)
def test_cutting_a_history_changes_nothing(facts: list[NewEvent], cuts: list[int]) -> None:
    """One batch, any batches, one fact at a time, and a replay of the log give the same rows."""
    whole = book_after(facts)
    ends = sorted({0, *(min(cut, len(facts)) for cut in cuts), len(facts)})
    pieces = [facts[start:end] for start, end in pairwise(ends)]

    assert texts(rows_of(book_after(*pieces))) == texts(rows_of(whole))
    assert texts(rows_of(book_after(*([one] for one in facts)))) == texts(rows_of(whole))
    assert texts(fold_log(whole.log.read(PORTFOLIO), MemoryRows())) == texts(rows_of(whole))


@given(facts=histories, dice=st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=60)
def test_the_order_of_arrival_does_not_matter(facts: list[NewEvent], dice: Random) -> None:
    """The same facts, told in any order, give the same state: every row says the same, and so does its hash."""
    in_order, mixed = texts(rows_of(book_after(facts))), texts(rows_of(book_after(other_arrival(facts, dice))))

    assert mixed == in_order
    assert state_hash(mixed) == state_hash(in_order)


@given(facts=histories, dice=st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=60)
def test_telling_a_fact_twice_changes_nothing(facts: list[NewEvent], dice: Random) -> None:
    """Facts that are recorded again, alone or among new ones, keep their positions and leave every row as it was."""
    book = book_after(facts[: len(facts) // 2 + 1], facts)
    head, before = book.log.head(PORTFOLIO), texts(rows_of(book))
    again = dice.sample(facts, len(facts))

    assert [envelope.event_id for envelope in book.record(PORTFOLIO, again)] == [one.event_id for one in again]
    assert book.log.head(PORTFOLIO) == head
    assert texts(rows_of(book)) == before == texts(rows_of(book_after(facts)))


@given(facts=histories)
@settings(deadline=None, max_examples=60)
def test_rows_without_history_fold_alike(facts: list[NewEvent]) -> None:
    """Told in order of time, nothing taken back or split, a fold that lets closed rows go ends with the same open lots."""
    lasting = [one for one in facts if not isinstance(one.event, TradeReversed | SplitRecorded)]
    book = book_after(sorted(lasting, key=lambda one: one.occurred_at))
    lean = fold_log(book.log.read(PORTFOLIO), MemoryRows(keep_history=False))

    for kind in (Lot, Holding):
        assert list(lean.where(kind)) == list(rows_of(book).where(kind))


LATE = [
    fact(1, trade(Side.BUY, "1", "200"), 10),
    fact(2, trade(Side.SELL, "1", "300"), 20),
    fact(3, trade(Side.BUY, "1", "100"), 5),
]


def test_a_late_purchase_takes_its_place() -> None:
    """A purchase that is told late but happened first is the one that was sold."""
    rows = rows_of(book_after(*([one] for one in LATE)))

    sold = [(match.opening_event_id, decimal_text(match.cost_basis)) for match in rows.history(Match)]
    left = [(lot.event_id, decimal_text(lot.open_cost)) for lot in rows.where(Lot)]
    assert sold == [(LATE[2].event_id, "100")]
    assert left == [(LATE[0].event_id, "200")]
    assert list(broken_invariants(rows)) == []


def test_an_unmatched_sale_resolves_itself() -> None:
    """A sale without a lot is unmatched and brings no gain until the missing purchase is told with its true time."""
    book = book_after([fact(1, trade(Side.SELL, "2", "300"), 20)])
    assert holding_of(book) == {"quantity": "-2", "cost": "0", "gain": "0", "unmatched": "2", "for": "600"}

    book.record(PORTFOLIO, [fact(2, trade(Side.BUY, "1.5", "100"), 10)])
    assert holding_of(book) == {"quantity": "-0.5", "cost": "0", "gain": "300", "unmatched": "0.5", "for": "150"}

    book.record(PORTFOLIO, [fact(3, trade(Side.BUY, "1", "200"), 15)])
    assert holding_of(book) == {"quantity": "0.5", "cost": "100", "gain": "350", "unmatched": "0", "for": "0"}
    assert list(rows_of(book).history(UnmatchedDisposal)) == []


def test_a_late_split_reaches_disposals_before_it() -> None:
    """What an unmatched sale still misses is split too, whether the split is told at its time or after a later purchase."""
    sale, split = (
        fact(1, trade(Side.SELL, "1", "1"), 0),
        fact(2, SplitRecorded(asset=BTC, numerator=2, denominator=1), 1),
    )
    purchase = fact(3, trade(Side.BUY, "1", "1"), 2)

    told_late = book_after([OPENED, sale, purchase, split])
    assert texts(rows_of(told_late)) == texts(rows_of(book_after([OPENED, sale, split, purchase])))


def holding_of(book: MemoryBook) -> dict[str, str]:
    holding = next(rows_of(book).where(Holding))
    return {
        "quantity": decimal_text(holding.quantity),
        "cost": decimal_text(holding.cost_basis),
        "gain": decimal_text(holding.realized_pnl),
        "unmatched": decimal_text(holding.unmatched_quantity),
        "for": decimal_text(holding.unmatched_proceeds),
    }


def test_a_purchase_after_the_sale_leaves_it_unmatched() -> None:
    """What is bought later was not there to be sold: it opens a lot, and the sale stays unmatched."""
    rows = rows_of(book_after([fact(1, trade(Side.SELL, "1", "300"), 10), fact(2, trade(Side.BUY, "1", "100"), 20)]))

    assert [one.quantity for one in rows.history(UnmatchedDisposal)] == [1]
    assert [lot.open_quantity for lot in rows.where(Lot)] == [1]


def in_arrival_order(rows: Rows, _portfolio: PortfolioView, _asset: str, _start: object, *, late: Leg) -> list[Change]:
    """A late leg booked as if it were the newest: the planted mistake."""
    booking = book_leg(late, rows.where(Lot, late.asset))
    holding = next(rows.where(Holding, late.asset))
    return [late, *booking.lots, *booking.matches, holdings.after_booking(holding, late, booking)]


def test_a_fold_without_late_entries_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Arrival order matters at once when late legs are not folded again."""
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
        ("ledger.projections.holdings.legs_of", lambda *_: [], "what came in + income + realised P&L"),
        ("ledger.projections.holdings.cash_changes", lambda *_: [], "what came in + income + realised P&L"),
        ("ledger.projections.holdings._moved", unmoved, "balances of all accounts = position of BTC"),
    ],
)
def test_the_identities_find_a_planted_mistake(
    place: str, planted: Callable[..., object], broken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each identity is broken by a fold that miscounts by one unit, forgets a leg or forgets a balance."""
    facts = [fact(1, trade(Side.BUY, "3", "100"), 1), fact(2, trade(Side.SELL, "1", "120"), 2)]
    rows = rows_of(book_after(facts))
    assert list(broken_invariants(rows)) == []

    monkeypatch.setattr(place, planted)
    names = [name for name, _, _ in broken_invariants(rows_of(book_after(facts)))]
    assert any(name.startswith(broken) for name in names), names
