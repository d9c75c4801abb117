"""Events of value: portfolios, accounts, what came in, what went out, what was traded."""

from typing import Annotated, Literal, Self
from uuid import UUID

from pydantic import Field, model_validator

from ledger.events.fields import LARGEST_COUNT, Event, Fee, Name, Source, Text
from ledger.values import ZERO, Amount, Asset, Instrument, Price, Quantity, Side


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
