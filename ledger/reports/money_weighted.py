"""Money-weighted return: the internal rate of return of dated payments."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import date
from decimal import Decimal, localcontext
from itertools import pairwise
from typing import Final

from ledger.values import ZERO

YEAR_DAYS: Final = 365
_DIGITS: Final = 50
"""Decimal precision of the search: money has at most 38 digits, long series lose some."""
_STEPS: Final = 90
"""Bisection steps: they leave less than 1e-25 of the interval."""
_RATES: Final = (ZERO, *(Decimal(2**power) / 20 for power in range(10)))
"""Bounds of the searched intervals on either side of 0: annual rates, continuously compounded."""


def xirr(payments: Iterable[tuple[date, Decimal]]) -> Decimal | None:
    """Return the annual rate r with Σ payment / (1 + r)^(days since the first / 365) = 0, the XIRR of spreadsheets.

    Deposits are negative, withdrawals and the final value positive. Of several solutions, the one nearest to 0. None
    without a change of sign, if all payments are on one day, or if no rate up to about e^25 is a solution.
    """
    ordered = _by_day(payments)
    if len(ordered) < 2 or not min(amount for _, amount in ordered) < 0 < max(amount for _, amount in ordered):
        return None
    gaps = [(later - earlier).days for (earlier, _), (later, _) in pairwise(ordered)]
    amounts = [amount for _, amount in ordered]
    with localcontext() as context:
        context.prec = _DIGITS
        rate = _root(lambda rate: _present_value(amounts, gaps, rate))
        return None if rate is None else rate.exp() - 1


def _by_day(payments: Iterable[tuple[date, Decimal]]) -> list[tuple[date, Decimal]]:
    """Sum the payments by day, without zero sums, in order."""
    sums: dict[date, Decimal] = defaultdict(lambda: ZERO)
    for day, amount in payments:
        sums[day] += amount
    return sorted((day, amount) for day, amount in sums.items() if amount)


def _present_value(amounts: Sequence[Decimal], gaps: Sequence[int], rate: Decimal) -> Decimal:
    """Return the value of the amounts on the first day at a continuous annual rate; `gaps` are the days between them."""
    daily = (-rate / YEAR_DAYS).exp()
    value = amounts[-1]
    for amount, gap in zip(reversed(amounts[:-1]), reversed(gaps), strict=True):
        value = amount + value * daily**gap
    return value


def _root(value_at: Callable[[Decimal], Decimal]) -> Decimal | None:
    """Find a root by bisection of the interval nearest to 0 in which the sign changes."""
    for inner, outer in pairwise(_RATES):
        for low, high in ((inner, outer), (-inner, -outer)):
            at_low, at_high = value_at(low), value_at(high)
            if at_low == 0:
                return low
            if (at_low < 0) != (at_high < 0):
                return _bisected(value_at, low, high, below=at_low < 0)
    return None


def _bisected(value_at: Callable[[Decimal], Decimal], low: Decimal, high: Decimal, *, below: bool) -> Decimal:
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if (value_at(middle) < 0) == below:
            low = middle
        else:
            high = middle
    return (low + high) / 2
