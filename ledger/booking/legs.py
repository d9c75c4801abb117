"""An event as legs: what came in, what went out, and what it was worth in the portfolio's base currency.

Per trade the legs balance: cost of what came in + change of cash = proceeds of what went out.
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
"""Why something moved: "fee" is a fee inside a trade paid in a third asset, "expense" one outside any trade."""

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
"""The events that have moves."""


class UnvaluedLeg(DaybookError):
    """An event moves an asset whose worth in base currency it does not state."""


@dataclass(frozen=True, slots=True)
class AssetMove:
    """`quantity` of `asset` in (+) or out (-) of `account`.

    `value` is in base currency: the cost of what came in, the proceeds of what went out, with `fee` inside it. It is 0
    for what moves at its cost (transfers, withdrawals of coins) and for what came in at a cost that is not known.
    """

    account: str
    asset: Asset
    quantity: Decimal
    value: Decimal
    fee: Decimal = ZERO
    kind: LegKind = "trade"
    cost_known: bool = True


def moves_of(event: Event, base_currency: str) -> tuple[AssetMove, ...]:
    """What `event` moves; of a trade the quote first. Empty for an event that moves nothing. Raises UnvaluedLeg."""
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
    """quantity * price in base currency, rounded once (half to even, 18 places)."""
    return round18(trade.quantity * trade.price * trade.quote_rate)


def fee_value(trade: TradeExecuted, fee: Fee) -> Decimal:
    """What `fee` is worth in base currency by the trade's price and rate, or its stated value. Raises UnvaluedLeg."""
    if fee.asset == trade.instrument.quote:
        return round18(fee.amount * trade.quote_rate)
    if fee.asset == trade.instrument.base:
        return round18(fee.amount * trade.price * trade.quote_rate)
    return _stated_value(fee)


def total_fees(trade: TradeExecuted) -> Decimal:
    """All fees of the trade in base currency."""
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
    """The fee leaves (or, a rebate, comes in) at its value."""
    if not fee.amount:
        return ()
    value = fee.amount if fee.asset == base_currency else _stated_value(fee)
    return (AssetMove(account, fee.asset, -fee.amount, abs(value), kind="expense"),)


def _trade_moves(trade: TradeExecuted, base_currency: str) -> tuple[AssetMove, ...]:
    """Fees in the quote or a third asset join the cost of a buy or reduce the proceeds of a sale.

    Fees in the base asset change the quantity that moves and leave its value alone. A fee in a third asset that is not
    cash is itself a disposal at its value. Cash that brings nothing at all, because fees took it, is an expense.
    """
    base, quote = trade.instrument.base, trade.instrument.quote
    if quote == base_currency and trade.quote_rate != 1:
        raise UnvaluedLeg(f"{trade.instrument} is quoted in the base currency, so its quote_rate must be 1")
    sign = 1 if trade.side is Side.BUY else -1
    moved = sign * trade.quantity - _fees_in(trade, base)
    paid = -sign * round18(trade.quantity * trade.price) - _fees_in(trade, quote)
    third = _third_asset_fees(trade, base_currency)
    lost = sum((move.value if move.quantity < 0 else -move.value for move in third), ZERO)
    # One side of the pair has a worth of its own, the other is worth what balances it: so no digit is lost in between.
    paid_worth = lost - moved if base == base_currency else round18(paid * trade.quote_rate)
    if base == base_currency and not paid:
        cash = AssetMove(trade.account, base, moved, abs(moved), kind="expense")
        return (cash, *(replace(move, kind="expense") for move in third))
    return (
        _valued(trade.account, quote, paid, paid_worth),
        _valued(trade.account, base, moved, lost - paid_worth, total_fees(trade)),
        *third,
    )


def _valued(account: str, asset: Asset, quantity: Decimal, worth: Decimal, fee: Decimal = ZERO) -> AssetMove:
    """The move of `quantity`, whose `worth` has the sign of a change of wealth."""
    return AssetMove(account, asset, quantity, worth if quantity > 0 else -worth, fee)


def _fees_in(trade: TradeExecuted, asset: Asset) -> Decimal:
    return sum((fee.amount for fee in trade.fees if fee.asset == asset), ZERO)


def _third_asset_fees(trade: TradeExecuted, base_currency: str) -> list[AssetMove]:
    """For each asset in which fees were paid beside the pair one disposal, and for rebates in it one acquisition."""
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
