"""P&L, performance and equity of a portfolio."""

from decimal import Decimal
from typing import Final

from litestar import Controller, get
from litestar.di import NamedDependency
from litestar.params import FromQuery

from api.http.errors import Problem
from api.http.performance_schemas import (
    EquityAnswer,
    EquityPoint,
    PerformanceAnswer,
    PnlAnswer,
    PnlPart,
    performance_answer,
)
from api.http.reading import PAST, AnyRequest, InPortfolio, cursor_of, limit_of_page, only_parameters, reading_of
from ledger.booking.lots import Match
from ledger.log.point_in_time import PointInTime
from ledger.projections import VALUE_PROJECTIONS
from ledger.projections.valuation import value_portfolio
from ledger.replay.history import events_at
from ledger.reports.attribution import Grouping, attribution
from ledger.reports.equity import day_change, equity_history
from ledger.values import ZERO, exact_decimal

MOST_PERIODS: Final = 1000
HIGHEST_RATE: Final = 10


class PerformanceController(Controller):
    path = "/api/v1/portfolio"
    tags = ("performance",)

    @get("/pnl", operation_id="getPnl", sync_to_thread=True)
    def get_pnl(
        self,
        request: AnyRequest,
        past: NamedDependency[PointInTime],
        portfolio: InPortfolio = None,
        group: FromQuery[Grouping] = "day",
    ) -> PnlAnswer:
        """Realised P&L by UTC day, asset, opener or closer of the lots, and what is unrealised at the last marks."""
        only_parameters(request, *PAST, "portfolio", "group")
        with reading_of(request, portfolio, past, VALUE_PROJECTIONS) as reading:
            worth = value_portfolio(reading.rows)
            parts = attribution(reading.rows.history(Match), group)
            return PnlAnswer(
                portfolio_id=reading.portfolio_id,
                base_currency=worth.base_currency,
                group=group,
                parts=[PnlPart.model_validate(part) for part in parts],
                realized_pnl=worth.realized_pnl,
                unknown_cost_proceeds=sum((one.unknown_cost_proceeds for one in worth.positions), ZERO),
                unrealized_pnl=worth.unrealized_pnl,
            )

    @get("/performance", operation_id="getPerformance", sync_to_thread=True)
    def get_performance(
        self,
        request: AnyRequest,
        past: NamedDependency[PointInTime],
        portfolio: InPortfolio = None,
        periods_per_year: FromQuery[str] = "365",
        risk_free: FromQuery[str] = "0",
    ) -> PerformanceAnswer:
        """Returns, risk and trading figures of the portfolio's whole life, computed from its log.

        `periods_per_year` is how many daily returns count as a year (365 for markets that never close), `risk_free` an
        annual rate as a fraction.
        """
        only_parameters(request, *PAST, "portfolio", "periods_per_year", "risk_free")
        periods = _number("periods_per_year", periods_per_year, Decimal(1), Decimal(MOST_PERIODS))
        rate = _number("risk_free", risk_free, Decimal("-0.99"), Decimal(HIGHEST_RATE))
        with reading_of(request, portfolio, past, VALUE_PROJECTIONS) as reading:
            return performance_answer(reading, past, periods_per_year=periods, risk_free=rate)

    @get("/equity", operation_id="getEquity", sync_to_thread=True)
    def get_equity(
        self,
        request: AnyRequest,
        past: NamedDependency[PointInTime],
        portfolio: InPortfolio = None,
        limit: FromQuery[int] = 400,
        cursor: FromQuery[str | None] = None,
    ) -> EquityAnswer:
        """Equity at the close of every UTC day, with what came in from outside: the last `limit` days before the cursor."""
        only_parameters(request, *PAST, "portfolio", "limit", "cursor")
        size, before = limit_of_page(limit), cursor_of(cursor)
        with reading_of(request, portfolio, past, VALUE_PROJECTIONS) as reading:
            history = equity_history(reading.rows, events_at(reading, past), past.as_of)
            days = [close for close in history.closes if before is None or close.day.toordinal() < before]
            page = days[-size:]
            return EquityAnswer(
                portfolio_id=reading.portfolio_id,
                base_currency=history.base_currency,
                until=history.until,
                day_change=day_change(history),
                points=[EquityPoint.model_validate(close) for close in page],
                next_cursor=str(page[0].day.toordinal()) if len(days) > size else None,
            )


def _number(name: str, text: str, lowest: Decimal, highest: Decimal) -> Decimal:
    """The decimal that a parameter says. Raises Problem 400 when it says none, or one outside the bounds."""
    try:
        value = exact_decimal(text)
    except ValueError as error:
        raise Problem(400, "bad-number", f"{name}: {error}") from None
    if not lowest <= value <= highest:
        raise Problem(400, "bad-number", f"{name} must be between {lowest} and {highest}")
    return value
