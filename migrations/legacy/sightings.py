"""A row as the legacy system's figures saw it, stage by stage of the comparison (`stages.py`)."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Final

from ledger.values import ZERO, round18
from migrations.legacy.cells import Row, Unreadable, number, word
from migrations.legacy.outcomes import EPOCH, Seen
from migrations.legacy.stages import IN_BASE, ORDERED, PRICED, SIDES, STATUSES, UNRECORDED
from migrations.legacy.trade_rows import COUNTED, RawRow, TradeRow

AS_WRITTEN: Final = ("BUY", "SELL")
"""The sides that the legacy system's figures knew, in just this case."""


def seen_trade(
    trade: TradeRow,
    quantity: Decimal = ZERO,
    fills: Sequence[tuple[Decimal, Decimal]] = (),
    until: int | None = None,
) -> list[Seen]:
    """The row from the stage that first counts it up to `until` (None: to the end).

    First with the figures it has; then with its base `quantity`; then as its `fills`, quantity and price each.
    """
    side = word(trade.row, "side")
    if side.lower() not in ("buy", "sell") or (trade.status != COUNTED and not trade.success):
        return []
    first = STATUSES if word(trade.row, "status") != COUNTED else 0
    first = max(first, SIDES) if side not in AS_WRITTEN else first
    end = ORDERED if until is None else until
    size, price = _figure(trade.row, "size"), _figure(trade.row, "price")
    usd = _known(trade.row, "size_usd")
    fee, at, side = trade.legacy_fee, trade.at or EPOCH, side.lower()

    def seen(start: int, stop: int, figures: tuple[Decimal, Decimal, Decimal], fee: Decimal) -> list[Seen]:
        start, stop = max(start, first), min(stop, end)
        bare = (trade.product or "?", start, stop, at, trade.id, trade.bot_id, side, *figures, fee)
        return [Seen(*bare)] if start < stop else []

    found = seen(0, IN_BASE, (size, size * price if usd is None else usd, price), fee)
    found += seen(IN_BASE, PRICED, (quantity, round18(quantity * price), price), fee)
    for number_of, (filled, paid) in enumerate(fills):
        found += seen(PRICED, ORDERED, (filled, round18(filled * paid), paid), ZERO if number_of else fee)
    return found


def seen_as_fill(fill: RawRow) -> list[Seen]:
    """A fill that no row of `trades` told of."""
    usd = round18(fill.quantity * fill.price)
    return [
        Seen(
            fill.product,
            UNRECORDED,
            ORDERED,
            fill.at,
            fill.id,
            "",
            fill.side.value,
            fill.quantity,
            usd,
            fill.price,
            ZERO,
        )
    ]


def _figure(row: Row, column: str) -> Decimal:
    return _known(row, column) or ZERO


def _known(row: Row, column: str) -> Decimal | None:
    """What the legacy system would have computed with: what is no number counted as none."""
    try:
        return number(row, column)
    except Unreadable:
        return None
