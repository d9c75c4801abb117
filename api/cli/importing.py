"""`daybook import trades FILE`: what the file holds, what the portfolio already knew, and what went in."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from uuid import UUID

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from api.cli.options import warn
from api.runtime.settings import Settings, usable_folder
from ledger.imports.files import read_bytes, table_of
from ledger.imports.run import ImportRequest, ImportResult, Store, import_trades
from ledger.postgres.book import PostgresBook
from ledger.postgres.database import open_database
from ledger.projections.portfolio import portfolio_id_of
from ledger.replay.verify import all_portfolios, rebuild_portfolio
from ledger.values import Asset, system_clock, time_text

IMPORTED, REFUSED = 0, 1


@dataclass(frozen=True, slots=True)
class Asked:
    """The options of the command."""

    path: Path
    portfolio: str
    create: bool
    base: str | None
    dry_run: bool
    skip_bad: bool
    as_json: bool


def run_import(settings: Settings, asked: Asked) -> int:
    """Imports the file, prints the report, names every bad row on standard error, and returns the exit code.

    Raises BadFile before the database is opened, NoSuchPortfolio and WrongPortfolio.
    """
    content = read_bytes(asked.path)
    table_of(asked.path, content)
    usable_folder(settings.data_dir)
    with open_database(settings.data_dir, settings.database) as engine:
        store = Store(PostgresBook(engine, system_clock), partial(rebuild_portfolio, engine))
        wanted = ImportRequest(
            path=asked.path,
            portfolio_id=named_portfolio_id(asked.portfolio, all_portfolios(engine)),
            portfolio_name=asked.portfolio,
            create=asked.create,
            base=None if asked.base is None else Asset(asked.base),
            dry_run=asked.dry_run,
            skip_bad=asked.skip_bad,
            now=system_clock(),
        )
        lines = content.count(b"\n") * (1 if asked.dry_run else 2)
        with import_bar("importing", lines, shown=not asked.as_json) as advance:
            done = import_trades(store, wanted, content, advance)
    _print(asked, done)
    return REFUSED if done.plan.invalid and not asked.skip_bad else IMPORTED


def report_of(done: ImportResult, *, portfolio: str, file: str, dry_run: bool) -> dict[str, object]:
    """The report as it is printed with --json: counts of events, times in UTC, each bad row with its line and reason."""
    plan = done.plan
    return {
        "portfolio": portfolio,
        "file": file,
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
        "reversed": [{"line": one.event.line, "id": one.event.id, "note": one.note} for one in plan.taken_back],
        "errors": [{"line": one.lines[0], "id": one.id, "error": one.error} for one in plan.invalid],
        "dry_run": dry_run,
    }


def counted(count: int, what: str) -> str:
    """`1 row`, `2 rows`."""
    return f"{count} {what}" if count == 1 else f"{count} {what[:-1]}ies" if what.endswith("y") else f"{count} {what}s"


def named_portfolio_id(name: str, known: list[UUID]) -> UUID:
    """The portfolio with this id, if there is one; else the one of this name, whether it exists or not."""
    return next((one for one in known if str(one) == name.lower()), portfolio_id_of(name))


def _print(asked: Asked, done: ImportResult) -> None:
    report = report_of(done, portfolio=asked.portfolio, file=asked.path.name, dry_run=asked.dry_run)
    if asked.as_json:
        click.echo(json.dumps(report, ensure_ascii=False, indent=2))
    else:
        click.echo("\n".join(_lines(report, done)))
    where = "index" if done.format == "daybook JSON" else "line"
    for known in done.plan.taken_back:
        warn(f"{where} {known.event.line} ({known.event.id}): {known.note}")
    for one in done.plan.invalid:
        named = f"{where} {one.lines[0]}" + (f" ({one.id})" if one.id else "")
        warn(f"{named}: {one.error}")
    if done.bad_rows is not None:
        warn(f"the bad rows are in {done.bad_rows}: correct them there and import that file")
    elif done.plan.invalid and not asked.dry_run:
        sentence = "nothing was imported, because of the bad rows: correct them, or leave them out with --skip-bad"
        warn(sentence)


def _lines(report: dict[str, object], done: ImportResult) -> Iterator[str]:
    yield f"{report['file']}: {report['format']}, {counted(done.plan.rows, 'row')}"
    if report["first"]:
        once = report["first"] == report["last"]
        yield f"  at {report['first']}" if once else f"  from {report['first']} to {report['last']}"
    new = "new" if done.imported == done.plan.new else "would be new"
    for name, count in ((new, done.plan.new), ("known", done.plan.known), ("bad", done.plan.bad)):
        yield f"  {name:<12}{count:>10}"
    for why, count in sorted(done.plan.ignored.items()):
        yield f"  {'ignored':<12}{count:>10}  {why}"
    if report["dry_run"]:
        yield f"Nothing was written to {report['portfolio']}: this was a dry run"
    else:
        yield f"{counted(done.imported, 'event')} imported into {report['portfolio']}"


@contextmanager
def import_bar(what: str, total: int | None, *, shown: bool) -> Iterator[Callable[[int], None]]:
    """A bar on standard error while the context is open, where a terminal is there to show it."""
    console = Console(stderr=True)
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not (shown and console.is_terminal)) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.advance(task, done)
