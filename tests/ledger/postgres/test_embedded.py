"""The embedded server after kills, with stale files, with several users, and in unusual folders."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import psycopg
import pytest
import sqlalchemy

from ledger.events import TradingHalted
from ledger.log.event_log import verified
from ledger.postgres import embedded
from ledger.postgres.database import connected
from ledger.postgres.embedded import DatabaseUnavailable, embedded_postgres
from ledger.postgres.log import PostgresLog
from tests.conftest import server_folder
from tests.support.events import SteppingClock, Story

ROOT = Path(__file__).resolve().parents[3]
FAST = "-c fsync=off"
USER = """
import sys
from pathlib import Path
from ledger.postgres.embedded import embedded_postgres
with embedded_postgres(Path(sys.argv[1])) as url:
    print(url, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(scope="module")
def made() -> Iterator[Path]:
    """A data folder with a cluster, stopped."""
    with server_folder() as folder:
        with embedded_postgres(folder, FAST):
            pass
        yield folder


@pytest.fixture
def data_dir(made: Path) -> Iterator[Path]:
    """A copy of that folder."""
    with server_folder() as folder:
        subprocess.run(["cp", "-a", str(made), str(folder / "data")], check=True)
        yield folder / "data"


@contextmanager
def another_user(data_dir: Path) -> Iterator["subprocess.Popen[str]"]:
    """Run a process that uses the server until its input ends."""
    with subprocess.Popen(
        [sys.executable, "-c", USER, str(data_dir)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline().startswith("postgresql://")
            yield process
        finally:
            process.kill()


def postmaster(data_dir: Path) -> psutil.Process:
    return psutil.Process(int((data_dir / "postgres" / "postmaster.pid").read_text().splitlines()[0]))


def is_up(process: psutil.Process) -> bool:
    """Return True if the process runs and is not a zombie."""
    return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)


def answer(url: str, statement: str) -> object:
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute(statement).fetchone()
        return None if row is None else row[0]


def make_table(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("create table kept as select 42 as number")


def assert_works(data_dir: Path) -> None:
    """Start the server, query it, and stop it."""
    with embedded_postgres(data_dir, FAST) as url:
        process = postmaster(data_dir)
        assert answer(url, "select 40 + 2") == 42
    assert not is_up(process)


# --- kills ------------------------------------------------------------------------------------------------------------


def test_next_program_adopts_the_server_of_a_killed_one(data_dir: Path) -> None:
    """The next program uses the same server and stops it at its end."""
    with another_user(data_dir) as program:
        process = postmaster(data_dir)
        program.kill()
        program.wait()

    assert is_up(process)
    with embedded_postgres(data_dir, FAST) as url:
        assert postmaster(data_dir).pid == process.pid
        make_table(url)
    assert not is_up(process)
    with embedded_postgres(data_dir, FAST) as url:
        assert answer(url, "select number from kept") == 42


def kill_under_load(data_dir: Path, story: Story) -> int:
    """Kill the server while events are appended; return the last acknowledged position."""
    acknowledged = 0
    with embedded_postgres(data_dir) as url, connected(url) as engine, ThreadPoolExecutor(1) as pool:
        log = PostgresLog(engine, SteppingClock())
        log.append(story.portfolio_id, story.events[:3])
        log.append(story.portfolio_id, story.events[-1:])  # the last one may not have been stored
        process = postmaster(data_dir)
        killer = None
        try:
            while True:
                halt = story.new(TradingHalted(reason="one more"))
                acknowledged = log.append(story.portfolio_id, [halt])[-1].position
                if killer is None and acknowledged % 50 == 49:
                    killer = pool.submit(kill_server, process)
        except (psycopg.OperationalError, sqlalchemy.exc.OperationalError):
            return acknowledged


def kill_server(process: psutil.Process, *, children: bool = True) -> None:
    """Kill the server and, as in a crash, its processes."""
    killed = [process, *(process.children() if children else [])]
    for one in killed:
        try:
            one.send_signal(signal.SIGKILL)
        except psutil.NoSuchProcess:
            continue
    while is_up(process):
        pass


@pytest.mark.parametrize("kills", [3, pytest.param(100, marks=pytest.mark.nightly)])
def test_no_acknowledged_event_is_lost_when_the_server_is_killed(data_dir: Path, kills: int) -> None:
    """The log has every acknowledged event once, at most one more, and an intact chain."""
    story = Story("killed")
    story.opened()
    for _ in range(kills):
        acknowledged = kill_under_load(data_dir, story)
        with embedded_postgres(data_dir) as url, connected(url) as engine:
            found = list(verified(story.portfolio_id, PostgresLog(engine, SteppingClock()).read(story.portfolio_id)))
            assert acknowledged <= len(found) <= acknowledged + 1
            assert [one.event_id for one in found] == [one.event_id for one in story.events[: len(found)]]


def test_server_starts_while_a_statement_of_a_killed_one_runs(data_dir: Path) -> None:
    """A backend that still runs after its server was killed only delays the next start."""
    with embedded_postgres(data_dir, FAST) as url, closing(psycopg.connect(url)) as connection:
        make_table(url)
        pid = connection.info.backend_pid
        busy = psutil.Process(pid)
        with ThreadPoolExecutor(1) as pool:
            statement = pool.submit(connection.execute, "select count(*) from generate_series(1, 8000000)")
            while answer(url, f"select state from pg_stat_activity where pid = {pid}") != "active":
                assert not statement.done()
            kill_server(postmaster(data_dir), children=False)
            assert is_up(busy)
            with embedded_postgres(data_dir, FAST) as again:
                assert answer(again, "select number from kept") == 42
            assert statement.exception() is None or isinstance(statement.exception(), psycopg.OperationalError)


def test_partial_cluster_is_replaced(tmp_path: Path) -> None:
    """The program was killed while creating its cluster; the next one creates it and removes the draft."""
    with server_folder() as folder:
        with subprocess.Popen([sys.executable, "-c", USER, str(folder)], cwd=ROOT, stdin=subprocess.PIPE) as program:
            while not any(folder.glob("postgres.new.*/PG_VERSION")):
                assert program.poll() is None
            program.kill()
        assert not (folder / "postgres" / "PG_VERSION").exists()

        assert_works(folder)
        (folder / "postgres").rename(folder / "elsewhere")
        assert_works(folder)
        assert list(folder.glob("postgres.new.*")) == []


# --- stale files ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content", ["", "\n", "rubbish\n", "-1\n", "{own}\n{lines}", "{dead}\n{lines}", "{other}\n{lines}"]
)
def test_start_ignores_a_stale_postmaster_pid(data_dir: Path, made: Path, content: str) -> None:
    """It names no process, another program, or the server of another folder."""
    with embedded_postgres(data_dir, FAST):
        lines = (data_dir / "postgres" / "postmaster.pid").read_text().partition("\n")[2]
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pass
    with embedded_postgres(made, FAST) as other_url:
        text = content.format(own=os.getpid(), dead=ended.pid, other=postmaster(made).pid, lines=lines)
        (data_dir / "postgres" / "postmaster.pid").write_text(text)

        assert_works(data_dir)
        assert answer(other_url, "select 1") == 1


# --- several users ----------------------------------------------------------------------------------------------------


def test_last_user_stops_the_server(data_dir: Path) -> None:
    """Two processes and this one share a server."""
    with another_user(data_dir) as first, another_user(data_dir) as second:
        process = postmaster(data_dir)
        with embedded_postgres(data_dir, FAST) as url:
            assert postmaster(data_dir).pid == process.pid
            first.communicate("")
            assert answer(url, "select 1") == 1
        assert is_up(process)
        second.communicate("")
    assert not is_up(process)


def test_concurrent_starts_share_one_server(data_dir: Path) -> None:
    """Concurrent users always find a server, and none is left at the end."""

    def use(_number: int) -> psutil.Process:
        with embedded_postgres(data_dir, FAST) as url:
            assert answer(url, "select 1") == 1
            return postmaster(data_dir)

    with ThreadPoolExecutor(6) as pool:
        servers = set(pool.map(use, range(12)))
    assert not any(is_up(server) for server in servers)


def test_concurrent_first_starts_create_the_system_user_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """useradd fails if another one runs or if the user exists."""
    created: list[str] = []
    running = threading.Lock()

    def getpwnam(name: str) -> Any:
        if name not in created:
            raise KeyError(name)
        return name

    def useradd(command: list[str], **_: object) -> None:
        assert running.acquire(blocking=False), "two useradd at once"
        for _number in range(100):
            os.sched_yield()  # other threads would enter here
        assert command[-1] not in created, "useradd of an existing user"
        created.append(command[-1])
        running.release()

    monkeypatch.setattr(embedded, "pwd", SimpleNamespace(getpwnam=getpwnam))
    monkeypatch.setattr(subprocess, "run", useradd)
    with ThreadPoolExecutor(4) as pool:
        starts = [pool.submit(embedded._system_user) for _ in range(8)]
    for start in starts:
        start.result()
    assert created == [embedded._SYSTEM_USER]


def test_failure_to_create_the_system_user_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the user and the failed command."""
    monkeypatch.setattr(embedded, "_SYSTEM_USER", "no such name")
    monkeypatch.setenv("PATH", "")

    with pytest.raises(DatabaseUnavailable, match=r"cannot create the system user no such name: .*useradd"):
        embedded._system_user()


# --- folders ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "with spaces in it",
        "a+b & c%20d?e=f#g",
        'it\'s "quoted" $HOME `x`',
        "Zoë 数据",
        "/".join(["deep " * 12] * 6).strip(),
    ],
    ids=["spaces", "url", "shell", "unicode", "long"],
)
def test_data_folder_may_have_any_name(made: Path, name: str) -> None:
    """Spaces, characters special to URLs or shells, and paths too long for a socket."""
    with server_folder() as folder:
        place = folder / name
        place.mkdir(parents=True)
        subprocess.run(["cp", "-a", str(made / "postgres"), str(place)], check=True)
        with embedded_postgres(place, FAST) as url, connected(url) as engine:
            log = PostgresLog(engine, SteppingClock())
            assert log.append(Story().portfolio_id, Story().opened())
        assert_works(place)


def test_cluster_can_be_created_in_a_folder_of_any_name() -> None:
    with server_folder() as folder:
        assert_works(folder / 'it\'s a "new" $HOME `x` & 50%')


def test_other_users_cannot_reach_the_socket(made: Path) -> None:
    """The server requires no password, so its socket folder is closed to other users."""
    with server_folder() as folder:
        for place in (folder / "short", folder / ("long" * 30)):
            place.mkdir()
            subprocess.run(["cp", "-a", str(made / "postgres"), str(place)], check=True)
            with embedded_postgres(place, FAST) as url:
                socket_dir = Path(str(answer(url, "show unix_socket_directories")))
                assert socket_dir.stat().st_mode & 0o077 == 0
                assert answer(url, "show listen_addresses") == ""


# --- options and errors -----------------------------------------------------------------------------------------------


def test_options_reach_the_server(data_dir: Path) -> None:
    with embedded_postgres(data_dir, "-c fsync=off -c max_connections=17") as url:
        assert answer(url, "show max_connections") == "17"


def test_error_of_a_failed_start_contains_the_log(data_dir: Path) -> None:
    """The folder is usable afterwards."""
    with (
        pytest.raises(
            DatabaseUnavailable, match=r'pg_ctl failed in .*unrecognized configuration parameter "no_such_thing"'
        ),
        embedded_postgres(data_dir, "-c no_such_thing=1"),
    ):
        pass
    assert_works(data_dir)


def test_failure_to_create_the_data_folder_is_reported(tmp_path: Path) -> None:
    """A file is in the place of the data folder."""
    (tmp_path / "file").write_text("in the way")

    with (
        pytest.raises(DatabaseUnavailable, match=r"cannot create the data folder .*file.*: "),
        embedded_postgres(tmp_path / "file" / "data"),
    ):
        pass
