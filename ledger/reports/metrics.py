"""The figures of performance: pure functions of daily returns, drawdowns and dated flows. Undefined is None, never 0.

Returns, rates and ratios are fractions (0.05 is 5 %). A day is a UTC day: its midnight belongs to it, the next one, at
which it closes, to the next day. Nothing here rounds: who shows a figure does.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Final

from ledger.values import ZERO

ONE: Final = Decimal(1)
YEAR_DAYS: Final = Decimal("365.25")
WORST_SHARE: Final = Decimal("0.05")
"""VaR and CVaR are at 95 %: they look at the worst twentieth of the days."""
NORMAL_QUANTILE: Final = Decimal("-1.6448536269514727148638489079916")
"""z of the standard normal distribution at WORST_SHARE."""
LARGEST: Final = Decimal(10) ** 12
"""A figure beyond this says that its period is too short or its spread is rounding: it counts as undefined."""


@dataclass(frozen=True, slots=True)
class Close:
    """What a portfolio was worth at the close of `day`, in base currency; None while a held asset has no mark.

    `cash` and `invested` (shorts count as positive there) are what it consisted of, `held` whether there was any position.
    `flow` came in from outside during the day (went out when negative), `traded` is the gross value of the day's trades.
    `closed` is False for the last day while it is not over: its figures are those of the moment.
    """

    day: date
    equity: Decimal | None
    cash: Decimal = ZERO
    invested: Decimal | None = ZERO
    held: bool = False
    flow: Decimal | None = ZERO
    traded: Decimal = ZERO
    closed: bool = True


@dataclass(frozen=True, slots=True)
class Flow:
    """What came in from outside (+) or went there (-), in base currency, and what the portfolio was worth around it.

    None where it is unknown. The equity after it is not always the sum of the others: each is rounded by itself.
    """

    at: datetime
    amount: Decimal | None
    equity_before: Decimal | None
    equity_after: Decimal | None


@dataclass(frozen=True, slots=True)
class DayReturn:
    """The return of one day with its flows removed; None where it cannot be known."""

    day: date
    value: Decimal | None


@dataclass(frozen=True, slots=True)
class Drawdown:
    """How far below its highest point a portfolio fell: at worst, and now (0 to 1).

    `longest_days` are the most calendar days in a row that it spent below a high.
    """

    worst: Decimal
    current: Decimal
    longest_days: int


def utc_day(moment: datetime) -> date:
    """The day that `moment` belongs to: from 00:00, which is in it, to 24:00, which is in the next."""
    return moment.astimezone(UTC).date()


def time_weighted_returns(
    closes: Iterable[Close], flows: Iterable[Flow], start: Decimal | None = ZERO
) -> list[DayReturn]:
    """The daily returns, time-weighted: equity is compared from valuation to valuation, and each flow is one.

    r = (product of equity before a flow or at the close / equity after the valuation before it) - 1 (GIPS, "true
    time-weighted return"). Days on which there was no money at all are left out. A day is None when a valuation or a flow
    that it needs is unknown, or when equity at the start of a period is not above zero. `start` is the equity before the
    first day.
    """
    by_day: dict[date, list[Flow]] = defaultdict(list)
    for flow in flows:
        by_day[utc_day(flow.at)].append(flow)
    found: list[DayReturn] = []
    for close in closes:
        growth: Decimal | None = ONE
        at_work = False
        for end, following in [*map(_around, by_day[close.day]), (close.equity, close.equity)]:
            if start != 0 or end != 0:
                at_work, growth = True, _linked(growth, start, end)
            start = following
        if at_work:
            found.append(DayReturn(close.day, None if growth is None else growth - 1))
    return found


def total_return(returns: Iterable[Decimal]) -> Decimal:
    """All returns compounded: (1 + r1)(1 + r2)… - 1."""
    growth = ONE
    for one in returns:
        growth *= 1 + one
    return growth - 1


def cagr(total: Decimal, days: Decimal) -> Decimal | None:
    """The compound annual growth rate: (1 + total return)^(365.25 / calendar days) - 1.

    None for less than a day and for a total return below -1.
    """
    if days < 1 or total < -1:
        return None
    return _sensible(((1 + total) ** (YEAR_DAYS / days) if total > -1 else ZERO) - 1)


def volatility(returns: Sequence[Decimal], periods_per_year: Decimal) -> Decimal | None:
    """std(r, ddof=1) × √periods_per_year; None for fewer than two returns."""
    deviation = _deviation(returns)
    return None if deviation is None else deviation * periods_per_year.sqrt()


def sharpe(returns: Sequence[Decimal], periods_per_year: Decimal, risk_free: Decimal = ZERO) -> Decimal | None:
    """mean(r - rf) / std(r - rf, ddof=1) × √periods_per_year (Sharpe 1994), `risk_free` being the rate of one period.

    None for fewer than two returns or when they do not differ.
    """
    deviation = _deviation(returns)
    if not deviation:
        return None
    return _sensible((_mean(returns) - risk_free) / deviation * periods_per_year.sqrt())


def skewness(returns: Sequence[Decimal]) -> Decimal | None:
    """The third central moment over the second to the power 3/2 (both of the population); None when they do not differ."""
    second, third = _moment(returns, 2), _moment(returns, 3)
    return _sensible(third / (second * second.sqrt())) if second else None


def kurtosis(returns: Sequence[Decimal]) -> Decimal | None:
    """The fourth central moment over the square of the second: 3 for a normal distribution. None when they do not differ."""
    second = _moment(returns, 2)
    return _sensible(_moment(returns, 4) / second**2) if second else None


def sortino(returns: Sequence[Decimal], periods_per_year: Decimal, target: Decimal = ZERO) -> Decimal | None:
    """mean(r - t) / √mean(min(r - t, 0)²) × √periods_per_year, the lower mean over all n returns (Sortino and Price 1994).

    None for fewer than two returns or when none is below the target.
    """
    if len(returns) < 2:
        return None
    downside = _mean([min(one - target, ZERO) ** 2 for one in returns]).sqrt()
    return _sensible((_mean(returns) - target) / downside * periods_per_year.sqrt()) if downside else None


def drawdowns(returns: Iterable[Decimal]) -> list[Decimal]:
    """After each return: 1 - wealth / highest wealth so far, compounded, the start being the first high."""
    wealth = highest = ONE
    found: list[Decimal] = []
    for one in returns:
        wealth *= 1 + one
        highest = max(highest, wealth)
        found.append(1 - wealth / highest)
    return found


def drawdown_of(days: Sequence[date], falls: Sequence[Decimal]) -> Drawdown | None:
    """The worst, current and longest of `falls` (as `drawdowns` gives them), each at the close of its day.

    None without any day. The first high is the start of the first day, which is the close of the day before.
    """
    if not days:
        return None
    high, longest = days[0].toordinal() - 1, 0
    for day, fall in zip(days, falls, strict=True):
        if fall:
            longest = max(longest, day.toordinal() - high)
        else:
            high = day.toordinal()
    return Drawdown(max(falls), falls[-1], longest)


def calmar(annual: Decimal | None, worst: Decimal | None) -> Decimal | None:
    """CAGR / maximum drawdown (Young 1991); None when either is unknown or there was no drawdown."""
    return None if annual is None or not worst else _sensible(annual / worst)


def ulcer(falls: Sequence[Decimal]) -> Decimal | None:
    """The ulcer index √mean(drawdown²) over every day (Martin 1987), as a fraction; None without any day."""
    return _mean([one**2 for one in falls]).sqrt() if falls else None


def var_historic(returns: Sequence[Decimal]) -> Decimal | None:
    """Value at risk of one day at 95 %: -quantile(r, 5 %), linear interpolation (Hyndman and Fan, type 7).

    A loss is positive. None for fewer than two returns.
    """
    return -_quantile(sorted(returns), WORST_SHARE) if len(returns) >= 2 else None


def cvar_historic(returns: Sequence[Decimal]) -> Decimal | None:
    """Conditional value at risk at 95 % (expected shortfall): -mean(r where r ≤ -VaR). None for fewer than two returns."""
    limit = var_historic(returns)
    return None if limit is None else -_mean([one for one in returns if one <= -limit])


def var_parametric(returns: Sequence[Decimal]) -> Decimal | None:
    """Value at risk of one day at 95 % as if returns were normal: -(mean + z·std), ddof=1, z = -1.645.

    None for fewer than two returns or when they do not differ.
    """
    deviation = _deviation(returns)
    return -(_mean(returns) + NORMAL_QUANTILE * deviation) if deviation else None


def rate_per_period(annual: Decimal, periods_per_year: Decimal) -> Decimal:
    """The rate of one period that compounds to `annual` (above -1) over a year."""
    return (1 + annual) ** (1 / periods_per_year) - 1 if annual else ZERO


def known_sum(values: Iterable[Decimal | None]) -> Decimal | None:
    """The sum, or None when one of them is unknown."""
    total = ZERO
    for value in values:
        if value is None:
            return None
        total += value
    return total


def _around(flow: Flow) -> tuple[Decimal | None, Decimal | None]:
    """Equity before and after the flow."""
    return flow.equity_before, flow.equity_after


def _linked(growth: Decimal | None, start: Decimal | None, end: Decimal | None) -> Decimal | None:
    """`growth` carried on from `start` to `end`; None when one is unknown or below zero, or nothing was there to grow."""
    if growth is None or start is None or end is None or start <= 0 or end < 0:
        return None
    return growth * end / start


def _mean(values: Sequence[Decimal]) -> Decimal:
    return sum(values, ZERO) / len(values)


def _deviation(values: Sequence[Decimal]) -> Decimal | None:
    """The standard deviation of a sample (ddof=1), exactly 0 when all are equal; None for fewer than two."""
    if len(values) < 2:
        return None
    if min(values) == max(values):
        return ZERO
    mean = _mean(values)
    return (sum(((one - mean) ** 2 for one in values), ZERO) / (len(values) - 1)).sqrt()


def _moment(values: Sequence[Decimal], power: int) -> Decimal:
    """The central moment of the population; exactly 0 when all are equal or there are fewer than two."""
    if len(values) < 2 or min(values) == max(values):
        return ZERO
    mean = _mean(values)
    return _mean([(value - mean) ** power for value in values])


def _quantile(ordered: Sequence[Decimal], share: Decimal) -> Decimal:
    """The value below which `share` of the values lie, between neighbours in proportion."""
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def _sensible(figure: Decimal) -> Decimal | None:
    """The figure, or None when it is beyond all measure."""
    return figure if abs(figure) < LARGEST else None
