"""A row as the legacy system's figures saw it, stage by stage of the comparison (`stages.py`)."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Final

from ledger.values import ZERO, round18
from migrations.legacy.cells import Row, Unreadable, number, word
from migrations.legacy.outcomes import EPOCH, Context, Seen
from migrations.legacy.stages import IN_BASE, NEVER, ORDERED, PRICED, SIDES, STATUSES, UNRECORDED
from migrations.legacy.trade_rows import COUNTED, RawRow, TradeRow

AS_WRITTEN: Final = ("BUY", "SELL")
"""The sides that the legacy system's figures knew, in just this case."""


def seen_trade(
    context: Context,
    trade: TradeRow,
    quantity: Decimal = ZERO,
    fills: Sequence[tuple[Decimal, Decimal]] = (),
    until: int | None = None,
) -> list[Seen]:
    """The row up to the stage `until` (None: to the end), and from which stage on the strict figures count it.

    First with the figures it has; then with its base `quantity`; then as its `fills`, quantity and price each. Nothing
    where the context has no `sightings`.
    """
    if not context.sightings:
        return []
    side = word(trade.row, "side")
    if side.lower() not in ("buy", "sell") or (trade.status != COUNTED and not trade.success):
        return []
    strict = STATUSES if word(trade.row, "status") != COUNTED else 0
    strict = max(strict, SIDES) if side not in AS_WRITTEN else strict
    if strict and until is not None:
        strict = NEVER  # it never counted there, and never will
    end = ORDERED if until is None else until
    size, price, usd = _figure(trade.row, "size"), _figure(trade.row, "price"), _known(trade.row, "size_usd")
    at, side = trade.at or EPOCH, side.lower()

    def seen(first: int, stop: int, size: Decimal, usd: Decimal | None, price: Decimal, fee: Decimal) -> list[Seen]:
        last, product = min(stop, end), trade.product or "?"
        bare = (product, first, last, max(first, strict), at, trade.id, trade.bot_id, side, size, usd, price, fee)
        return [Seen(*bare)] if first < last else []

    fee = trade.legacy_fee
    found = seen(0, IN_BASE, size, usd, price, fee)
    found += seen(IN_BASE, PRICED, quantity, round18(quantity * price), price, fee)
    for place, (filled, paid) in enumerate(fills):
        found += seen(PRICED, ORDERED, filled, round18(filled * paid), paid, ZERO if place else fee)
    return found


def seen_as_fill(context: Context, fill: RawRow) -> list[Seen]:
    """A fill that no row of `trades` told of."""
    if not context.sightings:
        return []
    quantity, price, place = fill.quantity, fill.price, (fill.at, fill.id, "", fill.side.value)
    figures = (quantity, round18(quantity * price), price, ZERO)
    return [Seen(fill.product, UNRECORDED, ORDERED, UNRECORDED, *place, *figures)]


def _figure(row: Row, column: str) -> Decimal:
    return _known(row, column) or ZERO


def _known(row: Row, column: str) -> Decimal | None:
    """What the legacy system would have computed with: what is no number counted as none."""
    try:
        return number(row, column)
    except Unreadable:
        return None
