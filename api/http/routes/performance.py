"""P&L, performance and equity of a portfolio."""

from datetime import date
from decimal import Decimal
from typing import Final
from uuid import UUID

from litestar import Controller, get
from litestar.di import NamedDependency
from litestar.params import FromQuery

from api.http.errors import Problem
from api.http.performance import PerformanceAnswer, performance_answer
from api.http.requests import Snapshot, cursor_position, page_size
from api.http.schemas import Answer
from ledger.booking.lots import Match
from ledger.projections import VALUE_PROJECTIONS
from ledger.projections.valuation import value_portfolio
from ledger.replay.history import events_at
from ledger.reports.attribution import Grouping, attribution
from ledger.reports.equity import day_change, equity_history
from ledger.values import ZERO, Money, UtcTime, exact_decimal

MOST_PERIODS: Final = 1000
HIGHEST_RATE: Final = 10


class PnlPart(Answer):
    """Realised P&L of the lots closed under one name: a UTC day, an asset, an opener or a closer.

    Covers lots with a known cost and is null if there is none; the others contribute `unknown_cost_proceeds`.
    """

    name: str
    realized_pnl: Money | None
    proceeds: Money
    cost_basis: Money | None
    unknown_cost_proceeds: Money
    matches: int


class PnlAnswer(Answer):
    """Realised P&L by `group`, fees included; the parts add up to `realized_pnl` and to `unknown_cost_proceeds`.

    An unrecorded source is "unknown".
    """

    portfolio_id: UUID
    base_currency: str
    group: Grouping
    parts: list[PnlPart]
    realized_pnl: Money
    unknown_cost_proceeds: Money
    unrealized_pnl: Money | None


class EquityPoint(Answer):
    """The portfolio at the close of a UTC day; the last point is the current moment while `closed` is false.

    `equity` and `invested` are null while a held asset has no mark. `flow` is the net external flow of the day (negative
    when it left), null while its value is unknown.
    """

    day: date
    closed: bool
    equity: Money | None
    cash: Money
    invested: Money | None
    flow: Money | None


class EquityAnswer(Answer):
    """Equity by day; the first page is the latest, each page in order of time; `day_change` excludes flows.

    Days run from the first event that moved value to the latest event. After ten years without events they restart, with
    the day before as first point, whose flow is the sum of all earlier ones.
    `next_cursor` leads to earlier days, null when there are none.
    """

    portfolio_id: UUID
    base_currency: str
    until: UtcTime | None
    day_change: Money | None
    points: list[EquityPoint]
    next_cursor: str | None


class PerformanceController(Controller):
    path = "/api/v1/portfolio"
    tags = ("performance",)

    @get("/pnl", operation_id="getPnl", sync_to_thread=True)
    def get_pnl(self, snapshot: NamedDependency[Snapshot], group: FromQuery[Grouping] = "day") -> PnlAnswer:
        """Realised P&L by UTC day, asset, opener or closer of the lots, and unrealised P&L at the last marks."""
        with snapshot.reading(VALUE_PROJECTIONS) as reading:
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
        snapshot: NamedDependency[Snapshot],
        periods_per_year: FromQuery[str] = "365",
        risk_free: FromQuery[str] = "0",
    ) -> PerformanceAnswer:
        """Returns, risk and trading figures over the portfolio's whole life, computed from its log.

        `periods_per_year` is the number of daily returns in a year (365 for markets that never close), `risk_free` an
        annual rate as a fraction.
        """
        periods = _number("periods_per_year", periods_per_year, Decimal(1), Decimal(MOST_PERIODS))
        rate = _number("risk_free", risk_free, Decimal("-0.99"), Decimal(HIGHEST_RATE))
        with snapshot.reading(VALUE_PROJECTIONS) as reading:
            return performance_answer(reading, snapshot.past, periods_per_year=periods, risk_free=rate)

    @get("/equity", operation_id="getEquity", sync_to_thread=True)
    def get_equity(
        self,
        snapshot: NamedDependency[Snapshot],
        limit: FromQuery[int] = 400,
        cursor: FromQuery[str | None] = None,
    ) -> EquityAnswer:
        """Equity at the close of every UTC day, with external flows: the last `limit` days before the cursor."""
        size, before, past = page_size(limit), cursor_position(cursor), snapshot.past
        with snapshot.reading(VALUE_PROJECTIONS) as reading:
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
    """Parse a decimal parameter. Raises Problem 400 for a malformed one and outside the bounds."""
    try:
        value = exact_decimal(text)
    except ValueError as error:
        raise Problem(400, "bad-number", f"{name}: {error}") from None
    if not lowest <= value <= highest:
        raise Problem(400, "bad-number", f"{name} must be between {lowest} and {highest}")
    return value
