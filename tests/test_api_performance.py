"""P&L, performance and equity over HTTP. Every answer is held to the OpenAPI document besides."""

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from tests.api_system import BUY, Daybook, open_daybook, problem_of

PATHS = ("portfolio/pnl", "portfolio/performance", "portfolio/equity")
GROUPS = ("day", "asset", "opened_by", "closed_by")


@pytest.fixture
def daybook(database_url: str, tmp_path: Path) -> Iterator[Daybook]:
    """A new Daybook with a purchase and two sales."""
    with open_daybook(database_url, tmp_path) as running:
        running.pass_seconds(2)
        for number, change in enumerate(
            ({}, {"side": "sell", "quote_size": "20"}, {"side": "sell", "quote_size": "10"})
        ):
            assert running.post("trades/execute", BUY | change, f"trade {number}").status_code == 201
            running.pass_seconds(2)
        yield running


def test_pnl_adds_up_however_it_is_grouped(daybook: Daybook) -> None:
    """The parts of every grouping add up to the realised P&L of the portfolio; by hand is by hand."""
    portfolio = daybook.read("portfolio")

    for group in GROUPS:
        answer = daybook.read("portfolio/pnl", group=group)
        assert answer["group"] == group
        assert sum(Decimal(part["realized_pnl"]) for part in answer["parts"]) == Decimal(portfolio["realized_pnl"])
        assert answer["unrealized_pnl"] == portfolio["unrealized_pnl"]
    assert daybook.read("portfolio/pnl")["group"] == "day"
    assert {"manual"} == {part["name"] for part in daybook.read("portfolio/pnl", group="closed_by")["parts"]}


def test_equity_ends_with_what_the_portfolio_is_worth(daybook: Daybook) -> None:
    """The last point of the curve is the portfolio's total value, and all money in it came from outside or was earned."""
    portfolio, answer = daybook.read("portfolio"), daybook.read("portfolio/equity")

    last = answer["points"][-1]
    assert (last["equity"], last["cash"]) == (portfolio["total_value"], portfolio["cash"])
    assert sum(Decimal(point["flow"]) for point in answer["points"]) == Decimal(10000)
    earned = Decimal(portfolio["realized_pnl"]) + Decimal(portfolio["unrealized_pnl"])
    assert Decimal(last["equity"]) == Decimal(10000) + earned


def test_performance_rests_on_the_same_figures(daybook: Daybook) -> None:
    """Performance, equity and P&L tell of one portfolio; what a young life cannot say is null, with a note."""
    portfolio, answer = daybook.read("portfolio"), daybook.read("portfolio/performance")

    assert answer["equity"] == portfolio["total_value"]
    assert answer["day_change"] == daybook.read("portfolio/equity")["day_change"]
    assert answer["closed_lots"]["count"] == 2
    assert answer["closed_lots"]["realized_pnl"] == portfolio["realized_pnl"]
    assert Decimal(answer["profit"]) == Decimal(answer["equity"]) - 10000
    assert Decimal(answer["time_weighted_return"]) == round(Decimal(answer["profit"]) / 10000, 12)
    assert answer["sharpe"] is answer["money_weighted_return"] is answer["cagr"] is None
    assert answer["notes"] == ["fewer than two full days are measured: spread and risk are undefined"]


@pytest.mark.parametrize("path", PATHS)
def test_an_unknown_portfolio_is_not_found(daybook: Daybook, path: str) -> None:
    """A portfolio that is not there has no figures."""
    assert problem_of(daybook.get(path, portfolio="nobody's")) == "unknown-portfolio"
