"""`daybook import`, `daybook record` and `daybook reverse`: what happened elsewhere, taken over from files or taken back."""

import sys
from pathlib import Path

import rich_click as click

from api.cli.legacy import legacy
from api.cli.options import asset
from api.runtime.settings import load_settings


@click.group("import")
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
@click.option(
    "--skip-bad",
    is_flag=True,
    help="Import the rest when rows are bad; those go to FILE.bad.csv, or the next free name.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def trades(
    file: Path, portfolio: str, create: bool, base: str | None, dry_run: bool, skip_bad: bool, as_json: bool
) -> None:
    """Put the trades of FILE into a portfolio, each once: our own CSV or JSON, or an exchange's export.

    Coinbase, Binance, Kraken and Luno are recognised by their headers; docs/files.md has the columns.

    Exit codes: 0 done, 1 bad rows (nothing is imported unless they are skipped) or a failure, 2 usage.

    Example: daybook import trades fills.csv --portfolio mine --create --dry-run
    """
    from api.cli.importing import Asked, run_import

    asked = Asked(file, portfolio, create, base, dry_run, skip_bad, as_json)
    sys.exit(run_import(load_settings(), asked))


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--portfolio", metavar="NAME", required=True, help="Where they go (its name or id).")
@click.option("--dry-run", is_flag=True, help="Check everything and record nothing.")
def record(file: Path, portfolio: str, dry_run: bool) -> None:
    """Record a JSON list of entries (deposits, income, splits, trades made elsewhere), all of it or nothing.

    Each has an id of its own beside the fields of POST /api/v1/portfolio/entries; one that was recorded is left out, so
    a file can be recorded again.

    Exit codes: 0 done, 1 an entry or a file that cannot be used, 2 usage.

    Example: daybook record history.json --portfolio mine --dry-run
    """
    from api.cli.recording import record_file

    click.echo(record_file(load_settings(), file, portfolio, dry_run=dry_run))


@click.command()
@click.argument("event_id")
@click.option("--portfolio", metavar="NAME", required=True, help="Where it stands (its name or id).")
@click.option("--reason", metavar="TEXT", required=True, help="Why it was wrong; it stays in the log beside it.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def reverse(event_id: str, portfolio: str, reason: str, as_json: bool) -> None:
    """Take back a trade, or any other event that moved value: from now on it never happened. Both stay in the log.

    A trade may be named by the id its venue or file gave it, where no other trade has the same. Entered or imported
    again as it should have been, it gives the figures of having been right at once.

    Exit codes: 0 done, 1 nothing to take back or a failure, 2 usage.

    Example: daybook reverse t42 --portfolio mine --reason "the price was mistyped"
    """
    from api.cli.reversing import run_reverse

    if not reason.strip():
        raise click.UsageError("--reason must say something.")
    run_reverse(load_settings(), event_id, portfolio, reason, as_json=as_json)


import_.add_command(legacy)
