"""The schema as in the database's catalogue, its migrations, and database URLs."""

import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import fields
from datetime import UTC, datetime
from decimal import Decimal
from itertools import count
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_type_hints
from uuid import UUID

import psycopg
import pytest
from alembic.script import ScriptDirectory
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, make_url

from ledger.postgres.book import PostgresBook
from ledger.postgres.database import MIGRATIONS, NewerSchema, connected, engine_for, migrate, open_database, shown_url
from ledger.postgres.embedded import DatabaseUnavailable
from ledger.postgres.log import raw
from ledger.postgres.views import LIVE, copy_rows, row_kinds, stored_rows, write_changes
from ledger.projections.orders import OrderView
from ledger.rows import Row
from ledger.values import derived_id
from tests.support.events import START, SteppingClock, Story

Superuser = psycopg.Connection[tuple[Any, ...]]

COLUMN_TYPES = {str: "text", int: "bigint", bool: "boolean", Decimal: "numeric", datetime: "timestamp with time zone"}
_examples = count(1)


# --- the catalogue ----------------------------------------------------------------------------------------------------


def test_every_key_begins_with_the_portfolio_id(superuser: Superuser) -> None:
    """All primary and unique keys start with portfolio_id, so tables can be sharded by it."""
    keys = superuser.execute(
        "select i.indrelid::regclass::text, i.indexrelid::regclass::text, a.attname"
        " from pg_index i join pg_class c on c.oid = i.indrelid"
        " join pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]"
        " where c.relnamespace = 'public'::regnamespace and (i.indisunique or i.indisprimary)"
    ).fetchall()
    tables = {table for table, _, _ in keys}

    assert {(table, index) for table, index, first in keys if first != "portfolio_id"} == {
        ("alembic_version", "alembic_version_pkc")
    }
    assert tables == {
        name for (name,) in superuser.execute("select tablename from pg_tables where schemaname = 'public'")
    }
    assert {"events", "portfolios", "view_checkpoints", *(kind.table for kind in row_kinds())} <= tables


def test_log_is_partitioned_by_the_portfolio_id(superuser: Superuser) -> None:
    """Hash partitions, without a default partition."""
    assert superuser.execute(
        "select partstrat, partdefid, attname from pg_partitioned_table"
        " join pg_attribute on attrelid = partrelid and attnum = partattrs[0] where partrelid = 'events'::regclass"
    ).fetchone() == ("h", 0, "portfolio_id")
    assert superuser.execute("select count(*) from pg_inherits where inhparent = 'events'::regclass").fetchone() == (8,)


@pytest.mark.parametrize("kind", row_kinds(), ids=lambda kind: kind.table)
def test_view_table_has_the_columns_of_its_row(superuser: Superuser, kind: type[Row]) -> None:
    """Names, types, nullability and primary key match the row."""
    columns = superuser.execute(
        "select column_name, data_type, is_nullable = 'YES' from information_schema.columns where table_name = %s",
        (kind.table,),
    ).fetchall()
    key = superuser.execute(
        "select a.attname from pg_index i, unnest(i.indkey) with ordinality k (attnum, place) join pg_attribute a"
        " using (attnum) where i.indrelid = %s::regclass and a.attrelid = i.indrelid and i.indisprimary order by place",
        (kind.table,),
    ).fetchall()

    assert sorted(columns) == sorted(
        [("portfolio_id", "uuid", False), ("generation", "bigint", False), *expected_columns(kind)]
    )
    assert [name for (name,) in key] == ["portfolio_id", "generation", *kind.key]


def expected_columns(kind: type[Row]) -> Iterator[tuple[str, str, bool]]:
    for name, hint in row_hints(kind).items():
        options = get_args(hint) if isinstance(hint, UnionType) else (hint,)
        (plain,) = (option for option in options if option is not type(None))
        yield name, {**COLUMN_TYPES, UUID: "uuid"}[plain], type(None) in options


def row_hints(kind: type[Row]) -> dict[str, Any]:
    """The types of a row's fields."""
    hints = get_type_hints(kind)
    return {field.name: hints[field.name] for field in fields(kind)}


def test_every_view_table_belongs_to_one_kind_of_row(superuser: Superuser) -> None:
    """All tables except those of the log, the installation and alembic; no two kinds share a table."""
    tables = [kind.table for kind in row_kinds()]
    known = {
        "events",
        "portfolios",
        "commands",
        "leaders",
        "venue_accounts",
        "api_keys",
        "webhooks",
        "webhook_nonces",
        "view_checkpoints",
        "alembic_version",
        *(f"events_{n}" for n in range(8)),
    }
    stored = {name for (name,) in superuser.execute("select tablename from pg_tables where schemaname = 'public'")}

    assert len(set(tables)) == len(tables)
    assert stored - known == set(tables)


# --- which rows are live ----------------------------------------------------------------------------------------------


def values_for(hint: Any, name: str, kind: type[Row]) -> st.SearchStrategy[Any]:
    """Values of a field; for fields that decide whether a row is live, values that folds write."""
    if name == "status":
        words = ("requested", "submitted", "accepted", "unknown") if kind is OrderView else ("emitted",)
        return st.sampled_from((*words, "refused", "closed", "approved", "rejected", "expired", "running"))
    if name in ("quantity", "closed_quantity"):
        return st.sampled_from([Decimal(text) for text in ("0", "1", "1.0", "1.000000000000000001", "2", "-1")])
    plain: dict[Any, st.SearchStrategy[Any]] = {
        str: st.sampled_from(("", "BTC", "manual")),
        int: st.integers(-(2**63), 2**63 - 1),
        bool: st.booleans(),
        Decimal: st.decimals(-(10**20) + 1, 10**20 - 1, places=18),
        datetime: st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31), timezones=st.just(UTC)),  # noqa: DTZ001
        UUID: st.uuids(),
    }
    if isinstance(hint, UnionType):
        return st.none() | st.one_of(*(plain[option] for option in get_args(hint) if option is not type(None)))
    return plain[hint]


def rows_of(kind: type[Row]) -> st.SearchStrategy[Row]:
    return st.builds(kind, **{name: values_for(hint, name, kind) for name, hint in row_hints(kind).items()})


@given(data=st.data())
@pytest.mark.parametrize("kind", row_kinds(), ids=lambda kind: kind.table)
def test_live_condition_equals_row_live(engine: Engine, kind: type[Row], data: st.DataObject) -> None:
    """The row also reads back unchanged, inserted or copied."""
    portfolio_id = derived_id("live", next(_examples))
    row = data.draw(rows_of(kind))
    with engine.begin() as connection:
        own = raw(connection)
        copy_rows(own, portfolio_id, 1, kind, [row])
        write_changes(own, portfolio_id, 2, [row])
        found = [list(stored_rows(own, portfolio_id, generation, kind)) for generation in (1, 2)]
        live = list(stored_rows(own, portfolio_id, 1, kind, LIVE.get(kind.table, "true")))

    assert found == [[row], [row]]
    assert live == ([row] if row.live else [])


def test_live_conditions_cover_the_rows_with_history() -> None:
    assert set(LIVE) == {kind.table for kind in row_kinds() if kind.live is not Row.live}


def test_planted_live_condition_is_found(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The condition ignores refused orders."""
    portfolio_id = derived_id("live", next(_examples))
    row = OrderView(
        *(
            UUID(int=1),
            1,
            "c",
            "main",
            "paper",
            "BTC-USD",
            "buy",
            "market",
            None,
            None,
            None,
            None,
            None,
            None,
            "manual",
        ),
        *(START, START, "refused", 1, None, None, Decimal(0), Decimal(0), 0, ""),
    )
    monkeypatch.setitem(LIVE, "orders", "status <> 'closed'")
    with engine.begin() as connection:
        copy_rows(raw(connection), portfolio_id, 1, OrderView, [row])
        live = list(stored_rows(raw(connection), portfolio_id, 1, OrderView, LIVE["orders"]))

    assert bool(live) != row.live


# --- migrations -------------------------------------------------------------------------------------------------------


def picture(url: str) -> list[tuple[Any, ...]]:
    """The objects of the schema and the rows of its tables."""
    with psycopg.connect(url) as connection:
        tables = connection.execute("select tablename from pg_tables where schemaname = 'public' order by 1").fetchall()
        return [
            *connection.execute(
                "select oid::bigint, relname, relkind::text, relowner::bigint, relacl::text from pg_class"
                " where relnamespace = 'public'::regnamespace order by 1"
            ),
            *connection.execute(
                "select oid::bigint, proname, proowner::bigint, proacl::text, prosrc from pg_proc"
                " where pronamespace = 'public'::regnamespace order by 1"
            ),
            *(row for (table,) in tables for row in connection.execute(f"select t::text from {table} t order by 1")),
        ]


def test_migrating_again_changes_nothing(database_url: str) -> None:
    with connected(database_url) as engine:
        PostgresBook(engine, SteppingClock()).record(Story("m").portfolio_id, Story("m").opened())
    before = picture(database_url)
    migrate(database_url)

    assert picture(database_url) == before


@pytest.mark.campaign
def test_concurrent_migrations_succeed(empty_database_url: str) -> None:
    """Several processes start at once on an empty database."""
    with ProcessPoolExecutor(4, multiprocessing.get_context("spawn")) as pool:
        assert list(pool.map(migrate, [empty_database_url] * 4)) == [None] * 4
    with psycopg.connect(empty_database_url) as connection:
        assert connection.execute("select version_num from alembic_version").fetchall() == [(newest_revision(),)]
    with connected(empty_database_url) as engine:
        assert PostgresBook(engine, SteppingClock()).record(Story().portfolio_id, Story().opened())


def newest_revision() -> str | None:
    return ScriptDirectory(str(MIGRATIONS)).get_current_head()


def test_migrate_refuses_a_newer_schema(database_url: str) -> None:
    """The error names the remedy, and the database is unchanged."""
    with psycopg.connect(database_url) as connection:
        connection.execute("update alembic_version set version_num = '9999'")
    before = picture(database_url)

    with pytest.raises(
        NewerSchema, match=r"has schema 9999, .* supports is \d+: .* upgrade Daybook, nothing was changed"
    ):
        migrate(database_url)
    assert picture(database_url) == before


# --- addresses --------------------------------------------------------------------------------------------------------

SECRET = "s3cr3t~é"


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://owner:{SECRET}@127.0.0.1:1/daybook",
        f"postgres://owner:{SECRET}@127.0.0.1:1/daybook?connect_timeout=2",
        f"postgresql+psycopg://owner:{SECRET}@localhost:1/daybook",
        f"postgresql://owner@127.0.0.1:1/daybook?password={SECRET}&connect_timeout=2",
        "postgresql://owner@/daybook?host=/nowhere/at/all",
    ],
)
def test_unreachable_database_is_reported_without_its_password(url: str) -> None:
    """The error names the address and what to check."""
    with pytest.raises(
        DatabaseUnavailable, match=r"cannot be reached: .* is the server running and the URL right"
    ) as caught:
        migrate(url)
    assert SECRET not in str(caught.value)
    assert "daybook" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_database_and_missing_privilege_are_reported(cluster_url: str, database_url: str) -> None:
    """The errors differ from that of an unreachable server."""
    with pytest.raises(DatabaseUnavailable, match='database "not_there" does not exist'):
        migrate(make_url(cluster_url).set(database="not_there").render_as_string(hide_password=False))
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("drop role if exists test_stranger")
        connection.execute("create role test_stranger login")
        connection.execute("drop table alembic_version")
        with pytest.raises(DatabaseUnavailable, match="cannot be set up: permission denied"):
            migrate(make_url(database_url).set(username="test_stranger").render_as_string(hide_password=False))


@pytest.mark.parametrize(
    "url",
    [
        f"mysql://owner:{SECRET}@db/daybook",
        "sqlite:///daybook.db",
        f"host=db user=owner password={SECRET} dbname=daybook",
        f"host=db password = '{SECRET} and more'",
        f"db.example.com/{SECRET[:0]}daybook",
        "",
        f"postgresql://owner:{SECRET}@db:port/daybook",
        f"postgresql:owner:{SECRET}@db/daybook",
    ],
)
def test_open_database_refuses_an_invalid_url(url: str, tmp_path: Path) -> None:
    """The error shows the expected form without the password, and nothing is created."""
    with (
        pytest.raises(DatabaseUnavailable, match=r"is not a PostgreSQL URL: .*postgresql://") as caught,
        open_database(tmp_path / "data", url),
    ):
        pass
    assert SECRET not in str(caught.value)
    assert not (tmp_path / "data").exists()


@given(
    user=st.text("abc%:/@é ", max_size=6),
    password=st.text("xyz%@:/?#é ", min_size=3, max_size=9),
    host=st.just("db.example.com"),
)
def test_shown_url_never_contains_the_password(user: str, password: str, host: str) -> None:
    shown = shown_url(f"postgresql://{user.replace('@', '').replace(':', '')}:{password}@{host}:5432/daybook")

    assert f":{password}@" not in shown
    assert shown.endswith(f":…@{host}:5432/daybook")


def test_engine_connections_have_the_given_role(database_url: str) -> None:
    """Role and time zone survive a rollback."""
    for role, shown in (("daybook_writer", "daybook_writer"), ("daybook_reader", "daybook_reader"), (None, "postgres")):
        engine = engine_for(database_url, role)
        with engine.connect() as connection:
            connection.rollback()
            answer = raw(connection).execute("select current_user::text, current_setting('timezone')").fetchone()
        engine.dispose()
        assert answer == (shown, "UTC")
