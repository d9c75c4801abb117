"""The command `daybook`: one name that opens every door. Exit codes: 0 done · 1 failure · 2 usage · 3 difference · 4 broken chain."""

import sys
from collections.abc import Callable
from datetime import datetime
from functools import wraps
from importlib.metadata import version
from pathlib import Path
from typing import Final, ParamSpec

import rich_click as click

from api.settings import BadSettings, load_settings
from ledger.chain import BrokenLog
from ledger.checkpoints import BadCheckpoint
from ledger.cuts import Cut
from ledger.database import DATABASE_GONE, NewerSchema
from ledger.embedded_postgres import DatabaseUnavailable
from ledger.files import BadFile
from ledger.importing import WrongPortfolio
from ledger.log import NoSuchPortfolio
from ledger.values import Asset, utc_time
from signals.market import BadCandle, BadFeed, FeedUnavailable

P = ParamSpec("P")
FAILURES: Final = (
    BadSettings,
    DatabaseUnavailable,
    NewerSchema,
    BrokenLog,
    NoSuchPortfolio,
    BadFile,
    WrongPortfolio,
    BadCheckpoint,
    BadFeed,
    BadCandle,
    FeedUnavailable,
)

click.rich_click.TEXT_MARKUP = "rich"


def main() -> None:
    """Runs the command; what is known to go wrong becomes one sentence and exit code 1."""
    cli(prog_name="daybook")


def one_sentence(command: Callable[P, None]) -> Callable[P, None]:
    """The command, with known failures said in one sentence on standard error and exit code 1."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except FAILURES as failure:
            fail(str(failure))
        except DATABASE_GONE:
            fail("the database went away while the command ran: see that it runs (daybook doctor), then try again")
        except OSError as failure:
            fail(f"{failure.filename or 'the system'}: {failure.strerror}")

    return run


def fail(sentence: str) -> None:
    """Ends the command with the sentence and exit code 1."""
    click.echo(f"daybook: {' '.join(sentence.split())}", err=True)
    sys.exit(1)


def asset(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    """The option's value, which is an asset. Raises BadParameter, which is wrong usage."""
    try:
        return None if value is None else Asset(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def moment(_context: click.Context, _parameter: click.Parameter, value: str | None) -> datetime | None:
    """The option's value, which is a time with a zone. Raises BadParameter, which is wrong usage."""
    try:
        return None if value is None else utc_time(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version("daybook"), prog_name="daybook")
def cli() -> None:
    """The trading ledger in which every number is proven by replay.

    Example: daybook serve

    Settings are read from DAYBOOK_* variables and daybook.toml; daybook doctor shows those in force.
    """


@cli.command()
@one_sentence
def serve() -> None:
    """Run everything: market, bots, review, orders and the HTTP API, until Ctrl-C.

    Exit codes: 0 stopped on request, 1 failure.

    Example: DAYBOOK_PORT=9000 DAYBOOK_FEED='simulated?speed=60' daybook serve
    """
    from api.serve import serve_until_stopped

    serve_until_stopped(load_settings())


@cli.command()
@click.option("--verify", is_flag=True, help="Compare everything stored with what the log says (the default).")
@click.option("--rebuild", is_flag=True, help="Write the views anew from the log, then verify.")
@click.option("--portfolio", metavar="NAME", help="Only this portfolio (its name or id).")
@click.option(
    "--checkpoint", type=click.Path(path_type=Path), help="Every log must still hold what this signed file saw."
)
@click.option("--as-of", metavar="TIME", callback=moment, help="What had happened by then.")
@click.option("--known-at", metavar="TIME", callback=moment, help="As far as it was recorded by then.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@one_sentence
def replay(
    verify: bool,
    rebuild: bool,
    portfolio: str | None,
    checkpoint: Path | None,
    as_of: datetime | None,
    known_at: datetime | None,
    as_json: bool,
) -> None:
    """Read the log again, prove it, and compare the stored views with it.

    With --as-of or --known-at the log is cut at those times and the portfolio printed as it was.

    Exit codes: 0 all equal, 3 a difference, 4 broken chain, 2 usage, 1 failure.

    Example: daybook replay --verify --json
    """
    from api.replaying import run_replay

    settings = load_settings()
    if as_of is not None or known_at is not None:
        from api.replaying_past import run_replay_at

        if rebuild or checkpoint:
            raise click.UsageError("--as-of and --known-at look at the past: leave out --rebuild and --checkpoint")
        sys.exit(run_replay_at(settings, Cut(as_of, known_at), portfolio=portfolio, as_json=as_json))
    sys.exit(run_replay(settings, rebuild=rebuild, portfolio=portfolio, as_json=as_json, checkpoint=checkpoint))


@cli.command()
@click.argument("file", type=click.Path(path_type=Path))
@one_sentence
def checkpoint(file: Path) -> None:
    """Write a signed file that says where every log stands now. Keep it outside this machine.

    A cut tail, a rewritten log and a log that vanished show when it is given to replay. Exit codes: 0 done, 1 failure.

    Example: daybook checkpoint friday.json && daybook replay --checkpoint friday.json
    """
    from api.proofs import write_checkpoint_file

    click.echo(write_checkpoint_file(load_settings(), file))


@cli.group()
def export() -> None:
    """Write what the ledger holds to a file.

    Exit codes: 0 done, 1 failure, 2 usage.

    Example: daybook export events log.jsonl
    """


@export.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--portfolio", metavar="NAME", help="Only this portfolio (its name or id).")
@one_sentence
def events(file: Path, portfolio: str | None) -> None:
    """Write the log as JSON lines, one event a line, for docs/verify_log.py and for safe keeping.

    Exit codes: 0 done, 1 failure, 2 usage.

    Example: daybook export events log.jsonl && python3 docs/verify_log.py log.jsonl
    """
    from api.proofs import write_events_file

    click.echo(write_events_file(load_settings(), file, portfolio))


@cli.group("import")
def import_() -> None:
    """Take over what happened elsewhere, from files.

    Exit codes: 0 done, 1 failure, 2 usage.

    Example: daybook import trades trades.csv --portfolio mine --create
    """


@import_.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--portfolio", metavar="NAME", required=True, help="Where it goes: a portfolio's name or id.")
@click.option("--create", is_flag=True, help="Open the portfolio if there is none of that name.")
@click.option("--base", metavar="ASSET", callback=asset, help="The portfolio's base currency (USD for a new one).")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and write nothing.")
@click.option("--skip-bad", is_flag=True, help="Import the rest when rows are bad; those go to FILE.bad.csv.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@one_sentence
def trades(
    file: Path, portfolio: str, create: bool, base: str | None, dry_run: bool, skip_bad: bool, as_json: bool
) -> None:
    """Put the trades of FILE into a portfolio, each once: our own CSV or JSON, or an exchange's export.

    Coinbase, Binance, Kraken and Luno are recognised by their headers; docs/files.md has the columns.

    Exit codes: 0 done, 1 bad rows (nothing is imported unless they are skipped) or a failure, 2 usage.

    Example: daybook import trades fills.csv --portfolio mine --create --dry-run
    """
    from api.importing import Asked, run_import

    asked = Asked(file, portfolio, create, base, dry_run, skip_bad, as_json)
    sys.exit(run_import(load_settings(), asked))


@cli.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--base", default="USD", show_default=True, callback=asset, help="What a bare symbol such as AAPL is quoted in."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@one_sentence
def lots(file: Path, base: str, as_json: bool) -> None:
    """FIFO lots and gains straight from a CSV or JSON file of trades, ours or an exchange's; needs no database.

    Exit codes: 0 done, 1 rows that could not be read (each is named) or a file that cannot be used, 2 usage.

    Example: daybook lots trades.csv --json
    """
    from api.lots_printing import print_lots

    sys.exit(print_lots(file, base, as_json=as_json))


@cli.command()
@one_sentence
def doctor() -> None:
    """Show the settings in force and what is wrong with them or with the database, each with what to do.

    Exit codes: 0 all is well, 1 something is wrong.

    Example: daybook doctor
    """
    from api.doctor import examine

    sys.exit(examine(load_settings()))
