"""Copies a legacy database from PostgreSQL to SQLite, in one read-only snapshot."""

import hashlib
import json
import sqlite3
from contextlib import closing
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import psycopg
from psycopg import sql

from ledger.errors import DaybookError
from ledger.log.envelope import canonical_json
from migrations.legacy.read.cells import Cell, plain
from migrations.legacy.read.schema import quoted

PAGE: Final = 5_000
CONNECT_SECONDS: Final = 10
_KINDS: Final = {
    **dict.fromkeys(("smallint", "integer", "bigint", "boolean"), "INTEGER"),
    **dict.fromkeys(("real", "double precision"), "REAL"),
}

Connection = psycopg.Connection[tuple[Any, ...]]


class CannotRead(DaybookError):
    """The server or its database cannot be read. The text gives the reason."""


def copy_postgres(url: str, copy: Path) -> str:
    """Copy all tables of the connection's current schema to a SQLite file; return the sha256 of their rows. Raises CannotRead."""
    try:
        with psycopg.connect(url, connect_timeout=CONNECT_SECONDS) as source, closing(sqlite3.connect(copy)) as target:
            source.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            source.read_only = True
            found = hashlib.sha256()
            for table in _tables(source):
                _copy_table(source, target, table, found)
            target.commit()
            source.rollback()
    except psycopg.Error as error:
        lines = str(error).strip().splitlines()
        raise CannotRead(f"cannot read the database ({lines[0] if lines else type(error).__name__})") from None
    return found.hexdigest()


def _tables(source: Connection) -> list[str]:
    rows = source.execute(
        "select table_name from information_schema.tables"
        " where table_schema = current_schema() and table_type = 'BASE TABLE' order by 1"
    )
    return [str(row[0]) for row in rows]


def _copy_table(source: Connection, target: sqlite3.Connection, table: str, found: "hashlib._Hash") -> None:
    described = source.execute(
        "select column_name, data_type from information_schema.columns"
        " where table_schema = current_schema() and table_name = %s order by ordinal_position",
        (table,),
    ).fetchall()
    names = [str(row[0]) for row in described]
    kinds = [_KINDS.get(str(row[1]), "TEXT") for row in described]
    columns = ", ".join(f"{quoted(name)} {kind}" for name, kind in zip(names, kinds, strict=True))
    target.execute(f"create table {quoted(table)} ({columns})")
    insert = f"insert into {quoted(table)} values ({', '.join('?' * len(names))})"
    order = sql.SQL(" order by id") if "id" in names else sql.SQL("")
    with source.cursor(name="legacy") as cursor:
        cursor.itersize = PAGE
        cursor.execute(sql.SQL("select * from {}").format(sql.Identifier(table)) + order)
        while page := cursor.fetchmany(PAGE):
            rows = [[_cell(value) for value in row] for row in page]
            for row in rows:
                found.update(canonical_json([table, plain(dict(zip(names, row, strict=True)))]).encode())
            target.executemany(insert, rows)


def _cell(value: object) -> Cell:
    """Convert a value to its SQLite form."""
    match value:
        case None | float() | str() | bytes():
            return value
        case bool() | int():
            return int(value)
        case Decimal():
            return format(value, "f")
        case datetime() | date():
            return value.isoformat()
        case dict() | list():
            return json.dumps(value, ensure_ascii=False)
        case _:
            return str(value)
