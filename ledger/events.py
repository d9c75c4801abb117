"""Every event of the system, on one page. An event is a fact in the past tense; nothing else defines one.

A released class is never changed in place: a new shape is a new version, and old ones are lifted in `envelope.py`.
Money, quantities and prices are decimals written as text; times are UTC; unknown fields are refused.
"""

from typing import Annotated, ClassVar, Final, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ledger.event_parts import LARGEST_COUNT, Fee, JsonText, Name, OrderKind, RuleChecked, SignalPart, Source, Text
from ledger.values import ZERO, Amount, Asset, Instrument, Money, Price, Quantity, Side, UtcTime


class Event(BaseModel):
    """What every event shares: frozen, strict, and known by a stored type name and version."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    type: ClassVar[str]
    version: ClassVar[int] = 1


# --- portfolio, accounts, money ---------------------------------------------------------------------------------------


class PortfolioOpened(Event):
    """All worth is told in `base_currency`. With `allow_short` a sale of more than is held opens short lots."""

    type = "PortfolioOpened"
    version = 2
    name: Name
    base_currency: Asset
    allow_short: bool = False


class PortfolioClosed(Event):
    """The portfolio is at rest: nothing more is meant to be traded in it. What was recorded stays true."""

    type = "PortfolioClosed"
    reason: Text


class AccountOpened(Event):
    """A place where assets are held. `mode` is paper (simulated fills) or live."""

    type = "AccountOpened"
    account: Name
    venue: Name
    mode: Literal["paper", "live"]


class CashDeposited(Event):
    """`amount` of the portfolio's base currency arrived in `account`."""

    type = "CashDeposited"
    account: Name
    asset: Asset
    amount: Quantity


class CashWithdrawn(Event):
    type = "CashWithdrawn"
    account: Name
    asset: Asset
    amount: Quantity


class AssetDeposited(Event):
    """`quantity` of an asset arrived from outside, as one lot. `cost` is what it cost in base currency, None if unknown."""

    type = "AssetDeposited"
    account: Name
    asset: Asset
    quantity: Quantity
    cost: Amount | None = None


class AssetWithdrawn(Event):
    """`quantity` of an asset left for outside: its oldest lots go with it at their cost, and nothing is gained or lost."""

    type = "AssetWithdrawn"
    account: Name
    asset: Asset
    quantity: Quantity


class OpeningLotRecorded(Event):
    """A lot from before the record begins, acquired when the event occurred. `cost` is None if unknown."""

    type = "OpeningLotRecorded"
    account: Name
    asset: Asset
    quantity: Quantity
    cost: Amount | None = None


class IncomeReceived(Event):
    """`quantity` of an asset came in as income worth `value` in base currency, which is what the new lot costs."""

    type = "IncomeReceived"
    account: Name
    asset: Asset
    quantity: Quantity
    value: Amount
    kind: Literal["staking", "airdrop", "dividend", "interest", "reward", "mining", "other"]


class SplitRecorded(Event):
    """Every `denominator` units of the asset became `numerator` units; what they cost stays the same."""

    type = "SplitRecorded"
    asset: Asset
    numerator: Annotated[int, Field(ge=1, le=LARGEST_COUNT)]
    denominator: Annotated[int, Field(ge=1, le=LARGEST_COUNT)]


class TransferRecorded(Event):
    """`quantity` left one account of the portfolio and arrived in another; lots stay as they are.

    A network `fee` left `from_account` on top of it: a disposal of what paid it, and an expense.
    """

    type = "TransferRecorded"
    from_account: Name
    to_account: Name
    asset: Asset
    quantity: Quantity
    fee: Fee | None = None

    @model_validator(mode="after")
    def _between_two(self) -> Self:
        if self.from_account == self.to_account:
            raise ValueError(f"a transfer needs two accounts, not {self.from_account!r} twice")
        return self


class FeeCharged(Event):
    """A fee outside any trade (custody, funding, a fee told late): an expense. `trade_id` may name the trade it was for."""

    type = "FeeCharged"
    account: Name
    fee: Fee
    trade_id: UUID | None = None
    note: Text = ""


class TradeExecuted(Event):
    """One fill at a venue. `quantity` of the instrument's base at `price` in its quote, fees beside it.

    `quote_rate` is the worth of one unit of quote in the portfolio's base currency at execution (1 when they are the
    same), so that a replay never looks a price up. (venue, account, instrument, venue_trade_id) is unique.
    """

    type = "TradeExecuted"
    account: Name
    venue: Name
    venue_trade_id: Name
    instrument: Instrument
    side: Side
    quantity: Quantity
    price: Price
    fees: tuple[Fee, ...] = ()
    quote_rate: Price
    order_id: UUID | None = None
    triggered_by: Source | None = None

    @model_validator(mode="after")
    def _something_moves(self) -> Self:
        in_base = sum((fee.amount for fee in self.fees if fee.asset == self.instrument.base), ZERO)
        if self.quantity <= abs(in_base):
            raise ValueError(f"fees of {in_base} {self.instrument.base} reach the whole quantity of {self.quantity}")
        return self


class TradeReversed(Event):
    """The trade, or other movement of value, whose event id is `reverses` never happened; it occurred when that did."""

    type = "TradeReversed"
    reverses: UUID
    reason: Text


# --- bots and signals -------------------------------------------------------------------------------------------------


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


# --- orders -----------------------------------------------------------------------------------------------------------


class OrderRequested(Event):
    """The intent, stored before any call to a venue. Exactly one of `base_size` and `quote_size` is given.

    `rules` is what review checked for an order without a signal (a manual one); the event id is the order id.
    """

    type = "OrderRequested"
    client_order_id: Name
    account: Name
    venue: Name
    instrument: Instrument
    side: Side
    kind: OrderKind
    base_size: Quantity | None = None
    quote_size: Quantity | None = None
    limit_price: Price | None = None
    signal_id: UUID | None = None
    triggered_by: Source
    expires_at: UtcTime
    rules: tuple[RuleChecked, ...] = ()


class OrderSubmitted(Event):
    """The attempt, stored before any byte leaves. From here until an outcome is stored the outcome is unknown."""

    type = "OrderSubmitted"
    order_id: UUID
    attempt: Annotated[int, Field(ge=1, le=LARGEST_COUNT)]
    deadline: UtcTime


class OrderAccepted(Event):
    type = "OrderAccepted"
    order_id: UUID
    venue_order_id: Name


class OrderRefused(Event):
    """The venue said no: nothing was placed."""

    type = "OrderRefused"
    order_id: UUID
    code: Name
    text: Text


class OutcomeUnknown(Event):
    """We do not know whether the venue has the order: it must be asked about, never repeated."""

    type = "OutcomeUnknown"
    order_id: UUID
    code: Name
    text: Text


class OrderClosed(Event):
    """Nothing more will come of the order. `filled` is the base quantity of its fills."""

    type = "OrderClosed"
    order_id: UUID
    reason: Literal["filled", "expired", "cancelled", "refused", "not_placed", "not_sent"]
    filled: Amount


# --- marks and policy -------------------------------------------------------------------------------------------------


class MarkRecorded(Event):
    """A price used to value or to size. `source` names where it was seen; simulated sources say so."""

    type = "MarkRecorded"
    instrument: Instrument
    price: Price
    source: Name


class LimitSet(Event):
    """`value` is now in force for the limit called `limit` (see `ledger/projections/policy.py` for the names)."""

    type = "LimitSet"
    limit: Name
    value: Amount


class TradingHalted(Event):
    type = "TradingHalted"
    reason: Text


class TradingResumed(Event):
    type = "TradingResumed"
    reason: Text


EVENTS: Final[dict[tuple[str, int], type[Event]]] = {(kind.type, kind.version): kind for kind in Event.__subclasses__()}
"""Every event class by stored type name and version."""
