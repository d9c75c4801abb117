"""Entries: what may be entered by hand, one model for each kind."""

from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from ledger.events.fields import LARGEST_COUNT, Fee, Name, Source, Text
from ledger.values import Amount, Asset, Instrument, Price, Quantity, Side, UtcTime


class Entry(BaseModel):
    """One fact about value. Without `occurred_at` it happened now; the future cannot be entered."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    occurred_at: UtcTime | None = None


class CashDeposit(Entry):
    """Cash from outside arrived; `asset` is the base currency, also when it is left out."""

    kind: Literal["cash_deposit"]
    account: Name
    asset: Asset | None = None
    amount: Quantity


class CashWithdrawal(Entry):
    """Cash left for outside; `asset` is the base currency, also when it is left out."""

    kind: Literal["cash_withdrawal"]
    account: Name
    asset: Asset | None = None
    amount: Quantity


class AssetDeposit(Entry):
    """An asset arrived from outside. `cost` is what it cost in base currency; without it the cost is unknown."""

    kind: Literal["asset_deposit"]
    account: Name
    asset: Asset
    quantity: Quantity
    cost: Amount | None = None


class AssetWithdrawal(Entry):
    """An asset left for outside, at its cost."""

    kind: Literal["asset_withdrawal"]
    account: Name
    asset: Asset
    quantity: Quantity


class OpeningLot(Entry):
    """A lot from before the record begins, acquired at `occurred_at`. Without `cost` its cost is unknown."""

    kind: Literal["opening_lot"]
    account: Name
    asset: Asset
    quantity: Quantity
    cost: Amount | None = None


class Income(Entry):
    """Income worth `value` in base currency, which is what the new lot costs. In base currency it is worth `quantity`."""

    kind: Literal["income"]
    account: Name
    asset: Asset
    quantity: Quantity
    value: Amount | None = None
    income_kind: Literal["staking", "airdrop", "dividend", "interest", "reward", "mining", "other"]


class Transfer(Entry):
    """`quantity` moved from one account to another; a network `fee` left `from_account` on top of it."""

    kind: Literal["transfer"]
    from_account: Name
    to_account: Name
    asset: Asset
    quantity: Quantity
    fee: Fee | None = None


class Split(Entry):
    """Every `denominator` units of the asset became `numerator` units."""

    kind: Literal["split"]
    asset: Asset
    numerator: Annotated[int, Field(strict=True, ge=1, le=LARGEST_COUNT)]
    denominator: Annotated[int, Field(strict=True, ge=1, le=LARGEST_COUNT)]


class FeePaid(Entry):
    """A fee outside any trade. One that is not in base currency states its `value`."""

    kind: Literal["fee"]
    account: Name
    fee: Fee
    trade_id: UUID | None = None
    note: Text = ""


class TradeElsewhere(Entry):
    """A fill that was not ordered here. `venue_trade_id` is what the account's venue calls it: it is entered once.

    `quote_rate` is what one unit of the quote was worth in base currency; left out where the two are the same.
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
    """Nothing more is meant to happen in the portfolio. What was recorded stays true."""

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
