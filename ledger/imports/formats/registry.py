"""The supported exports, and the export of a header."""

from collections.abc import Iterable, Sequence
from typing import Final

from ledger.imports.formats import binance, coinbase, kraken, luno
from ledger.imports.formats.format import Export

EXPORTS: Final = (
    coinbase.TRANSACTIONS,
    coinbase.FILLS,
    binance.TRADES,
    binance.OLD_TRADES,
    kraken.TRADES,
    kraken.LEDGERS,
    luno.TRANSACTIONS,
)
NAMES: Final = ", ".join(export.name for export in EXPORTS)


def export_of(header: Iterable[str]) -> Export | None:
    """Return the export whose columns are all in the header, or None."""
    columns = set(columns_of(header))
    return next((export for export in EXPORTS if export.columns <= columns), None)


def columns_of(header: Iterable[str]) -> Sequence[str]:
    """Column names in lower case, without surrounding spaces."""
    return [cell.strip().lower() for cell in header]
