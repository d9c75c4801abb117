"""Types of event fields: bounded texts, and values nested in events."""

from typing import Annotated, ClassVar, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, StringConstraints, model_validator
from pydantic_core import ErrorDetails

from ledger.values import Amount, Asset, Money

_NAME_PATTERN: Final = r"^[^\x00-\x1f\x7f]+$"
Name = Annotated[str, StringConstraints(strict=True, min_length=1, max_length=100, pattern=_NAME_PATTERN)]
Text = Annotated[str, StringConstraints(strict=True, max_length=2000, pattern=r"^[^\x00]*$")]
JsonText = Annotated[str, StringConstraints(strict=True, pattern=r"^[^\x00]*$")]
Source = Annotated[
    str,
    StringConstraints(strict=True, pattern=r"^(bot:[^\x00-\x1f]{1,100}|manual|sync|import|exit:[^\x00-\x1f]{1,60})$"),
]
"""The trigger of an order or a trade: attribution only, without effect on how P&L is computed."""

OrderKind = Literal["market", "limit", "stop"]
"""A stop order rests until the price touches its stop price, then becomes a market order."""

TimeInForce = Literal["gtc", "ioc", "fok"]
"""Time in force of a limit order: good till cancelled or expired, immediate or cancel, fill or kill."""

LARGEST_COUNT: Final = 2**31 - 1
"""Limit of integers in events: the largest 4-byte integer column value."""


class Event(BaseModel):
    """Base of all events: frozen, strict, identified by a stored type name and version."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    type: ClassVar[str]
    version: ClassVar[int] = 1


class NestedValue(BaseModel):
    """A value nested in an event."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Fee(NestedValue):
    """A fee (a rebate when negative) in any asset. `value` in base currency is required unless the trade implies it."""

    asset: Asset
    amount: Money
    value: Money | None = None

    @model_validator(mode="after")
    def _worth_its_sign(self) -> Self:
        if self.value and self.value * self.amount <= 0:
            raise ValueError(f"fee {self.amount} {self.asset} and its value {self.value} must have the same sign")
        return self


class SignalPart(NestedValue):
    """One component of a score: its own score, its weight, and the indicator value behind it (or None)."""

    name: Name
    score: Money
    weight: Amount
    value: Money | None = None


class RuleChecked(NestedValue):
    """The result of one rule: passed or not, the reason as a sentence, and its inputs (decimals and times as text)."""

    rule: Name
    passed: bool
    reason: Text
    numbers: dict[str, Text]


def fault_text(fault: ErrorDetails) -> str:
    """Return the validation error as a sentence, without regular expressions."""
    if fault["type"] == "string_pattern_mismatch" and fault.get("ctx", {}).get("pattern") == _NAME_PATTERN:
        return "must not contain line breaks or other control characters"
    return str(fault["msg"]).removeprefix("Value error, ")
