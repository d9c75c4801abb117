"""Signals from outside: what makes one an event of the log, and how old it may be when it arrives. Pure."""

from datetime import datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Final

from ledger.events import SignalEmitted
from ledger.values import time_text

AHEAD: Final = timedelta(seconds=10)
"""How far a sender's clock may be ahead of the market's."""

SIX_PLACES: Final = Decimal("0.000001")


def untimely(signal: SignalEmitted, now: datetime, longest: timedelta) -> str | None:
    """Why the signal comes too late or too early to be reviewed, or None; `longest` is the policy's maximum age.

    It goes stale by the shorter of its own horizon and the policy, as review measures it.
    """
    if signal.asof > now + AHEAD:
        return f"asof {time_text(signal.asof)} is not there yet: the market stands at {time_text(now)}"
    if signal.horizon_s is not None:
        longest = min(longest, timedelta(seconds=signal.horizon_s))
    if now - signal.asof > longest:
        said = f"the market stands at {time_text(now)} and a signal may be {longest.total_seconds():g} s old"
        return f"asof {time_text(signal.asof)} is stale: {said}"
    return None


def same(stored: SignalEmitted, again: SignalEmitted) -> bool:
    """Whether both say the same. The price is ours, of the moment of arrival, and no part of what was said."""
    return stored == again.model_copy(update={"price": stored.price})


def six_places(value: Decimal) -> Decimal:
    """A score or confidence as events hold it, rounded half to even."""
    return value.quantize(SIX_PLACES, rounding=ROUND_HALF_EVEN)
