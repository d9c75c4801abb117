"""How do people use Daybook from a terminal? Exit codes: 0 done · 1 failure · 2 usage · 3 difference · 4 broken chain."""

from importlib import import_module
from typing import Final

import rich_click as click
from click.exceptions import Abort, Exit

from api.cli.options import fail
from ledger.errors import DaybookError

click.rich_click.TEXT_MARKUP = "rich"


class Deferred(click.RichCommand):
    """Placeholder of a command whose module is imported when the command is invoked."""

    def __init__(self, name: str, place: str, summary: str) -> None:
        super().__init__(name=name, help=summary)
        self._place = place

    def load(self) -> click.Command:
        """Import the command. `place` is its module in `api.cli` and its name there: "lots:lots"."""
        module, _, attribute = self._place.partition(":")
        command = getattr(import_module(f"api.cli.{module}"), attribute)
        assert isinstance(command, click.Command)
        return command


class Daybook(click.RichGroup):
    """The group of all commands. Expected failures end with one sentence on standard error and exit code 1."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name, command, rest = super().resolve_command(ctx, args)
        return name, command.load() if isinstance(command, Deferred) else command, rest

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except DaybookError as failure:
            fail(str(failure))
        except OSError as failure:
            fail(f"{failure.filename or 'the system'}: {failure.strerror}")
        except (SystemExit, click.ClickException, Abort, Exit):
            raise
        except _database_gone():
            fail("lost the connection to the database: check it with daybook doctor, then try again")


def _database_gone() -> tuple[type[Exception], ...]:
    from ledger.postgres.database import DATABASE_GONE  # slow to load, so only after a failure

    return DATABASE_GONE


COMMANDS: Final = (
    ("accounts", "accounts:accounts", "Add, list and remove accounts at exchanges."),
    ("backtest", "backtest:backtest", "Run bots on recorded candles, sweep their settings, compare results."),
    ("bot", "bot:bot", "Write and test bots; enable bots of other packages."),
    ("checkpoint", "replay:checkpoint", "Write a signed file with the position and hash of every log."),
    ("doctor", "doctor:doctor", "Show the settings in force and any problem with them or the database."),
    ("export", "export:export", "Write events, trades, lots, gains or a beancount ledger to a file."),
    ("freqtrade", "freqtrade:freqtrade", "Check, start and stop the freqtrade whose signals are used."),
    ("halt", "halt:halt", "Stop trading now."),
    ("import", "import_:import_", "Import trades from files, or a whole legacy system."),
    ("key", "keys:key", "Issue, list and revoke API keys."),
    ("lots", "lots:lots", "Lots and gains of a portfolio or of a file of trades."),
    ("performance", "performance:performance", "Returns, risk and trading figures of a portfolio."),
    ("record", "entries:record", "Record deposits, income, splits and other entries from a JSON file."),
    ("replay", "replay:replay", "Replay the log, verify it, and compare the stored views with it."),
    ("resume", "halt:resume", "Resume trading after a halt."),
    ("reverse", "entries:reverse", "Reverse a trade or another recorded entry."),
    ("venue", "venue:venue", "Run a simulated exchange on this machine."),
    ("webhook", "webhook:webhook", "Add, list, rotate and remove webhooks that receive signals."),
)
"""Name, place and summary of each command."""


def main() -> None:
    """Run the command line."""
    cli(prog_name="daybook")


@click.group(cls=Daybook, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="daybook", prog_name="daybook")
def cli() -> None:
    """A trading ledger in which every number can be verified by replay.

    Example: daybook serve

    Settings are read from DAYBOOK_* variables and daybook.toml; daybook doctor shows those in force.
    """


for command in COMMANDS:
    cli.add_command(Deferred(*command))


@cli.command()
def serve() -> None:
    """Run market data, bots, review, orders and the HTTP API until Ctrl-C.

    Exit codes: 0 stopped on request, 1 failure.

    Example: DAYBOOK_PORT=9000 DAYBOOK_FEED='simulated?speed=60' daybook serve
    """
    from api.runtime.settings import load_settings
    from api.serve import serve_until_stopped

    serve_until_stopped(load_settings())
