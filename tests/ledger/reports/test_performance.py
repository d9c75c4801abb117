"""Daily equity, external flows, performance and attribution, from the log."""

import random
from bisect import bisect_left
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.booking.legs import AssetMove
from ledger.booking.lots import Match
from ledger.events import (
    AccountOpened,
    AssetDeposited,
    AssetWithdrawn,
    CashDeposited,
    CashWithdrawn,
    Event,
    IncomeReceived,
    MarkRecorded,
    OpeningLotRecorded,
    PortfolioOpened,
    SplitRecorded,
    TradeExecuted,
    TradeReversed,
)
from ledger.log.envelope import Envelope
from ledger.projections.book import MemoryBook, Reading
from ledger.projections.holdings import Holding
from ledger.projections.valuation import value_portfolio
from ledger.reports import attribution, closed_lots, equity, mark_history, metrics
from ledger.reports.attribution import Group, Grouping
from ledger.reports.equity import EquityHistory, day_change, equity_history
from ledger.reports.mark_history import MarkHistory
from ledger.reports.metrics import Flow, known_sum, time_weighted_returns
from ledger.reports.performance import Performance, performance_of
from ledger.rows import replaced
from ledger.values import ZERO, Asset, Instrument, Side
from tests.support.events import (
    ACCOUNT,
    MOVES,
    VENUE,
    Step,
    SteppingClock,
    Story,
    batches_of,
    prices,
    record_all,
    steps,
)

USD: Final = Asset("USD")
BTC: Final = Asset("BTC")
GROUPINGS: Final[tuple[Grouping, ...]] = ("day", "asset", "opened_by", "closed_by")


def at(day: int, hour: float = 0) -> datetime:
    """Return the time `hour` hours into this day of January 2026."""
    return datetime(2026, 1, day, tzinfo=UTC) + timedelta(hours=hour)


def figures(*values: object) -> tuple[object, ...]:
    """Bundle figures of different types for one comparison."""
    return values


class Sample:
    """A portfolio in memory, with events recorded one by one."""

    def __init__(self, story: Story | None = None) -> None:
        self.story = story or Story("sample")
        self.book = MemoryBook(SteppingClock())

    @classmethod
    def opened(cls) -> "Sample":
        """Return an empty portfolio with an account."""
        sample = cls()
        sample.record(at(2, 9), PortfolioOpened(name="sample", base_currency=USD))
        sample.record(at(2, 9), AccountOpened(account=ACCOUNT, venue=VENUE, mode="paper"))
        return sample

    def record(self, when: datetime, event: Event) -> Envelope:
        return self.book.record(self.story.portfolio_id, [self.story.new(event, at=when)])[0]

    def deposit(self, when: datetime, amount: int) -> Envelope:
        event = CashDeposited if amount > 0 else CashWithdrawn
        return self.record(when, event(account=ACCOUNT, asset=USD, amount=Decimal(abs(amount))))

    def mark(self, when: datetime, price: object, asset: Asset = BTC) -> Envelope:
        mark = MarkRecorded(instrument=Instrument(f"{asset}-USD"), price=Decimal(str(price)), source="test")
        return self.record(when, mark)

    def split(self, when: datetime, numerator: int, denominator: int, asset: Asset = BTC) -> Envelope:
        return self.record(when, SplitRecorded(asset=asset, numerator=numerator, denominator=denominator))

    def withdraw(self, when: datetime, quantity: int) -> Envelope:
        return self.record(when, AssetWithdrawn(account=ACCOUNT, asset=BTC, quantity=Decimal(quantity)))

    def trade(self, when: datetime, quantity: str, price: int, by: str | None = None) -> Envelope:
        """Record a purchase, or a sale if the quantity is negative."""
        trade = TradeExecuted(
            account=ACCOUNT,
            venue=VENUE,
            venue_trade_id=f"T{len(self.story.events)}",
            instrument=Instrument("BTC-USD"),
            side=Side.BUY if Decimal(quantity) > 0 else Side.SELL,
            quantity=abs(Decimal(quantity)),
            price=Decimal(price),
            quote_rate=Decimal(1),
            triggered_by=by,
        )
        return self.record(when, trade)

    def reading(self) -> Reading:
        with self.book.reading(self.story.portfolio_id) as reading:
            return reading

    def envelopes(self) -> list[Envelope]:
        """Return the events that the rows cover."""
        return list(self.book.log.read(self.story.portfolio_id, 0, self.reading().position))

    def history(self, until: datetime | None = None) -> EquityHistory:
        return equity_history(self.reading().rows, self.envelopes(), until)

    def performance(self, until: datetime | None = None) -> Performance:
        return performance_of(self.reading().rows, self.envelopes(), until=until)


def played(moves: list[Step]) -> Sample:
    """Record these moves."""
    sample = Sample(Story("random", allow_short=bool(moves and moves[0].pick % 2)))
    record_all(sample.book, sample.story, batches_of(sample.story, moves))
    return sample


some_moves = st.lists(steps(*(move for move in MOVES if move != "close")), max_size=30)
some_trades = st.lists(
    steps("buy", "sell", "import", "asset_in", "asset_out", "reverse", "mark"), min_size=3, max_size=25
)

# ── value ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@given(some_moves)
def test_last_equity_equals_the_total_value_of_the_views(moves: list[Step]) -> None:
    check_value_against_views(played(moves))


def check_value_against_views(sample: Sample) -> None:
    worth = value_portfolio(sample.reading().rows)
    closes = sample.history().closes
    last = (closes[-1].equity, closes[-1].cash) if closes else (ZERO, ZERO)  # no closes without value events
    assert last == (worth.total_value, worth.cash)


@given(some_moves, st.integers(0, 1000))
def test_order_of_arrival_has_no_effect(moves: list[Step], seed: int) -> None:
    check_order_has_no_effect(played(moves), seed)


def check_order_has_no_effect(sample: Sample, seed: int) -> None:
    envelopes = sample.envelopes()
    shuffled = random.Random(seed).sample(envelopes, len(envelopes))
    assert equity_history(sample.reading().rows, shuffled) == sample.history()


def test_every_day_has_a_close() -> None:
    """Days without events too; the last one is the current day, marked as not closed."""
    sample = growing_sample()

    closes = sample.history().closes

    assert [(close.day.day, close.equity, close.cash, close.closed) for close in closes] == [
        (3, Decimal(1000), Decimal(500), True),
        (4, Decimal(1100), Decimal(500), True),
        (5, Decimal(1100), Decimal(500), True),
        (6, Decimal(2000), Decimal(1500), True),
        (7, Decimal(1740), Decimal(1140), False),
    ]
    assert [close.flow for close in closes] == [Decimal(1000), 0, 0, Decimal(1000), Decimal(-360)]
    assert [close.traded for close in closes] == [Decimal(500), 0, 0, 0, 0]
    until_midnight = sample.history(at(7)).closes
    assert until_midnight == closes[:4]


def growing_sample() -> Sample:
    """500 of 1000 invested at prices of 100, 120, 100, 120; a deposit of 1000 at 100, a withdrawal of 360 at 120."""
    sample = Sample.opened()
    sample.deposit(at(3, 9), 1000)
    sample.mark(at(3, 10), 100)
    sample.trade(at(3, 11), "5", 100)
    sample.mark(at(5), 120)
    sample.mark(at(6, 8), 100)
    sample.deposit(at(6, 9), 1000)
    sample.mark(at(7, 8), 120)
    sample.deposit(at(7, 9), -360)
    return sample


def test_performance_figures_of_a_sample() -> None:
    performance = growing_sample().performance()

    growth = Decimal("1.1") * (Decimal(1000) / 1100) * (Decimal(2100) / 2000)
    assert performance.time_weighted_return is not None
    assert abs(performance.time_weighted_return - (growth - 1)) < Decimal("1e-50")
    assert (performance.equity, performance.net_flows, performance.profit) == (
        Decimal(1740),
        Decimal(1640),
        Decimal(100),
    )
    assert performance.day_change == 100
    assert performance.full_days == 4
    assert performance.measured_from == date(2026, 1, 3)
    assert round(performance.max_drawdown or ZERO, 50) == round(Decimal(1) / 11, 50)
    assert performance.longest_drawdown_days == 2
    assert performance.exposure_days == 1
    assert performance.turnover == Decimal(250) / (Decimal(1000 + 1100 + 1100 + 2000 + 1740) / 5)
    shares = (Decimal("0.5"), Decimal(600) / 1100, Decimal(600) / 1100, Decimal("0.25"), Decimal(600) / 1740)
    assert performance.exposure_average == sum(shares) / 5
    assert [note.partition(" omitted")[0] for note in performance.notes] == ["CAGR", "money-weighted return"]


def test_day_change_starts_at_midnight() -> None:
    """At midnight it is the change of the day that ends."""
    sample = growing_sample()

    assert day_change(sample.history(at(3, 12))) == 0
    assert day_change(sample.history(at(5))) == 100
    assert day_change(sample.history(at(5, 1))) == 0
    assert day_change(sample.history(at(3, 1))) is None


@given(
    st.lists(st.tuples(st.sampled_from(["in", "out", "mark"]), prices(), st.integers(1, 40)), min_size=1, max_size=20)
)
def test_flows_are_no_returns(moves: list[tuple[str, Decimal, int]]) -> None:
    """A portfolio of one coin has the coin's return, whatever is deposited and withdrawn."""
    check_return_of_the_coin(moves)


def check_return_of_the_coin(moves: list[tuple[str, Decimal, int]]) -> None:
    sample, now, held = Sample.opened(), at(3, 9), Decimal(1)
    sample.mark(now, first := Decimal(100))
    sample.record(now, AssetDeposited(account=ACCOUNT, asset=BTC, quantity=held, cost=Decimal(7)))
    last = first
    for kind, price, hours in moves:
        now += timedelta(hours=hours)
        if kind == "mark":
            sample.mark(now, last := price)
        elif kind == "in":
            sample.record(now, AssetDeposited(account=ACCOUNT, asset=BTC, quantity=Decimal(2), cost=None))
            held += 2
        elif held > 1:
            sample.record(now, AssetWithdrawn(account=ACCOUNT, asset=BTC, quantity=Decimal(1)))
            held -= 1
    found = sample.performance().time_weighted_return
    assert found is not None
    assert abs((1 + found) / (last / first) - 1) < Decimal("1e-12")


def test_withdrawing_everything_in_parts_is_no_loss() -> None:
    """Values are rounded part by part without a remainder."""
    sample, small = Sample.opened(), Decimal("1e-18")
    sample.mark(at(3, 8), "1.4")
    sample.record(at(3, 9), AssetDeposited(account=ACCOUNT, asset=BTC, quantity=1 + 2 * small, cost=None))
    sample.mark(at(4, 9), "2.8")
    sample.mark(at(5, 9), "1.4")
    for hour, quantity in ((10, 1 + small), (11, small)):
        sample.record(at(5, hour), AssetWithdrawn(account=ACCOUNT, asset=BTC, quantity=quantity))
    sample.mark(at(9, 9), "1.5")

    performance = sample.performance()

    assert performance.equity == 0
    assert performance.time_weighted_return is not None
    assert abs(performance.time_weighted_return) < Decimal("1e-15")
    assert [flow.equity_after for flow in sample.history().flows][1:] == [0]


def test_income_is_a_return_and_no_flow() -> None:
    sample = Sample.opened()
    sample.deposit(at(3, 9), 1000)
    sample.record(
        at(3, 10), IncomeReceived(account=ACCOUNT, asset=USD, quantity=Decimal(50), value=Decimal(50), kind="interest")
    )

    performance = sample.performance()

    assert performance.time_weighted_return == Decimal("0.05")
    assert (performance.net_flows, performance.profit) == (Decimal(1000), Decimal(50))


def test_reversed_deposit_is_in_no_day_and_no_flow() -> None:
    """Not even before the time of the reversal."""
    sample = growing_sample()
    before = sample.history()
    wrong = sample.deposit(at(4, 3), 5000)
    sample.record(at(4, 3), TradeReversed(reverses=wrong.event_id, reason="typed twice"))

    assert sample.history() == before


# ── splits ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_split_changes_no_value() -> None:
    """A mark before the split is a price per old unit."""
    sample = Sample.opened()
    sample.deposit(at(3, 9), 1000)
    sample.trade(at(3, 10), "1", 100)
    sample.mark(at(3, 11), 110)
    sample.split(at(4, 12), 2, 1)
    sample.mark(at(6, 12), 55)
    sample.mark(at(7, 12), 60)

    performance = sample.performance()

    assert [close.equity for close in sample.history().closes] == [1010, 1010, 1010, 1010, 1020]
    check_value_against_views(sample)
    assert performance.max_drawdown == 0


def test_split_at_midnight_is_no_drawdown() -> None:
    """A mark at the time of a split is a price per new unit, also for the close of the previous day."""
    sample = Sample.opened()
    sample.mark(at(3, 8), 100)
    sample.record(at(3, 9), AssetDeposited(account=ACCOUNT, asset=BTC, quantity=Decimal(1), cost=None))
    sample.mark(at(4), 50)
    sample.split(at(4), 2, 1)
    sample.mark(at(4, 5), 50)

    performance = sample.performance()

    assert [close.equity for close in sample.history().closes] == [100, 100]
    assert performance.max_drawdown == 0


hours = st.integers(1, 30)
ratios = st.sampled_from([(2, 1), (1, 2), (4, 1), (5, 2)])
split_moves = st.lists(
    st.tuples(st.sampled_from(["in", "out", "mark", "split"]), st.integers(1, 50), ratios, hours),
    min_size=1,
    max_size=15,
)


@given(split_moves)
def test_value_and_flows_are_the_same_with_splits(moves: list[tuple[str, int, tuple[int, int], int]]) -> None:
    """Quantities and prices are in units of their time."""
    check_splits_have_no_effect(moves)


def check_splits_have_no_effect(moves: list[tuple[str, int, tuple[int, int], int]]) -> None:
    plain, with_splits, now, units = Sample.opened(), Sample.opened(), at(3), Decimal(1)
    for sample in (plain, with_splits):
        sample.mark(now, 640)
        sample.record(now, AssetDeposited(account=ACCOUNT, asset=BTC, quantity=Decimal(1000), cost=Decimal(1)))
    for kind, number, (numerator, denominator), hour in moves:
        now += timedelta(hours=hour)
        if kind == "split":
            with_splits.split(now, numerator, denominator)
            units = units * numerator / denominator
            continue
        for sample, factor in ((plain, Decimal(1)), (with_splits, units)):
            if kind == "mark":
                sample.mark(now, round(640 * number / factor, 18))
            elif kind == "in":
                coins = AssetDeposited(account=ACCOUNT, asset=BTC, quantity=round(number * factor, 18), cost=None)
                sample.record(now, coins)
            else:
                sample.record(now, AssetWithdrawn(account=ACCOUNT, asset=BTC, quantity=round(number * factor, 18)))
    # The history must not end at the time of a split, which would begin a new day.
    ours, theirs = (sample.history(now + timedelta(hours=1)) for sample in (with_splits, plain))
    for one, other in zip(ours.closes, theirs.closes, strict=True):
        assert one.equity is not None
        assert other.equity is not None
        assert one.flow is not None
        assert other.flow is not None
        assert abs(one.equity - other.equity) + abs(one.flow - other.flow) < Decimal("1e-9")
    check_value_against_views(with_splits)


# ── unmatched units ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_sale_without_a_purchase_counts_as_a_deposit() -> None:
    """At its proceeds: no gain, no loss, no debt."""
    sample = Sample.opened()
    sample.deposit(at(3, 9), 1000)
    sample.mark(at(3, 10), 100)
    sample.trade(at(4, 10), "-2", 100)
    sample.mark(at(5, 10), 300)
    sample.mark(at(6, 10), 300)

    performance = sample.performance()

    assert [close.equity for close in sample.history().closes] == [1000, 1200, 1200, 1200]
    assert [close.flow for close in sample.history().closes] == [1000, 200, 0, 0]
    assert figures(performance.time_weighted_return, performance.profit, performance.exposure_days) == (0, 0, 0)
    note = "BTC sold or spent without a recorded purchase: counted as deposited at the proceeds"
    assert performance.notes[0] == note
    check_value_against_views(sample)


def test_partly_matched_sale_has_the_gain_of_its_matched_part() -> None:
    sample = Sample.opened()
    sample.mark(at(3, 8), 100)
    sample.deposit(at(3, 9), 900)
    sample.trade(at(3, 9), "1", 100)
    sample.trade(at(4, 10), "-2", 190)
    sample.split(at(5, 10), 7, 3)
    sample.trade(at(6, 10), "1", 50)
    sample.mark(at(6, 11), 60)

    performance = sample.performance()

    assert performance.time_weighted_return is not None
    # 800 and a coin of 100, sold for 190 with an unrecorded one; then one bought for 50, with a last mark of 60
    growth = Decimal(900 + 190 + 90) / (900 + 190) * (1190 / Decimal(1180))
    assert abs(1 + performance.time_weighted_return - growth) < Decimal("1e-30")
    assert performance.net_flows == 1090
    check_value_against_views(sample)


def test_withdrawal_without_a_lot_is_no_flow() -> None:
    """Only the matched part is."""
    sample = Sample.opened()
    sample.mark(at(3, 8), 100)
    sample.record(at(3, 9), AssetDeposited(account=ACCOUNT, asset=BTC, quantity=Decimal(1), cost=None))
    sample.withdraw(at(4, 9), 3)
    sample.withdraw(at(5, 9), 3)
    sample.mark(at(6), 500)

    performance = sample.performance()

    assert [figures(flow.amount, flow.equity_after) for flow in sample.history().flows] == [(100, 100), (-100, 0)]
    assert figures(performance.time_weighted_return, performance.profit, performance.equity) == (0, 0, 0)
    assert performance.notes[0].startswith("BTC withdrawn without a recorded purchase")
    check_value_against_views(sample)


missing_moves = st.lists(
    st.tuples(st.sampled_from(["sale", "out", "mark", "split"]), st.integers(1, 50), ratios, st.integers(0, 30)),
    max_size=15,
)


@given(missing_moves)
def test_unrecorded_coins_never_earn(moves: list[tuple[str, int, tuple[int, int], int]]) -> None:
    """Sold, withdrawn, marked or split: returns and profit are 0."""
    check_nothing_is_earned(moves)


def check_nothing_is_earned(moves: list[tuple[str, int, tuple[int, int], int]]) -> None:
    sample, now = Sample.opened(), at(3)
    sample.deposit(now, 1000)
    for kind, number, ratio, hour in moves:
        now += timedelta(hours=hour)
        if kind == "sale":
            sample.trade(now, str(-number), 7 * number)
        elif kind == "out":
            sample.withdraw(now, number)
        elif kind == "mark":
            sample.mark(now, number)
        else:
            sample.split(now, *ratio)
    found = sample.performance()
    assert figures(found.time_weighted_return, found.profit) == (0, 0)
    check_value_against_views(sample)


# ── days ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_events_at_midnight_belong_to_the_day_that_begins() -> None:
    """In equity, flows and returns. A mark at midnight is also the closing price of the previous day."""
    sample = Sample.opened()
    sample.deposit(at(3), 1000)
    sample.mark(at(3), 100)
    sample.trade(at(4), "10", 100)
    sample.mark(at(5), 110)
    sample.deposit(at(5), 1100)
    sample.mark(at(6), 99)

    history = sample.history(at(6))

    assert [figures(close.day.day, close.equity, close.flow, close.traded) for close in history.closes] == [
        (3, 1000, 1000, 0),
        (4, 1100, 0, 1000),
        (5, 2090, 1100, 0),
    ]
    assert all(close.closed for close in history.closes)
    returns = time_weighted_returns(history.closes, history.flows)
    assert [(one.day.day, one.value) for one in returns] == [(3, 0), (4, Decimal("0.1")), (5, Decimal("-0.05"))]
    sample.deposit(at(6), 10)
    assert [figures(close.day.day, close.equity, close.closed) for close in sample.history(at(6)).closes][2:] == [
        (5, 2090, True),
        (6, 2100, False),
    ]
    assert day_change(sample.history(at(6))) == 0


def test_daily_figures_restart_after_a_long_gap() -> None:
    """More than ten years without events, with a note; earlier flows still count."""
    sample = Sample.opened()
    sample.deposit(datetime(1, 1, 1, tzinfo=UTC), 1000)
    assert len(sample.history(at(5, 9)).closes) == 2
    assert day_change(sample.history(at(5, 9))) == 0
    sample.mark(at(3, 9), 100)
    sample.trade(at(4, 9), "5", 100)
    sample.mark(at(5, 9), 140)

    history, performance = sample.history(), sample.performance()

    assert [figures(close.day.day, close.equity, close.flow) for close in history.closes] == [
        (2, 1000, 1000), (3, 1000, 0), (4, 1000, 0), (5, 1200, 0),
    ]  # fmt: skip
    assert performance.measured_from == date(2026, 1, 3)
    assert figures(performance.net_flows, performance.profit) == (1000, 200)
    assert performance.time_weighted_return == Decimal("0.2")
    between = "no events between 0001-01-01 and 2026-01-03"
    assert performance.notes[0] == f"{between}: daily figures begin on 2026-01-03"


def test_marks_interrupt_a_gap() -> None:
    sample = Sample.opened()
    sample.record(
        datetime(2000, 1, 1, tzinfo=UTC), AssetDeposited(account=ACCOUNT, asset=BTC, quantity=Decimal(1), cost=None)
    )
    for year in (2008, 2016, 2024):
        sample.mark(datetime(year, 1, 1, tzinfo=UTC), year)

    history = sample.history(at(1))

    assert history.gap_since is None
    assert len(history.closes) == (date(2026, 1, 1) - date(2000, 1, 1)).days


@pytest.mark.parametrize(
    ("days", "given", "note"), [(29, False, "29"), (30, True, "30 days"), (364, True, "364 days"), (365, True, "")]
)
def test_annual_rates_need_thirty_days(days: int, given: bool, note: str) -> None:
    """Of less than a year, they have a note."""
    sample = Sample.opened()
    sample.deposit(at(1), 1000)
    sample.mark(at(1), 100)
    sample.trade(at(2), "5", 100)
    sample.mark(at(20), 110)

    performance = sample.performance(at(1) + timedelta(days=days))

    assert (performance.cagr is not None, performance.money_weighted_return is not None) == (given, given)
    assert performance.time_weighted_return == Decimal("0.05")
    notes = [one for one in performance.notes if one.startswith(("CAGR", "money-weighted return"))]
    assert len(notes) == (2 if note else 0)
    assert all(note in one for one in notes)


# ── unknown ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_days_of_a_coin_without_a_mark_are_unknown() -> None:
    """Figures begin after the last unknown day, with a note."""
    sample = Sample.opened()
    sample.deposit(at(3, 9), 1000)
    sample.trade(at(3, 10), "5", 100)
    sample.mark(at(5, 8), 110)
    sample.mark(at(6, 8), 121)
    sample.mark(at(9, 8), 121)

    performance = sample.performance()

    assert [close.equity for close in sample.history().closes][:4] == [None, None, 1050, 1105]
    assert performance.measured_from == date(2026, 1, 6)
    assert performance.time_weighted_return == Decimal(1105) / 1050 - 1
    assert sample.performance(at(3) + timedelta(days=40)).money_weighted_return is not None
    assert [note.partition(":")[0] for note in performance.notes][:2] == [
        "equity unknown on 2 days from 2026-01-03 to 2026-01-04",
        "return unknown or undefined on 3 days from 2026-01-03 to 2026-01-05",
    ]


def test_opening_lots_without_a_mark_are_flows_at_cost() -> None:
    """Simultaneous ones are one flow; without a cost the value is unknown."""
    sample = Sample.opened()
    for asset, cost in (("BTC", Decimal(500)), ("ETH", Decimal(300))):
        sample.record(at(3, 9), OpeningLotRecorded(account=ACCOUNT, asset=Asset(asset), quantity=Decimal(1), cost=cost))
    sample.mark(at(3, 10), 600)
    sample.mark(at(3, 11), 400, Asset("ETH"))
    assert [flow.amount for flow in sample.history().flows] == [800]
    assert sample.performance().time_weighted_return == Decimal("0.25")

    sample.record(at(4, 9), AssetDeposited(account=ACCOUNT, asset=Asset("SOL"), quantity=Decimal(1), cost=None))
    performance = sample.performance()

    assert performance.equity is None
    assert performance.net_flows is performance.profit is performance.money_weighted_return is None
    assert performance.time_weighted_return is performance.day_change is performance.sharpe is None
    assert any(note.startswith("money-weighted return omitted: a flow on 2026-01-04") for note in performance.notes)


def test_empty_portfolio_has_no_figures() -> None:
    performance = Sample.opened().performance()

    assert performance.equity is performance.time_weighted_return is performance.day_change is None
    assert performance.closed_lots.win_rate is None
    assert performance.full_days == 0


def test_first_and_last_day_of_the_calendar_have_closes() -> None:
    late = datetime(9999, 12, 31, 23, tzinfo=UTC)
    sample = Sample.opened()
    sample.deposit(late, 1000)
    assert [close.day for close in sample.history().closes] == [date.max]
    sample = Sample.opened()
    sample.deposit(datetime(1, 1, 1, tzinfo=UTC), 1000)
    assert [close.day for close in sample.history(datetime(1, 1, 2, tzinfo=UTC)).closes] == [date.min]
    assert sample.performance(datetime(1, 1, 2, tzinfo=UTC)).max_drawdown == 0


def test_mark_history_returns_the_last_mark_at_or_before_a_time() -> None:
    """Of two with the same time, the one added last."""
    marks = MarkHistory()
    for hour, price in ((5, 50), (3, 30), (9, 90), (5, 55)):
        marks.add("BTC", at(3, hour), Decimal(price))

    found = [marks.at("BTC", at(3, hour)) for hour in (2, 3, 4, 5, 8, 9, 20)]

    assert found == [None, 30, 30, 55, 55, 90, 90]
    assert marks.at("ETH", at(9)) is None


# ── closed lots and attribution ──────────────────────────────────────────────────────────────────────────────────────


def traded_sample() -> Sample:
    """Two lots, closed in three parts with results of 20, -10 and 5, and a withdrawn coin."""
    sample = Sample.opened()
    sample.deposit(at(3, 9), 1000)
    sample.trade(at(3, 10), "2", 100, "bot:a")
    sample.trade(at(3, 11), "3", 110, "manual")
    sample.trade(at(4, 10), "-2", 110, "bot:b")
    sample.trade(at(5, 10), "-1", 100)
    sample.trade(at(5, 22), "-1", 115, "bot:b")
    sample.record(at(6, 10), AssetWithdrawn(account=ACCOUNT, asset=BTC, quantity=Decimal(1)))
    return sample


def test_closed_lots_statistics() -> None:
    """Withdrawals and lots of unknown cost are not included."""
    sample = traded_sample()

    found = sample.performance().closed_lots

    assert (found.count, found.wins, found.losses, found.realized_pnl) == (3, 2, 1, Decimal(15))
    assert (found.win_rate, found.profit_factor, found.expectancy) == (Decimal(2) / 3, Decimal("2.5"), Decimal(5))
    assert (found.average_win, found.average_loss) == (Decimal("12.5"), Decimal(-10))
    assert found.average_days_held == Decimal(24 + 47 + 59) / 24 / 3
    matches = list(sample.reading().rows.history(Match))
    unknown = [replaced(match, cost_known=False) for match in matches]
    assert closed_lots.closed_lots(unknown).count == 0
    assert closed_lots.closed_lots(matches[:1]).profit_factor is None


def test_attribution_groups_by_day_asset_opener_and_closer() -> None:
    matches = list(traded_sample().reading().rows.history(Match))

    def by(grouping: Grouping) -> dict[str, Decimal | None]:
        return {one.name: one.realized_pnl for one in attribution.attribution(matches, grouping)}

    assert by("day") == {"2026-01-04": 20, "2026-01-05": -5, "2026-01-06": 0}
    assert by("asset") == {"BTC": 15}
    assert by("opened_by") == {"bot:a": 20, "manual": -5}
    assert by("closed_by") == {"bot:b": 25, "unknown": -10}


def test_attribution_separates_unknown_costs() -> None:
    """A day with unknown costs only has neither P&L nor cost basis."""
    sample = Sample.opened()
    sample.record(at(3, 8), AssetDeposited(account=ACCOUNT, asset=BTC, quantity=Decimal(2), cost=None))
    sample.trade(at(3, 9), "1", 100)
    sample.trade(at(4, 9), "-1", 150)
    sample.trade(at(5, 9), "-2", 160)

    first, second = attribution.attribution(sample.reading().rows.history(Match), "day")

    assert first == Group("2026-01-04", None, ZERO, None, Decimal(150), 1)
    assert second == Group("2026-01-05", Decimal(60), Decimal(160), Decimal(100), Decimal(160), 2)
    check_groups_add_up(sample)


@given(some_trades)
def test_attribution_groups_add_up_exactly(moves: list[Step]) -> None:
    check_groups_add_up(played(moves))


def check_groups_add_up(sample: Sample) -> None:
    rows = sample.reading().rows
    whole = sum((holding.realized_pnl for holding in rows.history(Holding)), ZERO)
    unknown = sum((holding.unknown_cost_proceeds for holding in rows.history(Holding)), ZERO)
    for grouping in GROUPINGS:
        groups = attribution.attribution(rows.history(Match), grouping)
        assert sum((one.realized_pnl or ZERO for one in groups), ZERO) == whole
        assert sum((one.unknown_cost_proceeds for one in groups), ZERO) == unknown
        for one in groups:
            assert (one.realized_pnl or ZERO) == one.proceeds - (one.cost_basis or ZERO)
        assert sum(one.matches for one in groups) == len(list(rows.history(Match)))
        assert [one.name for one in groups] == sorted({one.name for one in groups})


# ── planted mistakes ─────────────────────────────────────────────────────────────────────────────────────────────────


def _reversed_deposit() -> None:
    sample = growing_sample()
    wrong = sample.deposit(at(4, 3), 5000)
    sample.record(at(4, 3), TradeReversed(reverses=wrong.event_id, reason="typed twice"))
    check_value_against_views(sample)


def moments_without_reversals(self: equity._Log, end: datetime) -> list[equity._Moment]:
    return sorted((one for one in self._moments if one.at <= end), key=lambda one: (one.at, one.position))


def sum_of_flow(self: equity._Walk, flow: Flow, at: datetime) -> Flow:
    return Flow(flow.at, flow.amount, flow.equity_before, known_sum([flow.equity_before, flow.amount]))


def only_of_trades(
    matches: Iterable[Match], grouping: Grouping, whole: Callable[..., tuple[Group, ...]] = attribution.attribution
) -> tuple[Group, ...]:
    return whole(filter(closed_lots.is_trade, matches), grouping)


def _late_mark() -> None:
    sample = growing_sample()
    sample.mark(at(6, 20), 90)
    check_value_against_views(sample)


def _split() -> None:
    check_value_against_views(played([Step("mark"), Step("buy"), Step("split")]))


def _missing_split() -> None:
    sample = Sample.opened()
    sample.mark(at(3, 8), 100)
    sample.trade(at(3, 9), "-2", 100)
    sample.split(at(3, 10), 2, 1)
    check_value_against_views(sample)


def day_that_ends(moment: datetime) -> date:
    return (moment - timedelta(microseconds=1)).date()


def with_unmatched_moves(self: equity._Walk, moment: equity._Moment) -> list[AssetMove]:
    return list(moment.moves)


def _coins() -> None:
    check_return_of_the_coin([("mark", Decimal(150), 2), ("in", Decimal(1), 1), ("mark", Decimal(120), 3)])


@pytest.mark.parametrize(
    ("owner", "name", "bug", "check"),
    [
        (equity._Log, "moments_until", moments_without_reversals, _reversed_deposit),
        (mark_history.MarkHistory, "_sort", lambda self: setattr(self, "_in_order", True), _late_mark),
        (equity, "_split_gains", lambda rows: {}, _split),
        (mark_history.MarkHistory, "_in_units", lambda self, asset, price, *_: price, test_split_changes_no_value),
        (mark_history, "bisect_right", bisect_left, test_split_at_midnight_is_no_drawdown),
        (equity, "split_unmatched", lambda unmatched, split: unmatched, _missing_split),
        (equity, "_unmatched", lambda rows: {}, test_sale_without_a_purchase_counts_as_a_deposit),
        (equity._Walk, "_matched_moves", with_unmatched_moves, test_withdrawal_without_a_lot_is_no_flow),
        (metrics, "utc_day", day_that_ends, test_events_at_midnight_belong_to_the_day_that_begins),
        (equity, "EXTERNAL", frozenset({"withdrawal"}), _coins),
        (mark_history.MarkHistory, "at", lambda self, asset, *_: Decimal(self._prices[asset][-1]), _coins),
        (equity._Walk, "_with_equity_after", sum_of_flow, test_withdrawing_everything_in_parts_is_no_loss),
        (attribution, "attribution", only_of_trades, lambda: check_groups_add_up(traded_sample())),
        (
            attribution,
            "Group",
            lambda **named: Group(**named | {"realized_pnl": round(named["realized_pnl"], -1)}),
            lambda: check_groups_add_up(traded_sample()),
        ),
    ],
    ids=["reversals", "late marks", "splits", "old prices", "prices a moment late", "missing splits", "debts",
         "vanished", "midnight", "deposits", "prices of today", "rounding of flows", "trades only", "rounding"],
)  # fmt: skip
def test_planted_mistake_is_found(
    owner: object, name: str, bug: object, check: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    check()
    monkeypatch.setattr(owner, name, bug)

    with pytest.raises(AssertionError):
        check()
