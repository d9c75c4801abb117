"""Events of signals: emitted signals and the verdicts of review."""

from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field

from ledger.events.fields import LARGEST_COUNT, Event, Name, RuleChecked, SignalPart, Text
from ledger.values import Amount, Instrument, Money, Price, Quantity, Side, UtcTime


class SignalEmitted(Event):
    """A bot's opinion at the close of a candle (`asof`). score: -1 sell … +1 buy; confidence: 0 … 1; both at 6 places.

    `horizon_s` is the horizon of the opinion in seconds. The event id is the signal id.
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
    """Review approved an order of `quote_size` on `side`."""

    type = "SignalApproved"
    signal_id: UUID
    side: Side
    quote_size: Quantity
    rules: tuple[RuleChecked, ...]


class ApprovalRequested(Event):
    """All rules passed, but a person has to approve the order of `quote_size` on `side`."""

    type = "ApprovalRequested"
    signal_id: UUID
    bot_id: Name
    instrument: Instrument
    side: Side
    quote_size: Quantity
    rules: tuple[RuleChecked, ...]


class SignalRejected(Event):
    """Review rejected the signal; at least one of `rules` failed.

    `not_yet`: only time or circumstances were against it, so the bot should repeat the signal.
    """

    type = "SignalRejected"
    version = 2
    signal_id: UUID
    rules: tuple[RuleChecked, ...]
    not_yet: bool


class SignalExpired(Event):
    """The signal became too old before review could use it."""

    type = "SignalExpired"
    signal_id: UUID
    rules: tuple[RuleChecked, ...]
