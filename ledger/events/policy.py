"""Events of policy: limits, halts, the owner's targets, and the prices that all of them are measured by."""

from typing import Literal, Self

from pydantic import model_validator

from ledger.events.fields import Event, Name, Text
from ledger.values import Amount, Asset, Instrument, Price


class MarkRecorded(Event):
    """A price used to value or to size. `source` names where it was seen; simulated sources say so."""

    type = "MarkRecorded"
    instrument: Instrument
    price: Price
    source: Name


class LimitSet(Event):
    """`value` is now in force for the limit called `limit` (see `ledger/projections/policy.py` for the names)."""

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
    """The owner wants this from now on, instead of what was set before for the same kind, asset and period.

    `value` is in base currency: what the portfolio is to be worth ("value"), what is to be gained in each `period`
    ("income"), what cash is to be left alone ("reserve"); for "allocation" it is what share of the portfolio's worth
    `asset` is to be, in percent.
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
            raise ValueError(f"an allocation is a share in percent: {self.value} is more than 100")
        return self


class TargetRemoved(Event):
    """The owner wants this no more."""

    type = "TargetRemoved"
    kind: TargetKind
    asset: Asset | None = None
    period: Period | None = None

    @model_validator(mode="after")
    def _about_one_thing(self) -> Self:
        check_target(self.kind, self.asset, self.period)
        return self


def check_target(kind: TargetKind, asset: Asset | None, period: Period | None) -> None:
    """Raises ValueError unless just an allocation names an asset and just an income names a period."""
    if (asset is not None) != (kind == "allocation"):
        raise ValueError(f"a target of {kind} {'needs' if asset is None else 'has no'} asset")
    if (period is not None) != (kind == "income"):
        raise ValueError(f"a target of {kind} {'needs' if period is None else 'has no'} period: day, week or month")
