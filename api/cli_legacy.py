"""`daybook import legacy` and `daybook export legacy`: moving in from the bot-coupled system, and back."""

import sys
from collections.abc import Callable
from pathlib import Path

import rich_click as click

from api.cli_options import IN_PORTFOLIO, asset, one_sentence
from api.settings import load_settings

SOURCE = click.argument("source_url", metavar="SOURCE_URL")
AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
REPORT = click.option(
    "--report", type=click.Path(path_type=Path), metavar="FILE", help="Write the report to an HTML page as well."
)
DECISIONS = click.option(
    "--decisions",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A JSON file that decides what rows leave open.",
)
BASE = click.option(
    "--base", metavar="ASSET", callback=asset, help="What a new portfolio is kept in (else as most trades)."
)

Command = Callable[..., None]


@click.group()
def legacy() -> None:
    """Move in from the bot-coupled system: plan, run, check, and roll back if need be. The source is only ever read.

    SOURCE_URL is its SQLite file, or the postgresql:// address of a copy. Exit codes: 0 done, 1 failure, 2 usage.

    Example: daybook import legacy plan trading.db --portfolio mine
    """


@legacy.command()
@SOURCE
@IN_PORTFOLIO
@DECISIONS
@BASE
@AS_JSON
@REPORT
@one_sentence
def plan(
    source_url: str, portfolio: str, decisions: Path | None, base: str | None, as_json: bool, report: Path | None
) -> None:
    """Say what is there, what would become of each row, and what is ambiguous and why. Nothing is written.

    Exit codes: 0 done, 1 a source that cannot be used or a failure, 2 usage.

    Example: daybook import legacy plan trading.db --portfolio mine --report plan.html
    """
    from api.legacy_importing import Asked, print_plan

    print_plan(load_settings(), Asked(source_url, portfolio, decisions, base, as_json, report))


@legacy.command()
@SOURCE
@IN_PORTFOLIO
@DECISIONS
@BASE
@AS_JSON
@REPORT
@one_sentence
def run(
    source_url: str, portfolio: str, decisions: Path | None, base: str | None, as_json: bool, report: Path | None
) -> None:
    """Import whatever is not there yet. Stopped at any moment and run again, it does the rest, and nothing twice.

    Paper trades go into a portfolio of their own, called NAME paper. Exit codes: 0 done, 1 failure, 2 usage.

    Example: daybook import legacy run trading.db --portfolio mine --decisions decisions.json
    """
    from api.legacy_importing import Asked, print_run

    print_run(load_settings(), Asked(source_url, portfolio, decisions, base, as_json, report))


@legacy.command()
@SOURCE
@IN_PORTFOLIO
@AS_JSON
@REPORT
@one_sentence
def check(source_url: str, portfolio: str, as_json: bool, report: Path | None) -> None:
    """Account for every row of the source, and explain every difference between its figures and the ledger's.

    Exit codes: 0 all is accounted for and explained, 3 something is not, 1 failure, 2 usage.

    Example: daybook import legacy check trading.db --portfolio mine --json
    """
    from api.legacy_importing import Asked, print_check

    sys.exit(print_check(load_settings(), Asked(source_url, portfolio, None, None, as_json, report)))


@legacy.command()
@SOURCE
@IN_PORTFOLIO
@AS_JSON
@REPORT
@one_sentence
def rollback(source_url: str, portfolio: str, as_json: bool, report: Path | None) -> None:
    """Take the whole import back as one act. Nothing is deleted, and what came later stands as it is.

    The source is not looked at. Exit codes: 0 done, 1 failure, 2 usage.

    Example: daybook import legacy rollback trading.db --portfolio mine
    """
    from api.legacy_importing import Asked, print_rollback

    print_rollback(load_settings(), Asked(source_url, portfolio, None, None, as_json, report))


@click.command("legacy")
@click.argument("file", type=click.Path(path_type=Path))
@IN_PORTFOLIO
@AS_JSON
@one_sentence
def export_legacy(file: Path, portfolio: str, as_json: bool) -> None:
    """Write the portfolio back as the old system's tables, in a SQLite file with which it can start again.

    The imported rows are there as they were, and every later trade behind them. Exit codes: 0 done, 1 failure, 2 usage.

    Example: daybook export legacy trading-again.db --portfolio mine
    """
    from api.legacy_importing import print_export

    print_export(load_settings(), file, portfolio, as_json=as_json)
