"""The entries that can be made by hand, one model for each kind."""

from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from ledger.events.fields import LARGEST_COUNT, Fee, Name, Source, Text
from ledger.values import Amount, Asset, Instrument, Price, Quantity, Side, UtcTime


class Entry(BaseModel):
    """A change of value. `occurred_at` defaults to now and cannot be in the future."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    occurred_at: UtcTime | None = None


class CashDeposit(Entry):
    """Cash received from outside. `asset` must be the base currency, its default."""

    kind: Literal["cash_deposit"]
    account: Name
    asset: Asset | None = None
    amount: Quantity


class CashWithdrawal(Entry):
    """Cash sent outside. `asset` must be the base currency, its default."""

    kind: Literal["cash_withdrawal"]
    account: Name
    asset: Asset | None = None
    amount: Quantity


class AssetDeposit(Entry):
    """An asset received from outside. `cost` is in base currency; without it the cost is unknown."""

    kind: Literal["asset_deposit"]
    account: Name
    asset: Asset
    quantity: Quantity
    cost: Amount | None = None


class AssetWithdrawal(Entry):
    """An asset sent outside, at its cost."""

    kind: Literal["asset_withdrawal"]
    account: Name
    asset: Asset
    quantity: Quantity


class OpeningLot(Entry):
    """A lot acquired at `occurred_at`, before the record begins. Without `cost` its cost is unknown."""

    kind: Literal["opening_lot"]
    account: Name
    asset: Asset
    quantity: Quantity
    cost: Amount | None = None


class Income(Entry):
    """Income of `value` in base currency, the cost of the new lot. For income in base currency it is `quantity`."""

    kind: Literal["income"]
    account: Name
    asset: Asset
    quantity: Quantity
    value: Amount | None = None
    income_kind: Literal["staking", "airdrop", "dividend", "interest", "reward", "mining", "other"]


class Transfer(Entry):
    """A transfer of `quantity` between accounts; a network `fee` is charged to `from_account` on top of it."""

    kind: Literal["transfer"]
    from_account: Name
    to_account: Name
    asset: Asset
    quantity: Quantity
    fee: Fee | None = None


class Split(Entry):
    """A split: every `denominator` units of the asset become `numerator` units."""

    kind: Literal["split"]
    asset: Asset
    numerator: Annotated[int, Field(strict=True, ge=1, le=LARGEST_COUNT)]
    denominator: Annotated[int, Field(strict=True, ge=1, le=LARGEST_COUNT)]


class FeePaid(Entry):
    """A fee outside any trade. A fee in another currency needs its `value` in base currency."""

    kind: Literal["fee"]
    account: Name
    fee: Fee
    trade_id: UUID | None = None
    note: Text = ""


class TradeElsewhere(Entry):
    """A fill of an order placed elsewhere, entered once for each `venue_trade_id` of the account's venue.

    `quote_rate` is the value of one unit of the quote currency in base currency; omitted where they are the same.
    """

    kind: Literal["trade"]
    account: Name
    venue_trade_id: Name
    product_id: Instrument
    side: Side
    quantity: Quantity
    price: Price
    fees: Annotated[tuple[Fee, ...], Field(max_length=20)] = ()
    quote_rate: Price | None = None
    triggered_by: Source = "manual"


class Close(Entry):
    """Closes the portfolio to later entries. Everything recorded stays valid."""

    kind: Literal["close"]
    reason: Text


AnyEntry = (
    CashDeposit
    | CashWithdrawal
    | AssetDeposit
    | AssetWithdrawal
    | OpeningLot
    | Income
    | Transfer
    | Split
    | FeePaid
    | TradeElsewhere
    | Close
)
