"""Inbound signals: permitted age, comparison with the stored one, and rounding. Pure."""

from datetime import datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Final

from ledger.events import SignalEmitted
from ledger.values import time_text

AHEAD: Final = timedelta(seconds=10)
"""The permitted lead of a sender's clock over the market's."""

SIX_PLACES: Final = Decimal("0.000001")


def untimely(signal: SignalEmitted, now: datetime, longest: timedelta) -> str | None:
    """The reason why the signal is too old or too early to be reviewed, or None.

    The maximum age is the shorter of its own horizon and `longest`, the policy's, as in review.
    """
    if signal.asof > now + AHEAD:
        return f"asof {time_text(signal.asof)} is in the future: market time is {time_text(now)}"
    if signal.horizon_s is not None:
        longest = min(longest, timedelta(seconds=signal.horizon_s))
    if now - signal.asof > longest:
        limit = f"market time is {time_text(now)} and a signal may be {longest.total_seconds():g} s old"
        return f"asof {time_text(signal.asof)} is stale: {limit}"
    return None


def same(stored: SignalEmitted, again: SignalEmitted) -> bool:
    """`True` when both are equal but for the price, which Daybook adds at arrival."""
    return stored == again.model_copy(update={"price": stored.price})


def six_places(value: Decimal) -> Decimal:
    """Round a score or confidence to six places, half to even, as stored in events."""
    return value.quantize(SIX_PLACES, rounding=ROUND_HALF_EVEN)
