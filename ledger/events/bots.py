"""Events of bots: registration, settings, starts and stops, modes, and permission to run third-party code."""

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
    """An evaluation raised; the bot is not evaluated until it is started again."""

    type = "BotFailed"
    bot_id: Name
    asof: UtcTime
    error: Text


BotMode = Literal["automatic", "ask", "off"]


class BotModeSet(Event):
    """Sets whether the bot's signals trade automatically, need approval, or are ignored.

    `bot_id` may also be the name of an external signal source.
    """

    type = "BotModeSet"
    bot_id: Name
    mode: BotMode


class BotKindEnabled(Event):
    """Code that `distribution` installed for bots of this `kind` may run while the hash of its files is `sha256`."""

    type = "BotKindEnabled"
    kind: Name
    distribution: Name
    distribution_version: Name
    sha256: Annotated[Name, Field(pattern=r"^[0-9a-f]{64}$")]


class BotKindDisabled(Event):
    type = "BotKindDisabled"
    kind: Name
    reason: Text = ""
