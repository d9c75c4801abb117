"""The database as a whole: which one, its schema, and the connections that may only append and read."""

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
from ledger.postgres.sessions import IN_TRANSACTION
from ledger.values import Clock

MIGRATIONS: Final = Path(__file__).resolve().parents[2] / "migrations"
WRITER: Final = "daybook_writer"
READER: Final = "daybook_reader"
CONNECT_TIMEOUT_S: Final = 10


SILENCED: Final = psycopg.errors.IdleInTransactionSessionTimeout
SILENT: Final = "this program stood still within a transaction, and the database ended that: nothing of it was stored"

DATABASE_GONE: Final = (
    DatabaseUnavailable,
    sqlalchemy.exc.OperationalError,
    sqlalchemy.exc.TimeoutError,
    psycopg.OperationalError,
    psycopg.InterfaceError,
    SILENCED,
)
"""What is raised when the database cannot be reached, or no longer."""


class NewerSchema(DaybookError):
    """The database was made by a newer program than this one."""


@contextmanager
def open_database(data_dir: Path, url: str | None) -> Iterator[Engine]:
    """Connections, as the writing role, to the database at `url` or else to the embedded one in `data_dir`.

    The schema is current. Raises DatabaseUnavailable and NewerSchema, each with a sentence that says what to do.
    """
    if url is None:
        with embedded_postgres(data_dir) as embedded_url, connected(embedded_url) as engine:
            yield engine
    else:
        with connected(url) as engine:
            yield engine


@contextmanager
def connected(url: str) -> Iterator[Engine]:
    """The same for a server that already runs."""
    migrate(url)
    engine = engine_for(url, WRITER)
    try:
        yield engine
    finally:
        engine.dispose()


def engine_for(url: str, role: str | None, silence: str = IN_TRANSACTION) -> Engine:
    """An engine whose every connection acts as `role` (None: as the user of the URL).

    The server ends one that keeps so long a `silence` within a transaction.
    """
    try:
        parsed = sqlalchemy.make_url(_driver_url(url))
    except (sqlalchemy.exc.ArgumentError, ValueError):
        raise DatabaseUnavailable(
            f"{shown_url(url)!r} is not a PostgreSQL URL: write postgresql://user:password@host:port/database"
        ) from None
    patience = {} if "connect_timeout" in parsed.query else {"connect_timeout": CONNECT_TIMEOUT_S}
    engine = sqlalchemy.create_engine(
        parsed, isolation_level="READ COMMITTED", pool_size=10, max_overflow=20, connect_args=patience
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: psycopg.Connection[tuple[Any, ...]], _record: object) -> None:
        if role is not None:
            connection.execute(f"set role {role}")
        connection.execute("set time zone 'UTC'")
        connection.execute(f"set idle_in_transaction_session_timeout = '{silence}'")
        connection.commit()

    @event.listens_for(engine, "handle_error")
    def silent(context: sqlalchemy.ExceptionContext) -> Exception | None:
        # SQLAlchemy's own name for it says nothing of a connection that is gone.
        found = context.original_exception
        return DatabaseUnavailable(SILENT) if isinstance(found, SILENCED) else None

    return engine


def migrate(url: str) -> None:
    """The schema at `url` is the newest this program knows. Raises DatabaseUnavailable and NewerSchema."""
    engine = engine_for(url, None)
    try:
        with engine.begin() as connection:
            # One process migrates, the others wait here and find the work done.
            connection.exec_driver_sql("select pg_advisory_xact_lock(7305113214)")
            config = Config()
            config.set_main_option("script_location", str(MIGRATIONS))
            config.attributes["connection"] = connection
            current = _current_revision(connection)
            scripts = ScriptDirectory.from_config(config)
            if current is not None and current not in {script.revision for script in scripts.walk_revisions()}:
                raise NewerSchema(
                    f"the database has schema {current}, this Daybook knows only up to {scripts.get_current_head()}:"
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
    """What keeps the database from being written now, one sentence each. Raises what the driver raises without one."""
    with engine.connect() as connection:
        current = _current_revision(connection)
        read_only = connection.exec_driver_sql("select current_setting('transaction_read_only') = 'on'").scalar()
    problems = []
    if current != _newest_revision():
        problems.append(f"the database has schema {current}, this Daybook needs {_newest_revision()}: start it again")
    if read_only:
        problems.append("the database takes reads only: connect to the primary server")
    return problems


def shown_url(url: str) -> str:
    """The URL without its password, wherever it stands in it; also of text that is no URL."""
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
    """The server's settings that say what it is and whether a power cut can harm it, by name."""
    with engine.connect() as connection:
        found = connection.exec_driver_sql(
            "select name, setting from pg_settings where name in ('server_version', 'fsync', 'full_page_writes')"
        )
        return {str(row[0]): str(row[1]) for row in found}


def clock_skew(engine: Engine, clock: Clock) -> timedelta:
    """How far the server's clock is ahead of ours (below 0: behind), beyond what the question itself took."""
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
