"""The command `daybook`: one name that opens every door. Exit codes: 0 done · 1 failure · 2 usage · 3 difference · 4 broken chain."""

import sys
from importlib.metadata import version
from pathlib import Path

import rich_click as click

from api.cli.accounts import accounts
from api.cli.backtest import backtest
from api.cli.bot import bot
from api.cli.export import export
from api.cli.freqtrade import freqtrade
from api.cli.halt import halt, resume
from api.cli.import_ import import_, record, reverse
from api.cli.keys import key
from api.cli.legacy import export_legacy, legacy
from api.cli.options import DAYS, METHODS, asset, at_any_time, one_sentence
from api.cli.performance import performance
from api.cli.sweep import compare, sweep, walk_forward
from api.cli.venue import venue
from api.cli.webhook import webhook
from api.runtime.settings import load_settings
from ledger.log.point_in_time import PointInTime

click.rich_click.TEXT_MARKUP = "rich"


def main() -> None:
    """Runs the command; what is known to go wrong becomes one sentence and exit code 1."""
    cli(prog_name="daybook")


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
@at_any_time
@click.option("--thorough", is_flag=True, help="Fold long logs by the plain road too, not by the column road alone.")
@click.option("--workers", type=click.IntRange(1, 64), default=1, help="So many portfolios at once, each in a process.")
@click.option("--executor", metavar="URL", help="A Dask cluster that does the work instead: dask://host:port.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@one_sentence
def replay(
    verify: bool,
    rebuild: bool,
    portfolio: str | None,
    checkpoint: Path | None,
    past: PointInTime,
    thorough: bool,
    workers: int,
    executor: str | None,
    as_json: bool,
) -> None:
    """Read the log again, prove it, and compare the stored views with it.

    With --as-of or --known-at the log is cut at those times and the portfolio printed as it was.

    Exit codes: 0 all equal, 3 a difference, 4 broken chain, 2 usage, 1 failure.

    Example: daybook replay --verify --json
    """
    from api.cli.replaying import Labour, run_replay

    settings = load_settings()
    if past:
        from api.cli.replaying_past import run_replay_at

        if rebuild or checkpoint:
            raise click.UsageError("--as-of and --known-at look at the past: leave out --rebuild and --checkpoint")
        sys.exit(run_replay_at(settings, past, portfolio=portfolio, as_json=as_json))
    labour = Labour(workers, executor, rebuild=rebuild, thorough=thorough)
    sys.exit(run_replay(settings, labour, portfolio=portfolio, as_json=as_json, checkpoint=checkpoint))


@cli.command()
@click.argument("file", type=click.Path(path_type=Path))
@one_sentence
def checkpoint(file: Path) -> None:
    """Write a signed file that says where every log stands now. Keep it outside this machine.

    A cut tail, a rewritten log and a log that vanished show when it is given to replay. Exit codes: 0 done, 1 failure.

    Example: daybook checkpoint friday.json && daybook replay --checkpoint friday.json
    """
    from api.runtime.proofs import write_checkpoint_file

    click.echo(write_checkpoint_file(load_settings(), file))


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
@at_any_time
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@one_sentence
def lots(
    file: Path | None,
    portfolio: str | None,
    past: PointInTime,
    base: str,
    method: str,
    specific: Path | None,
    holding_period: int | None,
    as_json: bool,
) -> None:
    """Lots and gains of a CSV or JSON file of trades, ours or an exchange's, which needs no database, or of a portfolio.

    Exit codes: 0 done, 1 rows that could not be read (each is named) or a file that cannot be used, 2 usage.

    Example: daybook lots trades.csv --method hifo --json
    """
    from api.cli.lots_printing import print_lots, print_portfolio_lots, read_names
    from ledger.reports.lot_methods import Method
    from ledger.reports.lots import View

    if (file is None) == (portfolio is None):
        raise click.UsageError("Name a file of trades or --portfolio, one of the two.")
    if file is not None and past:
        raise click.UsageError("--as-of and --known-at look into a stored portfolio: a file has no past.")
    if specific and method != "fifo":
        raise click.UsageError("--specific names the lots itself: leave --method out.")
    names = read_names(specific) if specific else None
    view = View(Method.SPECIFIC if specific else Method(method), names, holding_period)
    if file is not None:
        sys.exit(print_lots(file, base, view, as_json=as_json))
    sys.exit(print_portfolio_lots(load_settings(), str(portfolio), past, view, as_json=as_json))


@cli.command()
@one_sentence
def doctor() -> None:
    """Show the settings in force and what is wrong with them or with the database, each with what to do.

    Exit codes: 0 all is well, 1 something is wrong.

    Example: daybook doctor
    """
    from api.cli.doctor import examine

    sys.exit(examine(load_settings()))


cli.add_command(accounts)
cli.add_command(bot)
cli.add_command(backtest)
for command in (sweep, walk_forward, compare):
    backtest.add_command(command)
export.add_command(export_legacy)
import_.add_command(legacy)
cli.add_command(export)
cli.add_command(import_)
cli.add_command(performance)
cli.add_command(record)
cli.add_command(reverse)
cli.add_command(halt)
cli.add_command(resume)
cli.add_command(key)
cli.add_command(webhook)
cli.add_command(freqtrade)
cli.add_command(venue)
