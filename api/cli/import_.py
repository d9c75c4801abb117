"""`daybook import`: trades from files and whole legacy systems."""

import json
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import rich_click as click

from api.cli.legacy import legacy
from api.cli.options import AS_JSON, IN_PORTFOLIO, asset, counted, progress_bar, warn
from api.runtime.portfolios import portfolio_id_for
from api.runtime.settings import load_settings, usable_folder
from ledger.imports.files import read_bytes, table_of
from ledger.imports.run import ImportRequest, ImportResult, Store, import_trades
from ledger.postgres.book import PostgresBook
from ledger.postgres.database import open_database
from ledger.replay.verify import all_portfolios, rebuild_portfolio
from ledger.values import Asset, system_clock, time_text

IMPORTED, REFUSED = 0, 1


@click.group("import")
def import_() -> None:
    """Import trades from files, or a whole legacy system.

    Exit codes: 0 done, 1 failure, 2 usage.

    Example: daybook import trades trades.csv --portfolio mine --create
    """


@import_.command()
@click.argument("file", type=click.Path(path_type=Path))
@IN_PORTFOLIO
@click.option("--create", is_flag=True, help="Open the portfolio if it does not exist.")
@click.option("--base", metavar="ASSET", callback=asset, help="The portfolio's base currency (USD for a new one).")
@click.option("--dry-run", is_flag=True, help="Report what an import would do, and write nothing.")
@click.option(
    "--skip-bad",
    is_flag=True,
    help="Import the other rows when some are bad; those go to FILE.bad.csv, or the next free name.",
)
@AS_JSON
def trades(
    file: Path, portfolio: str, create: bool, base: str | None, dry_run: bool, skip_bad: bool, as_json: bool
) -> None:
    """Import the trades of FILE into a portfolio, each once: Daybook's own CSV or JSON, or an exchange's export.

    Coinbase, Binance, Kraken and Luno are recognised by their headers; docs/files.md has the columns.

    Exit codes: 0 done, 1 bad rows (nothing is imported unless they are skipped) or a failure, 2 usage.

    Example: daybook import trades fills.csv --portfolio mine --create --dry-run
    """
    settings = load_settings()
    content = read_bytes(file)
    table_of(file, content)  # an unusable file is refused before the database is opened
    usable_folder(settings.data_dir)
    with open_database(settings.data_dir, settings.database) as engine:
        request = ImportRequest(
            path=file,
            portfolio_id=portfolio_id_for(portfolio, all_portfolios(engine)),
            portfolio_name=portfolio,
            create=create,
            base=None if base is None else Asset(base),
            dry_run=dry_run,
            skip_bad=skip_bad,
            now=system_clock(),
        )
        store = Store(PostgresBook(engine, system_clock), partial(rebuild_portfolio, engine))
        lines = content.count(b"\n") * (1 if dry_run else 2)
        with progress_bar("importing", lines, shown=not as_json) as advance:
            done = import_trades(store, request, content, advance)
    report = _report(request, done)
    click.echo(json.dumps(report, ensure_ascii=False, indent=2) if as_json else "\n".join(_lines(report, done)))
    _warn_of_rows(request, done)
    sys.exit(REFUSED if done.plan.invalid and not skip_bad else IMPORTED)


import_.add_command(legacy)


def _report(request: ImportRequest, done: ImportResult) -> dict[str, object]:
    """The JSON report: counts of events, times in UTC, each bad row with its line and reason."""
    plan = done.plan
    return {
        "portfolio": request.portfolio_name,
        "file": request.path.name,
        "format": done.format,
        "rows": plan.rows,
        "new": plan.new,
        "known": plan.known,
        "conflicts": plan.conflicts,
        "bad": plan.bad,
        "ignored": dict(plan.ignored),
        "imported": done.imported,
        "first": time_text(plan.first) if plan.first else None,
        "last": time_text(plan.last) if plan.last else None,
        "reversed": [{"line": one.event.line, "id": one.event.id, "note": one.note} for one in plan.reversed],
        "errors": [{"line": one.lines[0], "id": one.id, "error": one.error} for one in plan.invalid],
        "dry_run": request.dry_run,
    }


def _lines(report: dict[str, object], done: ImportResult) -> Iterator[str]:
    yield f"{report['file']}: {report['format']}, {counted(done.plan.rows, 'row')}"
    if report["first"]:
        once = report["first"] == report["last"]
        yield f"  at {report['first']}" if once else f"  from {report['first']} to {report['last']}"
    new = "new" if done.imported == done.plan.new else "would be new"
    for name, count in ((new, done.plan.new), ("known", done.plan.known), ("bad", done.plan.bad)):
        yield f"  {name:<12}{count:>10}"
    for reason, count in sorted(done.plan.ignored.items()):
        yield f"  {'ignored':<12}{count:>10}  {reason}"
    if report["dry_run"]:
        yield f"Nothing was written to {report['portfolio']}: this was a dry run"
    else:
        yield f"{counted(done.imported, 'event')} imported into {report['portfolio']}"


def _warn_of_rows(request: ImportRequest, done: ImportResult) -> None:
    """Name every reversed and every bad row on standard error."""
    where = "index" if done.format == "daybook JSON" else "line"
    for known in done.plan.reversed:
        warn(f"{where} {known.event.line} ({known.event.id}): {known.note}")
    for one in done.plan.invalid:
        row = f"{where} {one.lines[0]}" + (f" ({one.id})" if one.id else "")
        warn(f"{row}: {one.error}")
    if done.bad_rows is not None:
        warn(f"the bad rows are in {done.bad_rows}: correct them there and import that file")
    elif done.plan.invalid and not request.dry_run:
        warn("nothing was imported, because of the bad rows: correct them, or leave them out with --skip-bad")
