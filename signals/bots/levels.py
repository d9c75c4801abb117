"""Price levels and trade categories of a signal, from a bot's floats."""

from datetime import timedelta
from decimal import Decimal
from math import floor, log10
from typing import Final, Literal, TypedDict

Category = Literal["scalp", "intraday", "swing", "long_term"]


class Levels(TypedDict, total=False):
    """Entry, take profit and stop loss, as arguments of a Signal."""

    entry: Decimal
    take_profit: Decimal
    stop_loss: Decimal


def levels(entry: float, take_profit: float, stop_loss: float) -> Levels:
    """The three levels as prices; none of them unless target and stop are on opposite sides of the entry, above 0."""
    prices = [price_of(entry), price_of(take_profit), price_of(stop_loss)]
    if min(prices) <= 0 or not min(prices[1:]) < prices[0] < max(prices[1:]):
        return {}
    return {"entry": prices[0], "take_profit": prices[1], "stop_loss": prices[2]}


def price_of(number: float) -> Decimal:
    """The number to 12 significant digits and at most 18 decimal places, rounded half to even."""
    if number == 0:
        return Decimal(0)
    places = min(18, max(0, 11 - floor(log10(abs(number)))))
    return Decimal(f"{number:.{places}f}")


def category_of(horizon: timedelta) -> Category | None:
    """The trade category of a horizon; None below 30 seconds and from 366 days on."""
    return next((name for name, start, end in _CATEGORIES if start <= horizon < end), None)


_CATEGORIES: Final[tuple[tuple[Category, timedelta, timedelta], ...]] = (
    ("scalp", timedelta(seconds=30), timedelta(minutes=15)),
    ("intraday", timedelta(minutes=15), timedelta(days=1)),
    ("swing", timedelta(days=1), timedelta(weeks=4)),
    ("long_term", timedelta(weeks=4), timedelta(days=366)),
)
