"""What can happen? Every event of Daybook, once, with what it states and who writes it.

An event is a fact in the past tense. A released class is never changed in place: a new shape is a new version, and old
versions are lifted in `ledger/log/envelope.py`. Money, quantities and prices are decimals written as text; times are
UTC; unknown fields are refused. "Owner" is a person at the HTTP interface or the command line.
"""

from typing import Final

from ledger.events.fields import Event

# The portfolio and what moves in it. Written by the owner and by imports; fills by the trade service, too.
from ledger.events.accounting import (
    PortfolioOpened,  # a portfolio exists, kept in this base currency
    PortfolioClosed,  # nothing more is meant to be traded in it
    AccountOpened,  # assets can be held here, on paper or live
    CashDeposited,  # base currency arrived from outside
    CashWithdrawn,  # base currency left for outside
    AssetDeposited,  # another asset arrived from outside, as one lot
    AssetWithdrawn,  # another asset left for outside, at its cost
    OpeningLotRecorded,  # a lot from before the record begins
    IncomeReceived,  # staking, dividends and the like, at their value
    SplitRecorded,  # every n units became m
    TransferRecorded,  # an asset moved between two accounts
    FeeCharged,  # a fee outside any trade
    TradeExecuted,  # one fill at a venue, with its fees
    TradeReversed,  # an earlier fact of this group never happened
)

# Bots. Written by the owner; failures by the program that runs the bots.
from ledger.events.bots import (
    BotRegistered,  # a bot exists, with its kind, market and parameters
    BotConfigured,  # its parameters changed
    BotStarted,  # it is evaluated from now on
    BotStopped,  # it is not evaluated any more
    BotFailed,  # an evaluation raised, which stops it
    BotModeSet,  # its signals trade automatically, need approval, or are ignored
    BotKindEnabled,  # third-party code for a kind of bot may run, with exactly these files
    BotKindDisabled,  # it may not any more
)

# Signals and their review. Emitted by bots and inbound webhooks; the verdicts are written by the trade service.
from ledger.events.signals import (
    SignalEmitted,  # a bot's opinion at the close of a candle
    SignalApproved,  # review approved an order of this size
    ApprovalRequested,  # review approved it, and a person has to agree
    SignalRejected,  # at least one rule failed
    SignalExpired,  # the signal became too old for review
)

# Orders and reconciliation. Written by the trade service; cancels and resolutions by the owner, too.
from ledger.events.orders import (
    OrderRequested,  # the intent, before any call to the venue
    OrderSubmitted,  # an attempt, before any byte leaves
    OrderAccepted,  # the venue has the order
    OrderRefused,  # the venue refused it; nothing was placed
    OutcomeUnknown,  # the venue may or may not have it
    CancelRequested,  # the order should end
    OutcomeResolved,  # a person states what became of an order of unknown outcome
    OrderClosed,  # no more fills are expected
    ExternalOrderSeen,  # the venue holds an order that is not ours
    DifferenceFound,  # ledger and venue disagree; the account is halted
    DifferenceResolved,  # the difference is explained
)

# Exits: stops and targets of what is held. Written by the exit service; set and removed by the owner, too.
from ledger.events.exits import (
    ExitArmed,  # sell this much when the price reaches a level
    ExitChanged,  # the levels or the quantity changed
    ExitTriggered,  # the price reached a level, and this order sells
    ExitDisarmed,  # the exit is over
)

# Policy. Written by the owner; marks by the market loop, halts by the safety limits, too.
from ledger.events.policy import (
    MarkRecorded,  # a price used to value or to size
    LimitSet,  # a risk limit has this value
    TradingHalted,  # no order may be sent
    TradingResumed,  # orders may be sent again
    TargetSet,  # the owner wants this value, income, allocation or reserve
    TargetRemoved,  # the owner wants it no more
)

EVENTS: Final[dict[tuple[str, int], type[Event]]] = {
    (kind.type, kind.version): kind
    for kind in tuple(globals().values())
    if isinstance(kind, type) and issubclass(kind, Event) and kind is not Event
}
"""Every event class by stored type name and version."""
