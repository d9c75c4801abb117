"""The rate that the owner's own money earned: the internal rate of return of dated payments."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import date
from decimal import Decimal, localcontext
from itertools import pairwise
from typing import Final

from ledger.values import ZERO

YEAR_DAYS: Final = 365
_DIGITS: Final = 50
"""Precision of the search. Money has at most 38 digits; the rest keeps what long series lose."""
_STEPS: Final = 90
"""Halvings of the interval that holds the root: they leave less than 1e-25 of it."""
_RATES: Final = (ZERO, *(Decimal(2**power) / 20 for power in range(10)))
"""Between which annual rates, in continuous compounding and on either side of 0, the root is looked for."""


def xirr(payments: Iterable[tuple[date, Decimal]]) -> Decimal | None:
    """The annual rate r at which Σ payment / (1 + r)^(days since the first / 365) = 0, as spreadsheets define XIRR.

    What the owner paid in is negative, what came back and what is left at the end positive. Of several rates the one
    nearest to 0. None without a change of sign, when all fall on one day, or when no rate up to about e^25 solves it.
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
    """One payment for each day on which there is anything left of them, in order."""
    sums: dict[date, Decimal] = defaultdict(lambda: ZERO)
    for day, amount in payments:
        sums[day] += amount
    return sorted((day, amount) for day, amount in sums.items() if amount)


def _present_value(amounts: Sequence[Decimal], gaps: Sequence[int], rate: Decimal) -> Decimal:
    """What the amounts are worth on the first day, at a continuous annual rate; `gaps` are the days between them."""
    daily = (-rate / YEAR_DAYS).exp()
    value = amounts[-1]
    for amount, gap in zip(reversed(amounts[:-1]), reversed(gaps), strict=True):
        value = amount + value * daily**gap
    return value


def _root(value_at: Callable[[Decimal], Decimal]) -> Decimal | None:
    """Where the function changes its sign, by bisection of the interval nearest to 0 that holds a change."""
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
