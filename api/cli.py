"""The command `daybook`: one name that opens every door. Exit codes: 0 done · 1 failure · 2 usage · 3 difference · 4 broken chain."""

import re
import sys
from collections.abc import Callable
from datetime import date, datetime
from functools import wraps
from importlib.metadata import version
from pathlib import Path
from typing import Final, ParamSpec

import rich_click as click

from api.settings import BadSettings, load_settings
from api.views_behind import ViewsBehind
from ledger.beancount_export import CannotExport
from ledger.chain import BrokenLog
from ledger.checkpoints import BadCheckpoint
from ledger.cuts import Cut
from ledger.database import DATABASE_GONE, NewerSchema
from ledger.embedded_postgres import DatabaseUnavailable
from ledger.files import BadFile
from ledger.log import NoSuchPortfolio
from ledger.parquet_export import NoParquet
from ledger.values import Asset, utc_time
from ledger.what_if import BadChoice
from signals.market import BadCandle, BadFeed, FeedUnavailable

P = ParamSpec("P")
FAILURES: Final = (
    BadSettings,
    DatabaseUnavailable,
    NewerSchema,
    BrokenLog,
    NoSuchPortfolio,
    BadFile,
    BadChoice,
    BadCheckpoint,
    CannotExport,
    NoParquet,
    ViewsBehind,
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


def asset(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    """The option's value, which is an asset. Raises BadParameter, which is wrong usage."""
    try:
        return Asset(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def moment(_context: click.Context, _parameter: click.Parameter, value: str | None) -> datetime | None:
    """The option's value, which is a time with a zone. Raises BadParameter, which is wrong usage."""
    try:
        return None if value is None else utc_time(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def month_and_day(_context: click.Context, _parameter: click.Parameter, value: str) -> tuple[int, int]:
    """The option's value, a day that every year has, as month and day. Raises BadParameter."""
    found = re.fullmatch(r"(\d\d)-(\d\d)", value, re.ASCII)
    try:
        day = date(2001, *map(int, found.groups())) if found else None
    except ValueError:
        day = None
    if day is None:
        raise click.BadParameter(f"{value[:20]!r} is no day of every year such as 04-06")
    return day.month, day.day


METHODS: Final = click.Choice(["fifo", "lifo", "hifo"])
DAYS: Final = click.IntRange(0, 36_500)
IN_PORTFOLIO: Final = click.option("--portfolio", metavar="NAME", required=True, help="Its name or id.")


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


@cli.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--portfolio", metavar="NAME", required=True, help="Where they go (its name or id).")
@click.option("--dry-run", is_flag=True, help="Check everything and record nothing.")
@one_sentence
def record(file: Path, portfolio: str, dry_run: bool) -> None:
    """Record a JSON list of entries (deposits, income, splits, trades made elsewhere), all of it or nothing.

    Each has an id of its own beside the fields of POST /api/v1/portfolio/entries; one that was recorded is left out, so
    a file can be recorded again. Exit codes: 0 done, 1 an entry or a file that cannot be used, 2 usage.

    Example: daybook record history.json --portfolio mine --dry-run
    """
    from api.recording import record_file

    click.echo(record_file(load_settings(), file, portfolio, dry_run=dry_run))


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


@export.command()
@click.argument("file", type=click.Path(path_type=Path))
@IN_PORTFOLIO
@one_sentence
def trades(file: Path, portfolio: str) -> None:
    """Write the trades as a CSV file that daybook lots can read. Reversed trades are left out.

    Exit codes: 0 done, 1 failure, 2 usage.

    Example: daybook export trades trades.csv --portfolio NAME
    """
    from api.exporting import write_trades

    click.echo(write_trades(load_settings(), file, portfolio))


@export.command(name="lots")
@click.argument("file", type=click.Path(path_type=Path))
@IN_PORTFOLIO
@one_sentence
def export_lots(file: Path, portfolio: str) -> None:
    """Write all lots, open and closed, as CSV.

    Exit codes: 0 done, 1 failure, 2 usage.

    Example: daybook export lots lots.csv --portfolio NAME
    """
    from api.exporting import write_lots

    click.echo(write_lots(load_settings(), file, portfolio))


@export.command()
@click.argument("file", type=click.Path(path_type=Path))
@IN_PORTFOLIO
@click.option("--year", type=click.IntRange(1, 9998), help="Only gains realised in this tax year.")
@click.option(
    "--year-start",
    default="01-01",
    show_default=True,
    metavar="MM-DD",
    callback=month_and_day,
    help="Its first day, in UTC.",
)
@click.option("--method", type=METHODS, default="fifo", show_default=True, help="Which lot a sale closes first.")
@click.option(
    "--holding-period", type=DAYS, default=365, show_default=True, metavar="DAYS", help="Held longer is long."
)
@one_sentence
def gains(
    file: Path, portfolio: str, year: int | None, year_start: tuple[int, int], method: str, holding_period: int
) -> None:
    """Write realised gains as CSV, a line for each match; what has no known cost stands apart, then totals by term.

    Exit codes: 0 done, 1 failure, 2 usage.

    Example: daybook export gains gains-2025.csv --portfolio NAME --year 2025
    """
    from api.exporting import write_gains
    from ledger.gains import tax_year
    from ledger.what_if import Method

    chosen = tax_year(year, *year_start) if year else None
    click.echo(write_gains(load_settings(), file, portfolio, chosen, Method(method), holding_period))


@export.command()
@click.argument("file", type=click.Path(path_type=Path))
@IN_PORTFOLIO
@one_sentence
def beancount(file: Path, portfolio: str) -> None:
    """Write the portfolio as a ledger for beancount 3, with the same lots and gains.

    Exit codes: 0 done, 1 failure, 2 usage.

    Example: daybook export beancount ledger.beancount --portfolio NAME && bean-check ledger.beancount
    """
    from api.exporting import write_beancount

    click.echo(write_beancount(load_settings(), file, portfolio))


@export.command()
@click.argument("file", type=click.Path(path_type=Path))
@IN_PORTFOLIO
@click.option(
    "--table",
    type=click.Choice(["trades", "lots", "matches"]),
    default="trades",
    show_default=True,
    help="What to write.",
)
@one_sentence
def parquet(file: Path, portfolio: str, table: str) -> None:
    """Write trades, lots or matches as Parquet. Needs the extra daybook[parquet].

    Exit codes: 0 done, 1 failure, 2 usage.

    Example: daybook export parquet matches.parquet --portfolio NAME --table matches
    """
    from api.exporting import write_parquet_file

    click.echo(write_parquet_file(load_settings(), file, portfolio, table))


@cli.command()
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.option("--portfolio", metavar="NAME", help="The lots of this stored portfolio instead of a file.")
@click.option(
    "--base", default="USD", show_default=True, callback=asset, help="What a bare symbol such as AAPL is quoted in."
)
@click.option(
    "--method", type=METHODS, default="fifo", show_default=True, help="Which lot a sale closes first; FIFO is the book."
)
@click.option(
    "--specific", type=click.Path(path_type=Path), help="A JSON file that names lots for sales; the rest is FIFO."
)
@click.option("--holding-period", type=DAYS, metavar="DAYS", help="Tell for each match whether it was held longer.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@one_sentence
def lots(
    file: Path | None,
    portfolio: str | None,
    base: str,
    method: str,
    specific: Path | None,
    holding_period: int | None,
    as_json: bool,
) -> None:
    """Lots and gains of a CSV or JSON file of trades, which needs no database, or of a portfolio.

    Exit codes: 0 done, 1 rows that could not be read (each is named) or a file that cannot be used, 2 usage.

    Example: daybook lots trades.csv --method hifo --json
    """
    from api.lots_printing import print_lots, print_portfolio_lots, read_names
    from ledger.lots_report import View
    from ledger.what_if import Method

    if (file is None) == (portfolio is None):
        raise click.UsageError("Name a file of trades or --portfolio, one of the two.")
    if specific and method != "fifo":
        raise click.UsageError("--specific names the lots itself: leave --method out.")
    names = read_names(specific) if specific else None
    view = View(Method.SPECIFIC if specific else Method(method), names, holding_period)
    if file is not None:
        sys.exit(print_lots(file, base, view, as_json=as_json))
    sys.exit(print_portfolio_lots(load_settings(), str(portfolio), view, as_json=as_json))


@cli.command()
@one_sentence
def doctor() -> None:
    """Show the settings in force and what is wrong with them or with the database, each with what to do.

    Exit codes: 0 all is well, 1 something is wrong.

    Example: daybook doctor
    """
    from api.doctor import examine

    sys.exit(examine(load_settings()))
