"""What can happen? Every event of Daybook, with its meaning and its writer.

An event is a fact in the past tense. A released class is never changed in place: a new shape is a new version, and
`ledger/log/envelope.py` upgrades old versions on reading. Money, quantities and prices are decimals written as text;
times are UTC; unknown fields are rejected. "Owner" is a person at the HTTP interface or the command line.
"""

from typing import Final

from ledger.events.fields import Event

# Portfolio and movements of value. Written by the owner and by imports; fills also by the trade service.
from ledger.events.accounting import (
    PortfolioOpened,  # a portfolio exists, kept in this base currency
    PortfolioClosed,  # no further trading is intended
    AccountOpened,  # assets can be held here, on paper or live
    CashDeposited,  # base currency arrived from outside
    CashWithdrawn,  # base currency left for outside
    AssetDeposited,  # another asset arrived from outside, as one lot
    AssetWithdrawn,  # another asset left for outside, at its cost
    OpeningLotRecorded,  # a lot acquired before the records begin
    IncomeReceived,  # staking rewards, dividends and the like, at their value
    SplitRecorded,  # every n units became m
    TransferRecorded,  # an asset moved between two accounts
    FeeCharged,  # a fee outside any trade
    TradeExecuted,  # one fill at a venue, with its fees
    TradeReversed,  # an earlier event of this group is void
)

# Bots. Written by the owner; failures by the program that runs the bots.
from ledger.events.bots import (
    BotRegistered,  # a bot exists, with its kind, market and parameters
    BotConfigured,  # its parameters changed
    BotStarted,  # it is evaluated from now on
    BotStopped,  # it is no longer evaluated
    BotFailed,  # an evaluation raised, which stops it
    BotModeSet,  # its signals trade automatically, need approval, or are ignored
    BotKindEnabled,  # third-party code for a kind of bot may run, with exactly these files
    BotKindDisabled,  # it may no longer run
)

# Signals and their review. Emitted by bots and inbound webhooks; verdicts are written by the trade service.
from ledger.events.signals import (
    SignalEmitted,  # a bot's opinion at the close of a candle
    SignalApproved,  # review approved an order of this size
    ApprovalRequested,  # review passed; a person has to approve the order
    SignalRejected,  # at least one rule failed
    SignalExpired,  # the signal became too old for review
)

# Orders and reconciliation. Written by the trade service; cancels and resolutions also by the owner.
from ledger.events.orders import (
    OrderRequested,  # the intent, before any call to the venue
    OrderSubmitted,  # an attempt, before any byte leaves
    OrderAccepted,  # the venue has the order
    OrderRefused,  # the venue refused it; nothing was placed
    OutcomeUnknown,  # the venue may or may not have it
    CancelRequested,  # the order should end
    OutcomeResolved,  # a person settled an order of unknown outcome
    OrderClosed,  # no more fills are expected
    ExternalOrderSeen,  # the venue has an order that Daybook did not place
    DifferenceFound,  # ledger and venue disagree; the account is halted
    DifferenceResolved,  # the difference is explained
)

# Exits: stops and targets of positions. Written by the exit service; set and removed also by the owner.
from ledger.events.exits import (
    ExitArmed,  # sell this much when the price reaches a level
    ExitChanged,  # the levels or the quantity changed
    ExitTriggered,  # the price reached a level, and this order sells
    ExitDisarmed,  # the exit is over
)

# Policy. Written by the owner; marks also by the market loop, halts also by the safety limits.
from ledger.events.policy import (
    MarkRecorded,  # a price used to value or to size
    LimitSet,  # a risk limit has this value
    TradingHalted,  # no order may be sent
    TradingResumed,  # orders may be sent again
    TargetSet,  # the owner wants this value, income, allocation or reserve
    TargetRemoved,  # the target no longer applies
)

EVENTS: Final[dict[tuple[str, int], type[Event]]] = {
    (kind.type, kind.version): kind
    for kind in tuple(globals().values())
    if isinstance(kind, type) and issubclass(kind, Event) and kind is not Event
}
"""Every event class by stored type name and version."""
