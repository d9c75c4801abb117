"""Movements of assets in an event, valued in the portfolio's base currency.

The movements of a trade balance: cost of assets in + change of cash = proceeds of assets out.
"""

from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Final, Literal

from ledger.errors import DaybookError
from ledger.events import (
    AssetDeposited,
    AssetWithdrawn,
    CashDeposited,
    CashWithdrawn,
    Event,
    FeeCharged,
    IncomeReceived,
    OpeningLotRecorded,
    TradeExecuted,
    TransferRecorded,
)
from ledger.events.fields import Fee
from ledger.values import ZERO, Asset, Side, round18

LegKind = Literal["trade", "fee", "deposit", "opening", "income", "withdrawal", "transfer", "expense", "split"]
"""The reason of a movement: "fee" is a trade's fee paid in a third asset, "expense" a fee outside any trade."""

MOVING: Final = (
    CashDeposited,
    CashWithdrawn,
    TradeExecuted,
    AssetDeposited,
    AssetWithdrawn,
    OpeningLotRecorded,
    IncomeReceived,
    TransferRecorded,
    FeeCharged,
)
"""The events that move assets."""


class UnvaluedLeg(DaybookError):
    """An event moves an asset without stating its value in base currency."""


@dataclass(frozen=True, slots=True)
class AssetMove:
    """`quantity` of `asset` into (+) or out of (-) `account`.

    `value` is in base currency: the cost of assets in, the proceeds of assets out, including `fee`. It is 0 for
    movements at cost (transfers, withdrawals of assets) and for assets of unknown cost.
    """

    account: str
    asset: Asset
    quantity: Decimal
    value: Decimal
    fee: Decimal = ZERO
    kind: LegKind = "trade"
    cost_known: bool = True


def moves_of(event: Event, base_currency: str) -> tuple[AssetMove, ...]:
    """Return the movements of `event`, the quote of a trade first; empty if it moves nothing. Raises UnvaluedLeg."""
    match event:
        case TradeExecuted():
            return _trade_moves(event, base_currency)
        case CashDeposited():
            _must_be_cash(event.asset, base_currency)
            return (AssetMove(event.account, event.asset, event.amount, event.amount, kind="deposit"),)
        case CashWithdrawn():
            _must_be_cash(event.asset, base_currency)
            return (AssetMove(event.account, event.asset, -event.amount, event.amount, kind="withdrawal"),)
        case AssetDeposited():
            _must_not_be_cash(event.asset, base_currency)
            return (_arrived(event, "deposit"),)
        case OpeningLotRecorded():
            _must_not_be_cash(event.asset, base_currency)
            return (_arrived(event, "opening"),)
        case AssetWithdrawn():
            _must_not_be_cash(event.asset, base_currency)
            return (AssetMove(event.account, event.asset, -event.quantity, ZERO, kind="withdrawal"),)
        case IncomeReceived():
            if event.asset == base_currency and event.value != event.quantity:
                raise UnvaluedLeg(f"income of {event.quantity} {event.asset} is worth just that, not {event.value}")
            return (AssetMove(event.account, event.asset, event.quantity, event.value, kind="income"),)
        case TransferRecorded():
            return _transfer_moves(event, base_currency)
        case FeeCharged():
            return _expense_moves(event.account, event.fee, base_currency)
        case _:
            return ()


def gross_value(trade: TradeExecuted) -> Decimal:
    """Return quantity * price in base currency, rounded once (half to even, 18 places)."""
    return round18(trade.quantity * trade.price * trade.quote_rate)


def fee_value(trade: TradeExecuted, fee: Fee) -> Decimal:
    """Return the value of `fee` in base currency, by the trade's price and rate or as stated. Raises UnvaluedLeg."""
    if fee.asset == trade.instrument.quote:
        return round18(fee.amount * trade.quote_rate)
    if fee.asset == trade.instrument.base:
        return round18(fee.amount * trade.price * trade.quote_rate)
    return _stated_value(fee)


def total_fees(trade: TradeExecuted) -> Decimal:
    """Return the sum of the trade's fees in base currency."""
    return sum((fee_value(trade, fee) for fee in trade.fees), ZERO)


def _stated_value(fee: Fee) -> Decimal:
    if fee.value is None:
        raise UnvaluedLeg(f"the fee of {fee.amount} {fee.asset} states no value in base currency")
    return fee.value


def _arrived(event: AssetDeposited | OpeningLotRecorded, kind: LegKind) -> AssetMove:
    return AssetMove(
        event.account, event.asset, event.quantity, event.cost or ZERO, kind=kind, cost_known=event.cost is not None
    )


def _transfer_moves(event: TransferRecorded, base_currency: str) -> tuple[AssetMove, ...]:
    return (
        AssetMove(event.from_account, event.asset, -event.quantity, ZERO, kind="transfer"),
        AssetMove(event.to_account, event.asset, event.quantity, ZERO, kind="transfer"),
        *(_expense_moves(event.from_account, event.fee, base_currency) if event.fee else ()),
    )


def _expense_moves(account: str, fee: Fee, base_currency: str) -> tuple[AssetMove, ...]:
    """Move the fee out (a rebate: in) at its value."""
    if not fee.amount:
        return ()
    value = fee.amount if fee.asset == base_currency else _stated_value(fee)
    return (AssetMove(account, fee.asset, -fee.amount, abs(value), kind="expense"),)


def _trade_moves(trade: TradeExecuted, base_currency: str) -> tuple[AssetMove, ...]:
    """Return the movements of a trade with its fees.

    Fees in the quote or a third asset add to the cost of a buy and reduce the proceeds of a sale. Fees in the base asset
    change the quantity but not its value. A fee in a third asset other than cash is itself a disposal at its value.
    Cash that buys nothing, because fees took all of it, is an expense.
    """
    base, quote = trade.instrument.base, trade.instrument.quote
    if quote == base_currency and trade.quote_rate != 1:
        raise UnvaluedLeg(f"{trade.instrument} is quoted in the base currency, so its quote_rate must be 1")
    sign = 1 if trade.side is Side.BUY else -1
    moved = sign * trade.quantity - _fees_in(trade, base)
    paid = -sign * round18(trade.quantity * trade.price) - _fees_in(trade, quote)
    third = _third_asset_fees(trade, base_currency)
    lost = sum((move.value if move.quantity < 0 else -move.value for move in third), ZERO)
    # Only one side of the pair is valued; the other gets the value that balances it, so no digit is lost.
    paid_value = lost - moved if base == base_currency else round18(paid * trade.quote_rate)
    if base == base_currency and not paid:
        cash = AssetMove(trade.account, base, moved, abs(moved), kind="expense")
        return (cash, *(replace(move, kind="expense") for move in third))
    return (
        _valued(trade.account, quote, paid, paid_value),
        _valued(trade.account, base, moved, lost - paid_value, total_fees(trade)),
        *third,
    )


def _valued(account: str, asset: Asset, quantity: Decimal, change: Decimal, fee: Decimal = ZERO) -> AssetMove:
    """Return the movement of `quantity`, which changes the portfolio's value by `change`."""
    return AssetMove(account, asset, quantity, change if quantity > 0 else -change, fee)


def _fees_in(trade: TradeExecuted, asset: Asset) -> Decimal:
    return sum((fee.amount for fee in trade.fees if fee.asset == asset), ZERO)


def _third_asset_fees(trade: TradeExecuted, base_currency: str) -> list[AssetMove]:
    """Return one disposal for the fees in each asset outside the pair, and one acquisition for the rebates in it."""
    moves: list[AssetMove] = []
    for asset in sorted({fee.asset for fee in trade.fees} - {trade.instrument.base, trade.instrument.quote}):
        for sign in (1, -1):
            fees = [fee for fee in trade.fees if fee.asset == asset and fee.amount * sign > 0]
            quantity = -sum((fee.amount for fee in fees), ZERO)
            value = quantity if asset == base_currency else sum((fee_value(trade, fee) for fee in fees), ZERO)
            if quantity:
                moves.append(AssetMove(trade.account, asset, quantity, abs(value), kind="fee"))
    return moves


def _must_be_cash(asset: str, base_currency: str) -> None:
    if asset != base_currency:
        raise UnvaluedLeg(f"{asset} is not the base currency {base_currency}: record it as an asset with its cost")


def _must_not_be_cash(asset: str, base_currency: str) -> None:
    if asset == base_currency:
        raise UnvaluedLeg(f"{asset} is the base currency: record it as cash")
