"""`daybook serve`: system, scheduler and HTTP server in one process."""

import fcntl
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, nullcontext
from pathlib import Path
from typing import Final

import click
import uvicorn

from api.http.app import create_app
from api.runtime.logs import configure_logs, hide
from api.runtime.owner_token import remember_token
from api.runtime.scheduler import Scheduler
from api.runtime.settings import BadSettings, Settings, usable_folder
from api.runtime.stopping import Stopped, StopRequests
from api.runtime.wiring import System, open_system
from ledger.postgres.embedded import revive

HOST: Final = "127.0.0.1"
SHUTDOWN_S: Final = 3


def serve_until_stopped(settings: Settings) -> None:
    """Run until Ctrl-C or SIGTERM, then stop in order: HTTP, market loop, database."""
    configure_logs()
    for secret in settings.secrets:
        hide(secret)
    with StopRequests() as requests, ExitStack() as stack:
        try:
            usable_folder(settings.data_dir)
            stack.enter_context(only_one(settings.data_dir))
            listener = stack.enter_context(bound(settings.port))
            starting = nullcontext() if settings.database else requests.waiting()
            system = stack.enter_context(open_system(settings, starting=starting))
            stack.callback(requests.ignore)
            _serve(system, listener, requests)
        except Stopped:
            click.echo("Daybook was stopped while it was starting.")


def _serve(system: System, listener: socket.socket, requests: StopRequests) -> None:
    scheduler = Scheduler(system.loop, system.feed.interval_s, lambda: mend(system))
    config = uvicorn.Config(
        create_app(system, scheduler),
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws="none",
        timeout_graceful_shutdown=SHUTDOWN_S,
    )
    server = _Server(config, system)
    with requests.doing(server.stop):
        scheduler.start()
        try:
            server.run([listener])
        finally:
            scheduler.stop()


def mend(system: System) -> None:
    """Repair possible causes of a failed market loop: restart a dead embedded server, drop dead connections."""
    if system.settings.database is None:
        revive(system.settings.data_dir)
    system.engine.dispose()


class _Server(uvicorn.Server):
    """Prints its address once it listens; leaves signals to `StopRequests`."""

    def __init__(self, config: uvicorn.Config, system: System) -> None:
        super().__init__(config)
        self._system = system

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            _announce(self._system)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    def stop(self) -> None:
        self.should_exit = True


@contextmanager
def only_one(data_dir: Path) -> Iterator[None]:
    """Lock the data folder against a second `daybook serve`. Raises BadSettings."""
    with (data_dir / "serve.lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            reason = f"another daybook serve is using the data folder {data_dir}"
            raise BadSettings(f"{reason}: stop it first, or choose another folder with DAYBOOK_DATA_DIR") from None
        yield


@contextmanager
def bound(port: int) -> Iterator[socket.socket]:
    """Bind a socket on 127.0.0.1; early connections wait until they are served. Raises BadSettings."""
    with closing(socket.socket()) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, port))
        except OSError as error:
            reason = f"the port {port} cannot be used ({error.strerror})"
            raise BadSettings(f"{reason}: stop what is using it, or choose another with DAYBOOK_PORT") from None
        yield listener


def _announce(system: System) -> None:
    """Print portfolio, market and address. A new token is stored after it was shown."""
    url = f"http://{HOST}:{system.settings.port}/"
    click.echo(f"Portfolio  {system.portfolio_name}{'' if system.accounts else ' (PAPER: no real money)'}")
    for account in system.accounts:
        click.echo(f"Account    {account}")
    unreached = " (cannot be reached now: Daybook keeps trying)" if system.loop.unreached else ""
    click.echo(f"Market     {system.feed.label}{unreached}")
    if system.new_token is not None:
        click.echo(f"Token      {system.new_token}")
        click.echo("           the owner's API token, shown once: send it as 'Authorization: Bearer TOKEN'")
        url += f"#token={system.new_token}"
        remember_token(system.settings.data_dir, system.new_token)
        hide(system.new_token)
    click.echo(f"Daybook is ready: {url}")
