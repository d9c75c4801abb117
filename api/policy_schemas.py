"""What goes in and out where limits and targets are set."""

from typing import Literal

from api.schemas import Answer, Request
from ledger.values import Amount, UtcTime


class NewValue(Request):
    """The value that is to hold from now on."""

    value: Amount


class LimitAnswer(Answer):
    """A limit in force. `default` is what holds until another value is set."""

    limit: str
    value: Amount
    default: Amount


class TargetAnswer(Answer):
    """What the owner wants. `target` is its name; `value` is in base currency, for an allocation in percent."""

    target: str
    kind: Literal["value", "income", "allocation", "reserve"]
    asset: str | None
    period: Literal["day", "week", "month"] | None
    value: Amount
    set_at: UtcTime
