"""Views: the projections' rows in tables, with a checkpoint, written in the transaction of the append.

Every view table begins with (portfolio_id, generation). A rebuild writes the next generation beside the current one and
then moves the checkpoint to it: readers see the old rows or the new ones, never a mixture.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import count, groupby
from typing import Final
from uuid import UUID

from psycopg import RawCursor

from ledger.log.envelope import Envelope, canonical_json
from ledger.postgres.log import Raw, read_event
from ledger.postgres.sessions import extend_timeout
from ledger.projections import PROJECTIONS
from ledger.projections.book import Stopped
from ledger.rows import Change, Deleted, Key, MemoryRows, Projection, R, Row, field_names, key_of


@dataclass(frozen=True, slots=True)
class ViewCheckpoint:
    """The current generation of a portfolio's views, the last position folded, and where folding stopped, if it did."""

    generation: int
    position: int
    versions: str
    stopped: Stopped | None = None


def row_kinds(projections: Iterable[Projection] = PROJECTIONS) -> tuple[type[Row], ...]:
    """The kinds of row of these projections."""
    return tuple(kind for projection in projections for kind in projection.rows)


def versions_text(projections: Iterable[Projection] = PROJECTIONS) -> str:
    """The versions of the projections as stored in the checkpoint."""
    return canonical_json({projection.name: projection.version for projection in projections})


LIVE: Final[dict[str, str]] = {
    "lots": "closed_quantity < quantity",
    "signals": "status in ('emitted', 'asked')",
    "orders": "status not in ('refused', 'closed')",
    "exits": "status <> 'disarmed'",
    "legs": "false",
    "matches": "false",
    "trades": "false",
    "unmatched_disposals": "false",
    "splits": "false",
    "reversals": "false",
}
"""`Row.live` as an SQL condition, for each table with history; a test compares the two."""


def read_checkpoint(connection: Raw, portfolio_id: UUID) -> ViewCheckpoint | None:
    """The checkpoint of the portfolio's views, if there is one."""
    return send_checkpoint(connection, portfolio_id)()


def send_checkpoint(connection: Raw, portfolio_id: UUID) -> Callable[[], ViewCheckpoint | None]:
    """Send the query and return a function that receives its result. In a pipeline, more can be sent in between."""
    cursor = connection.execute(
        "select generation, position, versions, stopped_position, stopped_reason"
        " from view_checkpoints where portfolio_id = %s",
        (portfolio_id,),
    )

    def received() -> ViewCheckpoint | None:
        row = cursor.fetchone()
        if row is None:
            return None
        return ViewCheckpoint(row[0], row[1], row[2], None if row[3] is None else Stopped(row[3], row[4]))

    return received


def write_checkpoint(connection: Raw, portfolio_id: UUID, checkpoint: ViewCheckpoint) -> None:
    """Store the checkpoint."""
    connection.execute(_UPSERT_CHECKPOINT, _checkpoint_values(portfolio_id, checkpoint))


_UPSERT_CHECKPOINT: Final = (
    "insert into view_checkpoints values (%s, %s, %s, %s, %s, %s) on conflict (portfolio_id) do update set"
    " generation = excluded.generation, position = excluded.position, versions = excluded.versions,"
    " stopped_position = excluded.stopped_position, stopped_reason = excluded.stopped_reason"
)


def _checkpoint_values(portfolio_id: UUID, checkpoint: ViewCheckpoint) -> tuple[object, ...]:
    stopped = checkpoint.stopped
    return (
        portfolio_id,
        checkpoint.generation,
        checkpoint.position,
        checkpoint.versions,
        stopped.position if stopped else None,
        stopped.reason if stopped else None,
    )


LARGE_REFOLD: Final = 10_000
"""Refolds of this many rows get the extended idle timeout: they compute for seconds or minutes before writing."""

ONE_STATEMENT_MAX: Final = 12
"""Up to this many rows, the usual change of one event, are written in one statement, which the server prepares."""


def write_step(connection: Raw, portfolio_id: UUID, checkpoint: ViewCheckpoint, changes: Sequence[Change]) -> None:
    """Write the changes (of several to one row, the last) and the checkpoint."""
    last = list(_last_changes(changes).values())
    rows = sorted((change for change in last if isinstance(change, Row)), key=lambda row: row.table)
    if len(rows) < len(last) or len(rows) > ONE_STATEMENT_MAX:
        with connection.pipeline():
            write_changes(connection, portfolio_id, checkpoint.generation, changes)
            write_checkpoint(connection, portfolio_id, checkpoint)
        return
    values = [value for row in rows for value in (portfolio_id, checkpoint.generation, *_values(row))]
    statement = _step_statement(tuple(type(row) for row in rows))
    # With numbered placeholders the client need not rewrite the statement, which takes longer than running it.
    RawCursor(connection).execute(statement, (*values, *_checkpoint_values(portfolio_id, checkpoint)))


@lru_cache(maxsize=1000)
def _step_statement(kinds: tuple[type[Row], ...]) -> str:
    """A statement that writes one row of each of these kinds and the checkpoint, with placeholders from $1."""
    numbers = count(1)
    parts = [f"w{place} as ({_upsert(kind)})" for place, kind in enumerate(kinds)]
    text = f"with {', '.join(parts)} {_UPSERT_CHECKPOINT}" if parts else _UPSERT_CHECKPOINT
    return re.sub("%s", lambda _: f"${next(numbers)}", text)


def write_changes(connection: Raw, portfolio_id: UUID, generation: int, changes: Sequence[Change]) -> None:
    """Write the changes; of several to one row, the last."""
    ordered = sorted(_last_changes(changes).items(), key=lambda item: item[0][0])
    for _, group in groupby(ordered, key=lambda item: (item[0][0], isinstance(item[1], Deleted))):
        _write_kind(connection, portfolio_id, generation, [change for _, change in group])


def _last_changes(changes: Sequence[Change]) -> dict[tuple[str, Key], Change]:
    last: dict[tuple[str, Key], Change] = {}
    for change in changes:
        kind, key = (change.kind, change.key) if isinstance(change, Deleted) else (type(change), key_of(change))
        last[(kind.table, key)] = change
    return last


def _write_kind(connection: Raw, portfolio_id: UUID, generation: int, changes: Sequence[Change]) -> None:
    first = changes[0]
    with connection.cursor() as cursor:
        if isinstance(first, Deleted):
            keys = [change.key for change in changes if isinstance(change, Deleted)]
            where = " and ".join(f"{name} = %s" for name in first.kind.key)
            statement = f"delete from {first.kind.table} where portfolio_id = %s and generation = %s and {where}"
            cursor.executemany(statement, [(portfolio_id, generation, *key) for key in keys])
            return
        rows = [change for change in changes if isinstance(change, Row)]
        cursor.executemany(_upsert(type(first)), [(portfolio_id, generation, *_values(row)) for row in rows])


_UPSERTS: Final[dict[type[Row], str]] = {}


def _upsert(kind: type[Row]) -> str:
    return _UPSERTS.get(kind) or _UPSERTS.setdefault(kind, _upsert_text(kind))


def _upsert_text(kind: type[Row]) -> str:
    names = field_names(kind)
    others = [name for name in names if name not in kind.key]
    action = f"do update set {', '.join(f'{name} = excluded.{name}' for name in others)}" if others else "do nothing"
    return (
        f"insert into {kind.table} (portfolio_id, generation, {', '.join(names)})"
        f" values (%s, %s, {', '.join(['%s'] * len(names))})"
        f" on conflict (portfolio_id, generation, {', '.join(kind.key)}) {action}"
    )


def copy_rows(connection: Raw, portfolio_id: UUID, generation: int, kind: type[Row], rows: Iterable[Row]) -> None:
    """Write many new rows of one kind."""
    names = field_names(kind)
    statement = f"copy {kind.table} (portfolio_id, generation, {', '.join(names)}) from stdin"
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        for row in rows:
            copy.write_row((portfolio_id, generation, *_values(row)))


def drop_older_generations(connection: Raw, portfolio_id: UUID, generation: int, kinds: Iterable[type[Row]]) -> None:
    """Delete rows older than `generation`. Newer ones may already be in use."""
    for kind in kinds:
        connection.execute(
            f"delete from {kind.table} where portfolio_id = %s and generation < %s", (portfolio_id, generation)
        )


def newer_generations(connection: Raw, portfolio_id: UUID, generation: int, kind: type[Row]) -> list[tuple[int, int]]:
    """(generation, number of rows) of rows newer than `generation`; a rebuild leaves none."""
    cursor = connection.execute(
        f"select generation, count(*) from {kind.table}"
        " where portfolio_id = %s and generation > %s group by 1 order by 1",
        (portfolio_id, generation),
    )
    return [(row[0], row[1]) for row in cursor]


def stray_rows(connection: Raw, known: Sequence[UUID]) -> list[tuple[str, UUID, int]]:
    """(table, portfolio, number of rows) of view rows of portfolios not in `known`."""
    found: list[tuple[str, UUID, int]] = []
    for table in ("view_checkpoints", *(kind.table for kind in row_kinds())):
        cursor = connection.execute(
            f"select portfolio_id, count(*) from {table} where portfolio_id <> all (%s) group by 1", (list(known),)
        )
        found += [(table, row[0], row[1]) for row in cursor]
    return found


def _values(row: Row) -> tuple[object, ...]:
    return tuple(getattr(row, name) for name in field_names(type(row)))


def stored_rows(
    connection: Raw, portfolio_id: UUID, generation: int, kind: type[R], condition: str = "true", *values: object
) -> Iterator[R]:
    """The stored rows of one kind that meet an SQL condition, unordered unless it orders them."""
    statement = (
        f"select {', '.join(field_names(kind))} from {kind.table}"
        f" where portfolio_id = %s and generation = %s and {condition}"
    )
    for row in connection.execute(statement, (portfolio_id, generation, *values)):
        yield kind(*row)


class StoredRows:
    """Rows of one portfolio in the database, read in the caller's transaction; live rows are kept once read.

    The kept rows remain valid across transactions while every change goes through `apply` and nothing else moves the
    checkpoint; the book ensures both.
    """

    def __init__(self, portfolio_id: UUID, generation: int) -> None:
        self._portfolio_id = portfolio_id
        self._generation = generation
        self._connection: Raw | None = None
        self._kept = MemoryRows(keep_history=False)
        self._unwritten: dict[type[Row], dict[Key, Row | None]] = {}
        self._loaded: set[tuple[type[Row], object]] = set()
        self._absent: set[tuple[type[Row], Key]] = set()

    def within(self, connection: Raw | None) -> "StoredRows":
        """Read rows that are not kept through `connection`, to which all changes so far are written. Returns self."""
        self._connection = connection
        self._unwritten.clear()
        return self

    def apply(self, changes: Iterable[Change]) -> None:
        """Apply the changes to the kept rows, and keep all of them until they are written to the tables."""
        for change in changes:
            if isinstance(change, Deleted):
                self._unwritten.setdefault(change.kind, {})[change.key] = None
            else:
                self._absent.discard((type(change), key_of(change)))
                self._unwritten.setdefault(type(change), {})[key_of(change)] = change
            self._kept.apply([change])

    def get(self, kind: type[R], *key: object) -> R | None:
        unwritten = self._unwritten.get(kind, {})
        if key in unwritten:
            changed = unwritten[key]
            assert changed is None or isinstance(changed, kind)
            return changed
        kept = self._kept.get(kind, *key)
        if kept is not None or (kind, key) in self._absent:
            return kept
        found = next(iter(self._select(kind, key)), None)
        if found is None:
            self._absent.add((kind, key))
        elif found.live:
            self._kept.apply([found])
        return found

    def where(self, kind: type[R], *prefix: object) -> Iterator[R]:
        group = prefix[0] if prefix else None
        if (kind, group) not in self._loaded and (kind, None) not in self._loaded:
            condition = LIVE.get(kind.table, "true")
            changed = self._unwritten.get(kind, {})
            known = [row for row in self._select(kind, prefix[:1], condition) if key_of(row) not in changed]
            self._kept.apply(row for row in known if self._kept.get(kind, *key_of(row)) is None)
            self._loaded.add((kind, group))
        return self._kept.where(kind, *prefix)

    def history(self, kind: type[R], *prefix: object) -> Iterator[R]:
        return iter(self._with_unwritten(kind, self._select(kind, prefix), prefix))

    def since(self, kind: type[R], *start: object) -> Iterator[R]:
        stored = self._select(kind, start[:1], f"({_key_names(kind, start)}) >= ({_placeholders(start)})", *start)
        found = self._with_unwritten(kind, stored, start[:1])
        if len(found) >= LARGE_REFOLD and self._connection is not None:
            extend_timeout(self._connection)
        return (row for row in found if key_of(row) >= start)

    def before(self, kind: type[R], *start: object) -> R | None:
        if self._unwritten.get(kind):
            return next((row for row in reversed(list(self.history(kind, start[0]))) if key_of(row) < start), None)
        newest_first = ", ".join(f"{name} desc" for name in kind.key)
        condition = f"({_key_names(kind, start)}) < ({_placeholders(start)}) order by {newest_first} limit 1"
        return next(self._select(kind, start[:1], condition, *start), None)

    def _with_unwritten(self, kind: type[R], stored: Iterable[R], prefix: Key) -> list[R]:
        rows: dict[Key, R] = {key_of(row): row for row in stored}
        for key, changed in self._unwritten.get(kind, {}).items():
            if isinstance(changed, kind) and key[: len(prefix)] == prefix:
                rows[key] = changed
            elif changed is None:
                rows.pop(key, None)
        return [rows[key] for key in sorted(rows)]

    def recorded(self, event_id: UUID) -> Envelope | None:
        assert self._connection is not None, "rows are read inside a transaction"
        return read_event(self._connection, self._portfolio_id, event_id)

    def naming(self, kind: type[R], event_id: UUID, *columns: str) -> list[R]:
        """The rows that contain the event id in one of these columns, by key. The columns should be indexed."""
        assert self._connection is not None, "rows are read inside a transaction"
        assert set(columns) <= set(field_names(kind))
        condition = " or ".join(f"{column} = %s" for column in columns)
        values = (event_id,) * len(columns)
        found = stored_rows(self._connection, self._portfolio_id, self._generation, kind, f"({condition})", *values)
        return sorted(found, key=key_of)

    def newest(self, kind: type[R], before: int | None, limit: int, **equal: object) -> list[R]:
        """The newest rows below position `before` whose fields equal these (None: any)."""
        assert self._connection is not None, "rows are read inside a transaction"
        wanted = {name: value for name, value in equal.items() if value is not None}
        assert wanted.keys() <= set(field_names(kind))
        parts = ["(%s::bigint is null or position < %s)", *(f"{name} = %s" for name in wanted)]
        condition = " and ".join(parts) + " order by position desc limit %s"
        values = (before, before, *wanted.values(), limit)
        return list(stored_rows(self._connection, self._portfolio_id, self._generation, kind, condition, *values))

    def _select(self, kind: type[R], prefix: Key, condition: str = "true", *values: object) -> Iterator[R]:
        assert self._connection is not None, "rows are read inside a transaction"
        parts = [f"{name} = %s" for name in kind.key[: len(prefix)]]
        wanted = " and ".join([*parts, condition])
        return stored_rows(self._connection, self._portfolio_id, self._generation, kind, wanted, *prefix, *values)


def _key_names(kind: type[Row], start: Key) -> str:
    return ", ".join(kind.key[: len(start)])


def _placeholders(start: Key) -> str:
    return ", ".join(["%s"] * len(start))
