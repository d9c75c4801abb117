"""The exports that are known, and which of them a header belongs to."""

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
    """The export whose columns are all in the header, or None."""
    columns = set(columns_of(header))
    return next((export for export in EXPORTS if export.columns <= columns), None)


def columns_of(header: Iterable[str]) -> Sequence[str]:
    """The names of the columns as exports are told apart by them: in lower case, without spaces around."""
    return [cell.strip().lower() for cell in header]
