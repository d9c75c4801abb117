"""Stages between a legacy figure and the ledger's. Each removes one cause of difference; trades are recorded per stage."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Final

from ledger.values import ZERO, round18
from migrations.legacy.read.cells import Row, Unreadable, number, word
from migrations.legacy.translate.outcomes import EPOCH, Context, Seen
from migrations.legacy.translate.rows import COUNTED, RawRow, TradeRow

PAPER: Final = 1
QUARANTINED: Final = 2
STATUSES: Final = 3
SIDES: Final = 4
BOTS: Final = 5
DUPLICATE: Final = 6
UNRECORDED: Final = 7
IN_BASE: Final = 8
PRICED: Final = 9
ORDERED: Final = 10
"""From here on the events are compared, in the ledger's order."""

NEVER: Final = 99

CAUSES: Final = (
    "rounding",
    "paper",
    "quarantined",
    "status",
    "side_case",
    "no_bot",
    "duplicate",
    "unrecorded_fill",
    "unit",
    "price",
    "order",
    "oversell",
    "average_cost",
    "fee",
    "unexplained",
)
"""Causes of difference, in the order in which the stages remove them.

rounding: binary floating point · paper: simulated trades among real ones · quarantined: undecided rows · status: executed
rows not counted because of their status · side_case: sides not in upper case · no_bot: trades without a bot, left out of
the per-bot figure · duplicate: one execution in several rows · unrecorded_fill: fills without a row · unit: sizes in quote
read as base · price: price at sending instead of the fills' · order: order of simultaneous trades · oversell: sales without
a known purchase · average_cost: averages, and lots at other values, instead of FIFO · fee · unexplained: must be 0.
"""

AS_WRITTEN: Final = ("BUY", "SELL")
"""The sides that the legacy figures counted, case-sensitive."""


def seen_trade(
    context: Context,
    trade: TradeRow,
    quantity: Decimal = ZERO,
    fills: Sequence[tuple[Decimal, Decimal]] = (),
    until: int | None = None,
) -> list[Seen]:
    """Return the row as each stage before `until` (None: each stage) sees it; empty unless the context has `comparison`.

    First with the row's own figures, then with its base `quantity`, then as its `fills` (quantity and price).
    """
    if not context.comparison:
        return []
    side = word(trade.row, "side")
    if side.lower() not in ("buy", "sell") or (trade.status != COUNTED and not trade.success):
        return []
    strict = STATUSES if word(trade.row, "status") != COUNTED else 0
    strict = max(strict, SIDES) if side not in AS_WRITTEN else strict
    if strict and until is not None:
        strict = NEVER  # never counted by the strict figures
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
    """Return a fill without a row in `trades`, as the stages from UNRECORDED on see it."""
    if not context.comparison:
        return []
    quantity, price, place = fill.quantity, fill.price, (fill.at, fill.id, "", fill.side.value)
    figures = (quantity, round18(quantity * price), price, ZERO)
    return [Seen(fill.product, UNRECORDED, ORDERED, UNRECORDED, *place, *figures)]


def _figure(row: Row, column: str) -> Decimal:
    return _known(row, column) or ZERO


def _known(row: Row, column: str) -> Decimal | None:
    """The number the legacy system used: None for anything unreadable."""
    try:
        return number(row, column)
    except Unreadable:
        return None
