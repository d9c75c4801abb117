"""Legacy sources: never written to; unreadable ones are reported in one sentence."""

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from uuid import UUID

import psycopg
import pytest
from sqlalchemy import Engine

from ledger.values import Asset
from migrations.legacy.load import staging
from migrations.legacy.read import postgres, source
from migrations.legacy.read.cells import Row, plain
from migrations.legacy.read.postgres import Connection
from migrations.legacy.read.source import BadSource, file_hash, open_source
from tests.support.legacy.databases import Legacy, make_legacy
from tests.support.legacy.imports import move_of


def test_source_file_is_opened_read_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes, modification time and folder are unchanged, and the connection refuses writes."""
    legacy = make_legacy(tmp_path / "legacy.db", 2, 30, 5)
    before = (file_hash(legacy.path), legacy.path.stat().st_mtime_ns, sorted(tmp_path.iterdir()))
    opened: list[sqlite3.Connection] = []
    connect = sqlite3.connect

    def checked_connect(name: object, **options: object) -> sqlite3.Connection:
        connection = connect(name, **options)  # type: ignore[call-overload]
        if "mode=ro" in str(name):
            opened.append(connection)
            with pytest.raises(sqlite3.OperationalError, match="readonly"):
                connection.execute("create table planted (x)")
        assert isinstance(connection, sqlite3.Connection)
        return connection

    monkeypatch.setattr(sqlite3, "connect", checked_connect)
    with open_source(str(legacy.path)) as found:
        assert found.sha256 == before[0]
        assert sum(1 for _ in found.rows("trades")) == legacy.rows["trades"]
    assert len(opened) == 1
    assert (file_hash(legacy.path), legacy.path.stat().st_mtime_ns, sorted(tmp_path.iterdir())) == before


def test_file_hash_finds_a_write_to_the_source(tmp_path: Path) -> None:
    """Planted: one changed value."""
    legacy = make_legacy(tmp_path / "legacy.db", 2, 30, 5)
    before = file_hash(legacy.path)
    with closing(sqlite3.connect(legacy.path)) as connection, connection:
        connection.execute("update trades set status = 'seen' where id = 1")
    assert file_hash(legacy.path) != before


def in_postgres(legacy: Legacy, url: str) -> None:
    """Copy the tables of the file to PostgreSQL, with its types."""
    kinds = {
        "float": "double precision",
        "real": "double precision",
        "datetime": "timestamp",
        "text": "text",
        "integer": "bigint",
    }
    with closing(sqlite3.connect(legacy.path)) as old, psycopg.connect(url) as new:
        for (table,) in old.execute("select name from sqlite_master where type = 'table'").fetchall():
            described = old.execute(f"pragma table_info({table})").fetchall()
            columns = [(row[1], str(row[2]).lower()) for row in described]
            definition = ", ".join(
                f"{name} {kinds.get(kind, 'text' if kind.startswith('varchar') or not kind else kind)}"
                for name, kind in columns
            )
            new.execute(f"create table {table} ({definition})")
            marks = ", ".join(["%s"] * len(columns))
            for row in old.execute(f"select * from {table}"):
                cells = [
                    bool(cell) if kind == "boolean" and cell is not None else cell
                    for cell, (_, kind) in zip(row, columns, strict=True)
                ]
                new.execute(f"insert into {table} values ({marks})", cells)


def clean(path: Path) -> Legacy:
    """Make a database in which each cell fits its column's type, as PostgreSQL requires."""
    legacy = make_legacy(path, 12, 40, 5)
    with closing(sqlite3.connect(path)) as connection, connection:
        for table, column in (
            ("trades", "size"),
            ("trades", "price"),
            ("trades", "fee"),
            ("bot_signal_history", "combined_score"),
        ):
            connection.execute(
                f"update {table} set {column} = 1.0 where typeof({column}) not in ('real', 'integer', 'null')"
            )
            connection.execute(f"update {table} set {column} = 1.0 where abs({column}) > 1e300")
        connection.execute("update trades set filled_at = null where filled_at = 'yesterday' or filled_at like '0001%'")
    return legacy


def test_postgresql_source_gives_the_same_import_as_a_file(
    engine: Engine, empty_database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows, fates and figures are equal, and the server is read in a read-only transaction."""
    legacy = clean(tmp_path / "legacy.db")
    in_postgres(legacy, empty_database_url)
    tried: list[str] = []
    of_tables = postgres._tables

    def refused(connection: Connection) -> list[str]:
        tables: list[str] = of_tables(connection)
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction), connection.transaction():
            connection.execute("delete from trades")
        tried.append("deleting")
        return tables

    monkeypatch.setattr(postgres, "_tables", refused)
    of_file = move_of(engine, legacy, tmp_path / "file", "from a file")
    of_server = move_of(engine, empty_database_url, tmp_path / "server", "from a server")
    of_file.run()
    of_server.run()
    assert tried == ["deleting"]
    assert of_server.trades() == of_file.trades()
    one, other = of_file.check(), of_server.check()
    assert (one.wrong, other.wrong) == ((), ())
    assert other.rows == one.rows
    assert other.pnl == one.pnl


def test_unreachable_server_is_reported_without_its_password() -> None:
    with (
        pytest.raises(BadSource, match="cannot read the database") as failure,
        open_source("postgresql://me:secret@127.0.0.1:1/x"),
    ):
        pass
    assert "secret" not in str(failure.value)


def plain_file(path: Path) -> None:
    path.write_bytes(b"this is no database, only text that is long enough to be one" * 20)


def empty_file(path: Path) -> None:
    path.write_bytes(b"")


def other_tables(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("create table recipes (id integer primary key, title text)")


def without_id(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("create table trades (product_id text, side text)")


def broken(path: Path) -> None:
    make_legacy(path, 5, 60, 5)
    content = bytearray(path.read_bytes())
    content[4096 : 4096 * 6] = b"\xff" * 4096 * 5
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (plain_file, "is not a readable SQLite database"),
        (empty_file, "contains none of the legacy tables"),
        (other_tables, "contains none of the legacy tables"),
        (without_id, "table trades has no id column"),
        (broken, "is a damaged SQLite database|is not a readable SQLite database"),
    ],
    ids=["text", "empty", "other tables", "no ids", "broken"],
)
def test_unusable_source_is_reported_with_its_name(make: Callable[[Path], None], message: str, tmp_path: Path) -> None:
    path = tmp_path / "legacy.db"
    make(path)
    with pytest.raises(BadSource, match=message) as failure, open_source(str(path)):
        pass
    assert "legacy.db" in str(failure.value)


def test_missing_file_is_reported_and_not_created(tmp_path: Path) -> None:
    with pytest.raises(BadSource, match="no such file"), open_source(str(tmp_path / "legacy.db")):
        pass
    assert list(tmp_path.iterdir()) == []


def test_folder_as_source_is_reported(tmp_path: Path) -> None:
    with pytest.raises(BadSource, match="is a folder"), open_source(str(tmp_path)):
        pass


def logged(path: Path) -> sqlite3.Connection:
    """Leave a write-ahead log with one row that is not in the file yet."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("pragma journal_mode = wal")
    connection.execute("pragma wal_autocheckpoint = 0")
    connection.execute("insert into trades (id, product_id) values (9001, 'BTC-USD')")
    return connection


def died_within_a_transaction(path: Path) -> sqlite3.Connection:
    """Leave uncommitted rows in the file, and a journal with its previous pages."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("pragma cache_size = 1")
    connection.execute("begin")
    connection.executemany(
        "insert into trades (id, product_id) values (?, 'BTC-USD')", [(n,) for n in range(9001, 9999)]
    )
    return connection


def checkpointed(path: Path) -> sqlite3.Connection:
    """Leave a file in WAL mode with all of its log in the file."""
    logged(path).close()
    return sqlite3.connect(":memory:")


@pytest.mark.parametrize(
    ("leave", "more"),
    [(logged, 1), (died_within_a_transaction, 0), (checkpointed, 1)],
    ids=["log", "journal", "closed"],
)
def test_log_of_a_dead_program_is_read_and_stays(
    leave: Callable[[Path], sqlite3.Connection], more: int, tmp_path: Path
) -> None:
    """Committed rows are read, uncommitted ones are not, and no file beside the source changes."""
    legacy = make_legacy(tmp_path / "alive.db", 2, 30, 5)
    folder = tmp_path / "copied"
    folder.mkdir()
    with closing(leave(legacy.path)):
        for end in ("", "-wal", "-journal"):
            if (part := tmp_path / f"alive.db{end}").exists():
                shutil.copyfile(part, folder / f"legacy.db{end}")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with open_source(str(folder / "legacy.db")) as found:
        assert found.tables["trades"].rows == legacy.rows["trades"] + more
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_source_is_read_while_its_program_has_it_open(tmp_path: Path) -> None:
    """All committed rows of its write-ahead log are read."""
    legacy = make_legacy(tmp_path / "legacy.db", 2, 30, 5)
    with closing(logged(legacy.path)), open_source(str(legacy.path)) as found:
        assert found.tables["trades"].rows == legacy.rows["trades"] + 1


def test_full_disk_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    legacy = make_legacy(tmp_path / "legacy.db", 2, 30, 5)
    monkeypatch.setattr(staging, "_ORDERS", "pragma max_page_count = 1;" + staging._ORDERS)
    with open_source(str(legacy.path)) as found:
        context = staging.context_of(found, UUID(int=1), UUID(int=2), Asset("USD"), {})
        with pytest.raises(BadSource, match="no space in"), staging.staged(found, context):
            pass


def test_locked_file_is_reported_and_read_once_unlocked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "BUSY_SECONDS", 0.01)
    path = make_legacy(tmp_path / "legacy.db", 5, 5, 5).path
    with closing(sqlite3.connect(path, isolation_level=None)) as holder:
        holder.execute("begin exclusive")
        with pytest.raises(BadSource, match="is locked by another program"), open_source(str(path)):
            pass
        holder.execute("rollback")
    with open_source(str(path)) as found:
        assert found.tables


def test_repeated_ids_get_distinct_keys(tmp_path: Path) -> None:
    """Even in a table without a primary key."""
    path = tmp_path / "legacy.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("create table trades (id integer, side text)")
        connection.executemany("insert into trades values (?, ?)", [(1, "a"), (1, "b"), (2, "c"), (None, "d")])
    with open_source(str(path)) as found:
        assert [(key, row["side"]) for key, row in found.rows("trades")] == [
            ("", "d"),
            ("1", "a"),
            ("1#2", "b"),
            ("2", "c"),
        ]


def test_tables_without_rowid_are_read_and_accounted_for(engine: Engine, tmp_path: Path) -> None:
    path = tmp_path / "legacy.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("create table trades (id integer primary key, status text) without rowid")
        connection.execute("create table notes (word text primary key) without rowid")
        connection.executemany("insert into trades values (?, 'failed')", [(2,), (1,)])
        connection.executemany("insert into notes values (?)", [("a",), ("b",), ("c",)])
    move = move_of(engine, path, tmp_path, "mine")
    assert {name: one.unaccounted for name, one in move.check().rows.items()} == {"notes": 3, "trades": 2}
    move.run()
    assert {name: one.imported for name, one in move.check().rows.items()} == {"notes": 3, "trades": 2}


def test_plain_converts_any_row_to_json() -> None:
    """Bytes as hex, infinite numbers as text, NUL escaped."""
    row: Row = {"a": b"\x00\xff", "b": float("inf"), "c": "x\x00y", "d": None, "e": 1.5}
    assert plain(row) == {"a": "00ff", "b": "inf", "c": "x\\x00y", "d": None, "e": 1.5}
