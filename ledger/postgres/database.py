"""Connections to the database: open it, migrate its schema, and act as a role that can only append and read."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, Final

import psycopg
import sqlalchemy
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, event

from ledger.errors import DaybookError
from ledger.postgres.embedded import DatabaseUnavailable, embedded_postgres
from ledger.postgres.sessions import TRANSACTION_TIMEOUT
from ledger.values import Clock

MIGRATIONS: Final = Path(__file__).resolve().parents[2] / "migrations"
WRITER: Final = "daybook_writer"
READER: Final = "daybook_reader"
CONNECT_TIMEOUT_S: Final = 10

DATABASE_GONE: Final = (
    DatabaseUnavailable,
    sqlalchemy.exc.OperationalError,
    sqlalchemy.exc.TimeoutError,
    psycopg.OperationalError,
    psycopg.InterfaceError,
    psycopg.errors.IdleInTransactionSessionTimeout,
)
"""Errors raised if the database cannot be reached or the connection was lost."""


class NewerSchema(DaybookError):
    """The schema of the database is newer than this program."""


@contextmanager
def open_database(data_dir: Path, url: str | None) -> Iterator[Engine]:
    """Open the database at `url`, or the embedded one in `data_dir`, as the writing role; migrate its schema first.

    Raises:
        DatabaseUnavailable: it cannot be reached or started.
        NewerSchema: a newer Daybook has used it.
    """
    if url is None:
        with embedded_postgres(data_dir) as embedded_url, connected(embedded_url) as engine:
            yield engine
    else:
        with connected(url) as engine:
            yield engine


@contextmanager
def connected(url: str) -> Iterator[Engine]:
    """As `open_database`, for a running server."""
    migrate(url)
    engine = engine_for(url, WRITER)
    try:
        yield engine
    finally:
        engine.dispose()


def engine_for(url: str, role: str | None, idle_timeout: str = TRANSACTION_TIMEOUT) -> Engine:
    """Create an engine whose connections act as `role` (None: the user of the URL).

    The server ends connections that are idle within a transaction for longer than `idle_timeout`.
    """
    try:
        parsed = sqlalchemy.make_url(_driver_url(url))
    except (sqlalchemy.exc.ArgumentError, ValueError):
        raise DatabaseUnavailable(
            f"{shown_url(url)!r} is not a PostgreSQL URL: write postgresql://user:password@host:port/database"
        ) from None
    timeout = {} if "connect_timeout" in parsed.query else {"connect_timeout": CONNECT_TIMEOUT_S}
    engine = sqlalchemy.create_engine(
        parsed, isolation_level="READ COMMITTED", pool_size=10, max_overflow=20, connect_args=timeout
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: psycopg.Connection[tuple[Any, ...]], _record: object) -> None:
        if role is not None:
            connection.execute(f"set role {role}")
        connection.execute("set time zone 'UTC'")
        connection.execute(f"set idle_in_transaction_session_timeout = '{idle_timeout}'")
        connection.commit()

    @event.listens_for(engine, "handle_error")
    def idle(context: sqlalchemy.ExceptionContext) -> Exception | None:
        # SQLAlchemy would raise InternalError, which does not show that the connection is lost.
        if isinstance(context.original_exception, psycopg.errors.IdleInTransactionSessionTimeout):
            return DatabaseUnavailable(
                "the database ended a transaction that was idle for too long; nothing was stored"
            )
        return None

    return engine


def migrate(url: str) -> None:
    """Upgrade the schema at `url` to the newest version. Raises DatabaseUnavailable and NewerSchema."""
    engine = engine_for(url, None)
    try:
        with engine.begin() as connection:
            # One process migrates; the others wait here and find the schema current.
            connection.exec_driver_sql("select pg_advisory_xact_lock(7305113214)")
            config = Config()
            config.set_main_option("script_location", str(MIGRATIONS))
            config.attributes["connection"] = connection
            current = _current_revision(connection)
            scripts = ScriptDirectory.from_config(config)
            if current is not None and current not in {script.revision for script in scripts.walk_revisions()}:
                raise NewerSchema(
                    f"the database has schema {current}, the newest this Daybook supports is {scripts.get_current_head()}:"
                    " a newer Daybook has used it; upgrade Daybook, nothing was changed"
                )
            if current != scripts.get_current_head():
                command.upgrade(config, "head")
    except sqlalchemy.exc.OperationalError as error:
        raise DatabaseUnavailable(
            f"the database at {shown_url(url)} cannot be reached: {_first_line(error)}; is the server running and the URL right?"
        ) from error
    except sqlalchemy.exc.ProgrammingError as error:
        raise DatabaseUnavailable(f"the schema at {shown_url(url)} cannot be set up: {_first_line(error)}") from error
    finally:
        engine.dispose()


def database_problems(engine: Engine) -> list[str]:
    """Return the reasons why nothing can be written now. Raises the driver's errors if the database is gone."""
    with engine.connect() as connection:
        current = _current_revision(connection)
        read_only = connection.exec_driver_sql("select current_setting('transaction_read_only') = 'on'").scalar()
    problems = []
    if current != _newest_revision():
        problems.append(f"the database has schema {current}, this Daybook needs {_newest_revision()}: restart Daybook")
    if read_only:
        problems.append("the database is read-only: connect to the primary server")
    return problems


def shown_url(url: str) -> str:
    """Return the URL without its password; also masks text that is not a URL."""
    before, scheme, rest = url.partition("://") if "://" in url else ("", "", url)
    user, at, place = rest.rpartition("@")
    if at and ":" in user:
        url = f"{before}{scheme}{user.partition(':')[0]}:…@{place}"
    return re.sub(r"(?i)(password\s*=\s*)('[^']*'|[^&\s]*)", r"\1…", url)


def _driver_url(url: str) -> str:
    for prefix in ("postgresql://", "postgres://"):
        if url.startswith(prefix):
            return "postgresql+psycopg://" + url.removeprefix(prefix)
    if url.startswith("postgresql+psycopg://"):
        return url
    raise DatabaseUnavailable(f"{shown_url(url)[:80]!r} is not a PostgreSQL URL: it must begin with postgresql://")


def server_facts(engine: Engine) -> dict[str, str]:
    """Return the server's version and its settings for durability, by name."""
    with engine.connect() as connection:
        found = connection.exec_driver_sql(
            "select name, setting from pg_settings where name in ('server_version', 'fsync', 'full_page_writes')"
        )
        return {str(row[0]): str(row[1]) for row in found}


def clock_skew(engine: Engine, clock: Clock) -> timedelta:
    """Return how far the server's clock is ahead of ours (negative: behind), beyond the time of the query itself."""
    with engine.connect() as connection:
        before = clock()
        found = connection.exec_driver_sql("select clock_timestamp()").scalar_one()
        after = clock()
    assert isinstance(found, datetime)
    return found - min(max(found, before), after)


@cache
def _newest_revision() -> str | None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    return ScriptDirectory.from_config(config).get_current_head()


def _current_revision(connection: sqlalchemy.Connection) -> str | None:
    if not sqlalchemy.inspect(connection).has_table("alembic_version"):
        return None
    revision = connection.exec_driver_sql("select version_num from alembic_version").scalar()
    return None if revision is None else str(revision)


def _first_line(error: sqlalchemy.exc.DBAPIError) -> str:
    return str(error.orig).strip().splitlines()[0] if str(error.orig).strip() else type(error.orig).__name__
