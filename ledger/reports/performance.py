"""Performance of a portfolio: all figures of `metrics`, from its log and its closed lots, with notes."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Final

from ledger.booking.lots import Match
from ledger.log.envelope import Envelope
from ledger.reports.closed_lots import ClosedLots, closed_lots
from ledger.reports.equity import EquityHistory, day_change, equity_history
from ledger.reports.metrics import (
    Close,
    DayReturn,
    cagr,
    calmar,
    cvar_historic,
    drawdown_of,
    drawdowns,
    known_sum,
    kurtosis,
    rate_per_period,
    sharpe,
    skewness,
    sortino,
    time_weighted_returns,
    total_return,
    ulcer,
    utc_day,
    var_historic,
    var_parametric,
    volatility,
)
from ledger.reports.money_weighted import xirr
from ledger.rows import Rows
from ledger.values import ZERO

DAYS_A_YEAR: Final = Decimal(365)
"""Daily returns per year of markets that never close."""
SHORTEST_DAYS: Final = 30
"""Minimum number of days for annual rates."""
YEAR_DAYS: Final = 365
"""Annual rates from fewer days get a note."""


@dataclass(frozen=True, slots=True)
class Performance:
    """Figures of a portfolio at `until`; None if undefined or dependent on an unknown value, as `notes` explain.

    Returns, rates and ratios are fractions, money is in base currency. Time-weighted figures cover the days from
    `measured_from`, the day after the last unknown return, to `until`. Volatility, Sharpe, skewness, kurtosis, Sortino, VaR
    and CVaR use the `full_days` among them. `net_flows`, `profit` (equity - net flows), `money_weighted_return` and
    `closed_lots` cover the whole history. Annual rates (`cagr`, `money_weighted_return`) of fewer than 30 days are None.

    `exposure_days` is the share of measured days with a position at the close, `exposure_average` the mean share of equity
    in positions at the closes, `turnover` half the gross value of trades over mean equity, not annualised.
    """

    base_currency: str
    until: datetime | None
    measured_from: date | None
    full_days: int
    periods_per_year: Decimal
    risk_free: Decimal
    equity: Decimal | None
    day_change: Decimal | None
    net_flows: Decimal | None
    profit: Decimal | None
    time_weighted_return: Decimal | None
    cagr: Decimal | None
    money_weighted_return: Decimal | None
    volatility: Decimal | None
    sharpe: Decimal | None
    skewness: Decimal | None
    kurtosis: Decimal | None
    sortino: Decimal | None
    calmar: Decimal | None
    max_drawdown: Decimal | None
    current_drawdown: Decimal | None
    longest_drawdown_days: int | None
    ulcer: Decimal | None
    var_95_historic: Decimal | None
    cvar_95_historic: Decimal | None
    var_95_parametric: Decimal | None
    exposure_days: Decimal | None
    exposure_average: Decimal | None
    turnover: Decimal | None
    closed_lots: ClosedLots
    notes: tuple[str, ...]


def performance_of(
    rows: Rows,
    envelopes: Iterable[Envelope],
    *,
    periods_per_year: Decimal = DAYS_A_YEAR,
    risk_free: Decimal = ZERO,
    until: datetime | None = None,
) -> Performance:
    """Calculate the performance of the portfolio with these rows and these events, in log order.

    `periods_per_year` (above 0) is the number of daily returns per year, `risk_free` (above -1) an annual rate. `until`
    defaults to the time of the latest event. Raises UnvaluedLeg.
    """
    history = equity_history(rows, envelopes, until)
    return performance_from(
        history, closed_lots(rows.history(Match)), periods_per_year=periods_per_year, risk_free=risk_free
    )


def performance_from(
    history: EquityHistory,
    lots: ClosedLots,
    *,
    periods_per_year: Decimal = DAYS_A_YEAR,
    risk_free: Decimal = ZERO,
) -> Performance:
    """Calculate the performance from an equity history, as `performance_of`."""
    start, daily = _daily(history)
    days = time_weighted_returns(daily, history.flows, start)
    measured, began_at = _measured(days, history)
    values = [value for _, value in measured]
    full = [value for day, value in measured if day != _unfinished_day(history)]
    closes = [close for close in daily if measured and close.day >= measured[0][0]]
    total = total_return(values) if values else None
    span = _days_between(began_at, history.until)
    annual = cagr(total, span) if total is not None and span >= SHORTEST_DAYS else None
    paid_span = _payment_days(history)
    falls = drawdowns(values)
    drawdown = drawdown_of([day for day, _ in measured], falls)
    equity = history.closes[-1].equity if history.closes else None
    net_flows = known_sum(close.flow for close in history.closes) if history.closes else None
    return Performance(
        base_currency=history.base_currency,
        until=history.until,
        measured_from=measured[0][0] if measured else None,
        full_days=len(full),
        periods_per_year=periods_per_year,
        risk_free=risk_free,
        equity=equity,
        day_change=day_change(history),
        net_flows=net_flows,
        profit=equity - net_flows if equity is not None and net_flows is not None else None,
        time_weighted_return=total,
        cagr=annual,
        money_weighted_return=_money_weighted(history, equity) if paid_span >= SHORTEST_DAYS else None,
        **_risk_of(full, periods_per_year, rate_per_period(risk_free, periods_per_year)),
        calmar=calmar(annual, drawdown.worst if drawdown else None),
        max_drawdown=drawdown.worst if drawdown else None,
        current_drawdown=drawdown.current if drawdown else None,
        longest_drawdown_days=drawdown.longest_days if drawdown else None,
        ulcer=ulcer(falls),
        exposure_days=_share(sum(close.held for close in closes), len(closes)),
        exposure_average=_average_exposure(closes),
        turnover=_turnover(closes),
        closed_lots=lots,
        notes=(
            *_history_notes(history),
            *_return_notes(days, measured),
            *(_span_notes("CAGR", int(span)) if measured else ()),
            *(_span_notes("money-weighted return", paid_span) if history.flows else ()),
            *(["volatility and risk ratios need at least two full days"] if len(full) < 2 else ()),
        ),
    )


def _risk_of(full: Sequence[Decimal], periods_per_year: Decimal, rate: Decimal) -> dict[str, Decimal | None]:
    return {
        "volatility": volatility(full, periods_per_year),
        "sharpe": sharpe(full, periods_per_year, rate),
        "skewness": skewness(full),
        "kurtosis": kurtosis(full),
        "sortino": sortino(full, periods_per_year, rate),
        "var_95_historic": var_historic(full),
        "cvar_95_historic": cvar_historic(full),
        "var_95_parametric": var_parametric(full),
    }


Measured = Sequence[tuple[date, Decimal]]


def _daily(history: EquityHistory) -> tuple[Decimal | None, Sequence[Close]]:
    """Return equity before the first day, and the daily closes. After a long gap the first close is only the start."""
    if history.gap_since is None:
        return ZERO, history.closes
    return history.closes[0].equity, history.closes[1:]


def _measured(days: Sequence[DayReturn], history: EquityHistory) -> tuple[Measured, datetime | None]:
    """Return the returns after the last unknown one, and their start."""
    found: list[tuple[date, Decimal]] = []
    unknown: date | None = None
    for one in days:
        if one.value is None:
            found, unknown = [], one.day
        else:
            found.append((one.day, one.value))
    if not found or unknown is None:
        return found, history.began_at
    return found, datetime.combine(unknown + timedelta(days=1), time(), UTC)


def _unfinished_day(history: EquityHistory) -> date | None:
    return history.closes[-1].day if history.closes and not history.closes[-1].closed else None


def _days_between(start: datetime | None, end: datetime | None) -> Decimal:
    if start is None or end is None:
        return ZERO
    return Decimal((end - start) // timedelta(microseconds=1)) / 86_400_000_000


def _payment_days(history: EquityHistory) -> int:
    """Days from the first flow to the end, 0 without flows."""
    if not history.flows or history.until is None:
        return 0
    return (utc_day(history.until) - utc_day(history.flows[0].at)).days


def _money_weighted(history: EquityHistory, equity: Decimal | None) -> Decimal | None:
    """XIRR of all flows and the final equity, None if one is unknown."""
    if equity is None or history.until is None:
        return None
    payments = [(utc_day(history.until), equity)]
    for flow in history.flows:
        if flow.amount is None:
            return None
        payments.append((utc_day(flow.at), -flow.amount))
    return xirr(payments)


def _average_exposure(closes: Sequence[Close]) -> Decimal | None:
    """Mean share of equity in positions at the closes; None without days or if a share is undefined."""
    shares: list[Decimal] = []
    for close in closes:
        if close.invested is None or close.equity is None or (close.equity <= 0 and close.invested):
            return None
        shares.append(close.invested / close.equity if close.invested else ZERO)
    return _share(sum(shares, ZERO), len(shares))


def _turnover(closes: Sequence[Close]) -> Decimal | None:
    equity = known_sum(close.equity for close in closes)
    if equity is None or equity <= 0:
        return None
    return sum((close.traded for close in closes), ZERO) / 2 / (equity / len(closes))


def _share(part: Decimal | int, whole: int) -> Decimal | None:
    return Decimal(part) / whole if whole else None


def _history_notes(history: EquityHistory) -> Iterator[str]:
    """Notes on unknown values and flows, and on assumptions."""
    unpriced = [close.day for close in history.closes if close.equity is None]
    unvalued = [flow.at for flow in history.flows if flow.amount is None]
    if history.gap_since is not None and history.began_at is not None:
        began = utc_day(history.began_at)
        yield f"no events between {history.gap_since} and {began}: daily figures begin on {began}"
    if history.unrecorded:
        assets = ", ".join(history.unrecorded)
        yield f"{assets} sold or spent without a recorded purchase: counted as deposited at the proceeds"
    if history.vanished:
        yield f"{', '.join(history.vanished)} withdrawn without a recorded purchase: not counted"
    if unpriced:
        yield f"equity unknown on {_days(unpriced)}: a held asset had no mark in {history.base_currency}"
    if unvalued:
        days = _days([utc_day(at) for at in unvalued])
        yield f"money-weighted return omitted: a flow on {days} has neither mark nor cost"


def _return_notes(days: Sequence[DayReturn], measured: Measured) -> Iterator[str]:
    unknown = [one.day for one in days if one.value is None]
    if unknown:
        since = f"begin on {measured[0][0]}" if measured else "omitted"
        yield f"return unknown or undefined on {_days(unknown)}: time-weighted figures {since}"


def _span_notes(rate: str, days: int) -> Iterator[str]:
    if days < SHORTEST_DAYS:
        yield f"{rate} omitted: annualising needs {SHORTEST_DAYS} days, the history has {days}"
    elif days < YEAR_DAYS:
        yield f"{rate} is extrapolated from {days} days to a year"


def _days(days: Sequence[date]) -> str:
    return str(days[0]) if len(days) == 1 else f"{len(days)} days from {days[0]} to {days[-1]}"
