"""Reading a legacy database: it is never written to, and what cannot be read is said in one sentence."""

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
from tests.support.legacy_databases import Legacy, make_legacy
from tests.support.legacy_imports import move_of


def test_a_file_is_opened_for_reading_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its bytes, its time and its folder are as before, and the connection to it could not have written."""
    legacy = make_legacy(tmp_path / "legacy.db", 2, 30, 5)
    before = (file_hash(legacy.path), legacy.path.stat().st_mtime_ns, sorted(tmp_path.iterdir()))
    opened: list[sqlite3.Connection] = []
    connect = sqlite3.connect

    def noted(name: object, **options: object) -> sqlite3.Connection:
        connection = connect(name, **options)  # type: ignore[call-overload]
        if "mode=ro" in str(name):
            opened.append(connection)
            with pytest.raises(sqlite3.OperationalError, match="readonly"):
                connection.execute("create table planted (x)")
        assert isinstance(connection, sqlite3.Connection)
        return connection

    monkeypatch.setattr(sqlite3, "connect", noted)
    with open_source(str(legacy.path)) as found:
        assert found.sha256 == before[0]
        assert sum(1 for _ in found.rows("trades")) == legacy.rows["trades"]
    assert len(opened) == 1
    assert (file_hash(legacy.path), legacy.path.stat().st_mtime_ns, sorted(tmp_path.iterdir())) == before


def test_a_write_to_the_source_is_found(tmp_path: Path) -> None:
    """Planted: one value of the source is another one afterwards; the hash shows it."""
    legacy = make_legacy(tmp_path / "legacy.db", 2, 30, 5)
    before = file_hash(legacy.path)
    with closing(sqlite3.connect(legacy.path)) as connection, connection:
        connection.execute("update trades set status = 'seen' where id = 1")
    assert file_hash(legacy.path) != before


def in_postgres(legacy: Legacy, url: str) -> None:
    """The tables of the file, in PostgreSQL with types of its own."""
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
            told = ", ".join(
                f"{name} {kinds.get(kind, 'text' if kind.startswith('varchar') or not kind else kind)}"
                for name, kind in columns
            )
            new.execute(f"create table {table} ({told})")
            marks = ", ".join(["%s"] * len(columns))
            for row in old.execute(f"select * from {table}"):
                cells = [
                    bool(cell) if kind == "boolean" and cell is not None else cell
                    for cell, (_, kind) in zip(row, columns, strict=True)
                ]
                new.execute(f"insert into {table} values ({marks})", cells)


def clean(path: Path) -> Legacy:
    """A database in which no cell holds what its type does not allow: PostgreSQL would refuse it."""
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


def test_a_copy_in_postgresql_gives_the_same(
    engine: Engine, empty_database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same rows, fates and figures come out of a server as out of a file; there nothing could have been written."""
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


def test_a_server_that_cannot_be_read_is_said_without_its_password() -> None:
    """One sentence, in which no password stands."""
    with (
        pytest.raises(BadSource, match="cannot be read") as failure,
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
    ("make", "said"),
    [
        (plain_file, "is not a SQLite database"),
        (empty_file, "holds none of the legacy system's tables"),
        (other_tables, "holds none of the legacy system's tables"),
        (without_id, "the table trades has no column id"),
        (broken, "is a damaged SQLite database|is not a SQLite database that can be read"),
    ],
    ids=["text", "empty", "other tables", "no ids", "broken"],
)
def test_what_is_no_legacy_database_is_said(make: Callable[[Path], None], said: str, tmp_path: Path) -> None:
    """One sentence that names the file and says what is wrong."""
    path = tmp_path / "legacy.db"
    make(path)
    with pytest.raises(BadSource, match=said) as failure, open_source(str(path)):
        pass
    assert "legacy.db" in str(failure.value)


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    """It is not made either."""
    with pytest.raises(BadSource, match="there is no file"), open_source(str(tmp_path / "legacy.db")):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_said(tmp_path: Path) -> None:
    """It is not taken for a file that is missing."""
    with pytest.raises(BadSource, match="is a folder"), open_source(str(tmp_path)):
        pass


def logged(path: Path) -> sqlite3.Connection:
    """The database keeps a write-ahead log, in which one row stands that is not in the file yet."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("pragma journal_mode = wal")
    connection.execute("pragma wal_autocheckpoint = 0")
    connection.execute("insert into trades (id, product_id) values (9001, 'BTC-USD')")
    return connection


def died_within_a_transaction(path: Path) -> sqlite3.Connection:
    """The file holds a part of what was never committed, and the journal beside it what stood there before."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("pragma cache_size = 1")
    connection.execute("begin")
    connection.executemany(
        "insert into trades (id, product_id) values (?, 'BTC-USD')", [(n,) for n in range(9001, 9999)]
    )
    return connection


def put_away(path: Path) -> sqlite3.Connection:
    """The database keeps a write-ahead log, and all of it is in the file."""
    logged(path).close()
    return sqlite3.connect(":memory:")


@pytest.mark.parametrize(
    ("leave", "more"), [(logged, 1), (died_within_a_transaction, 0), (put_away, 1)], ids=["log", "journal", "closed"]
)
def test_what_a_dead_program_left_beside_its_file_is_read_and_stays(
    leave: Callable[[Path], sqlite3.Connection], more: int, tmp_path: Path
) -> None:
    """What was committed is there, what was not is not, and not even SQLite's own files beside the source change."""
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


def test_a_file_that_its_program_has_open_is_read(tmp_path: Path) -> None:
    """A write-ahead log that is in use is read where it stands, with all that was committed."""
    legacy = make_legacy(tmp_path / "legacy.db", 2, 30, 5)
    with closing(logged(legacy.path)), open_source(str(legacy.path)) as found:
        assert found.tables["trades"].rows == legacy.rows["trades"] + 1


def test_a_disk_that_is_full_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One sentence, and not a word of SQLite's."""
    legacy = make_legacy(tmp_path / "legacy.db", 2, 30, 5)
    monkeypatch.setattr(staging, "_ORDERS", "pragma max_page_count = 1;" + staging._ORDERS)
    with open_source(str(legacy.path)) as found:
        context = staging.context_of(found, UUID(int=1), UUID(int=2), Asset("USD"), {})
        with pytest.raises(BadSource, match="no room"), staging.staged(found, context):
            pass


def test_a_locked_file_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another program holds it: one sentence says so, and with the lock gone it is read."""
    monkeypatch.setattr(source, "BUSY_SECONDS", 0.01)
    path = make_legacy(tmp_path / "legacy.db", 5, 5, 5).path
    with closing(sqlite3.connect(path, isolation_level=None)) as holder:
        holder.execute("begin exclusive")
        with pytest.raises(BadSource, match="is locked by another program"), open_source(str(path)):
            pass
        holder.execute("rollback")
    with open_source(str(path)) as found:
        assert found.tables


def test_ids_that_repeat_are_told_apart(tmp_path: Path) -> None:
    """Where a table has lost its primary key, each row still has a name of its own."""
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


def test_tables_without_numbers_of_their_own_are_read_and_accounted_for(engine: Engine, tmp_path: Path) -> None:
    """SQLite can be told not to number the rows of a table: they go in like others, and are missed like others."""
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


def test_a_row_becomes_json_whatever_it_holds() -> None:
    """Bytes in hex, numbers that are not finite as text, no NUL."""
    row: Row = {"a": b"\x00\xff", "b": float("inf"), "c": "x\x00y", "d": None, "e": 1.5}
    assert plain(row) == {"a": "00ff", "b": "inf", "c": "x\\x00y", "d": None, "e": 1.5}
