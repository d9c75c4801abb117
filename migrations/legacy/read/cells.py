"""Cells of a legacy row, read leniently: what a cell says, or one sentence about why it cannot be used."""

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
"""No figure of a legacy row is larger: sums of a million such rows still fit into a decimal."""
EARLIEST_YEAR: Final = 1900
_NUMBER: Final = re.compile(r"[+-]?(\d{1,40}(\.\d{0,40})?|\.\d{1,40})([eE][+-]?\d{1,2})?", re.ASCII)


class Unreadable(DaybookError):
    """A cell cannot be used; the text says which and why."""


def number(row: Row, column: str) -> Decimal | None:
    """The exact decimal of a cell, None where there is none. A float is read by its shortest round-trip text.

    Raises Unreadable for text that is no number, for what is not finite and for what is absurdly large.
    """
    cell = row.get(column)
    if cell is None or cell == "":
        return None
    try:
        value = _value(cell)
    except ValueError:
        raise Unreadable(f"{column}: {shown(cell)} is not a number") from None
    if abs(value) >= LARGEST:
        raise Unreadable(f"{column}: {shown(cell)} is larger than anything that was traded")
    return value


def moment(row: Row, column: str) -> datetime | None:
    """The time of a cell in UTC, None where there is none. A time without a zone is UTC. Raises Unreadable."""
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
        raise Unreadable(f"{column}: {shown(cell)} lies before the year {EARLIEST_YEAR}")
    return found


def word(row: Row, column: str) -> str:
    """The text of a cell without blanks around it, "" where there is none."""
    cell = row.get(column)
    if cell is None:
        return ""
    if isinstance(cell, str):
        return cell.strip()
    return cell.hex() if isinstance(cell, bytes) else str(cell)


def truth(row: Row, column: str) -> bool:
    """Whether a cell says yes."""
    return word(row, column).lower() in {"1", "1.0", "true", "t", "yes"}


def json_object(row: Row, column: str) -> tuple[dict[str, object], str]:
    """The JSON object in a cell and a note, which is empty unless the cell holds something else."""
    text = word(row, column)
    if text in ("", "null", "{}"):
        return {}, ""
    try:
        found = json.loads(text)
        if isinstance(found, str):  # written twice
            found = json.loads(found)
    except (ValueError, RecursionError):
        return {}, f"{column}: {shown(text)} is not valid JSON"
    return (found, "") if isinstance(found, dict) else ({}, f"{column}: {shown(text)} is no JSON object")


def decimal_in(value: object) -> Decimal | None:
    """The decimal of a number inside JSON, None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return number({"": value}, "")
    except Unreadable:
        return None


def shown(cell: object) -> str:
    """The cell as a sentence shows it."""
    return repr(cell)[:60]


def plain(row: Row) -> dict[str, object]:
    """The row as JSON can hold it: bytes in hex, numbers that are not finite as text, no NUL."""
    return {name: _plain(cell) for name, cell in row.items()}


def row_hash(row: Row) -> str:
    """The sha256 of the row as canonical JSON, which tells whether it has changed."""
    return hash_of(plain(row))


def hash_of(told: Mapping[str, object]) -> str:
    """The same of what `plain` gave for the row."""
    return hashlib.sha256(canonical_json(told).encode("utf-8", "backslashreplace")).hexdigest()


# A row is read several times over (its place, its figures, what the old formulas saw), and 1 and 1.0 are not the same text.
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
