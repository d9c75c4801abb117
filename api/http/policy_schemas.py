"""What goes in and out where limits and targets are set."""

from typing import Literal

from api.http.schemas import Answer, Request
from ledger.events.bots import BotMode
from ledger.events.fields import Name
from ledger.values import Amount, UtcTime


class NewValue(Request):
    """The value that is to hold from now on."""

    value: Amount


class LimitAnswer(Answer):
    """A limit in force. `default` is what holds until another value is set."""

    limit: str
    value: Amount
    default: Amount


class NewMode(Request):
    """What is to become of the signals of a bot, or of a source outside under the name that its signals bear."""

    bot_id: Name
    mode: BotMode


class ModeAnswer(Answer):
    bot_id: str
    mode: BotMode
    set_at: UtcTime


class TargetAnswer(Answer):
    """What the owner wants. `target` is its name; `value` is in base currency, for an allocation in percent."""

    target: str
    kind: Literal["value", "income", "allocation", "reserve"]
    asset: str | None
    period: Literal["day", "week", "month"] | None
    value: Amount
    set_at: UtcTime
