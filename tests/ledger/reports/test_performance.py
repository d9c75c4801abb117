"""A portfolio's worth day by day, what came in from outside, and whose profit it was: told by the log alone."""

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
from ledger.reports.attribution import Grouping, Part
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
    """So many hours into this day of January."""
    return datetime(2026, 1, day, tzinfo=UTC) + timedelta(hours=hour)


def figures(*values: object) -> tuple[object, ...]:
    """Some figures, to be compared with what they must be."""
    return values


class Life:
    """A portfolio in memory that is told its events one by one."""

    def __init__(self, story: Story | None = None) -> None:
        self.story = story or Story("life")
        self.book = MemoryBook(SteppingClock())

    @classmethod
    def begun(cls) -> "Life":
        """One with an account and nothing in it."""
        life = cls()
        life.tell(at(2, 9), PortfolioOpened(name="life", base_currency=USD))
        life.tell(at(2, 9), AccountOpened(account=ACCOUNT, venue=VENUE, mode="paper"))
        return life

    def tell(self, when: datetime, event: Event) -> Envelope:
        return self.book.record(self.story.portfolio_id, [self.story.new(event, at=when)])[0]

    def deposit(self, when: datetime, amount: int) -> Envelope:
        event = CashDeposited if amount > 0 else CashWithdrawn
        return self.tell(when, event(account=ACCOUNT, asset=USD, amount=Decimal(abs(amount))))

    def mark(self, when: datetime, price: object, asset: Asset = BTC) -> Envelope:
        mark = MarkRecorded(instrument=Instrument(f"{asset}-USD"), price=Decimal(str(price)), source="test")
        return self.tell(when, mark)

    def split(self, when: datetime, numerator: int, denominator: int, asset: Asset = BTC) -> Envelope:
        return self.tell(when, SplitRecorded(asset=asset, numerator=numerator, denominator=denominator))

    def withdraw(self, when: datetime, quantity: int) -> Envelope:
        return self.tell(when, AssetWithdrawn(account=ACCOUNT, asset=BTC, quantity=Decimal(quantity)))

    def trade(self, when: datetime, quantity: str, price: int, by: str | None = None) -> Envelope:
        """A purchase, or a sale when the quantity is below 0."""
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
        return self.tell(when, trade)

    def reading(self) -> Reading:
        with self.book.reading(self.story.portfolio_id) as reading:
            return reading

    def envelopes(self) -> list[Envelope]:
        """The events that the rows cover."""
        return list(self.book.log.read(self.story.portfolio_id, 0, self.reading().position))

    def history(self, until: datetime | None = None) -> EquityHistory:
        return equity_history(self.reading().rows, self.envelopes(), until)

    def performance(self, until: datetime | None = None) -> Performance:
        return performance_of(self.reading().rows, self.envelopes(), until=until)


def played(moves: list[Step]) -> Life:
    """A whole life of these moves."""
    life = Life(Story("random", allow_short=bool(moves and moves[0].pick % 2)))
    record_all(life.book, life.story, batches_of(life.story, moves))
    return life


some_moves = st.lists(steps(*(move for move in MOVES if move != "close")), max_size=30)
some_trades = st.lists(
    steps("buy", "sell", "import", "asset_in", "asset_out", "reverse", "mark"), min_size=3, max_size=25
)

# ── worth ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@given(some_moves)
def test_worth_at_the_end_is_what_the_views_say(moves: list[Step]) -> None:
    """The last equity of any life is the total value that its rows give, unknown when that is."""
    assert_worth_is_that_of_the_views(played(moves))


def assert_worth_is_that_of_the_views(life: Life) -> None:
    worth = value_portfolio(life.reading().rows)
    closes = life.history().closes
    last = (closes[-1].equity, closes[-1].cash) if closes else (ZERO, ZERO)  # without any day nothing ever moved
    assert last == (worth.total_value, worth.cash)


@given(some_moves, st.integers(0, 1000))
def test_the_order_of_arrival_changes_nothing(moves: list[Step], seed: int) -> None:
    """The same facts, read in any order, give the same days and flows."""
    assert_order_is_nothing(played(moves), seed)


def assert_order_is_nothing(life: Life, seed: int) -> None:
    envelopes = life.envelopes()
    shuffled = random.Random(seed).sample(envelopes, len(envelopes))
    assert equity_history(life.reading().rows, shuffled) == life.history()


def test_every_day_has_its_close() -> None:
    """From the first money on each midnight closes a day, quiet days too; the unfinished day comes last, marked as such."""
    life = grown_life()

    closes = life.history().closes

    assert [(close.day.day, close.equity, close.cash, close.closed) for close in closes] == [
        (3, Decimal(1000), Decimal(500), True),
        (4, Decimal(1100), Decimal(500), True),
        (5, Decimal(1100), Decimal(500), True),
        (6, Decimal(2000), Decimal(1500), True),
        (7, Decimal(1740), Decimal(1140), False),
    ]
    assert [close.flow for close in closes] == [Decimal(1000), 0, 0, Decimal(1000), Decimal(-360)]
    assert [close.traded for close in closes] == [Decimal(500), 0, 0, 0, 0]
    until_midnight = life.history(at(7)).closes
    assert until_midnight == closes[:4]


def grown_life() -> Life:
    """500 of 1000 in coins, which go 100, 120, 100, 120; 1000 more come in at 100, 360 leave at 120."""
    life = Life.begun()
    life.deposit(at(3, 9), 1000)
    life.mark(at(3, 10), 100)
    life.trade(at(3, 11), "5", 100)
    life.mark(at(5), 120)
    life.mark(at(6, 8), 100)
    life.deposit(at(6, 9), 1000)
    life.mark(at(7, 8), 120)
    life.deposit(at(7, 9), -360)
    return life


def test_the_figures_of_a_small_life() -> None:
    """Returns link the worth before each flow; profit is what is there less what came in; today is the change since midnight."""
    performance = grown_life().performance()

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
    assert [note.partition(" is not told")[0] for note in performance.notes] == ["CAGR", "the money-weighted rate"]


def test_a_day_begins_at_midnight_also_for_its_change() -> None:
    """The change of the first day is all profit so far; at midnight it is still that of the day that ends."""
    life = grown_life()

    assert day_change(life.history(at(3, 12))) == 0
    assert day_change(life.history(at(5))) == 100
    assert day_change(life.history(at(5, 1))) == 0
    assert day_change(life.history(at(3, 1))) is None


@given(
    st.lists(st.tuples(st.sampled_from(["in", "out", "mark"]), prices(), st.integers(1, 40)), min_size=1, max_size=20)
)
def test_flows_never_show_as_returns(moves: list[tuple[str, Decimal, int]]) -> None:
    """Who holds one coin and nothing else has its return, whatever coins come in and go out on the way."""
    assert_return_is_that_of_the_coin(moves)


def assert_return_is_that_of_the_coin(moves: list[tuple[str, Decimal, int]]) -> None:
    life, now, held = Life.begun(), at(3, 9), Decimal(1)
    life.mark(now, first := Decimal(100))
    life.tell(now, AssetDeposited(account=ACCOUNT, asset=BTC, quantity=held, cost=Decimal(7)))
    last = first
    for what, price, hours in moves:
        now += timedelta(hours=hours)
        if what == "mark":
            life.mark(now, last := price)
        elif what == "in":
            life.tell(now, AssetDeposited(account=ACCOUNT, asset=BTC, quantity=Decimal(2), cost=None))
            held += 2
        elif held > 1:
            life.tell(now, AssetWithdrawn(account=ACCOUNT, asset=BTC, quantity=Decimal(1)))
            held -= 1
    found = life.performance().time_weighted_return
    assert found is not None
    assert abs((1 + found) / (last / first) - 1) < Decimal("1e-12")


def test_taking_everything_out_in_parts_loses_nothing() -> None:
    """Parts whose worth is rounded one by one leave no rest that could seem lost."""
    life, small = Life.begun(), Decimal("1e-18")
    life.mark(at(3, 8), "1.4")
    life.tell(at(3, 9), AssetDeposited(account=ACCOUNT, asset=BTC, quantity=1 + 2 * small, cost=None))
    life.mark(at(4, 9), "2.8")
    life.mark(at(5, 9), "1.4")
    for hour, quantity in ((10, 1 + small), (11, small)):
        life.tell(at(5, hour), AssetWithdrawn(account=ACCOUNT, asset=BTC, quantity=quantity))
    life.mark(at(9, 9), "1.5")

    performance = life.performance()

    assert performance.equity == 0
    assert performance.time_weighted_return is not None
    assert abs(performance.time_weighted_return) < Decimal("1e-15")
    assert [flow.equity_after for flow in life.history().flows][1:] == [0]


def test_income_is_a_return_and_no_flow() -> None:
    """What comes in as income is earned: equity grows, nothing came from outside."""
    life = Life.begun()
    life.deposit(at(3, 9), 1000)
    life.tell(
        at(3, 10), IncomeReceived(account=ACCOUNT, asset=USD, quantity=Decimal(50), value=Decimal(50), kind="interest")
    )

    performance = life.performance()

    assert performance.time_weighted_return == Decimal("0.05")
    assert (performance.net_flows, performance.profit) == (Decimal(1000), Decimal(50))


def test_what_was_reversed_never_happened() -> None:
    """A reversed deposit is in no day and no flow, also not before the reversal came."""
    life = grown_life()
    before = life.history()
    wrong = life.deposit(at(4, 3), 5000)
    life.tell(at(4, 3), TradeReversed(reverses=wrong.event_id, reason="typed twice"))

    assert life.history() == before


# ── splits ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_split_changes_no_worth() -> None:
    """A mark from before a split is the price of old units: after the split equity is what it was, and stays so with a new mark."""
    life = Life.begun()
    life.deposit(at(3, 9), 1000)
    life.trade(at(3, 10), "1", 100)
    life.mark(at(3, 11), 110)
    life.split(at(4, 12), 2, 1)
    life.mark(at(6, 12), 55)
    life.mark(at(7, 12), 60)

    performance = life.performance()

    assert [close.equity for close in life.history().closes] == [1010, 1010, 1010, 1010, 1020]
    assert_worth_is_that_of_the_views(life)
    assert performance.max_drawdown == 0


def test_a_split_at_midnight_is_no_fall() -> None:
    """A mark at the very moment of a split is one of new units, also where it prices the close of the day before."""
    life = Life.begun()
    life.mark(at(3, 8), 100)
    life.tell(at(3, 9), AssetDeposited(account=ACCOUNT, asset=BTC, quantity=Decimal(1), cost=None))
    life.mark(at(4), 50)
    life.split(at(4), 2, 1)
    life.mark(at(4, 5), 50)

    performance = life.performance()

    assert [close.equity for close in life.history().closes] == [100, 100]
    assert performance.max_drawdown == 0


hours = st.integers(1, 30)
ratios = st.sampled_from([(2, 1), (1, 2), (4, 1), (5, 2)])
split_moves = st.lists(
    st.tuples(st.sampled_from(["in", "out", "mark", "split"]), st.integers(1, 50), ratios, hours),
    min_size=1,
    max_size=15,
)


@given(split_moves)
def test_whoever_splits_is_worth_the_same(moves: list[tuple[str, int, tuple[int, int], int]]) -> None:
    """A life with splits, its quantities and prices told in the units of their time, has the worth and flows of one without."""
    assert_splits_are_nothing(moves)


def assert_splits_are_nothing(moves: list[tuple[str, int, tuple[int, int], int]]) -> None:
    plain, with_splits, now, units = Life.begun(), Life.begun(), at(3), Decimal(1)
    for life in (plain, with_splits):
        life.mark(now, 640)
        life.tell(now, AssetDeposited(account=ACCOUNT, asset=BTC, quantity=Decimal(1000), cost=Decimal(1)))
    for what, number, (numerator, denominator), hour in moves:
        now += timedelta(hours=hour)
        if what == "split":
            with_splits.split(now, numerator, denominator)
            units = units * numerator / denominator
            continue
        for life, factor in ((plain, Decimal(1)), (with_splits, units)):
            if what == "mark":
                life.mark(now, round(640 * number / factor, 18))
            elif what == "in":
                coins = AssetDeposited(account=ACCOUNT, asset=BTC, quantity=round(number * factor, 18), cost=None)
                life.tell(now, coins)
            else:
                life.tell(now, AssetWithdrawn(account=ACCOUNT, asset=BTC, quantity=round(number * factor, 18)))
    # A day begins with whatever happens in it: what is looked at must not end at the moment of a split.
    ours, theirs = (life.history(now + timedelta(hours=1)) for life in (with_splits, plain))
    for one, other in zip(ours.closes, theirs.closes, strict=True):
        assert one.equity is not None
        assert other.equity is not None
        assert one.flow is not None
        assert other.flow is not None
        assert abs(one.equity - other.equity) + abs(one.flow - other.flow) < Decimal("1e-9")
    assert_worth_is_that_of_the_views(with_splits)


# ── what no lot held ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_sale_without_a_purchase_brings_its_coins_with_it() -> None:
    """Coins sold that nobody recorded come in at what they brought: neither gain nor loss, and nothing is owed."""
    life = Life.begun()
    life.deposit(at(3, 9), 1000)
    life.mark(at(3, 10), 100)
    life.trade(at(4, 10), "-2", 100)
    life.mark(at(5, 10), 300)
    life.mark(at(6, 10), 300)

    performance = life.performance()

    assert [close.equity for close in life.history().closes] == [1000, 1200, 1200, 1200]
    assert [close.flow for close in life.history().closes] == [1000, 200, 0, 0]
    assert figures(performance.time_weighted_return, performance.profit, performance.exposure_days) == (0, 0, 0)
    what = "were sold or spent without a recorded purchase: counted as deposited at what they brought"
    assert performance.notes[0] == f"units of BTC {what}"
    assert_worth_is_that_of_the_views(life)


def test_only_what_was_held_gains_by_a_sale() -> None:
    """Of a sale half of which was held, that half has its gain; the other brings what it brings, also after a split."""
    life = Life.begun()
    life.mark(at(3, 8), 100)
    life.deposit(at(3, 9), 900)
    life.trade(at(3, 9), "1", 100)
    life.trade(at(4, 10), "-2", 190)
    life.split(at(5, 10), 7, 3)
    life.trade(at(6, 10), "1", 50)
    life.mark(at(6, 11), 60)

    performance = life.performance()

    assert performance.time_weighted_return is not None
    # 800 and a coin of 100, which is sold for 190 beside another that nobody recorded; then one for 50 that is worth 60
    growth = Decimal(900 + 190 + 90) / (900 + 190) * (1190 / Decimal(1180))
    assert abs(1 + performance.time_weighted_return - growth) < Decimal("1e-30")
    assert performance.net_flows == 1090
    assert_worth_is_that_of_the_views(life)


def test_what_vanished_without_a_lot_was_never_there() -> None:
    """A withdrawal of coins nobody recorded is a flow only for the part that was held."""
    life = Life.begun()
    life.mark(at(3, 8), 100)
    life.tell(at(3, 9), AssetDeposited(account=ACCOUNT, asset=BTC, quantity=Decimal(1), cost=None))
    life.withdraw(at(4, 9), 3)
    life.withdraw(at(5, 9), 3)
    life.mark(at(6), 500)

    performance = life.performance()

    assert [figures(flow.amount, flow.equity_after) for flow in life.history().flows] == [(100, 100), (-100, 0)]
    assert figures(performance.time_weighted_return, performance.profit, performance.equity) == (0, 0, 0)
    assert performance.notes[0].startswith("units of BTC were withdrawn without a recorded purchase")
    assert_worth_is_that_of_the_views(life)


missing_moves = st.lists(
    st.tuples(st.sampled_from(["sale", "out", "mark", "split"]), st.integers(1, 50), ratios, st.integers(0, 30)),
    max_size=15,
)


@given(missing_moves)
def test_what_was_never_held_never_earns(moves: list[tuple[str, int, tuple[int, int], int]]) -> None:
    """With cash alone, whatever unrecorded coins are sold, taken out, marked and split, every return is 0 and so is profit."""
    assert_nothing_is_earned(moves)


def assert_nothing_is_earned(moves: list[tuple[str, int, tuple[int, int], int]]) -> None:
    life, now = Life.begun(), at(3)
    life.deposit(now, 1000)
    for what, number, ratio, hour in moves:
        now += timedelta(hours=hour)
        if what == "sale":
            life.trade(now, str(-number), 7 * number)
        elif what == "out":
            life.withdraw(now, number)
        elif what == "mark":
            life.mark(now, number)
        else:
            life.split(now, *ratio)
    found = life.performance()
    assert figures(found.time_weighted_return, found.profit) == (0, 0)
    assert_worth_is_that_of_the_views(life)


# ── days ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_happens_at_midnight_is_of_the_day_that_begins() -> None:
    """Facts dated without a time stand at 00:00: they are of that day in equity, flows and returns, and marks close the day before."""
    life = Life.begun()
    life.deposit(at(3), 1000)
    life.mark(at(3), 100)
    life.trade(at(4), "10", 100)
    life.mark(at(5), 110)
    life.deposit(at(5), 1100)
    life.mark(at(6), 99)

    history = life.history(at(6))

    assert [figures(close.day.day, close.equity, close.flow, close.traded) for close in history.closes] == [
        (3, 1000, 1000, 0),
        (4, 1100, 0, 1000),
        (5, 2090, 1100, 0),
    ]
    assert all(close.closed for close in history.closes)
    returns = time_weighted_returns(history.closes, history.flows)
    assert [(one.day.day, one.value) for one in returns] == [(3, 0), (4, Decimal("0.1")), (5, Decimal("-0.05"))]
    life.deposit(at(6), 10)
    assert [figures(close.day.day, close.equity, close.closed) for close in life.history(at(6)).closes][2:] == [
        (5, 2090, True),
        (6, 2100, False),
    ]
    assert day_change(life.history(at(6))) == 0


def test_a_long_silence_is_left_out() -> None:
    """After more than ten years without anything daily figures begin anew, with a note; what came in before still counts."""
    life = Life.begun()
    life.deposit(datetime(1, 1, 1, tzinfo=UTC), 1000)
    assert len(life.history(at(5, 9)).closes) == 2
    assert day_change(life.history(at(5, 9))) == 0
    life.mark(at(3, 9), 100)
    life.trade(at(4, 9), "5", 100)
    life.mark(at(5, 9), 140)

    history, performance = life.history(), life.performance()

    assert [figures(close.day.day, close.equity, close.flow) for close in history.closes] == [
        (2, 1000, 1000), (3, 1000, 0), (4, 1000, 0), (5, 1200, 0),
    ]  # fmt: skip
    assert performance.measured_from == date(2026, 1, 3)
    assert figures(performance.net_flows, performance.profit) == (1000, 200)
    assert performance.time_weighted_return == Decimal("0.2")
    between = "nothing is recorded between 0001-01-01 and 2026-01-03"
    assert performance.notes[0] == f"{between}: daily figures begin on 2026-01-03"


def test_marks_break_a_silence() -> None:
    """Years in which a coin only had marks are told day by day."""
    life = Life.begun()
    life.tell(
        datetime(2000, 1, 1, tzinfo=UTC), AssetDeposited(account=ACCOUNT, asset=BTC, quantity=Decimal(1), cost=None)
    )
    for year in (2008, 2016, 2024):
        life.mark(datetime(year, 1, 1, tzinfo=UTC), year)

    history = life.history(at(1))

    assert history.silent_since is None
    assert len(history.closes) == (date(2026, 1, 1) - date(2000, 1, 1)).days


@pytest.mark.parametrize(
    ("days", "told", "note"), [(29, False, "29"), (30, True, "30 days"), (364, True, "364 days"), (365, True, "")]
)
def test_an_annual_rate_says_what_it_rests_on(days: int, told: bool, note: str) -> None:
    """Annual rates are not told from less than 30 days, and with a note from less than a year."""
    life = Life.begun()
    life.deposit(at(1), 1000)
    life.mark(at(1), 100)
    life.trade(at(2), "5", 100)
    life.mark(at(20), 110)

    performance = life.performance(at(1) + timedelta(days=days))

    assert (performance.cagr is not None, performance.money_weighted_return is not None) == (told, told)
    assert performance.time_weighted_return == Decimal("0.05")
    notes = [one for one in performance.notes if one.startswith(("CAGR", "the money-weighted rate"))]
    assert len(notes) == (2 if note else 0)
    assert all(note in one for one in notes)


# ── the unknown ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_coin_without_a_mark_makes_its_days_unknown() -> None:
    """Equity is unknown until the first mark; figures begin after the last unknown day, and a note says so."""
    life = Life.begun()
    life.deposit(at(3, 9), 1000)
    life.trade(at(3, 10), "5", 100)
    life.mark(at(5, 8), 110)
    life.mark(at(6, 8), 121)
    life.mark(at(9, 8), 121)

    performance = life.performance()

    assert [close.equity for close in life.history().closes][:4] == [None, None, 1050, 1105]
    assert performance.measured_from == date(2026, 1, 6)
    assert performance.time_weighted_return == Decimal(1105) / 1050 - 1
    assert life.performance(at(3) + timedelta(days=40)).money_weighted_return is not None
    assert [note.partition(":")[0] for note in performance.notes][:2] == [
        "equity is unknown on 2 days from 2026-01-03 to 2026-01-04",
        "the return of 3 days from 2026-01-03 to 2026-01-05 is unknown or undefined",
    ]


def test_coins_from_before_count_at_their_cost_until_a_mark_is_there() -> None:
    """Opening lots without a mark come in at their stated cost, several at once as one; without a cost nothing is guessed."""
    life = Life.begun()
    for asset, cost in (("BTC", Decimal(500)), ("ETH", Decimal(300))):
        life.tell(at(3, 9), OpeningLotRecorded(account=ACCOUNT, asset=Asset(asset), quantity=Decimal(1), cost=cost))
    life.mark(at(3, 10), 600)
    life.mark(at(3, 11), 400, Asset("ETH"))
    assert [flow.amount for flow in life.history().flows] == [800]
    assert life.performance().time_weighted_return == Decimal("0.25")

    life.tell(at(4, 9), AssetDeposited(account=ACCOUNT, asset=Asset("SOL"), quantity=Decimal(1), cost=None))
    performance = life.performance()

    assert performance.equity is None
    assert performance.net_flows is performance.profit is performance.money_weighted_return is None
    assert performance.time_weighted_return is performance.day_change is performance.sharpe is None
    assert any(note.startswith("on 2026-01-04 what came in or went out has neither mark") for note in performance.notes)


def test_a_portfolio_without_money_has_no_figures() -> None:
    """Before anything moved there is no day, no figure and no error."""
    performance = Life.begun().performance()

    assert performance.equity is performance.time_weighted_return is performance.day_change is None
    assert performance.closed_lots.win_rate is None
    assert performance.full_days == 0


def test_the_first_and_the_last_of_all_times_are_days_too() -> None:
    """A life that begins or ends at the edge of the calendar has its closes there and no error."""
    late = datetime(9999, 12, 31, 23, tzinfo=UTC)
    life = Life.begun()
    life.deposit(late, 1000)
    assert [close.day for close in life.history().closes] == [date.max]
    life = Life.begun()
    life.deposit(datetime(1, 1, 1, tzinfo=UTC), 1000)
    assert [close.day for close in life.history(datetime(1, 1, 2, tzinfo=UTC)).closes] == [date.min]
    assert life.performance(datetime(1, 1, 2, tzinfo=UTC)).max_drawdown == 0


def test_marks_are_found_by_their_time() -> None:
    """The last mark at or before a moment counts, of two at one time the later told; before the first there is none."""
    marks = MarkHistory()
    for hour, price in ((5, 50), (3, 30), (9, 90), (5, 55)):
        marks.add("BTC", at(3, hour), Decimal(price))

    found = [marks.at("BTC", at(3, hour)) for hour in (2, 3, 4, 5, 8, 9, 20)]

    assert found == [None, 30, 30, 55, 55, 90, 90]
    assert marks.at("ETH", at(9)) is None


# ── closed lots and whose profit ─────────────────────────────────────────────────────────────────────────────────────


def traded_life() -> Life:
    """Two lots, sold in three parts by several: 20 won, 10 lost, 5 won; and one coin is taken away."""
    life = Life.begun()
    life.deposit(at(3, 9), 1000)
    life.trade(at(3, 10), "2", 100, "bot:a")
    life.trade(at(3, 11), "3", 110, "manual")
    life.trade(at(4, 10), "-2", 110, "bot:b")
    life.trade(at(5, 10), "-1", 100)
    life.trade(at(5, 22), "-1", 115, "bot:b")
    life.tell(at(6, 10), AssetWithdrawn(account=ACCOUNT, asset=BTC, quantity=Decimal(1)))
    return life


def test_closed_lots_are_counted_one_by_one() -> None:
    """Each closed lot is one observation; what left without a sale, or has no known cost, is none."""
    life = traded_life()

    found = life.performance().closed_lots

    assert (found.count, found.wins, found.losses, found.realized_pnl) == (3, 2, 1, Decimal(15))
    assert (found.win_rate, found.profit_factor, found.expectancy) == (Decimal(2) / 3, Decimal("2.5"), Decimal(5))
    assert (found.average_win, found.average_loss) == (Decimal("12.5"), Decimal(-10))
    assert found.average_days_held == Decimal(24 + 47 + 59) / 24 / 3
    matches = list(life.reading().rows.history(Match))
    unknown = [replaced(match, cost_known=False) for match in matches]
    assert closed_lots.closed_lots(unknown).count == 0
    assert closed_lots.closed_lots(matches[:1]).profit_factor is None


def test_profit_has_its_day_its_asset_its_opener_and_its_closer() -> None:
    """Realised P&L stands under each name once; what nobody claims stands under "unknown"."""
    matches = list(traded_life().reading().rows.history(Match))

    def by(grouping: Grouping) -> dict[str, Decimal | None]:
        return {part.name: part.realized_pnl for part in attribution.attribution(matches, grouping)}

    assert by("day") == {"2026-01-04": 20, "2026-01-05": -5, "2026-01-06": 0}
    assert by("asset") == {"BTC": 15}
    assert by("opened_by") == {"bot:a": 20, "manual": -5}
    assert by("closed_by") == {"bot:b": 25, "unknown": -10}


def test_an_unknown_cost_is_not_nothing() -> None:
    """What coins without a known cost brought is neither profit nor cost of its day; a day of nothing else has neither."""
    life = Life.begun()
    life.tell(at(3, 8), AssetDeposited(account=ACCOUNT, asset=BTC, quantity=Decimal(2), cost=None))
    life.trade(at(3, 9), "1", 100)
    life.trade(at(4, 9), "-1", 150)
    life.trade(at(5, 9), "-2", 160)

    first, second = attribution.attribution(life.reading().rows.history(Match), "day")

    assert first == Part("2026-01-04", None, ZERO, None, Decimal(150), 1)
    assert second == Part("2026-01-05", Decimal(60), Decimal(160), Decimal(100), Decimal(160), 2)
    assert_parts_add_up(life)


@given(some_trades)
def test_parts_add_up_to_the_whole(moves: list[Step]) -> None:
    """However it is grouped, P&L adds up to the realised P&L of all positions, to the last digit."""
    assert_parts_add_up(played(moves))


def assert_parts_add_up(life: Life) -> None:
    rows = life.reading().rows
    whole = sum((holding.realized_pnl for holding in rows.history(Holding)), ZERO)
    unknown = sum((holding.unknown_cost_proceeds for holding in rows.history(Holding)), ZERO)
    for grouping in GROUPINGS:
        parts = attribution.attribution(rows.history(Match), grouping)
        assert sum((part.realized_pnl or ZERO for part in parts), ZERO) == whole
        assert sum((part.unknown_cost_proceeds for part in parts), ZERO) == unknown
        for part in parts:
            assert (part.realized_pnl or ZERO) == part.proceeds - (part.cost_basis or ZERO)
        assert sum(part.matches for part in parts) == len(list(rows.history(Match)))
        assert [part.name for part in parts] == sorted({part.name for part in parts})


# ── planted mistakes ─────────────────────────────────────────────────────────────────────────────────────────────────


def _reversed_deposit() -> None:
    life = grown_life()
    wrong = life.deposit(at(4, 3), 5000)
    life.tell(at(4, 3), TradeReversed(reverses=wrong.event_id, reason="typed twice"))
    assert_worth_is_that_of_the_views(life)


def moments_without_reversals(self: equity._Log, end: datetime) -> list[equity._Moment]:
    return sorted((one for one in self._moments if one.at <= end), key=lambda one: (one.at, one.position))


def sum_of_flow(self: equity._Walk, flow: Flow, at: datetime) -> Flow:
    return Flow(flow.at, flow.amount, flow.equity_before, known_sum([flow.equity_before, flow.amount]))


def only_of_trades(
    matches: Iterable[Match], grouping: Grouping, whole: Callable[..., tuple[Part, ...]] = attribution.attribution
) -> tuple[Part, ...]:
    return whole(filter(closed_lots.is_trade, matches), grouping)


def _late_mark() -> None:
    life = grown_life()
    life.mark(at(6, 20), 90)
    assert_worth_is_that_of_the_views(life)


def _split() -> None:
    assert_worth_is_that_of_the_views(played([Step("mark"), Step("buy"), Step("split")]))


def _missing_split() -> None:
    life = Life.begun()
    life.mark(at(3, 8), 100)
    life.trade(at(3, 9), "-2", 100)
    life.split(at(3, 10), 2, 1)
    assert_worth_is_that_of_the_views(life)


def day_that_ends(moment: datetime) -> date:
    return (moment - timedelta(microseconds=1)).date()


def with_its_withdrawals(self: equity._Walk, moment: equity._Moment) -> list[AssetMove]:
    return list(moment.moves)


def _coins() -> None:
    assert_return_is_that_of_the_coin([("mark", Decimal(150), 2), ("in", Decimal(1), 1), ("mark", Decimal(120), 3)])


@pytest.mark.parametrize(
    ("owner", "name", "bug", "check"),
    [
        (equity._Log, "moments_until", moments_without_reversals, _reversed_deposit),
        (mark_history.MarkHistory, "_sort", lambda self: setattr(self, "_in_order", True), _late_mark),
        (equity, "_split_gains", lambda rows: {}, _split),
        (mark_history.MarkHistory, "_in_units", lambda self, asset, price, *_: price, test_a_split_changes_no_worth),
        (mark_history, "bisect_right", bisect_left, test_a_split_at_midnight_is_no_fall),
        (equity, "split_unmatched", lambda unmatched, split: unmatched, _missing_split),
        (equity, "_unheld", lambda rows: {}, test_a_sale_without_a_purchase_brings_its_coins_with_it),
        (equity._Walk, "_of_held", with_its_withdrawals, test_what_vanished_without_a_lot_was_never_there),
        (metrics, "utc_day", day_that_ends, test_what_happens_at_midnight_is_of_the_day_that_begins),
        (equity, "EXTERNAL", frozenset({"withdrawal"}), _coins),
        (mark_history.MarkHistory, "at", lambda self, asset, *_: Decimal(self._prices[asset][-1]), _coins),
        (equity._Walk, "_with_equity_after", sum_of_flow, test_taking_everything_out_in_parts_loses_nothing),
        (attribution, "attribution", only_of_trades, lambda: assert_parts_add_up(traded_life())),
        (
            attribution,
            "Part",
            lambda **named: Part(**named | {"realized_pnl": round(named["realized_pnl"], -1)}),
            lambda: assert_parts_add_up(traded_life()),
        ),
    ],
    ids=["reversals", "late marks", "splits", "old prices", "prices a moment late", "missing splits", "debts",
         "vanished", "midnight", "deposits", "prices of today", "a rest of rounding", "trades only", "rounding"],
)  # fmt: skip
def test_a_planted_mistake_is_found(
    owner: object, name: str, bug: object, check: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each mistake breaks a law above."""
    check()
    monkeypatch.setattr(owner, name, bug)

    with pytest.raises(AssertionError):
        check()
