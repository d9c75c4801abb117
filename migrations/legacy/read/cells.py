"""Lenient parsing of legacy cells: a value, or one sentence on why the cell is unusable."""

import hashlib
import json
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Final

from ledger.errors import DaybookError
from ledger.log.envelope import canonical_json
from ledger.values import ZERO

Cell = None | int | float | str | bytes
Row = Mapping[str, Cell]

LARGEST: Final = Decimal(10) ** 14
"""Upper limit of a figure; sums of a million such rows still fit into a decimal."""
EARLIEST_YEAR: Final = 1900
_NUMBER: Final = re.compile(r"[+-]?(\d{1,40}(\.\d{0,40})?|\.\d{1,40})([eE][+-]?\d{1,2})?", re.ASCII)


class Unreadable(DaybookError):
    """An unusable cell. The text names its column and the reason."""


def number(row: Row, column: str) -> Decimal | None:
    """Return the exact decimal of a cell, None if it is empty. A float is read by its shortest round-trip text.

    Raises Unreadable for text that is no number, for infinite values, NaN, and values of LARGEST or more.
    """
    cell = row.get(column)
    if cell is None or cell == "":
        return None
    try:
        value = _value(cell)
    except ValueError:
        raise Unreadable(f"{column}: {shown(cell)} is not a number") from None
    if abs(value) >= LARGEST:
        raise Unreadable(f"{column}: {shown(cell)} is too large (limit: {LARGEST:.0e})")
    return value


def moment(row: Row, column: str) -> datetime | None:
    """Return the time of a cell in UTC, None if it is empty. A time without a zone is UTC. Raises Unreadable."""
    cell = row.get(column)
    if cell is None or cell == "":
        return None
    try:
        found = datetime.fromisoformat(cell.strip()) if isinstance(cell, str) else None
        if found is not None:
            found = found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        found = None
    if found is None:
        raise Unreadable(f"{column}: {shown(cell)} is not a time")
    if found.year < EARLIEST_YEAR:
        raise Unreadable(f"{column}: {shown(cell)} is before {EARLIEST_YEAR}")
    return found


def word(row: Row, column: str) -> str:
    """Return the stripped text of a cell, "" if it is empty."""
    cell = row.get(column)
    if cell is None:
        return ""
    if isinstance(cell, str):
        return cell.strip()
    return cell.hex() if isinstance(cell, bytes) else str(cell)


def truth(row: Row, column: str) -> bool:
    """Parse a cell as a boolean; anything unknown is False."""
    return word(row, column).lower() in {"1", "1.0", "true", "t", "yes"}


def json_object(row: Row, column: str) -> tuple[dict[str, object], str]:
    """Return the JSON object in a cell and a note, empty unless the cell contains something else."""
    text = word(row, column)
    if text in ("", "null", "{}"):
        return {}, ""
    try:
        found = json.loads(text)
        if isinstance(found, str):  # encoded twice
            found = json.loads(found)
    except (ValueError, RecursionError):
        return {}, f"{column}: {shown(text)} is not valid JSON"
    return (found, "") if isinstance(found, dict) else ({}, f"{column}: {shown(text)} is not a JSON object")


def decimal_in(value: object) -> Decimal | None:
    """Return the decimal of a number inside JSON, None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return number({"": value}, "")
    except Unreadable:
        return None


def shown(cell: object) -> str:
    """Format a cell for a message."""
    return repr(cell)[:60]


def plain(row: Row) -> dict[str, object]:
    """Convert a row to JSON values: bytes as hex, infinite numbers and NaN as text, NUL escaped."""
    return {name: _plain(cell) for name, cell in row.items()}


def row_hash(row: Row) -> str:
    """Return the sha256 of the row as canonical JSON, to detect changes."""
    return hash_of(plain(row))


def hash_of(values: Mapping[str, object]) -> str:
    """Return the `row_hash` of the row that `plain` converted to these values."""
    return hashlib.sha256(canonical_json(values).encode("utf-8", "backslashreplace")).hexdigest()


# Each row is parsed several times. `typed`, because 1 and 1.0 give different decimals.
@lru_cache(maxsize=10_000, typed=True)
def _value(cell: Cell) -> Decimal:
    if isinstance(cell, float):
        if not math.isfinite(cell):
            raise ValueError
        return Decimal(repr(cell)) or ZERO
    if isinstance(cell, int):
        return Decimal(cell) or ZERO
    if isinstance(cell, str) and _NUMBER.fullmatch(text := cell.strip()):
        return Decimal(text) or ZERO
    raise ValueError


def _plain(cell: Cell) -> object:
    if isinstance(cell, str):
        return cell.replace("\x00", "\\x00")
    if isinstance(cell, float):
        return cell if math.isfinite(cell) else repr(cell)
    return cell.hex() if isinstance(cell, bytes) else cell
