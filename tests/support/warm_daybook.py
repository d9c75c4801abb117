"""A process that has imported everything and forks a `daybook` for each wish: a real one, without the second of imports.

Each command is a process of its own, with its own id, folder, environment, output, signals and exit code, and runs the
installed script. The warm process has no threads and no connections, and ends with the tests that started it. A second
fork keeps watch over each command and tells its id and its end on the socket that came with the wish.

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
NOT_OURS_TO_LOAD: Final = ("migrations.env", "migrations.versions", "signals.testkit.pytest_plugin")
LOADED_LATE: Final = ("ccxt", "pandas", "pyarrow.parquet", "uvicorn.lifespan.on", "uvicorn.loops.asyncio")
"""What libraries load in the middle of a command."""
_ENDED_WITH: Final[list[int]] = []


def main() -> None:
    """Serves until the tests have ended. In a command's process this returns only when that has ended."""
    atexit.register(_leave)  # before anybody else does, so that it is called last
    control = socket.socket(fileno=int(sys.argv[1]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, _bury)
    _warm_up()
    while wish := socket.recv_fds(control, 1, 3)[1]:
        if os.fork() == 0:
            control.close()
            _keep_watch(*wish)
            return
        for descriptor in wish:
            os.close(descriptor)


def _warm_up() -> None:
    for room in ROOMS:
        for module in pkgutil.walk_packages(import_module(room).__path__, f"{room}."):
            if not module.name.startswith(NOT_OURS_TO_LOAD):
                import_module(module.name)
    for name in LOADED_LATE:
        import_module(name)
    assert threading.active_count() == 1, "a fork would copy one thread of several"
    gc.freeze()


def _bury(*_: object) -> None:
    """Those that kept watch and have ended are forgotten."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            pass


def _keep_watch(connection: int, output: int, errors: int) -> None:
    """Tells the command's process id and, below, how it ended. In the command's own process this runs it."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    with socket.socket(fileno=connection) as telling:
        wish = json.loads(telling.makefile().readline())
        process = os.fork()
        if process == 0:
            telling.close()
            _become(wish, output, errors)
            return
        os.close(output)
        os.close(errors)
        telling.sendall(f"{process}\n".encode())
        _, status = os.waitpid(process, 0)
        telling.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
    os._exit(0)


def _become(wish: dict[str, Any], output: int, errors: int) -> None:
    """This process is what `exec` of the script would have made of it, but for what is imported."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for descriptor, standard in ((output, 1), (errors, 2)):
        os.dup2(descriptor, standard)
        os.close(descriptor)
    if wish["new_session"]:
        os.setsid()
    os.chdir(wish["folder"])
    os.environ.clear()
    os.environ.update(wish["environment"])
    time.tzset()
    script, *arguments = wish["command"]
    sys.argv[:] = [script, *arguments]
    sys.path[0] = str(Path(script).parent)
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as ended:
        if isinstance(ended.code, int | None):
            _ENDED_WITH.append(ended.code or 0)
        raise


def _leave() -> None:
    """The last thing of a command that ends as it should: all it loaded is not taken apart piece by piece."""
    if _ENDED_WITH:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(_ENDED_WITH[0])


if __name__ == "__main__":
    main()
