"""`daybook import legacy` and `daybook export legacy`: moving in from the bot-coupled system, and back."""

import sys
from collections.abc import Callable
from functools import reduce, wraps
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from api.cli.options import IN_PORTFOLIO, asset
from api.runtime.settings import load_settings

if TYPE_CHECKING:
    from api.cli.legacy_importing import Asked

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


def _asked(*more: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """Gives a command the source, the options that all have, and these; they reach it as `asked`."""

    def given(command: Command) -> Command:
        @wraps(command)
        def run(**options: object) -> None:
            from api.cli.legacy_importing import Asked

            command(Asked(**options))  # type: ignore[arg-type]  # click has made them what they are

        all_options: list[Callable[[Command], Command]] = [SOURCE, IN_PORTFOLIO, *more, AS_JSON, REPORT]
        decorated: Command = run
        return reduce(lambda asking, option: option(asking), reversed(all_options), decorated)

    return given


@click.group()
def legacy() -> None:
    """Move in from the bot-coupled system: plan, run, check, and roll back if need be. The source is only ever read.

    SOURCE_URL is its SQLite file, or the postgresql:// address of a copy. Exit codes: 0 done, 1 failure, 2 usage.

    Example: daybook import legacy plan trading.db --portfolio mine
    """


@legacy.command()
@_asked(DECISIONS, BASE)
def plan(asked: "Asked") -> None:
    """Say what is there, what would become of each row, and what is ambiguous and why. Nothing is written.

    Exit codes: 0 done, 1 a source that cannot be used or a failure, 2 usage.

    Example: daybook import legacy plan trading.db --portfolio mine --report plan.html
    """
    from api.cli.legacy_importing import print_plan

    print_plan(load_settings(), asked)


@legacy.command()
@_asked(DECISIONS, BASE)
def run(asked: "Asked") -> None:
    """Import whatever is not there yet. Stopped at any moment and run again, it does the rest, and nothing twice.

    Paper trades go into a portfolio of their own, called NAME paper. Exit codes: 0 done, 1 failure, 2 usage.

    Example: daybook import legacy run trading.db --portfolio mine --decisions decisions.json
    """
    from api.cli.legacy_importing import print_run

    print_run(load_settings(), asked)


@legacy.command()
@_asked()
def check(asked: "Asked") -> None:
    """Account for every row of the source, and explain every difference between its figures and the ledger's.

    Exit codes: 0 all is accounted for and explained, 3 something is not, 1 failure, 2 usage.

    Example: daybook import legacy check trading.db --portfolio mine --json
    """
    from api.cli.legacy_importing import print_check

    sys.exit(print_check(load_settings(), asked))


@legacy.command()
@_asked()
def rollback(asked: "Asked") -> None:
    """Take the whole import back as one act. Nothing is deleted, and what came later stands as it is.

    The source is not looked at. Exit codes: 0 done, 1 failure, 2 usage.

    Example: daybook import legacy rollback trading.db --portfolio mine
    """
    from api.cli.legacy_importing import print_rollback

    print_rollback(load_settings(), asked)


@click.command("legacy")
@click.argument("file", type=click.Path(path_type=Path))
@IN_PORTFOLIO
@AS_JSON
def export_legacy(file: Path, portfolio: str, as_json: bool) -> None:
    """Write the portfolio back as the old system's tables, in a SQLite file with which it can start again.

    The imported rows are there as they were, and every later trade behind them. Exit codes: 0 done, 1 failure, 2 usage.

    Example: daybook export legacy trading-again.db --portfolio mine
    """
    from api.cli.legacy_importing import print_export

    print_export(load_settings(), file, portfolio, as_json=as_json)
