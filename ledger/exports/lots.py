"""All lots of a portfolio as lines of a CSV file."""

from collections.abc import Iterator
from typing import Final

from ledger.booking.lots import Lot
from ledger.projections.portfolio import base_currency_of
from ledger.reports.trade_names import trade_names
from ledger.rows import Rows
from ledger.values import decimal_text, time_text

LOT_COLUMNS: Final = (
    "product_id",
    "lot_id",
    "opened_at",
    "quantity",
    "cost",
    "open_quantity",
    "open_cost",
    "short",
    "triggered_by",
)


def lot_lines(rows: Rows) -> Iterator[tuple[str, ...]]:
    """A heading, then every lot in order of its time."""
    currency, names = base_currency_of(rows), trade_names(rows)
    yield LOT_COLUMNS
    for lot in sorted(rows.history(Lot), key=lambda one: (one.opened_at, one.position, one.leg)):
        yield (
            f"{lot.asset}-{currency}",
            names.get(lot.event_id, str(lot.event_id)),
            time_text(lot.opened_at),
            decimal_text(lot.quantity),
            decimal_text(lot.cost) if lot.cost_known else "unknown",
            decimal_text(lot.open_quantity),
            decimal_text(lot.open_cost) if lot.cost_known else "unknown",
            "yes" if lot.short else "no",
            lot.triggered_by or "",
        )
