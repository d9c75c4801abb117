"""Trades in the columns of a trade file, which read again gives the same lots."""

from collections import Counter
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Final

from ledger.booking.legs import moves_of
from ledger.events import TradeExecuted
from ledger.events.fields import Fee
from ledger.imports.csv_trades import COLUMNS
from ledger.log.envelope import Envelope
from ledger.values import ZERO, Asset, Side, decimal_text, round18, time_text

TRADE_COLUMNS: Final = (*COLUMNS, "venue", "venue_trade_id", "fees")


def trade_lines(envelopes: Iterable[Envelope], base_currency: str) -> Iterator[tuple[str, ...]]:
    """A header, then the trades in order of occurrence, as rows of text. `envelopes` must not hold reversed trades.

    A trade's id is its venue's if unique among the trades, else that of its event. A trade file has one fee: of a trade
    with several, `fees` lists them and `fee` is one in the quote currency that leaves the same lots. A single fee in a
    third asset is kept, with its value.
    """
    yield TRADE_COLUMNS
    trades = [(one, one.event) for one in envelopes if isinstance(one.event, TradeExecuted)]
    uses = Counter(trade.venue_trade_id for _, trade in trades)
    for envelope, trade in sorted(trades, key=lambda one: (one[0].occurred_at, one[0].position)):
        name = trade.venue_trade_id if uses[trade.venue_trade_id] == 1 else str(envelope.event_id)
        yield _line(name, envelope, trade, base_currency)


def _line(name: str, envelope: Envelope, trade: TradeExecuted, base_currency: str) -> tuple[str, ...]:
    quantity, fee, fee_asset = _one_fee(trade, base_currency)
    return (
        name,
        time_text(envelope.occurred_at),
        str(trade.instrument),
        trade.side.value,
        decimal_text(quantity),
        decimal_text(trade.price),
        decimal_text(fee),
        fee_asset,
        str(trade.order_id or ""),
        trade.account,
        trade.triggered_by or "",
        "" if trade.instrument.quote == base_currency else decimal_text(trade.quote_rate),
        _worth_of(trade, fee, fee_asset),
        trade.venue,
        trade.venue_trade_id,
        " + ".join(f"{decimal_text(one.amount)} {one.asset}" for one in trade.fees),
    )


def _one_fee(trade: TradeExecuted, base_currency: str) -> tuple[Decimal, Decimal, Asset]:
    """Quantity, fee and fee asset that move the same units at the same value."""
    base, quote = trade.instrument.base, trade.instrument.quote
    paid = sum((fee.amount for fee in trade.fees), ZERO)
    assets = {fee.asset for fee in trade.fees if fee.amount}
    if _third_asset_fee(trade) is not None:
        return trade.quantity, paid, assets.pop()
    if assets <= {quote}:
        return trade.quantity, paid, quote
    if assets == {base}:
        return trade.quantity, paid, base
    moved = next((move for move in moves_of(trade, base_currency) if move.asset == base), None)
    assert moved is not None
    sign = 1 if trade.side is Side.BUY else -1
    quantity = sign * moved.quantity
    worth = moved.value if quote == base_currency else round18(moved.value / trade.quote_rate)
    return quantity, sign * (worth - round18(quantity * trade.price)), quote


def _third_asset_fee(trade: TradeExecuted) -> Fee | None:
    """The trade's only fee, if it is in a third asset with a stated value."""
    fees = [fee for fee in trade.fees if fee.amount]
    if len(fees) != 1 or fees[0].value is None:
        return None
    return None if fees[0].asset in (trade.instrument.base, trade.instrument.quote) else fees[0]


def _worth_of(trade: TradeExecuted, amount: Decimal, asset: Asset) -> str:
    fee = _third_asset_fee(trade)
    if fee is None or fee.value is None or (fee.amount, fee.asset) != (amount, asset):
        return ""
    return decimal_text(fee.value)
