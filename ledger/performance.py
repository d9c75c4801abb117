"""How a portfolio has done: every figure of `ledger/metrics.py` from its log and its closed lots, with what they rest on."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Final

from ledger.closed_lots import ClosedLots, closed_lots
from ledger.envelope import Envelope
from ledger.equity import EquityHistory, day_change, equity_history
from ledger.lots import Match
from ledger.metrics import (
    Close,
    DayReturn,
    cagr,
    calmar,
    cvar_historic,
    drawdown_of,
    drawdowns,
    known_sum,
    rate_per_period,
    sharpe,
    sortino,
    time_weighted_returns,
    total_return,
    ulcer,
    utc_day,
    var_historic,
    var_parametric,
    volatility,
)
from ledger.money_weighted import xirr
from ledger.rows import Rows
from ledger.values import ZERO

DAYS_A_YEAR: Final = Decimal(365)
"""Markets that never close have so many daily returns a year."""


@dataclass(frozen=True, slots=True)
class Performance:
    """The figures of a portfolio at `until`; None where one is undefined or rests on something unknown, `notes` say why.

    Returns, rates and ratios are fractions, money is in base currency. Time-weighted figures cover the days from
    `measured_from` to `until`: those after the last day whose return cannot be known. Spread and risk (volatility, Sharpe,
    Sortino, VaR, CVaR) look at the `full_days` among them. `net_flows`, `profit` (equity less net flows),
    `money_weighted_return` and `closed_lots` cover the whole life.

    `exposure_days` is the share of those days at whose close a position was held, `exposure_average` the mean share of
    equity in positions at the closes, `turnover` half the gross value of trades over mean equity, not annualised.
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
    """Everything about the portfolio with these rows and these events, which are in log order.

    `periods_per_year` (above 0) is how many daily returns count as a year, `risk_free` (above -1) an annual rate. The end is
    the latest occurrence unless given.
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
    """As `performance_of`, from an equity history that is there already."""
    days = time_weighted_returns(history.closes, history.flows)
    measured, began_at = _measured(days, history)
    values = [value for _, value in measured]
    full = [value for day, value in measured if day != _unfinished_day(history)]
    closes = [close for close in history.closes if measured and close.day >= measured[0][0]]
    total = total_return(values) if values else None
    annual = cagr(total, _days_between(began_at, history.until)) if total is not None else None
    falls = drawdowns(values)
    drawdown = drawdown_of([day for day, _ in measured], falls)
    equity = history.closes[-1].equity if history.closes else None
    net_flows = known_sum(close.flow for close in history.closes) if history.closes else None
    rate = rate_per_period(risk_free, periods_per_year)
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
        money_weighted_return=_money_weighted(history, equity),
        volatility=volatility(full, periods_per_year),
        sharpe=sharpe(full, periods_per_year, rate),
        sortino=sortino(full, periods_per_year, rate),
        calmar=calmar(annual, drawdown.worst if drawdown else None),
        max_drawdown=drawdown.worst if drawdown else None,
        current_drawdown=drawdown.current if drawdown else None,
        longest_drawdown_days=drawdown.longest_days if drawdown else None,
        ulcer=ulcer(falls),
        var_95_historic=var_historic(full),
        cvar_95_historic=cvar_historic(full),
        var_95_parametric=var_parametric(full),
        exposure_days=_share(sum(close.held for close in closes), len(closes)),
        exposure_average=_average_exposure(closes),
        turnover=_turnover(closes),
        closed_lots=lots,
        notes=tuple(_notes(history, days, measured, full)),
    )


Measured = Sequence[tuple[date, Decimal]]


def _measured(days: Sequence[DayReturn], history: EquityHistory) -> tuple[Measured, datetime | None]:
    """The returns after the last unknown one, and the moment from which they count."""
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


def _money_weighted(history: EquityHistory, equity: Decimal | None) -> Decimal | None:
    """XIRR of what the owner paid in and took out and what is there now; None while one of them is unknown."""
    if equity is None or history.until is None:
        return None
    payments = [(utc_day(history.until), equity)]
    for flow in history.flows:
        if flow.amount is None:
            return None
        payments.append((utc_day(flow.at), -flow.amount))
    return xirr(payments)


def _average_exposure(closes: Sequence[Close]) -> Decimal | None:
    """The mean share of equity in positions over the days; None when there is no day or a share is undefined."""
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


def _notes(
    history: EquityHistory, days: Sequence[DayReturn], measured: Measured, full: Sequence[Decimal]
) -> Iterator[str]:
    """One sentence for each thing that is unknown or too short."""
    unpriced = [close.day for close in history.closes if close.equity is None]
    unvalued = [flow.at for flow in history.flows if flow.amount is None]
    unknown = [one.day for one in days if one.value is None]
    if unpriced:
        yield f"equity is unknown on {_days(unpriced)}: a held asset had no mark in {history.base_currency}"
    if unvalued:
        what = "what came in or went out has neither mark nor cost, so there is no money-weighted return"
        yield f"on {_days([utc_day(at) for at in unvalued])} {what}"
    if unknown:
        since = f"time-weighted figures begin on {measured[0][0]}" if measured else "there are no time-weighted figures"
        yield f"the return of {_days(unknown)} is unknown or undefined: {since}"
    if len(full) < 2:
        yield "fewer than two full days are measured: spread and risk are undefined"


def _days(days: Sequence[date]) -> str:
    return str(days[0]) if len(days) == 1 else f"{len(days)} days from {days[0]} to {days[-1]}"
