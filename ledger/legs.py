"""An event as legs: what came in, what went out, and what it was worth in the portfolio's base currency.

Per trade the legs balance: cost of what came in + change of cash = proceeds of what went out.
"""

from dataclasses import dataclass
from decimal import Decimal

from ledger.events import CashDeposited, CashWithdrawn, Event, Fee, TradeExecuted
from ledger.values import ZERO, Asset, Side, round18


class UnvaluedLeg(Exception):
    """An event moves an asset whose worth in base currency it does not state."""


@dataclass(frozen=True, slots=True)
class AssetMove:
    """`quantity` of `asset` in (+) or out (-) of `account`.

    `value` is in base currency: the cost of what came in, the proceeds of what went out, with `fee` inside it.
    """

    account: str
    asset: Asset
    quantity: Decimal
    value: Decimal
    fee: Decimal = ZERO


def moves_of(event: Event, base_currency: str) -> tuple[AssetMove, ...]:
    """What `event` moves, cash first; empty for an event that moves nothing. Raises UnvaluedLeg."""
    match event:
        case CashDeposited():
            _must_be_cash(event.asset, base_currency)
            return (AssetMove(event.account, event.asset, event.amount, event.amount),)
        case CashWithdrawn():
            _must_be_cash(event.asset, base_currency)
            return (AssetMove(event.account, event.asset, -event.amount, event.amount),)
        case TradeExecuted():
            return _trade_moves(event, base_currency)
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
    if fee.value is None:
        raise UnvaluedLeg(f"the fee of {fee.amount} {fee.asset} states no value in base currency")
    return fee.value


def total_fees(trade: TradeExecuted) -> Decimal:
    """All fees of the trade in base currency."""
    return sum((fee_value(trade, fee) for fee in trade.fees), ZERO)


def _trade_moves(trade: TradeExecuted, base_currency: str) -> tuple[AssetMove, ...]:
    """Fees in the quote or a third asset join the cost of a buy or reduce the proceeds of a sale.

    Fees in the base asset change the quantity that moves and leave its value alone. A fee in a third asset that is not
    cash is itself a disposal at its value.
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
    """One disposal (or, for a rebate, acquisition) for each asset in which fees were paid beside the pair."""
    moves: list[AssetMove] = []
    for asset in sorted({fee.asset for fee in trade.fees} - {trade.instrument.base, trade.instrument.quote}):
        quantity = -_fees_in(trade, asset)
        value = sum((fee_value(trade, fee) for fee in trade.fees if fee.asset == asset), ZERO)
        if quantity:
            moves.append(AssetMove(trade.account, asset, quantity, abs(quantity if asset == base_currency else value)))
    return moves


def _must_be_cash(asset: str, base_currency: str) -> None:
    if asset != base_currency:
        raise UnvaluedLeg(f"{asset} is not the base currency {base_currency}: record it as an asset with its cost")
