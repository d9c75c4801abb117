"""Performance figures as JSON, for the route and `daybook performance`. Ratios are fractions at 12 places."""

from dataclasses import fields
from datetime import date
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Annotated
from uuid import UUID

from pydantic import BeforeValidator, PlainSerializer

from api.http.schemas import Answer
from ledger.log.point_in_time import PointInTime
from ledger.postgres.book import StoredReading
from ledger.replay.history import events_at
from ledger.reports.performance import DAYS_A_YEAR, performance_of
from ledger.values import ZERO, Money, UtcTime, decimal_text, round18


def _at_12_places(value: object) -> object:
    return value.quantize(Decimal("1e-12"), rounding=ROUND_HALF_EVEN) if isinstance(value, Decimal) else value


def _at_18_places(value: object) -> object:
    return round18(value) if isinstance(value, Decimal) else value


_AS_TEXT = PlainSerializer(decimal_text, return_type=str)
Ratio = Annotated[Decimal, BeforeValidator(_at_12_places), _AS_TEXT]
Average = Annotated[Decimal, BeforeValidator(_at_18_places), _AS_TEXT]


class ClosedLotsAnswer(Answer):
    """Statistics of closed lots, fees included; each match of a lot with a closing trade is one observation."""

    count: int
    wins: int
    losses: int
    realized_pnl: Money
    win_rate: Ratio | None
    profit_factor: Ratio | None
    expectancy: Average | None
    average_win: Average | None
    average_loss: Average | None
    average_days_held: Ratio | None


class PerformanceAnswer(Answer):
    """Figures of a portfolio at `until`, the time of its latest event; null if undefined or unknown.

    Returns and ratios are fractions. Time-weighted figures cover the days from `measured_from`; volatility, Sharpe,
    Sortino, VaR and CVaR (of one day, at 95 %, losses positive) the `full_days` among them. `net_flows`, `profit`,
    `money_weighted_return` (XIRR) and `closed_lots` cover the whole life. `exposure_days` is the share of days with a
    position, `exposure_average` the mean share of equity in positions, `turnover` half the trades' value over mean equity.
    `notes` explain missing figures. Annual rates (`cagr`, `money_weighted_return`) of fewer than 30 days are null.
    """

    portfolio_id: UUID
    base_currency: str
    until: UtcTime | None
    measured_from: date | None
    full_days: int
    periods_per_year: Money
    risk_free: Money
    equity: Money | None
    day_change: Money | None
    net_flows: Money | None
    profit: Money | None
    time_weighted_return: Ratio | None
    cagr: Ratio | None
    money_weighted_return: Ratio | None
    volatility: Ratio | None
    sharpe: Ratio | None
    sortino: Ratio | None
    calmar: Ratio | None
    max_drawdown: Ratio | None
    current_drawdown: Ratio | None
    longest_drawdown_days: int | None
    ulcer: Ratio | None
    var_95_historic: Ratio | None
    cvar_95_historic: Ratio | None
    var_95_parametric: Ratio | None
    exposure_days: Ratio | None
    exposure_average: Ratio | None
    turnover: Ratio | None
    closed_lots: ClosedLotsAnswer
    notes: list[str]


def performance_answer(
    reading: StoredReading, past: PointInTime, *, periods_per_year: Decimal = DAYS_A_YEAR, risk_free: Decimal = ZERO
) -> PerformanceAnswer:
    """Figures of `reading`, which was read at `past`. Raises as `performance_of`."""
    found = performance_of(
        reading.rows,
        events_at(reading, past),
        periods_per_year=periods_per_year,
        risk_free=risk_free,
        until=past.as_of,
    )
    figures = {field.name: getattr(found, field.name) for field in fields(found)}
    return PerformanceAnswer.model_validate({"portfolio_id": reading.portfolio_id, **figures})
