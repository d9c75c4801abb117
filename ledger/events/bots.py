"""Events of bots: which ones run, with which settings, and whether their signals are traded."""

from typing import Annotated, Literal

from pydantic import Field

from ledger.events.fields import Event, JsonText, Name, Text
from ledger.values import Instrument, UtcTime


class BotRegistered(Event):
    """`parameters` is the canonical JSON text of the bot's own settings."""

    type = "BotRegistered"
    bot_id: Name
    kind: Name
    bot_version: Name
    instrument: Instrument
    timeframe: Name
    parameters: JsonText


class BotConfigured(Event):
    type = "BotConfigured"
    bot_id: Name
    parameters: JsonText


class BotStarted(Event):
    type = "BotStarted"
    bot_id: Name


class BotStopped(Event):
    type = "BotStopped"
    bot_id: Name
    reason: Text = ""


class BotFailed(Event):
    """An evaluation raised; the bot is not asked again until it is started."""

    type = "BotFailed"
    bot_id: Name
    asof: UtcTime
    error: Text


BotMode = Literal["automatic", "ask", "off"]


class BotModeSet(Event):
    """What becomes of the bot's signals from now on: they are traded, a person is asked first, or they are not traded.

    `bot_id` may also be a source outside, under the name that its signals bear.
    """

    type = "BotModeSet"
    bot_id: Name
    mode: BotMode


class BotKindEnabled(Event):
    """The code that `distribution` has installed for bots of this `kind` may run, with files of this hash and no others."""

    type = "BotKindEnabled"
    kind: Name
    distribution: Name
    distribution_version: Name
    sha256: Annotated[Name, Field(pattern=r"^[0-9a-f]{64}$")]


class BotKindDisabled(Event):
    type = "BotKindDisabled"
    kind: Name
    reason: Text = ""
