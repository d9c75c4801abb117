"""Events of value: portfolios, accounts, deposits, withdrawals, income, fees and trades."""

from typing import Annotated, Literal, Self
from uuid import UUID

from pydantic import Field, model_validator

from ledger.events.fields import LARGEST_COUNT, Event, Fee, Name, Source, Text
from ledger.values import ZERO, Amount, Asset, Instrument, Price, Quantity, Side


class PortfolioOpened(Event):
    """Values are in `base_currency`. With `allow_short`, selling more than the position opens short lots."""

    type = "PortfolioOpened"
    version = 2
    name: Name
    base_currency: Asset
    allow_short: bool = False


class PortfolioClosed(Event):
    """No further trading is intended in the portfolio. Everything recorded before remains valid."""

    type = "PortfolioClosed"
    reason: Text


class AccountOpened(Event):
    """An account at a venue. `mode` is paper (simulated fills) or live."""

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
    """`quantity` of an asset arrived from outside, as one lot. `cost` is its cost in base currency, None if unknown."""

    type = "AssetDeposited"
    account: Name
    asset: Asset
    quantity: Quantity
    cost: Amount | None = None


class AssetWithdrawn(Event):
    """`quantity` of an asset left for outside: closes its oldest lots at cost, without gain or loss."""

    type = "AssetWithdrawn"
    account: Name
    asset: Asset
    quantity: Quantity


class OpeningLotRecorded(Event):
    """A lot acquired before the records begin, at the event's time of occurrence. `cost` is None if unknown."""

    type = "OpeningLotRecorded"
    account: Name
    asset: Asset
    quantity: Quantity
    cost: Amount | None = None


class IncomeReceived(Event):
    """`quantity` of an asset received as income worth `value` in base currency, which is the cost of the new lot."""

    type = "IncomeReceived"
    account: Name
    asset: Asset
    quantity: Quantity
    value: Amount
    kind: Literal["staking", "airdrop", "dividend", "interest", "reward", "mining", "other"]


class SplitRecorded(Event):
    """Every `denominator` units of the asset became `numerator` units; their total cost is unchanged."""

    type = "SplitRecorded"
    asset: Asset
    numerator: Annotated[int, Field(ge=1, le=LARGEST_COUNT)]
    denominator: Annotated[int, Field(ge=1, le=LARGEST_COUNT)]


class TransferRecorded(Event):
    """`quantity` moved from one account of the portfolio to another; lots are unchanged.

    A network `fee` left `from_account` in addition: a disposal of the asset that paid it, and an expense.
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
            raise ValueError(f"a transfer needs two different accounts, got {self.from_account!r} twice")
        return self


class FeeCharged(Event):
    """A fee outside any trade (custody, funding, a late fee): an expense. `trade_id` may name the trade it belongs to."""

    type = "FeeCharged"
    account: Name
    fee: Fee
    trade_id: UUID | None = None
    note: Text = ""


class TradeExecuted(Event):
    """One fill at a venue: `quantity` of the base asset at `price` in the quote asset, before fees.

    `quote_rate` is the value of one unit of quote in the portfolio's base currency at execution (1 when they are the
    same), so that a replay needs no price lookup. (venue, account, instrument, venue_trade_id) is unique.
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
            raise ValueError(f"fees of {in_base} {self.instrument.base} must be less than the quantity {self.quantity}")
        return self


class TradeReversed(Event):
    """Voids the trade, or other movement of value, with event id `reverses`. Occurs at the time of that event."""

    type = "TradeReversed"
    reverses: UUID
    reason: Text
