"""Gains of a tax year: each match once, in the year it was closed, with unknown costs listed separately."""

import csv
import io
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.booking.lots import Match, UnmatchedDisposal
from ledger.events import AssetDeposited, AssetWithdrawn, Event, PortfolioOpened, TradeExecuted
from ledger.log.envelope import NewEvent
from ledger.projections.holdings import Holding
from ledger.reports import gains
from ledger.reports.gains import COLUMNS, GainsReport, TaxYear, gains_lines, gains_report, tax_year
from ledger.reports.lot_methods import Method
from ledger.rows import Rows
from ledger.values import ZERO, Asset, Instrument, Side
from tests.support.generators.random_lives import assets_of, fold_facts, lives

YEAR = 365 * 24 * 60


def lived(*facts: tuple[str, Event]) -> Rows:
    """Return the rows after these events at these times."""
    opened = PortfolioOpened(name="p", base_currency=Asset("USD"))
    everything = [("2019-01-01T00:00:00Z", opened), *facts]
    events = [
        NewEvent(event, UUID(int=number), datetime.fromisoformat(at), "test", UUID(int=number))
        for number, (at, event) in enumerate(everything)
    ]
    return fold_facts(events)[0]


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
        triggered_by="manual",
    )


def story() -> Rows:
    """Two purchases, a deposit of unknown cost, sales in two years, a withdrawal, and an oversold sale."""
    btc = Asset("BTC")
    return lived(
        ("2020-01-01T00:00:00Z", trade(Side.BUY, "1", "100")),
        ("2020-06-01T00:00:00Z", trade(Side.BUY, "1", "300")),
        ("2020-06-02T00:00:00Z", AssetDeposited(account="a", asset=btc, quantity=Decimal(1), cost=None)),
        ("2020-12-31T23:59:59.999999Z", trade(Side.SELL, "0.5", "400")),
        ("2021-01-01T00:00:00Z", trade(Side.SELL, "1", "500")),
        ("2021-02-01T00:00:00Z", AssetWithdrawn(account="a", asset=btc, quantity=Decimal("0.25"))),
        ("2021-03-01T00:00:00Z", trade(Side.SELL, "2", "600")),
    )


def table(report: GainsReport) -> list[dict[str, str]]:
    lines = list(gains_lines(report, {}))
    assert lines[0] == COLUMNS
    return [dict(zip(COLUMNS, line, strict=True)) for line in lines[1:]]


def test_gains_report_lists_the_matches_closed_in_the_year() -> None:
    """Terms by holding period, unknown costs separate, totals of known ones by term."""
    found = table(gains_report(story(), tax_year(2021)))

    cells = ("section", "quantity", "proceeds", "cost_basis", "gain", "term")
    short = [tuple(one[cell] for cell in cells) for one in found]
    assert short == [
        ("gain", "0.5", "250", "50", "200", "long"),
        ("gain", "0.5", "250", "150", "100", "short"),
        ("gain", "0.25", "150", "75", "75", "short"),
        ("unknown", "1", "600", "unknown", "unknown", "unknown"),
        ("unknown", "0.75", "450", "unknown", "unknown", "unknown"),
        ("total", "", "250", "50", "200", "long"),
        ("total", "", "400", "225", "175", "short"),
    ]
    assert (found[0]["acquired"], found[0]["disposed"]) == ("2020-01-01T00:00:00Z", "2021-01-01T00:00:00Z")
    assert (found[0]["opening_trade_id"], found[0]["closing_trade_id"]) == (str(UUID(int=1)), str(UUID(int=5)))
    assert (found[0]["opened_by"], found[0]["closed_by"], found[0]["method"]) == ("manual", "manual", "fifo")
    assert (found[4]["acquired"], found[4]["opening_trade_id"]) == ("unknown", "unknown")


def test_gains_report_applies_method_and_holding_period() -> None:
    found = table(gains_report(story(), tax_year(2020), Method.HIFO, 100))

    assert [(one["cost_basis"], one["term"], one["method"]) for one in found if one["section"] == "gain"] == [
        ("150", "long", "hifo")
    ]


def test_tax_year_can_begin_on_another_day() -> None:
    year = tax_year(2020, 4, 6)

    assert year.has(datetime(2020, 4, 6, tzinfo=UTC))
    assert year.has(datetime(2021, 4, 5, 23, 59, 59, 999_999, tzinfo=UTC))
    assert not year.has(datetime(2021, 4, 6, tzinfo=UTC))
    assert not year.has(datetime(2020, 4, 5, 23, 59, 59, tzinfo=UTC))
    assert len(gains_report(story(), year).gains) == 4


@given(facts=lives(most=16, minutes=3 * YEAR), first=st.sampled_from(((1, 1), (4, 6))))
def test_tax_years_together_contain_each_disposal_once(facts: list[NewEvent], first: tuple[int, int]) -> None:
    """The gains add up to the realised P&L of the book."""
    check_years(facts, first)


@given(facts=lives())
def test_gains_lines_are_deterministic(facts: list[NewEvent]) -> None:
    """Each line has a value for each column."""
    texts = []
    for _ in range(2):
        file = io.StringIO()
        csv.writer(file, lineterminator="\n").writerows(gains_lines(gains_report(fold_facts(facts)[0]), {}))
        texts.append(file.getvalue())
    assert texts[0] == texts[1]
    assert {len(line) for line in csv.reader(io.StringIO(texts[0]))} == {len(COLUMNS)}


def test_tax_year_that_ends_early_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: a year that ends a month early."""

    def early(self: TaxYear, moment: datetime) -> bool:
        return self.start <= moment < self.end - timedelta(days=30)

    monkeypatch.setattr(TaxYear, "has", early)
    with pytest.raises(AssertionError):
        test_tax_year_can_begin_on_another_day()


def test_gain_with_unknown_cost_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: an unknown cost counted as 0."""
    honest = gains._of_match

    def invented(product_id: str, match: Match, days: int) -> gains.Gain:
        made = honest(product_id, match, days)
        return made if made.gain is not None else honest(product_id, _with_cost(match), days)

    monkeypatch.setattr(gains, "_of_match", invented)
    with pytest.raises(AssertionError):
        test_gains_report_lists_the_matches_closed_in_the_year()


def _with_cost(match: Match) -> Match:
    return replace(match, cost_known=True, realized_pnl=match.proceeds)


def check_years(facts: list[NewEvent], first: tuple[int, int]) -> None:
    rows, _ = fold_facts(facts)
    whole = gains_report(rows)
    years = [gains_report(rows, tax_year(year, *first)) for year in range(2023, 2028)]
    assert sorted(map(repr, whole.gains)) == sorted(repr(one) for year in years for one in year.gains)
    assert sorted(map(repr, whole.unknown)) == sorted(repr(one) for year in years for one in year.unknown)
    realised = sum((holding.realized_pnl for holding in rows.where(Holding)), ZERO)
    assert sum((total.gain for total in whole.totals), ZERO) == realised
    matches = [one for asset in assets_of(rows) for one in rows.history(Match, asset) if one.kind != "withdrawal"]
    unmatched = [
        one for asset in assets_of(rows) for one in rows.history(UnmatchedDisposal, asset) if one.kind != "withdrawal"
    ]
    assert len(whole.gains) == sum(one.cost_known for one in matches)
    assert len(whole.unknown) == len(unmatched) + sum(not one.cost_known for one in matches)
