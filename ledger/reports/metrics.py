"""Performance figures as pure functions of daily returns, drawdowns and dated flows. Undefined is None, never 0.

Returns, rates and ratios are fractions (0.05 is 5 %). A day is a UTC day; 00:00 belongs to the day it begins. Figures are
not rounded.
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
"""Tail of VaR and CVaR at 95 %."""
NORMAL_QUANTILE: Final = Decimal("-1.6448536269514727148638489079916")
"""z of the standard normal distribution at WORST_SHARE."""
LARGEST: Final = Decimal(10) ** 12
"""Larger figures are undefined: their period is too short or their deviation is rounding."""


@dataclass(frozen=True, slots=True)
class Close:
    """Value of a portfolio at the close of `day`, in base currency; None while a held asset has no mark.

    It consists of `cash` and `invested` (short positions count as positive); `held` is True with any open position. `flow`
    is the day's net external flow, `traded` the gross value of its trades. `closed` is False for the current day.
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
    """An external flow into (+) or out of (-) the portfolio, in base currency, with equity before and after it.

    None if unknown. `equity_after` may differ from the sum of the others by rounding.
    """

    at: datetime
    amount: Decimal | None
    equity_before: Decimal | None
    equity_after: Decimal | None


@dataclass(frozen=True, slots=True)
class DayReturn:
    """The return of one day without its flows; None if unknown."""

    day: date
    value: Decimal | None


@dataclass(frozen=True, slots=True)
class Drawdown:
    """Maximum and current drawdown from the highest value (0 to 1).

    `longest_days` is the longest run of calendar days below the previous high.
    """

    worst: Decimal
    current: Decimal
    longest_days: int


def utc_day(moment: datetime) -> date:
    """Return the UTC day of `moment`; 00:00 belongs to the day it begins."""
    return moment.astimezone(UTC).date()


def time_weighted_returns(
    closes: Iterable[Close], flows: Iterable[Flow], start: Decimal | None = ZERO
) -> list[DayReturn]:
    """Return daily time-weighted returns, with a valuation at each flow.

    r = (product of equity before a flow or at the close / equity after the previous valuation) - 1 (GIPS, "true
    time-weighted return"). Days without equity are omitted. A day is None if one of its valuations or flows is unknown, or
    if equity at the start of a period is not above zero. `start` is the equity before the first day.
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
    """Return the compounded return: (1 + r1)(1 + r2)… - 1."""
    growth = ONE
    for one in returns:
        growth *= 1 + one
    return growth - 1


def cagr(total: Decimal, days: Decimal) -> Decimal | None:
    """Return the compound annual growth rate: (1 + total return)^(365.25 / calendar days) - 1.

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

    None for fewer than two returns or if all are equal.
    """
    deviation = _deviation(returns)
    if not deviation:
        return None
    return _sensible((_mean(returns) - risk_free) / deviation * periods_per_year.sqrt())


def skewness(returns: Sequence[Decimal]) -> Decimal | None:
    """Third central moment over the second to the power 3/2 (both of the population); None if all are equal."""
    second, third = _moment(returns, 2), _moment(returns, 3)
    return _sensible(third / (second * second.sqrt())) if second else None


def kurtosis(returns: Sequence[Decimal]) -> Decimal | None:
    """Fourth central moment over the square of the second: 3 for a normal distribution. None if all are equal."""
    second = _moment(returns, 2)
    return _sensible(_moment(returns, 4) / second**2) if second else None


def sortino(returns: Sequence[Decimal], periods_per_year: Decimal, target: Decimal = ZERO) -> Decimal | None:
    """mean(r - t) / √mean(min(r - t, 0)²) × √periods_per_year, the lower mean over all n returns (Sortino and Price 1994).

    None for fewer than two returns or if none is below the target.
    """
    if len(returns) < 2:
        return None
    downside = _mean([min(one - target, ZERO) ** 2 for one in returns]).sqrt()
    return _sensible((_mean(returns) - target) / downside * periods_per_year.sqrt()) if downside else None


def drawdowns(returns: Iterable[Decimal]) -> list[Decimal]:
    """Return the drawdown after each return: 1 - wealth / highest wealth so far, the start included."""
    wealth = highest = ONE
    found: list[Decimal] = []
    for one in returns:
        wealth *= 1 + one
        highest = max(highest, wealth)
        found.append(1 - wealth / highest)
    return found


def drawdown_of(days: Sequence[date], falls: Sequence[Decimal]) -> Drawdown | None:
    """Return the worst, current and longest of `falls`, the `drawdowns` at the close of each day. None without days.

    The first high is the start of the first day, that is, the close of the day before.
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
    """CAGR / maximum drawdown (Young 1991); None if either is unknown or there was no drawdown."""
    return None if annual is None or not worst else _sensible(annual / worst)


def ulcer(falls: Sequence[Decimal]) -> Decimal | None:
    """Ulcer index √mean(drawdown²) over all days (Martin 1987), as a fraction; None without days."""
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

    None for fewer than two returns or if all are equal.
    """
    deviation = _deviation(returns)
    return -(_mean(returns) + NORMAL_QUANTILE * deviation) if deviation else None


def rate_per_period(annual: Decimal, periods_per_year: Decimal) -> Decimal:
    """Return the rate of one period that compounds to `annual` (above -1) over a year."""
    return (1 + annual) ** (1 / periods_per_year) - 1 if annual else ZERO


def known_sum(values: Iterable[Decimal | None]) -> Decimal | None:
    """Return the sum, None if one value is unknown."""
    total = ZERO
    for value in values:
        if value is None:
            return None
        total += value
    return total


def _around(flow: Flow) -> tuple[Decimal | None, Decimal | None]:
    return flow.equity_before, flow.equity_after


def _linked(growth: Decimal | None, start: Decimal | None, end: Decimal | None) -> Decimal | None:
    """Multiply `growth` by `end` / `start`; None if one is unknown, `start` is not above zero, or `end` is below."""
    if growth is None or start is None or end is None or start <= 0 or end < 0:
        return None
    return growth * end / start


def _mean(values: Sequence[Decimal]) -> Decimal:
    return sum(values, ZERO) / len(values)


def _deviation(values: Sequence[Decimal]) -> Decimal | None:
    """Standard deviation of a sample (ddof=1), exactly 0 if all are equal; None for fewer than two."""
    if len(values) < 2:
        return None
    if min(values) == max(values):
        return ZERO
    mean = _mean(values)
    return (sum(((one - mean) ** 2 for one in values), ZERO) / (len(values) - 1)).sqrt()


def _moment(values: Sequence[Decimal], power: int) -> Decimal:
    """Central moment of the population, exactly 0 if all are equal or there are fewer than two."""
    if len(values) < 2 or min(values) == max(values):
        return ZERO
    mean = _mean(values)
    return _mean([(value - mean) ** power for value in values])


def _quantile(ordered: Sequence[Decimal], share: Decimal) -> Decimal:
    """Quantile with linear interpolation (type 7)."""
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def _sensible(figure: Decimal) -> Decimal | None:
    """Return the figure, None if it is LARGEST or more."""
    return figure if abs(figure) < LARGEST else None
