"""Lot methods: other lots first, with the same legs and booking, and no change to the book."""

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.cli.lots import report_json
from ledger.booking.lots import Split
from ledger.events import (
    AssetDeposited,
    Event,
    OpeningLotRecorded,
    PortfolioOpened,
    SplitRecorded,
    TradeExecuted,
)
from ledger.events.fields import Fee
from ledger.log.envelope import NewEvent
from ledger.reports import lot_methods as module
from ledger.reports.gains import gains_report
from ledger.reports.lot_methods import BadChoice, Matched, Method, matched_by
from ledger.reports.lots import LotsReport, LotTotals, View, lots_report, portfolio_lots_report
from ledger.rows import key_of
from ledger.values import Asset, Instrument, Side, decimal_text
from tests.support.generators.random_lives import NOON, assets_of, fold_facts, lives
from tests.support.lots_comparison import as_csv, check_against_oracle, read, report_of
from tests.support.oracle import TradeRow, plain_rows, random_rows, trade_rows

BY_ORDER = (Method.FIFO, Method.LIFO, Method.HIFO)
OTHERS = (Method.LIFO, Method.HIFO)
SALE = (
    ("b1", "buy", "1", "100"),
    ("b2", "buy", "1", "300"),
    ("b3", "buy", "1", "200"),
    ("s1", "sell", "1.5", "400"),
    ("s2", "sell", "1", "400"),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lot_methods")


def trades(lines: Sequence[tuple[str, str, str, str]] = SALE) -> list[TradeRow]:
    """Return these trades, an hour apart."""
    return [
        {
            "id": name,
            "time": f"2024-01-01T{hour:02}:00:00Z",
            "instrument": "BTC-USD",
            "side": side,
            "quantity": quantity,
            "price": price,
            "fee": "0",
            "fee_asset": "",
        }
        for hour, (name, side, quantity, price) in enumerate(lines)
    ]


def closed(report: LotsReport) -> str:
    """List each match as sale, lot and quantity."""
    return ", ".join(
        f"{sale.id} {one.lot_id} {decimal_text(one.quantity)}" for sale in report.sells for one in sale.matches
    )


def with_choices(folder: Path, names: dict[str, list[tuple[str, Decimal]]]) -> LotsReport:
    return report_of(folder, json.dumps(trades()), View(Method.SPECIFIC, names))


@pytest.mark.parametrize("method", BY_ORDER)
@pytest.mark.parametrize("seed", range(20))
def test_lots_of_random_trades_equal_the_oracle(seed: int, method: Method, folder: Path) -> None:
    """Matches, open lots and totals by each method, to 1e-12."""
    check_methods(seed, folder, method, oversells=seed % 2 == 0, count=150)


def test_lots_of_a_hundred_histories_equal_the_oracle(folder: Path) -> None:
    """Short random histories, each by each method, to 1e-12."""
    for seed in range(20_000, 20_100):
        check_methods(seed, folder, *BY_ORDER, oversells=seed % 2 == 0, count=15)


@pytest.mark.nightly
def test_lots_of_ten_thousand_histories_equal_the_oracle(folder: Path) -> None:
    """Random histories, each by each method, to 1e-12."""
    for seed in range(10_000):
        check_methods(seed, folder, *BY_ORDER, oversells=seed % 2 == 0, count=30)


@given(rows=trade_rows(), method=st.sampled_from(BY_ORDER))
def test_lots_of_generated_trades_equal_the_oracle(rows: list[TradeRow], method: Method, folder: Path) -> None:
    check_against_oracle(rows, report_of(folder, json.dumps(rows), View(method)))


@given(rows=trade_rows())
def test_fifo_view_equals_the_book(rows: list[TradeRow], folder: Path) -> None:
    check_the_book_is_fifo(rows, folder)


@given(rows=trade_rows())
def test_methods_give_the_same_open_quantity_and_fees(rows: list[TradeRow], folder: Path) -> None:
    """And the same gain less open cost."""
    file = read(folder, json.dumps(rows))
    book = lots_report(file).totals
    for method in OTHERS:
        for instrument, total in lots_report(file, View(method)).totals.items():
            assert (total.open_quantity, total.fees) == (
                book[instrument].open_quantity,
                book[instrument].fees,
            )
            if total.open_quantity and not lots_report(file).errors:
                assert gain_less_cost(total) == gain_less_cost(book[instrument])


@given(facts=lives())
def test_fifo_view_equals_the_book_of_any_life(facts: list[NewEvent]) -> None:
    """With splits, short sales, transfers, unknown costs and reversals."""
    rows, _ = fold_facts(facts)

    for asset in assets_of(rows):
        assert matched_by(rows, asset, Method.SPECIFIC) == matched_by(rows, asset, Method.FIFO)


@given(facts=lives(), method=st.sampled_from(OTHERS))
def test_methods_leave_the_same_open_and_unmatched_units(facts: list[NewEvent], method: Method) -> None:
    rows, _ = fold_facts(facts)

    for asset in assets_of(rows):
        book, other = matched_by(rows, asset, Method.FIFO), matched_by(rows, asset, method)
        if not any(rows.history(Split, asset)):
            assert open_units(other) == open_units(book)
            assert [one.quantity for one in other.unmatched] == [one.quantity for one in book.unmatched]
        report = portfolio_lots_report(rows, View(method))
        assert set(report.totals) == {f"{one}-USD" for one in assets_of(rows)}


def test_hifo_compares_costs_per_unit_after_a_split() -> None:
    halved = [
        _event(0, PortfolioOpened(name="p", base_currency=Asset("USD"))),
        _event(1, _traded(Side.BUY, "1", "300")),
        _event(2, SplitRecorded(asset=Asset("AAPL"), numerator=2, denominator=1)),
        _event(3, _traded(Side.BUY, "1", "200")),
        _event(4, _traded(Side.SELL, "1.5", "250")),
    ]
    rows, _ = fold_facts(halved)

    (first, second) = matched_by(rows, "AAPL", Method.HIFO).matches

    assert (first.opening_event_id, first.quantity, first.cost_basis) == (UUID(int=3), Decimal(1), Decimal(200))
    assert (second.opening_event_id, second.quantity, second.cost_basis) == (UUID(int=1), Decimal("0.5"), Decimal(75))


def test_matches_of_a_sale_are_in_the_order_of_its_lots() -> None:
    """An early purchase recorded late is the first match, in the book and in views."""
    facts = [
        _event(0, PortfolioOpened(name="p", base_currency=Asset("USD"))),
        _event(2, _traded(Side.BUY, "1", "300")),
        _event(3, _traded(Side.SELL, "2", "400")),
        _event(1, _traded(Side.BUY, "1", "200")),
    ]
    rows, _ = fold_facts(facts)

    for method in (Method.FIFO, Method.SPECIFIC):
        assert [one.opening_event_id for one in matched_by(rows, "AAPL", method).matches] == [UUID(int=1), UUID(int=2)]


def test_methods_close_lots_in_their_order(folder: Path) -> None:
    """LIFO the newest, HIFO the most expensive, SPECIFIC the chosen ones, then the oldest."""
    text = json.dumps(trades())
    named = with_choices(folder, {"s1": [("b3", Decimal("0.25")), ("b2", Decimal("0.75"))]})

    assert closed(report_of(folder, text)) == "s1 b1 1, s1 b2 0.5, s2 b2 0.5, s2 b3 0.5"
    assert closed(report_of(folder, text, View(Method.LIFO))) == "s1 b3 1, s1 b2 0.5, s2 b2 0.5, s2 b1 0.5"
    assert closed(report_of(folder, text, View(Method.HIFO))) == "s1 b2 1, s1 b3 0.5, s2 b3 0.5, s2 b1 0.5"
    assert closed(named) == "s1 b3 0.25, s1 b2 0.75, s1 b1 0.5, s2 b1 0.5, s2 b2 0.25, s2 b3 0.25"
    assert [sell.proceeds for sell in named.sells] == [Decimal(600), Decimal(400)]


@given(seed=st.integers(0, 10**6), data=st.data())
def test_chosen_lots_keep_proceeds_exact(seed: int, data: st.DataObject, folder: Path) -> None:
    """Choosing the lots of LIFO gives the matches of LIFO."""
    rows = plain_rows(seed, 20)
    file = read(folder, as_csv(rows))
    lifo = lots_report(file, View(Method.LIFO))
    names = {sell.id: [(one.lot_id, one.quantity) for one in sell.matches] for sell in lifo.sells}

    named = lots_report(file, View(Method.SPECIFIC, names))

    assert replace(named, method=Method.LIFO) == lifo
    some = {sale: lots for sale, lots in names.items() if data.draw(st.booleans())}
    try:
        part = lots_report(file, View(Method.SPECIFIC, some))
    except BadChoice:  # FIFO may have closed a chosen lot, which is refused
        return
    assert [sell.proceeds for sell in part.sells] == [sell.proceeds for sell in lifo.sells]


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        ({"s9": [("b1", "1")]}, "no trade 's9', chosen as a sale or a lot"),
        ({"s1": [("b9", "1")]}, "no trade 'b9', chosen as a sale or a lot"),
        ({"s{}": [("b1", "1")]}, "no trade 's{}', chosen as a sale or a lot"),
        ({"s1": [("b1", "1"), ("b1", "0.1")]}, "lot 'b1', chosen for 's1', is not open at that time"),
        ({"s1": [("b1", "1.1")]}, "lot 'b1', chosen for 's1', has 1 left, not 1.1"),
        ({"s1": [("s2", "1")]}, "lot 's2', chosen for 's1', is not open at that time"),
        (
            {"s1": [("b1", "1"), ("b2", "0.6")]},
            "the lots chosen for 's1' must be more than 0 and at most the quantity disposed of",
        ),
        ({"s1": [("b1", "-1")]}, "more than 0 and at most the quantity disposed of"),
        ({"b1": [("b2", "1")]}, "more than 0 and at most the quantity disposed of"),
    ],
)
def test_unsuitable_lot_is_refused_by_name(
    names: dict[str, list[tuple[str, str]]], sentence: str, folder: Path
) -> None:
    with pytest.raises(BadChoice, match=re.escape(sentence)):
        with_choices(folder, {sale: [(lot, Decimal(part)) for lot, part in lots] for sale, lots in names.items()})


def test_term_is_long_when_held_for_more_than_the_period(folder: Path) -> None:
    """By a microsecond. Without a period there is no term."""
    rows = trades([("b", "buy", "2", "1"), ("s", "sell", "1", "1"), ("t", "sell", "1", "1")])
    rows[1]["time"], rows[2]["time"] = "2024-12-31T00:00:00Z", "2024-12-31T00:00:00.000001Z"

    report = report_of(folder, json.dumps(rows), View(holding_period=365))

    assert [one.term for sell in report.sells for one in sell.matches] == ["short", "long"]
    plain = report_of(folder, json.dumps(rows))
    assert not any(one.term for sell in plain.sells for one in sell.matches)


# --- planted bugs -----------------------------------------------------------------------------------------------------


def test_hifo_by_cost_of_the_lot_is_found(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: HIFO by the cost of whole lots."""
    monkeypatch.setattr(module.LotQueue, "_place", lambda _self, lot: (-Fraction(lot.cost), key_of(lot)))

    with pytest.raises(AssertionError):
        check_methods_of_many(folder, Method.HIFO)


def test_lifo_in_the_order_of_fifo_is_found(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: a queue that always returns the oldest lot first."""

    def oldest_first(self: Any) -> Any:
        return iter(self.lots())

    monkeypatch.setattr(module.LotQueue, "in_order", oldest_first)
    for method in OTHERS:
        with pytest.raises(AssertionError):
            check_methods_of_many(folder, method)


def test_fifo_view_that_differs_from_the_book_is_found(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: a queue that returns the newest lot first."""
    monkeypatch.setattr(module.LotQueue, "in_order", lambda self: reversed(self.lots()))

    with pytest.raises(AssertionError):
        check_the_book_is_fifo(trades(), folder)


def test_missing_split_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: lots unchanged by a split."""
    monkeypatch.setattr(module, "split_lot", lambda lot, _split: lot)

    with pytest.raises(AssertionError):
        test_hifo_compares_costs_per_unit_after_a_split()


def test_term_long_on_the_anniversary_is_found(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: a period one microsecond too short."""
    monkeypatch.setattr(module, "timedelta", lambda days: timedelta(days=days, microseconds=-1))

    with pytest.raises(AssertionError):
        test_term_is_long_when_held_for_more_than_the_period(folder)


# --- comparison -------------------------------------------------------------------------------------------------------


def check_methods(seed: int, folder: Path, *methods: Method, oversells: bool, count: int) -> None:
    rows = random_rows(seed, count, oversells=oversells)
    file = read(folder, as_csv(rows))
    for method in methods:
        check_against_oracle(rows, lots_report(file, View(method)))


def check_methods_of_many(folder: Path, method: Method) -> None:
    for seed in range(10):
        check_methods(seed, folder, method, oversells=False, count=60)


def check_the_book_is_fifo(rows: list[TradeRow], folder: Path) -> None:
    """SPECIFIC without choices is FIFO by `match_items` instead of from the book."""
    file = read(folder, json.dumps(rows))
    assert replace(lots_report(file, View(Method.SPECIFIC)), method=Method.FIFO) == lots_report(file)


def gain_less_cost(total: LotTotals) -> Decimal:
    assert total.open_cost_basis is not None
    return total.realized_pnl - total.open_cost_basis


def open_units(matched: Matched) -> Decimal:
    return sum((-lot.open_quantity if lot.short else lot.open_quantity for lot in matched.open_lots), Decimal(0))


def test_chosen_lots_cover_the_asset_that_the_sale_disposed_of() -> None:
    """A coin sold for another, with a fee in a third: the chosen lots cover the coin, the fee is matched by FIFO."""
    coins = [AssetDeposited(account="a", asset=Asset("BNB"), quantity=Decimal(1), cost=Decimal(9))]
    buys = [_traded_pair("ETH-USD", Side.BUY, "1", price, "1") for price in ("10", "20")]
    fee = Fee(asset=Asset("BNB"), amount=Decimal("0.5"), value=Decimal(5))
    sale = _traded_pair("ETH-BTC", Side.SELL, "1", "0.5", "100", fee)
    facts = [PortfolioOpened(name="p", base_currency=Asset("USD")), *coins, *buys, sale]
    rows = fold_facts([_event(number, one) for number, one in enumerate(facts)])[0]
    by_id = {number: str(UUID(int=number)) for number in range(5)}

    for lot, cost in ((2, Decimal(10)), (3, Decimal(20))):
        names = {by_id[4]: [(by_id[lot], Decimal(1))]}
        report = portfolio_lots_report(rows, View(Method.SPECIFIC, names))
        costs = {one.instrument: one.cost_basis for one in report.sells}
        assert costs == {"ETH-USD": cost, "BNB-USD": Decimal("4.5")}
    for event, lot in ((4, 1), (2, 3)):
        with pytest.raises(BadChoice, match=by_id[event]):
            portfolio_lots_report(rows, View(Method.SPECIFIC, {by_id[event]: [(by_id[lot], Decimal("0.5"))]}))


def test_report_marks_unknown_costs_and_terms() -> None:
    """The term is known for an opening lot only. A split does not change past quantities."""
    coins = [
        AssetDeposited(account="a", asset=Asset("AAPL"), quantity=Decimal(2), cost=None),
        OpeningLotRecorded(account="a", asset=Asset("MSFT"), quantity=Decimal(2), cost=None),
    ]
    sales = [_traded_pair(f"{asset}-USD", Side.SELL, "1", "7", "1") for asset in ("AAPL", "MSFT", "TSLA")]
    split = SplitRecorded(asset=Asset("TSLA"), numerator=2, denominator=1)
    facts = [PortfolioOpened(name="p", base_currency=Asset("USD")), *coins, *sales, split]
    rows = fold_facts([_event(number, one) for number, one in enumerate(facts)])[0]

    report = portfolio_lots_report(rows, View(holding_period=365))
    gains = {one.product_id: one for one in gains_report(rows).unknown}

    sells = {one.instrument: one for one in report.sells}
    for name, term in (("AAPL-USD", None), ("MSFT-USD", "short")):
        assert (sells[name].cost_basis, sells[name].realized_pnl) == (None, None)
        assert report.totals[name].open_cost_basis is None
        assert report.totals[name].unknown_cost_quantity == Decimal(1)
        assert sells[name].matches[0].term == term
        assert (gains[name].term, gains[name].acquired is None) == (term, term is None)
    assert (sells["TSLA-USD"].unmatched_quantity, gains["TSLA-USD"].quantity) == (Decimal(1), Decimal(1))
    printed = {one["instrument"]: one for one in json.loads(json.dumps(report_json(report)))["sells"]}
    assert (printed["AAPL-USD"]["cost_basis"], printed["AAPL-USD"]["matches"][0]["term"]) == ("unknown", "unknown")
    assert "sold 1 TSLA with 0 held: 1 unmatched" in report.errors[0]["error"]


def _traded_pair(pair: str, side: Side, quantity: str, price: str, rate: str, *fees: Fee) -> TradeExecuted:
    trade = _traded(side, quantity, price)
    return trade.model_copy(update={"instrument": Instrument(pair), "quote_rate": Decimal(rate), "fees": fees})


def _event(number: int, event: Event) -> NewEvent:
    event_id = UUID(int=number)
    return NewEvent(event, event_id, NOON + timedelta(minutes=number), "test", event_id)


def _traded(side: Side, quantity: str, price: str) -> TradeExecuted:
    return TradeExecuted(
        account="a",
        venue="v",
        venue_trade_id="1",
        instrument=Instrument("AAPL-USD"),
        side=side,
        quantity=Decimal(quantity),
        price=Decimal(price),
        quote_rate=Decimal(1),
    )
