"""P&L, performance and equity over HTTP."""

import re
from datetime import timedelta
from decimal import Decimal

import pytest

from ledger.events import AssetDeposited, MarkRecorded, PortfolioOpened, SplitRecorded
from ledger.projections.portfolio import portfolio_id_of
from ledger.values import Asset, Instrument, Side, time_text
from tests.support.api_system import BUY, Daybook, problem_of
from tests.support.events import ACCOUNT, START, Step, Story

PATHS = ("portfolio/pnl", "portfolio/performance", "portfolio/equity")
GROUPS = ("day", "asset", "opened_by", "closed_by")


@pytest.fixture(scope="module")
def daybook(shared_daybook: Daybook) -> Daybook:
    """A Daybook with a buy and a sell."""
    for side, size in (("buy", "50"), ("sell", "20")):
        answer = shared_daybook.post("trades/execute", BUY | {"side": side, "quote_size": size}, side)
        assert answer.status_code == 201, answer.text
        shared_daybook.pass_seconds(2)
    return shared_daybook


def test_pnl_adds_up_by_every_grouping(daybook: Daybook) -> None:
    portfolio = daybook.read("portfolio")

    for group in GROUPS:
        answer = daybook.read("portfolio/pnl", group=group)
        assert answer["group"] == group
        assert sum(Decimal(part["realized_pnl"]) for part in answer["parts"]) == Decimal(portfolio["realized_pnl"])
        assert answer["unrealized_pnl"] == portfolio["unrealized_pnl"]
    assert daybook.read("portfolio/pnl")["group"] == "day"
    assert {"manual"} == {part["name"] for part in daybook.read("portfolio/pnl", group="closed_by")["parts"]}


def test_equity_ends_with_the_total_value(daybook: Daybook) -> None:
    """All of it is external flow or earned."""
    portfolio, answer = daybook.read("portfolio"), daybook.read("portfolio/equity")

    last = answer["points"][-1]
    assert (last["equity"], last["cash"]) == (portfolio["total_value"], portfolio["cash"])
    assert sum(Decimal(point["flow"]) for point in answer["points"]) == Decimal(10000)
    earned = Decimal(portfolio["realized_pnl"]) + Decimal(portfolio["unrealized_pnl"])
    assert Decimal(last["equity"]) == Decimal(10000) + earned


def test_performance_agrees_with_portfolio_and_equity(daybook: Daybook) -> None:
    """Figures that need a longer life are null, with a note."""
    portfolio, answer = daybook.read("portfolio"), daybook.read("portfolio/performance")

    assert answer["equity"] == portfolio["total_value"]
    assert answer["day_change"] == daybook.read("portfolio/equity")["day_change"]
    assert answer["closed_lots"]["count"] == 1
    assert answer["closed_lots"]["realized_pnl"] == portfolio["realized_pnl"]
    assert Decimal(answer["profit"]) == Decimal(answer["equity"]) - 10000
    assert Decimal(answer["time_weighted_return"]) == round(Decimal(answer["profit"]) / 10000, 12)
    assert answer["sharpe"] is answer["money_weighted_return"] is answer["cagr"] is None
    assert [note.partition(":")[0] for note in answer["notes"]] == [
        "CAGR omitted",
        "money-weighted return omitted",
        "volatility and risk ratios need at least two full days",
    ]


def long_life(daybook: Daybook, name: str) -> str:
    """Record 40 days with daily marks, and a split of coins without a mark; return the name of the portfolio."""
    story = Story(name)
    opened = PortfolioOpened(name=name, base_currency=Asset("USD"))
    coins = AssetDeposited(account=ACCOUNT, asset=Asset("BTC"), quantity=Decimal(10), cost=Decimal(900))
    split = SplitRecorded(asset=Asset("ETH"), numerator=2, denominator=1)
    events = [story.new(opened, at=START), story.new(mark(100), at=START), story.new(coins, at=START)]
    for day in range(40):
        events.append(story.new(mark(100 + day * 7 % 11), at=START + timedelta(days=day, hours=5)))
    events.append(story.new(split, at=START + timedelta(days=20)))
    daybook.system.book.record(portfolio_id_of(name), events)
    return name


def mark(price: int) -> MarkRecorded:
    return MarkRecorded(instrument=Instrument("BTC-USD"), price=Decimal(price), source="test")


def test_performance_has_all_figures_after_forty_days(daybook: Daybook) -> None:
    name = long_life(daybook, "long")

    plain = daybook.read("portfolio/performance", portfolio=name)
    other = daybook.read("portfolio/performance", portfolio=name, periods_per_year="252", risk_free="0.05")

    closed = plain.pop("closed_lots")
    assert {field for field, value in plain.items() if value is None} == set()
    assert closed["count"] == 0
    assert closed["win_rate"] is None
    assert [note.partition(":")[0] for note in plain["notes"]] == [
        "CAGR is extrapolated from 39 days to a year",
        "money-weighted return is extrapolated from 39 days to a year",
    ]
    assert (plain["full_days"], plain["equity"], plain["net_flows"]) == (39, "1090", "1000")
    assert plain["time_weighted_return"] == "0.09"
    assert Decimal(other["volatility"]) ** 2 * 365 / 252 == pytest.approx(Decimal(plain["volatility"]) ** 2)
    assert Decimal(other["sharpe"]) < Decimal(plain["sharpe"])
    assert (other["periods_per_year"], other["risk_free"]) == ("252", "0.05")
    points = daybook.read("portfolio/equity", portfolio=name)["points"]
    assert len(points) == 40
    assert [point["closed"] for point in points] == [True] * 39 + [False]


def test_equity_pages_add_up_to_the_whole(daybook: Daybook) -> None:
    """The newest days come first, each page in order of time."""
    name = long_life(daybook, "paged")
    whole = daybook.read("portfolio/equity", portfolio=name, limit=500)
    assert whole["next_cursor"] is None

    found: list[object] = []
    cursor: dict[str, str] = {}
    for size in (15, 15, 10):
        page = daybook.read("portfolio/equity", portfolio=name, limit=15, **cursor)
        assert len(page["points"]) == size
        assert page["day_change"] == whole["day_change"]
        found, cursor = [*page["points"], *found], {"cursor": page["next_cursor"]}

    assert found == whole["points"]
    assert cursor == {"cursor": None}


def test_pnl_reports_proceeds_apart_when_the_cost_is_unknown(daybook: Daybook) -> None:
    story = Story("gifts")
    events = [
        story.new(PortfolioOpened(name="gifts", base_currency=Asset("USD")), at=START),
        story.new(AssetDeposited(account=ACCOUNT, asset=Asset("BTC"), quantity=Decimal(10), cost=None), at=START),
        story.trade(Side.SELL, Step("sell", quantity=Decimal(2), price=Decimal(100))),
    ]
    daybook.system.book.record(portfolio_id_of("gifts"), events)

    answer = daybook.read("portfolio/pnl", portfolio="gifts", group="asset")

    assert (answer["realized_pnl"], answer["unknown_cost_proceeds"]) == ("0", "200")
    assert answer["parts"] == [
        {
            "name": "BTC",
            "realized_pnl": None,
            "proceeds": "0",
            "cost_basis": None,
            "unknown_cost_proceeds": "200",
            "matches": 1,
        }
    ]


def test_performance_rejects_a_future_time(daybook: Daybook) -> None:
    """A time that the market has reached is accepted, even if the clock has not."""
    system = daybook.system
    now = max(system.clock(), system.market_clock())

    refused = daybook.get("portfolio/performance", as_of=time_text(now + timedelta(hours=1)))

    assert (refused.status_code, problem_of(refused)) == (400, "bad-time")
    assert refused.json()["detail"].startswith("as_of: ")
    assert daybook.read("portfolio", as_of=time_text(system.market_clock()))["position"] == daybook.head()


def test_performance_routes_reject_wrong_parameters(daybook: Daybook) -> None:
    for path, kind in (
        ("pnl?group=hour", "invalid-request"),
        ("pnl?groups=day", "unknown-parameter"),
        ("equity?group=day", "unknown-parameter"),
        ("equity?limit=0", "bad-limit"),
        ("equity?limit=501", "bad-limit"),
        ("equity?cursor=now", "bad-cursor"),
        ("performance?periods_per_year=0", "bad-number"),
        ("performance?periods_per_year=1e3", "bad-number"),
        ("performance?risk_free=-1", "bad-number"),
        ("performance?risk_free=much", "bad-number"),
        ("performance?risk_free=0&risk_free=1", "repeated-parameter"),
    ):
        answer = daybook.send("GET", f"portfolio/{path}")
        assert (answer.status_code, problem_of(answer)) == (400, kind), path


def test_performance_answers_have_text_decimals_utc_times_and_an_etag(daybook: Daybook) -> None:
    for path in PATHS:
        answer = daybook.get(path)
        assert re.search(r'"\w+":-?\d+[.eE]\d', answer.text) is None
        assert all(time.endswith("Z") for time in re.findall(r'"(\d{4}-\d\d-\d\dT[^"]*)"', answer.text))
        assert answer.headers["ETag"] == f'"{daybook.head()}"'
        assert daybook.read(f"{path}/") == answer.json()


def test_performance_routes_answer_404_for_an_unknown_portfolio(daybook: Daybook) -> None:
    for path in PATHS:
        assert problem_of(daybook.get(path, portfolio="nobody's")) == "unknown-portfolio"
