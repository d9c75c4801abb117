"""Events of policy: marks, limits, halts, and the owner's targets."""

from typing import Literal, Self

from pydantic import model_validator

from ledger.events.fields import Event, Name, Text
from ledger.values import Amount, Asset, Instrument, Price


class MarkRecorded(Event):
    """A price used to value or to size. `source` names its origin, including whether it is simulated."""

    type = "MarkRecorded"
    instrument: Instrument
    price: Price
    source: Name


class LimitSet(Event):
    """Sets the limit named `limit` (names: `ledger/projections/policy.py`) to `value`."""

    type = "LimitSet"
    limit: Name
    value: Amount


class TradingHalted(Event):
    type = "TradingHalted"
    reason: Text


class TradingResumed(Event):
    type = "TradingResumed"
    reason: Text


TargetKind = Literal["value", "income", "allocation", "reserve"]
Period = Literal["day", "week", "month"]


class TargetSet(Event):
    """A target of the owner; replaces the one of the same kind, asset and period.

    `value` in base currency is the portfolio value to reach ("value"), the gain wanted in each `period` ("income") or
    the cash to keep out of trading ("reserve"); for "allocation", the share of `asset` in the portfolio, in percent.
    """

    type = "TargetSet"
    kind: TargetKind
    asset: Asset | None = None
    period: Period | None = None
    value: Amount

    @model_validator(mode="after")
    def _about_one_thing(self) -> Self:
        check_target(self.kind, self.asset, self.period)
        if self.kind == "allocation" and self.value > 100:
            raise ValueError(f"an allocation is a share in percent: {self.value} is above 100")
        return self


class TargetRemoved(Event):
    """The target no longer applies."""

    type = "TargetRemoved"
    kind: TargetKind
    asset: Asset | None = None
    period: Period | None = None

    @model_validator(mode="after")
    def _about_one_thing(self) -> Self:
        check_target(self.kind, self.asset, self.period)
        return self


def check_target(kind: TargetKind, asset: Asset | None, period: Period | None) -> None:
    """Check that only an allocation names an asset and only an income names a period. Raises ValueError."""
    if (asset is not None) != (kind == "allocation"):
        raise ValueError(f"a target of {kind} {'needs' if asset is None else 'has no'} asset")
    if (period is not None) != (kind == "income"):
        raise ValueError(f"a target of {kind} {'needs' if period is None else 'has no'} period: day, week or month")
