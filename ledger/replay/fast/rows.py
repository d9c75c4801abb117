"""Rows in memory that can be paged like stored ones, and converted from lines of text on first use."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Final, get_args, get_type_hints
from uuid import UUID

from ledger.replay.fast.lines import NULL, unescaped
from ledger.rows import Change, Deleted, MemoryRows, R, Recorded, Row, field_names, key_of


class FoldedRows(MemoryRows):
    """Rows in memory. Lines are converted when their kind is first read: most queries read few kinds."""

    def __init__(self, *, recorded: Recorded = lambda _: None) -> None:
        super().__init__(recorded=recorded)
        self._lines: dict[type[Row], list[str]] = {}

    def within(self, recorded: Recorded) -> "FoldedRows":
        """Look up events by `recorded`. Returns self."""
        self.recorded = recorded
        return self

    def add_history(self, kind: type[Row], lines: list[str]) -> None:
        """Add new rows that are not live, given as lines."""
        if lines:
            self._lines[kind] = [*self._lines.get(kind, ()), *lines]

    def copied(self) -> "FoldedRows":
        """Return an independent copy."""
        other = FoldedRows(recorded=self.recorded)
        other._lines = dict(self._lines)
        for groups in self._tables.values():
            for group in groups.values():
                other.apply(group.rows.values())
        return other

    def get(self, kind: type[R], *key: object) -> R | None:
        known = super().get(kind, *key)
        if known is None and self._lines.get(kind):
            self._read(kind)
            known = super().get(kind, *key)
        return known

    def history(self, kind: type[R], *prefix: object) -> Iterator[R]:
        self._read(kind)
        return super().history(kind, *prefix)

    def since(self, kind: type[R], *start: object) -> Iterator[R]:
        self._read(kind)
        return super().since(kind, *start)

    def before(self, kind: type[R], *start: object) -> R | None:
        self._read(kind)
        return super().before(kind, *start)

    def apply(self, changes: Iterable[Change]) -> None:
        given = list(changes)
        for kind in {change.kind for change in given if isinstance(change, Deleted)}:
            self._read(kind)
        super().apply(given)

    def naming(self, kind: type[R], event_id: UUID, *columns: str) -> list[R]:
        """As `StoredRows.naming`."""
        found = [row for row in self.history(kind) if any(getattr(row, name) == event_id for name in columns)]
        return sorted(found, key=key_of)

    def newest(self, kind: type[R], before: int | None, limit: int, **equal: object) -> list[R]:
        """As `StoredRows.newest`."""
        wanted = {name: value for name, value in equal.items() if value is not None}
        found = [
            row
            for row in self.history(kind)
            if (before is None or _position(row) < before)
            and all(getattr(row, name) == value for name, value in wanted.items())
        ]
        return sorted(found, key=_position, reverse=True)[:limit]

    def _read(self, kind: type[Row]) -> None:
        """Convert the lines of a kind to rows, except rows changed since."""
        lines = self._lines.pop(kind, None)
        if lines:
            rows = map(row_reader(kind), lines)
            super().apply(row for row in rows if super(FoldedRows, self).get(kind, *key_of(row)) is None)


def row_reader(kind: type[R]) -> Callable[[str], R]:
    """Return the inverse of `line_of` for one kind of row."""
    types = get_type_hints(kind)
    converts = [_conversion(types[name]) for name in field_names(kind)]
    return lambda line: kind(*[convert(field) for convert, field in zip(converts, line.split("\t"), strict=True)])


def _conversion(kind: object) -> Callable[[str], object]:
    inner = [one for one in get_args(kind) if one is not type(None)]
    if inner:
        convert = _conversion(inner[0])
        return lambda field: None if field == NULL else convert(field)
    return _CONVERSIONS.get(kind, unescaped)


_CONVERSIONS: Final[Mapping[object, Callable[[str], object]]] = {
    bool: lambda field: field == "t",
    int: int,
    Decimal: Decimal,
    UUID: UUID,
    datetime: datetime.fromisoformat,
}


def _position(row: object) -> int:
    position = getattr(row, "position", None)
    assert isinstance(position, int), f"{type(row).__name__} has no position"
    return position
