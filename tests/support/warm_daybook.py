"""A process that has imported everything and forks a `daybook` for each request, which saves the time of the imports.

Each command is a process of its own, with its own id, folder, environment, output, signals and exit code, and runs the
installed script. The warm process has no threads and no connections, and ends with the tests that started it. A second
fork waits for each command and sends its process id and exit code through the socket that came with the request.

    python -m tests.support.warm_daybook FILE_DESCRIPTOR
"""

import atexit
import gc
import json
import os
import pkgutil
import runpy
import signal
import socket
import sys
import threading
import time
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, Final

ROOMS: Final = ("ledger", "signals", "execution", "api", "migrations")
NOT_IMPORTED: Final = ("migrations.env", "migrations.versions", "signals.testkit.pytest_plugin")
LOADED_LATE: Final = ("ccxt", "pandas", "pyarrow.parquet", "uvicorn.lifespan.on", "uvicorn.loops.asyncio")
"""Modules that libraries import in the middle of a command."""
_ENDED_WITH: Final[list[int]] = []


def main() -> None:
    """Serve requests until the tests have ended. In the process of a command, return after the command."""
    atexit.register(_leave)  # registered first, so that it is called last
    control = socket.socket(fileno=int(sys.argv[1]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, _bury)
    _warm_up()
    while request := socket.recv_fds(control, 1, 3)[1]:
        if os.fork() == 0:
            control.close()
            _keep_watch(*request)
            return
        for descriptor in request:
            os.close(descriptor)


def _warm_up() -> None:
    for room in ROOMS:
        for module in pkgutil.walk_packages(import_module(room).__path__, f"{room}."):
            if not module.name.startswith(NOT_IMPORTED):
                import_module(module.name)
    for name in LOADED_LATE:
        import_module(name)
    assert threading.active_count() == 1, "a fork would copy one thread of several"
    gc.freeze()


def _bury(*_: object) -> None:
    """Reap the waiting processes that have ended."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            pass


def _keep_watch(connection: int, output: int, errors: int) -> None:
    """Send the command's process id and exit code (negative: a signal). In the command's own process, run it."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    with socket.socket(fileno=connection) as telling:
        request = json.loads(telling.makefile().readline())
        process = os.fork()
        if process == 0:
            telling.close()
            _become(request, output, errors)
            return
        os.close(output)
        os.close(errors)
        telling.sendall(f"{process}\n".encode())
        _, status = os.waitpid(process, 0)
        telling.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
    os._exit(0)


def _become(request: dict[str, Any], output: int, errors: int) -> None:
    """Turn this process into the one that `exec` of the script would start, with its modules already imported."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for descriptor, standard in ((output, 1), (errors, 2)):
        os.dup2(descriptor, standard)
        os.close(descriptor)
    if request["new_session"]:
        os.setsid()
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    time.tzset()
    script, *arguments = request["command"]
    sys.argv[:] = [script, *arguments]
    sys.path[0] = str(Path(script).parent)
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as ended:
        if isinstance(ended.code, int | None):
            _ENDED_WITH.append(ended.code or 0)
        raise


def _leave() -> None:
    """Exit a finished command at once, without the clean-up of all imported modules."""
    if _ENDED_WITH:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(_ENDED_WITH[0])


if __name__ == "__main__":
    main()
