"""`daybook serve`: the system, its scheduler and the HTTP server in one process."""

import click
import uvicorn

from api.app import create_app
from api.logs import configure_logs
from api.scheduler import Scheduler
from api.settings import Settings
from api.wiring import System, open_system

HOST = "127.0.0.1"
SHUTDOWN_S = 3


class _Server(uvicorn.Server):
    """Says where it listens once it really does."""

    def __init__(self, config: uvicorn.Config, system: System) -> None:
        super().__init__(config)
        self._system = system

    async def startup(self, sockets: object = None) -> None:
        await super().startup(sockets)  # type: ignore[arg-type]
        if self.started:
            _announce(self._system)


def serve_until_stopped(settings: Settings) -> None:
    """Returns after Ctrl-C or SIGTERM, everything stopped in order: HTTP, market loop, database."""
    configure_logs()
    with open_system(settings) as system:
        scheduler = Scheduler(system.loop, system.feed.interval_s)
        app = create_app(system, scheduler)
        config = uvicorn.Config(
            app,
            host=HOST,
            port=settings.port,
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=SHUTDOWN_S,
        )
        scheduler.start()
        try:
            _Server(config, system).run()
        finally:
            scheduler.stop()


def _announce(system: System) -> None:
    url = f"http://{HOST}:{system.settings.port}/"
    click.echo(f"Portfolio  {system.portfolio_name} (PAPER: no real money)")
    click.echo(f"Market     {system.feed.label}")
    if system.new_token is not None:
        click.echo(f"Token      {system.new_token}")
        click.echo("           the owner's API token, shown this once: send it as 'Authorization: Bearer TOKEN'")
        url += f"#token={system.new_token}"
    click.echo(f"Daybook is ready: {url}")
