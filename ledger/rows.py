"""Rows: the state of a projection. A fold reads keyed rows and returns the rows that changed.

The same fold runs over dictionaries in memory and over tables in PostgreSQL, so a stored view can be compared
with a replay row by row, and the cost of an append depends on the rows it touches, not on the length of the log.
"""

import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from decimal import Decimal
from operator import attrgetter
from typing import Any, ClassVar, Final, Protocol, TypeVar, dataclass_transform
from uuid import UUID

from ledger.events import Event
from ledger.log.envelope import Envelope, canonical_json
from ledger.values import decimal_text, time_text


@dataclass_transform(frozen_default=True)
@dataclass(frozen=True, slots=True)
class Row:
    """One line of a view: a frozen dataclass that names its table and key."""

    table: ClassVar[str]
    key: ClassVar[tuple[str, ...]]

    @property
    def live(self) -> bool:
        """True while a fold may still read or change this row; other rows are history."""
        return True


@dataclass(frozen=True, slots=True)
class PastRow(Row):
    """A row that is never live."""

    @property
    def live(self) -> bool:
        return False


R = TypeVar("R", bound=Row)
Key = tuple[Any, ...]


class Rows(Protocol):
    """Rows of one portfolio, as a fold reads them. Iterators are in key order."""

    def get(self, kind: type[R], *key: object) -> R | None:
        """The row with this key, or None."""

    def where(self, kind: type[R], *prefix: object) -> Iterator[R]:
        """The *live* rows whose keys begin with `prefix`."""

    def history(self, kind: type[R], *prefix: object) -> Iterator[R]:
        """All rows whose keys begin with `prefix`, live or not."""

    def since(self, kind: type[R], *start: object) -> Iterator[R]:
        """All rows with the first field of the key `start` and a key at or after it, live or not."""

    def before(self, kind: type[R], *start: object) -> R | None:
        """The last row with the first field of the key `start` and a key before it."""

    def recorded(self, event_id: UUID) -> Envelope | None:
        """The event with this id, or None. The log is searched to its end, also past the event being folded."""


class PagedRows(Rows, Protocol):
    """Rows that can also be queried by other columns, for display."""

    def naming(self, kind: type[R], event_id: UUID, *columns: str) -> list[R]:
        """The rows with this event id in one of these columns, in key order."""

    def newest(self, kind: type[R], before: int | None, limit: int, **equal: object) -> list[R]:
        """The newest rows with a position below `before` and these field values (None: any), newest first."""


@dataclass(frozen=True, slots=True)
class Deleted:
    """Deletes the row of `kind` with `key`."""

    kind: type[Row]
    key: Key


Change = Row | Deleted


class Projection(Protocol):
    """A named, versioned pure fold over some event types. `rows` lists the kinds of row that only it writes."""

    name: str
    version: int
    events: tuple[type[Event], ...]
    rows: tuple[type[Row], ...]

    def fold(self, rows: Rows, envelope: Envelope) -> list[Change]:
        """Return the changes that `envelope` makes to `rows`. Pure: reads nothing else, changes nothing."""


def key_of(row: Row) -> Key:
    """Return the values of the row's key fields, in order."""
    names = row.key
    if len(names) == 1:
        return (getattr(row, names[0]),)
    getter = _KEY_GETTERS.get(names)
    if getter is None:
        getter = _KEY_GETTERS[names] = attrgetter(*names)
    return getter(row)


def field_names(kind: type[Row]) -> tuple[str, ...]:
    """Return the names of the row's fields, in declaration order."""
    known = _FIELD_NAMES.get(kind)
    if known is None:
        known = _FIELD_NAMES[kind] = tuple(field.name for field in fields(kind))
    return known


_KEY_GETTERS: Final[dict[tuple[str, ...], Callable[[Row], Key]]] = {}
_FIELD_NAMES: Final[dict[type[Row], tuple[str, ...]]] = {}


Recorded = Callable[[UUID], Envelope | None]
"""Finds an event by id."""


class MemoryRows:
    """Rows of one portfolio in dictionaries. `keep_history=False` drops rows that are no longer live."""

    def __init__(self, *, keep_history: bool = True, recorded: Recorded = lambda _: None) -> None:
        self._keep_history = keep_history
        self.recorded = recorded
        self._tables: dict[type[Row], dict[object, _Sorted]] = {}
        self._live: dict[type[Row], dict[object, _Sorted]] = {}

    def get(self, kind: type[R], *key: object) -> R | None:
        group = self._tables.get(kind, {}).get(_group(key))
        row = group.rows.get(key) if group else None
        assert row is None or isinstance(row, kind)
        return row

    def where(self, kind: type[R], *prefix: object) -> Iterator[R]:
        return _matching(self._live.get(kind, {}), kind, prefix)

    def history(self, kind: type[R], *prefix: object) -> Iterator[R]:
        return _matching(self._tables.get(kind, {}), kind, prefix)

    def since(self, kind: type[R], *start: object) -> Iterator[R]:
        group = self._tables.get(kind, {}).get(_group(start))
        return iter(group.since(kind, start)[::-1] if group else ())

    def before(self, kind: type[R], *start: object) -> R | None:
        group = self._tables.get(kind, {}).get(_group(start))
        return group.before(kind, start) if group else None

    def apply(self, changes: Iterable[Change]) -> None:
        """Store these changes."""
        for change in changes:
            if isinstance(change, Deleted):
                self._drop(change.kind, change.key, from_table=True)
                continue
            kind, key = type(change), key_of(change)
            if change.live or self._keep_history:
                self._tables.setdefault(kind, {}).setdefault(_group(key), _Sorted()).put(key, change)
            if change.live:
                self._live.setdefault(kind, {}).setdefault(_group(key), _Sorted()).put(key, change)
            else:
                self._drop(kind, key, from_table=not self._keep_history)

    def _drop(self, kind: type[Row], key: Key, *, from_table: bool) -> None:
        for tables in (self._tables, self._live) if from_table else (self._live,):
            groups = tables.get(kind, {})
            if (group := groups.get(_group(key))) is not None:
                group.rows.pop(key, None)
                if not group.rows:
                    del groups[_group(key)]


def _group(key: Key) -> object:
    """Return the group of a key: rows with longer keys are grouped by its first field, usually the asset."""
    return key[0] if len(key) > 1 else None


def _matching(groups: Mapping[object, "_Sorted"], kind: type[R], prefix: Key) -> Iterator[R]:
    if not groups:
        return
    if len(kind.key) > 1 and prefix:
        chosen = [groups[prefix[0]]] if prefix[0] in groups else []
    else:
        chosen = [groups[name] for name in sorted(groups, key=str)]
    for group in chosen:
        yield from group.matching(kind, prefix)


class _Sorted:
    """Rows by key, read in key order. Keys usually arrive sorted, so sorting is deferred until one does not."""

    __slots__ = ("_last", "_sorted", "rows")

    def __init__(self) -> None:
        self.rows: dict[Key, Row] = {}
        self._last: Key | None = None
        self._sorted = True

    def put(self, key: Key, row: Row) -> None:
        if key not in self.rows:
            if self._last is not None and key < self._last:
                self._sorted = False
            else:
                self._last = key
        self.rows[key] = row

    def matching(self, kind: type[R], prefix: Key) -> Iterator[R]:
        for key, row in self._in_order().items():
            if key[: len(prefix)] == prefix and isinstance(row, kind):
                yield row

    def since(self, kind: type[R], start: Key) -> list[R]:
        """The rows with keys at or after `start`, last first."""
        found: list[R] = []
        for key, row in reversed(self._in_order().items()):
            if key < start:
                break
            assert isinstance(row, kind)
            found.append(row)
        return found

    def before(self, kind: type[R], start: Key) -> R | None:
        for key, row in reversed(self._in_order().items()):
            if key < start:
                assert isinstance(row, kind)
                return row
        return None

    def _in_order(self) -> dict[Key, Row]:
        if not self._sorted:
            self.rows = dict(sorted(self.rows.items()))
            self._last = next(reversed(self.rows), None)
            self._sorted = True
        return self.rows


class Overlay:
    """Rows with pending changes on top."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._changed: dict[type[Row], dict[Key, Change]] = {}

    def apply(self, changes: Iterable[Change]) -> None:
        for change in changes:
            kind, key = (change.kind, change.key) if isinstance(change, Deleted) else (type(change), key_of(change))
            self._changed.setdefault(kind, {})[key] = change

    def changes(self) -> list[Change]:
        """The last change of each changed row."""
        return [change for changed in self._changed.values() for change in changed.values()]

    def get(self, kind: type[R], *key: object) -> R | None:
        change = self._changed.get(kind, {}).get(key)
        if change is None:
            return self._rows.get(kind, *key)
        return change if isinstance(change, kind) else None

    def where(self, kind: type[R], *prefix: object) -> Iterator[R]:
        return (row for row in self._merged(kind, self._rows.where(kind, *prefix), prefix) if row.live)

    def history(self, kind: type[R], *prefix: object) -> Iterator[R]:
        return self._merged(kind, self._rows.history(kind, *prefix), prefix)

    def since(self, kind: type[R], *start: object) -> Iterator[R]:
        return (row for row in self._merged(kind, self._rows.since(kind, *start), start[:1]) if key_of(row) >= start)

    def before(self, kind: type[R], *start: object) -> R | None:
        if not self._changed.get(kind):
            return self._rows.before(kind, *start)
        earlier = [row for row in self.history(kind, start[0]) if key_of(row) < start]
        return earlier[-1] if earlier else None

    def recorded(self, event_id: UUID) -> Envelope | None:
        return self._rows.recorded(event_id)

    def _merged(self, kind: type[R], below: Iterator[R], prefix: Key) -> Iterator[R]:
        changed = self._changed.get(kind, {})
        if not changed:
            return below
        rows = {key: row for row in below if (key := key_of(row)) not in changed}
        rows |= {key: row for key, row in changed.items() if isinstance(row, kind) and key[: len(prefix)] == prefix}
        return iter([rows[key] for key in sorted(rows)])


def row_text(row: Row) -> str:
    """Return the row and its table as canonical JSON: equal rows give equal text, on every machine.

    Log positions (fields whose names end in "position") are left out: arrival order is not part of the state.
    """
    values = {name: _plain(getattr(row, name)) for name in field_names(type(row)) if not name.endswith("position")}
    return canonical_json([row.table, values])


def state_hash(lines: Iterable[str]) -> str:
    """Return the SHA-256, in hex, of the number of lines and the sum of their SHA-256 (modulo 2^256), in any order.

    A sum, so that millions of rows can be streamed. It compares two states; the hash chain protects the log.
    """
    count, total = 0, 0
    for line in lines:
        count += 1
        total += int.from_bytes(hashlib.sha256(line.encode()).digest(), "big")
    return hashlib.sha256(b"%d %064x" % (count, total % 2**256)).hexdigest()


def all_rows(rows: Rows, kinds: Iterable[type[Row]]) -> Iterator[Row]:
    """Yield every row of these kinds, kind by kind."""
    for kind in kinds:
        yield from rows.history(kind)


def replaced(row: R, **values: object) -> R:
    """Return the row with these fields changed."""
    return dataclasses.replace(row, **values)


def _plain(value: object) -> object:
    if isinstance(value, Decimal):
        return decimal_text(value)
    if isinstance(value, datetime):
        return time_text(value)
    if isinstance(value, UUID):
        return str(value)
    return value
