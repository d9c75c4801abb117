"""Real `daybook` processes: started, watched, stopped and killed."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import psutil

from tests.conftest import server_folder
from tests.support.commands import Command
from tests.support.market_files import write_market
from tests.support.waiting import DEADLINE_S, until

DAYBOOK: Final = Path(sys.executable).with_name("daybook")
TOKEN: Final = "the-owners-token-of-the-tests"


@dataclass(frozen=True, slots=True)
class Home:
    """A working directory for daybook, with settings."""

    folder: Path
    settings: Mapping[str, str]

    @property
    def data_dir(self) -> Path:
        return self.folder / "data"

    def run(self, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end. Settings given here take precedence."""
        command = [str(DAYBOOK), *arguments]
        running = Command(command, self.folder, self.environment(**settings))
        try:
            code = running.wait()
        finally:
            running.kill()
        return subprocess.CompletedProcess(command, code, "".join(running.out), "".join(running.err))

    def replay(self, *arguments: str, **settings: str) -> tuple[int, dict[str, Any]]:
        """The exit code and the object of `daybook replay --verify --json`."""
        done = self.run("replay", "--verify", "--json", *arguments, **settings)
        assert done.stdout, f"exit code {done.returncode}: {done.stderr}"
        found: dict[str, Any] = json.loads(done.stdout)
        return done.returncode, found

    def environment(self, **settings: str) -> dict[str, str]:
        """The environment of the tests, with these DAYBOOK_* variables only."""
        own = {f"DAYBOOK_{name.upper()}": value for name, value in {**self.settings, **settings}.items() if value}
        others = {name: value for name, value in os.environ.items() if not name.startswith("DAYBOOK_")}
        return {**others, "COLUMNS": "80", "NO_COLOR": "1", **own}

    def postmaster(self) -> int | None:
        """The process id of the embedded PostgreSQL that runs in this home, or None."""
        for process in psutil.process_iter(["name", "cwd", "ppid"]):
            ours = process.info["name"] == "postgres" and process.info["cwd"] == str(self.data_dir / "postgres")
            if ours and _is_postmaster(process):
                return int(process.pid)
        return None


def _is_postmaster(process: psutil.Process) -> bool:
    """`True` for the server's first process, whose children are the others."""
    try:
        parent = process.parent()
        return parent is None or parent.name() != "postgres"
    except psutil.NoSuchProcess:
        return False


@contextmanager
def new_home(candles: int = 4000, speed: int = 600, **settings: str) -> Iterator[Home]:
    """A home with a recorded market of its own; leftover servers are killed at the end."""
    with server_folder() as folder:
        market = write_market(folder, candles)
        given = {
            "data_dir": str(folder / "data"),
            "port": str(free_port()),
            "feed": f"file:{market}?speed={speed}",
            "owner_token": TOKEN,
            **settings,
        }
        home = Home(folder, given)
        try:
            yield home
        finally:
            while (left := home.postmaster()) is not None:
                os.kill(left, signal.SIGQUIT)
                until(lambda: home.postmaster() != left, "the server to end")


def free_port() -> int:
    """An unused port."""
    with socket.socket() as asking:
        asking.bind(("127.0.0.1", 0))
        port: int = asking.getsockname()[1]
        return port


@dataclass(slots=True)
class Serving:
    """A running `daybook serve` and its output so far."""

    process: Command
    url: str

    @property
    def out(self) -> list[str]:
        return self.process.out

    @property
    def err(self) -> list[str]:
        return self.process.err

    @property
    def ready(self) -> bool:
        return any(line.startswith("Daybook is ready: ") for line in self.out)

    def until_ready(self) -> None:
        """Wait until it listens. Fails with its errors if it ended instead."""
        until(lambda: self.ready or self.process.poll() is not None, "the ready line")
        assert self.ready, "".join(self.err)

    def get(self, path: str) -> httpx.Response:
        return httpx.get(f"{self.url}{path}", headers={"Authorization": f"Bearer {TOKEN}"}, timeout=DEADLINE_S)

    def read(self, path: str) -> Any:
        """The JSON of an answer that must be 200."""
        answer = self.get(f"/api/v1/{path}")
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post(self, path: str, body: object, key: str) -> httpx.Response:
        headers = {"Authorization": f"Bearer {TOKEN}", "Idempotency-Key": key}
        return httpx.post(f"{self.url}/api/v1/{path}", json=body, headers=headers, timeout=DEADLINE_S)

    def end(self, signal_number: int) -> int:
        """Send this signal and return the exit code; all output has been read."""
        self.process.send_signal(signal_number)
        return self.process.wait()


@contextmanager
def serving(home: Home, **settings: str) -> Iterator[Serving]:
    """A `daybook serve` that has been started; at the end it is killed if it still runs."""
    process = Command([str(DAYBOOK), "serve"], home.folder, home.environment(**settings), new_session=True)
    running = Serving(process, f"http://127.0.0.1:{settings.get('port', home.settings['port'])}")
    try:
        yield running
    finally:
        running.end(signal.SIGKILL)
