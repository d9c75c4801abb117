"""What events are made of: bounded texts, and the values that stand inside an event."""

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
"""Who triggered an order or a trade: attribution only, it never decides how P&L is computed."""

OrderKind = Literal["market", "limit", "stop"]
"""A stop order rests until the price touches its stop price, and is a market order from then on."""

TimeInForce = Literal["gtc", "ioc", "fok"]
"""How long a limit order may rest: until it is cancelled or expires, not at all, or not at all and only as a whole."""

LARGEST_COUNT: Final = 2**31 - 1
"""Whole numbers in events stay below this, so that every view can hold them."""


class Event(BaseModel):
    """What every event shares: frozen, strict, and known by a stored type name and version."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    type: ClassVar[str]
    version: ClassVar[int] = 1


class Part(BaseModel):
    """A value inside an event."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Fee(Part):
    """A fee (a rebate when negative) in any asset; `value` in base currency is needed when the trade does not tell it."""

    asset: Asset
    amount: Money
    value: Money | None = None

    @model_validator(mode="after")
    def _worth_its_sign(self) -> Self:
        if self.value and self.value * self.amount <= 0:
            raise ValueError(f"a fee of {self.amount} {self.asset} cannot be worth {self.value}: the signs differ")
        return self


class SignalPart(Part):
    """One component of a score: what it said, how much it weighed, and the value it looked at (or None)."""

    name: Name
    score: Money
    weight: Amount
    value: Money | None = None


class RuleChecked(Part):
    """One rule's answer: did it pass, in one sentence, and the numbers it looked at (decimals and times as text)."""

    rule: Name
    passed: bool
    reason: Text
    numbers: dict[str, Text]


def fault_text(fault: ErrorDetails) -> str:
    """What is wrong with one field, in words; a pattern is none."""
    if fault["type"] == "string_pattern_mismatch" and fault.get("ctx", {}).get("pattern") == _NAME_PATTERN:
        return "it holds a line break or another control character: write it without"
    return str(fault["msg"]).removeprefix("Value error, ")
