"""The index of events, by name and by stored type: `bot_events.py`, `exit_events.py`, `trading_events.py` and
`value_events.py` define them.

An event is a fact in the past tense. A released class is never changed in place: a new shape is a new version, and old
ones are lifted in `envelope.py`. Money, quantities and prices are decimals written as text; times are UTC; unknown
fields are refused.
"""

from typing import Final

from ledger.events.accounting import (
    AccountOpened,
    AssetDeposited,
    AssetWithdrawn,
    CashDeposited,
    CashWithdrawn,
    FeeCharged,
    IncomeReceived,
    OpeningLotRecorded,
    PortfolioClosed,
    PortfolioOpened,
    SplitRecorded,
    TradeExecuted,
    TradeReversed,
    TransferRecorded,
)
from ledger.events.exits import ExitArmed, ExitChanged, ExitDisarmed, ExitTriggered
from ledger.events.fields import Event
from ledger.events.signals import (
    ApprovalRequested,
    BotConfigured,
    BotFailed,
    BotKindDisabled,
    BotKindEnabled,
    BotModeSet,
    BotRegistered,
    BotStarted,
    BotStopped,
    SignalApproved,
    SignalEmitted,
    SignalExpired,
    SignalRejected,
)
from ledger.events.trading import (
    CancelRequested,
    DifferenceFound,
    DifferenceResolved,
    ExternalOrderSeen,
    LimitSet,
    MarkRecorded,
    OrderAccepted,
    OrderClosed,
    OrderRefused,
    OrderRequested,
    OrderSubmitted,
    OutcomeResolved,
    OutcomeUnknown,
    TargetRemoved,
    TargetSet,
    TradingHalted,
    TradingResumed,
)

__all__ = [
    "EVENTS",
    "AccountOpened",
    "ApprovalRequested",
    "AssetDeposited",
    "AssetWithdrawn",
    "BotConfigured",
    "BotFailed",
    "BotKindDisabled",
    "BotKindEnabled",
    "BotModeSet",
    "BotRegistered",
    "BotStarted",
    "BotStopped",
    "CancelRequested",
    "CashDeposited",
    "CashWithdrawn",
    "DifferenceFound",
    "DifferenceResolved",
    "Event",
    "ExitArmed",
    "ExitChanged",
    "ExitDisarmed",
    "ExitTriggered",
    "ExternalOrderSeen",
    "FeeCharged",
    "IncomeReceived",
    "LimitSet",
    "MarkRecorded",
    "OpeningLotRecorded",
    "OrderAccepted",
    "OrderClosed",
    "OrderRefused",
    "OrderRequested",
    "OrderSubmitted",
    "OutcomeResolved",
    "OutcomeUnknown",
    "PortfolioClosed",
    "PortfolioOpened",
    "SignalApproved",
    "SignalEmitted",
    "SignalExpired",
    "SignalRejected",
    "SplitRecorded",
    "TargetRemoved",
    "TargetSet",
    "TradeExecuted",
    "TradeReversed",
    "TradingHalted",
    "TradingResumed",
    "TransferRecorded",
]

EVENTS: Final[dict[tuple[str, int], type[Event]]] = {(kind.type, kind.version): kind for kind in Event.__subclasses__()}
"""Every event class by stored type name and version."""
