"""Rows as a Parquet file, every decimal with all its digits. Needs pyarrow, which comes with the extra `parquet`."""

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, get_type_hints
from uuid import UUID

from ledger.errors import DaybookError
from ledger.rows import Row, field_names
from ledger.values import DECIMAL_PLACES, INTEGER_DIGITS


class NoParquet(DaybookError):
    """The file cannot be written as Parquet. The text states the reason and what to do."""


def write_parquet(path: Path, kind: type[Row], rows: Iterable[Row]) -> int:
    """Write the rows, one column for each field; return how many. Raises NoParquet.

    Decimals are decimal128(38, 18), times are microseconds in UTC, ids are text. The same rows give the same file.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise NoParquet("writing Parquet needs pyarrow: install it with pip install 'daybook[parquet]'") from None
    hints = get_type_hints(kind)
    names = field_names(kind)
    schema = pyarrow.schema([(name, _arrow_type(pyarrow, hints[name])) for name in names])
    table = [[_plain(getattr(row, name)) for name in names] for row in rows]
    columns = [list(column) for column in zip(*table, strict=True)] or [[] for _ in names]
    try:
        made = pyarrow.table(columns, schema=schema)
    except pyarrow.ArrowInvalid as error:
        raise NoParquet(f"a number does not fit into a decimal of 38 digits: {error}") from None
    pyarrow.parquet.write_table(made, path, compression="zstd")
    return len(table)


def _arrow_type(pyarrow: Any, hint: object) -> Any:
    kinds = {
        Decimal: pyarrow.decimal128(INTEGER_DIGITS + DECIMAL_PLACES, DECIMAL_PLACES),
        datetime: pyarrow.timestamp("us", tz="UTC"),
        int: pyarrow.int64(),
        bool: pyarrow.bool_(),
    }
    return kinds[hint] if isinstance(hint, type) and hint in kinds else pyarrow.string()


def _plain(value: object) -> object:
    return str(value) if isinstance(value, UUID) else value
