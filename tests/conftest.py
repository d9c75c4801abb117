"""Fixtures: the embedded PostgreSQL, a fresh migrated database per test, books and logs of every kind."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from decimal import getcontext, localcontext
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, settings
from sqlalchemy import Engine, make_url

from ledger.log.event_log import EventLog, MemoryLog
from ledger.postgres import log as postgres
from ledger.postgres.book import PostgresBook
from ledger.postgres.database import WRITER, engine_for, migrate
from ledger.postgres.embedded import embedded_postgres
from ledger.postgres.log import PostgresLog
from ledger.projections.book import Book, MemoryBook
from ledger.values import Clock
from tests.support.events import SteppingClock, Story

# Examples share the database of their test and differ by portfolio, so fixtures may outlive an example.
# The load of machines varies, so there are no deadlines.
_EASED = (HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large)
settings.register_profile("default", deadline=None, max_examples=25, print_blob=True, suppress_health_check=_EASED)

settings.register_profile("nightly", settings.get_profile("default"), max_examples=1500)
settings.load_profile("default")

# Tests kill processes, not machines, so nothing has to reach the disk.
_FAST = "-c fsync=off -c full_page_writes=off -c synchronous_commit=off -c max_connections=200 -c shared_buffers=64MB"
_TEMPLATE = "daybook_template"
_MEMORY = Path("/dev/shm")
_ENOUGH_MEMORY = 4 * 2**30

LogMaker = Callable[[Clock], EventLog]
BookMaker = Callable[[], Book]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--candles`: recorded candles for the nightly comparison of a live run with its backtest."""
    parser.addoption(
        "--candles", type=Path, help="a CSV file such as coinbase-BTC-USD-1h.csv, instead of simulated ones"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Use the nightly profile for nightly tests unless another is given."""
    if config.getoption("markexpr") == "nightly" and not config.getoption("--hypothesis-profile"):
        settings.load_profile("nightly")


@pytest.fixture(autouse=True)
def own_arithmetic() -> Iterator[None]:
    """Fail if a test changes the decimal context of its thread, in which every figure is calculated."""
    with localcontext() as context:
        prec, rounding, traps = context.prec, context.rounding, dict(context.traps)
        yield
        left = getcontext()
        assert (left.prec, left.rounding, left.traps) == (prec, rounding, traps), "the decimal context was changed"


@contextmanager
def server_folder() -> Iterator[Path]:
    """An empty folder readable by the system user of the server, unlike those of pytest; removed afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="daybook-test-", dir=_memory()))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _memory() -> Path | None:
    """A file system in memory, if available: creating a database there takes a quarter of the time."""
    return _MEMORY if _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free >= _ENOUGH_MEMORY else None


@pytest.fixture(scope="session")
def cluster_url() -> Iterator[str]:
    """The superuser's URL of a server for the whole session."""
    with server_folder() as folder, embedded_postgres(folder, _FAST) as url:
        yield url


@pytest.fixture(scope="session")
def template(cluster_url: str) -> str:
    """The name of a migrated database, the template of all others."""
    _administer(cluster_url, f"create database {_TEMPLATE}")
    migrate(database_at(cluster_url, _TEMPLATE))
    return _TEMPLATE


_numbers = count(1)


@pytest.fixture
def empty_database_url(cluster_url: str) -> Iterator[str]:
    """The superuser's URL of a database without any table."""
    with fresh_database(cluster_url, "template0") as url:
        yield url


@pytest.fixture
def database_url(cluster_url: str, template: str) -> Iterator[str]:
    """The superuser's URL of a fresh migrated database."""
    with fresh_database(cluster_url, template) as url:
        yield url


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """Connections to the fresh database with the role of Daybook itself."""
    engine = engine_for(database_url, WRITER)
    yield engine
    engine.dispose()


@pytest.fixture
def superuser(database_url: str) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
    """A superuser's connection to the fresh database with autocommit."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("set time zone 'UTC'")
        yield connection


@pytest.fixture
def clock() -> Clock:
    return SteppingClock()


@pytest.fixture
def postgres_book(engine: Engine, clock: Clock) -> PostgresBook:
    return PostgresBook(engine, clock)


@pytest.fixture
def memory_book(clock: Clock) -> MemoryBook:
    return MemoryBook(clock)


@pytest.fixture(params=["memory", "postgres"])
def book(request: pytest.FixtureRequest) -> Book:
    """Each kind of book in turn."""
    chosen: Book = request.getfixturevalue(f"{request.param}_book")
    return chosen


@pytest.fixture(params=["memory", "postgres", "postgres in bulk"])
def make_log(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> LogMaker:
    """A factory for each kind of log; 'postgres in bulk' appends every batch in the way of large ones."""
    if request.param == "memory":
        return MemoryLog
    engine: Engine = request.getfixturevalue("engine")
    monkeypatch.setattr(postgres, "BULK_FROM", 1 if request.param == "postgres in bulk" else 10**9)
    return lambda clock: PostgresLog(engine, clock)


@pytest.fixture
def log(make_log: LogMaker, clock: Clock) -> EventLog:
    """Each kind of log in turn."""
    return make_log(clock)


@pytest.fixture
def new_story() -> Callable[[], Story]:
    """A factory for stories, each of a portfolio of its own."""
    numbers = count(1)
    return lambda: Story(f"story {next(numbers)}")


def database_at(cluster_url: str, name: str) -> str:
    """The URL of database `name` on the same server."""
    return make_url(cluster_url).set(database=name).render_as_string(hide_password=False)


def wait_until_blocked(database_url: str, work: "Future[Any]") -> None:
    """Wait until a connection to the database waits for a lock. Fails if `work`, which should wait, has ended."""
    statement = "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
    with psycopg.connect(database_url, autocommit=True) as connection:
        while connection.execute(statement).fetchone() == (0,):
            assert not work.done(), "it did not wait"


@contextmanager
def fresh_database(cluster_url: str, template: str) -> Iterator[str]:
    """The superuser's URL of a new copy of the template, dropped afterwards."""
    name = f"daybook_test_{next(_numbers)}"
    # Copying files bypasses the buffers and the write-ahead log of the server.
    _administer(cluster_url, f"create database {name} template {template} strategy file_copy")
    try:
        yield database_at(cluster_url, name)
    finally:
        _administer(cluster_url, f"drop database {name} with (force)")


def _administer(cluster_url: str, statement: str) -> None:
    with psycopg.connect(cluster_url, autocommit=True) as connection:
        connection.execute(statement)
