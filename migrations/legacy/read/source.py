"""Consistent copies of a legacy database. The source itself is never written to."""

import hashlib
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import quote

from ledger.errors import DaybookError
from ledger.postgres.database import shown_url
from migrations.legacy.read.cells import Row, word
from migrations.legacy.read.postgres import CannotRead, copy_postgres
from migrations.legacy.read.schema import COLUMNS, TRANSLATED, generation_of, quoted

BUSY_SECONDS: Final = 5.0
"""How long to wait for a lock of another program, in seconds."""
NTH: Final = "daybook_nth"


class BadSource(DaybookError):
    """An unusable source. The text gives the reason and what to do."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table of the source. `unknown` columns are of no generation, `missing` ones of another generation."""

    name: str
    columns: tuple[str, ...]
    rows: int

    @property
    def unknown(self) -> tuple[str, ...]:
        return tuple(one for one in self.columns if one not in COLUMNS.get(self.name, self.columns))

    @property
    def missing(self) -> tuple[str, ...]:
        return tuple(one for one in COLUMNS.get(self.name, ()) if one not in self.columns)


@dataclass(frozen=True, slots=True)
class Source:
    """A copy of a legacy database at one moment. `sha256` is of the source's bytes (of its rows in PostgreSQL)."""

    label: str
    path: Path
    sha256: str
    connection: sqlite3.Connection
    tables: Mapping[str, Table]

    @property
    def generation(self) -> str:
        return generation_of({name: table.columns for name, table in self.tables.items()})

    def rows(self, table: str) -> Iterator[tuple[str, Row]]:
        """Yield the rows of a table with their keys, in order of id. The key is the id, with `#2`, `#3`… when it repeats."""
        if table not in self.tables:
            return
        columns = self.tables[table].columns
        order = "rowid" if has_rowid(self.connection, table) else "id"
        inner = f"select *, row_number() over (partition by id order by {order}) {NTH} from {quoted(table)}"
        place = columns.index("id")
        with closing(self.connection.cursor()) as cursor:
            cursor.execute(f"select * from ({inner}) order by id, {NTH}")
            for row in cursor:
                key, nth = row[place], row[-1]
                name = str(key) if isinstance(key, int) else word({"id": key}, "id")
                yield (name if nth == 1 else f"{name}#{nth!s}"), dict(zip(columns, row, strict=False))


@contextmanager
def open_source(url: str) -> Iterator[Source]:
    """Copy the database at `url`: a SQLite file (a path or sqlite:///PATH) or a PostgreSQL URL.

    A file is opened with mode=ro and copied in one read transaction; a server is read in one read-only, repeatable-read
    transaction. The copy is deleted on exit. Raises BadSource.
    """
    with tempfile.TemporaryDirectory(prefix="daybook-legacy-") as folder:
        copy = Path(folder) / "source.sqlite"
        if url.startswith(("postgresql://", "postgres://")):
            label = shown_url(url)
            try:
                sha256 = copy_postgres(url, copy)
            except CannotRead as error:
                raise BadSource(f"{label}: {error}") from None
        else:
            path = Path(url.removeprefix("sqlite://").removeprefix("/") if url.startswith("sqlite:///") else url)
            label, sha256 = path.name, _copied_file(path, copy)
        with closing(_opened(copy)) as connection:
            yield Source(label, copy, sha256, connection, _tables(connection, label))


def file_hash(path: Path) -> str:
    """Return the sha256 of the file and its write-ahead log."""
    found = hashlib.sha256()
    for part in (path, _beside(path, "-wal")):
        if part.exists():
            with part.open("rb") as stream:
                while block := stream.read(1 << 20):
                    found.update(block)
    return found.hexdigest()


def has_rowid(connection: sqlite3.Connection, table: str) -> bool:
    """Return False for tables created `without rowid`."""
    try:
        connection.execute(f"select rowid from {quoted(table)} limit 0")
    except sqlite3.OperationalError:
        return False
    return True


def _copied_file(path: Path, copy: Path) -> str:
    if path.is_dir():
        raise BadSource(f"{path} is a folder: pass the path of the SQLite file in it")
    if not path.is_file():
        raise BadSource(f"no such file: {path} (expected the legacy system's SQLite file or a PostgreSQL URL)")
    try:
        sha256 = _copied_aside(path, copy) if _needs_its_log(path) else _copied_in_place(path, copy)
        with closing(sqlite3.connect(copy)) as target:
            (sound,) = target.execute("pragma quick_check(1)").fetchone()
            target.execute("pragma journal_mode = delete")
    except sqlite3.DatabaseError as error:
        text = str(error)
        if "locked" in text or "busy" in text:
            raise BadSource(f"{path} is locked by another program: stop the legacy system, then retry") from None
        if "full" in text:
            raise BadSource(f"no space for a copy of {path} in {copy.parent.parent}: free some, then retry") from None
        raise BadSource(f"{path} is not a readable SQLite database ({text}): check the path") from None
    if sound != "ok":
        raise BadSource(f"{path} is a damaged SQLite database ({str(sound).splitlines()[-1][:80]}): restore it first")
    return sha256


def _copied_in_place(path: Path, copy: Path) -> str:
    with (
        closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=BUSY_SECONDS)) as source,
        closing(sqlite3.connect(copy)) as target,
    ):
        source.isolation_level = None
        try:
            # Open until the copy is complete: writers wait, and the lock of another program raises here, not halfway.
            source.execute("begin")
            source.execute("select count(*) from sqlite_master").fetchone()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_READONLY_ROLLBACK:
                raise
            # A hot journal: its program died within a transaction, which must be rolled back before reading.
            return _copied_aside(path, copy)
        sha256 = file_hash(path)
        source.backup(target)
        source.execute("rollback")
    return sha256


def _needs_its_log(path: Path) -> bool:
    """Return True for a file in WAL mode that no program has open: even a reader would create files beside it."""
    with path.open("rb") as stream:
        header = stream.read(20)
    return header[18:20] == b"\x02\x02" and not _beside(path, "-shm").exists()


def _copied_aside(path: Path, copy: Path) -> str:
    """Copy the file and its logs as they are, since no program has them open, and recover the copy."""
    aside = copy.with_name("aside.sqlite")
    for end in ("", "-wal", "-journal"):
        if _beside(path, end).exists():
            shutil.copyfile(_beside(path, end), _beside(aside, end))
    sha256 = file_hash(aside)
    if sha256 != file_hash(path):
        raise BadSource(f"{path} is being written by another program: stop the legacy system, then retry")
    with closing(sqlite3.connect(aside)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)
    aside.unlink()
    return sha256


def _beside(path: Path, end: str) -> Path:
    return path.with_name(path.name + end)


def _opened(copy: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(copy)
    # Text may not be UTF-8; the archive keeps the original bytes.
    connection.text_factory = partial(str, encoding="utf-8", errors="backslashreplace")
    return connection


def _tables(connection: sqlite3.Connection, label: str) -> dict[str, Table]:
    names = connection.execute(
        "select name from sqlite_master where type = 'table' and name not like 'sqlite~_%' escape '~' order by name"
    )
    found = {name: _table(connection, label, name) for (name,) in names.fetchall()}
    if not any(name in COLUMNS for name in found):
        wanted = ", ".join(TRANSLATED)
        raise BadSource(f"{label} contains none of the legacy tables ({wanted}, …): check which database it is")
    return found


def _table(connection: sqlite3.Connection, label: str, name: str) -> Table:
    columns = tuple(one[0] for one in connection.execute(f"select * from {quoted(name)} limit 0").description)
    if name in COLUMNS and "id" not in columns:
        raise BadSource(f"{label}: table {name} has no id column, so its rows cannot be distinguished: add one")
    (rows,) = connection.execute(f"select count(*) from {quoted(name)}").fetchone()
    return Table(name, columns, rows)
