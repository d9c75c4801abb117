"""Events of signals: what a bot emitted, and the verdict of review."""

from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field

from ledger.events.fields import LARGEST_COUNT, Event, Name, RuleChecked, SignalPart, Text
from ledger.values import Amount, Instrument, Money, Price, Quantity, Side, UtcTime


class SignalEmitted(Event):
    """A bot's opinion at the close of a candle (`asof`). score: -1 sell … +1 buy; confidence: 0 … 1; both at 6 places.

    `horizon_s` is how far the opinion reaches, in seconds. The event id is the signal id.
    """

    type = "SignalEmitted"
    bot_id: Name
    bot_version: Name
    parameters_hash: Name
    instrument: Instrument
    asof: UtcTime
    price: Price
    score: Annotated[Money, Field(ge=-1, le=1)]
    confidence: Annotated[Amount, Field(le=1)]
    horizon_s: Annotated[int, Field(ge=1, le=LARGEST_COUNT)] | None = None
    entry: Price | None = None
    take_profit: Price | None = None
    stop_loss: Price | None = None
    category: Literal["scalp", "intraday", "swing", "long_term"] | None = None
    parts: tuple[SignalPart, ...] = ()
    note: Text = ""


# --- review -----------------------------------------------------------------------------------------------------------


class SignalApproved(Event):
    """Review said yes: `quote_size` of `side` may be ordered."""

    type = "SignalApproved"
    signal_id: UUID
    side: Side
    quote_size: Quantity
    rules: tuple[RuleChecked, ...]


class ApprovalRequested(Event):
    """Review has nothing against the bot's signal but that a person is to agree: `quote_size` of `side` would be ordered."""

    type = "ApprovalRequested"
    signal_id: UUID
    bot_id: Name
    instrument: Instrument
    side: Side
    quote_size: Quantity
    rules: tuple[RuleChecked, ...]


class SignalRejected(Event):
    """Review said no; at least one of `rules` did not pass.

    `not_yet` says that nothing but time or circumstances stood against it: the bot is to say the same again.
    """

    type = "SignalRejected"
    version = 2
    signal_id: UUID
    rules: tuple[RuleChecked, ...]
    not_yet: bool


class SignalExpired(Event):
    """The signal went stale before review could use it."""

    type = "SignalExpired"
    signal_id: UUID
    rules: tuple[RuleChecked, ...]
