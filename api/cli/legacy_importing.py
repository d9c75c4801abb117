"""What `daybook import legacy` and `daybook export legacy` do and print."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Final
from uuid import UUID

import click

from api.cli.importing import counted, import_bar, named_portfolio_id
from api.runtime.output_files import BadTarget, draft_of, whole_file
from api.runtime.settings import Settings, usable_folder
from ledger.imports.run import Store
from ledger.postgres.book import PostgresBook
from ledger.postgres.database import open_database
from ledger.replay.verify import all_portfolios, rebuild_outdated, rebuild_portfolio
from ledger.values import Asset, system_clock
from migrations.legacy.check.check_import import check_import
from migrations.legacy.export import export_legacy
from migrations.legacy.load.run import Prepared, Wanted, prepared, run_import
from migrations.legacy.report import Report, check_lines, check_report, html_page, plan_lines, plan_report
from migrations.legacy.rollback import roll_back
from migrations.legacy.translate.decisions import UNDECIDED, read_decisions

PROVEN, UNPROVEN = 0, 3
SQLITE: Final = b"SQLite format 3\x00"
"""How every SQLite database begins."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The options of the commands."""

    source_url: str
    portfolio: str
    as_json: bool
    report: Path | None
    decisions: Path | None = None
    base: str | None = None


def print_plan(settings: Settings, asked: Asked) -> None:
    """Prints the plan; nothing is written but the page that was asked for."""
    with _prepared(settings, asked) as (_, found):
        lines = [*plan_lines(found), f"Nothing was written to {asked.portfolio}: this was the plan"]
        _tell(asked, lambda: plan_report(found), lines, "What moving in would do")


def print_run(settings: Settings, asked: Asked) -> None:
    """Imports what is not there yet and prints the plan that it followed and what was done."""
    with _prepared(settings, asked, origins=True) as (store, found):
        lines = list(plan_lines(found))
        with import_bar("importing", _new_events(found), shown=not asked.as_json) as advance:
            done = run_import(store, found, advance)
        lines += [
            f"{counted(done.imported, 'event')} imported into {asked.portfolio}",
            *([f"{counted(done.taken_back, 'trade')} of an earlier run taken back"] if done.taken_back else []),
            f"the source as it was is kept in {done.archive.name}",
        ]
        told = {"imported": done.imported, "taken_back_now": done.taken_back, "archive": str(done.archive)}
        _tell(asked, lambda: {**plan_report(found), **told}, lines, "Moving in")


def print_check(settings: Settings, asked: Asked) -> int:
    """Prints the check and returns the exit code."""
    with _prepared(settings, asked, sightings=True) as (store, found):
        checked = check_import(store, found)
        _tell(asked, lambda: check_report(checked), list(check_lines(checked)), f"The move of {found.source.label}")
    return PROVEN if checked.ok else UNPROVEN


def print_rollback(settings: Settings, asked: Asked) -> None:
    """Takes the import back, paper trades as well, and says what that did."""
    with _store(settings) as (store, known):
        portfolio_id = named_portfolio_id(asked.portfolio, known)
        wanted = Wanted(asked.source_url, asked.portfolio, portfolio_id, _folder(settings, portfolio_id))
        done = {asked.portfolio: roll_back(store, portfolio_id, asked.portfolio, system_clock())}
        if wanted.paper_id in known:
            done[wanted.paper_name] = roll_back(store, wanted.paper_id, wanted.paper_name, system_clock())
    lines = []
    for name, one in done.items():
        end = "it is closed" if one.closed else f"{counted(one.later, 'later movement')} stand as they are"
        before = f" ({one.before} had been before)" if one.before else ""
        lines.append(f"{name}: {counted(one.reversed, 'imported trade')} taken back{before}; {end}")
    _tell(asked, lambda: {name: asdict(one) for name, one in done.items()}, lines, "Moving out again")


def print_export(settings: Settings, path: Path, portfolio: str, *, as_json: bool) -> None:
    """Writes the file, which appears whole or not at all, and says what is in it."""
    _spare_database(path)
    with _store(settings) as (store, known), draft_of(path) as draft:
        portfolio_id = named_portfolio_id(portfolio, known)
        done = export_legacy(store, portfolio_id, portfolio, _folder(settings, portfolio_id), draft)
    if as_json:
        click.echo(json.dumps(asdict(done), indent=2))
        return
    rows = ", ".join(counted(count, "row") + f" of {name}" for name, count in done.tables.items())
    click.echo(f"{path}: {rows}; {counted(done.later, 'later trade')} among them")
    if done.left_out:
        click.echo(f"{counted(done.left_out, 'later movement')} left out: the old tables have no form for them")


@contextmanager
def _prepared(
    settings: Settings, asked: Asked, *, origins: bool = False, sightings: bool = False
) -> Iterator[tuple[Store, Prepared]]:
    if asked.report is not None:
        _spare_database(asked.report)
    decisions = UNDECIDED if asked.decisions is None else read_decisions(asked.decisions)
    with _store(settings) as (store, known):
        portfolio_id = named_portfolio_id(asked.portfolio, known)
        folder = _folder(settings, portfolio_id)
        base = None if asked.base is None else Asset(asked.base)
        wanted = Wanted(asked.source_url, asked.portfolio, portfolio_id, folder, decisions, base)
        with ExitStack() as stack:
            with import_bar("reading", None, shown=not asked.as_json) as advance:
                found = stack.enter_context(prepared(store, wanted, advance, origins=origins, sightings=sightings))
            yield store, found


@contextmanager
def _store(settings: Settings) -> Iterator[tuple[Store, list[UUID]]]:
    usable_folder(settings.data_dir)
    with open_database(settings.data_dir, settings.database) as engine:
        rebuild_outdated(engine)
        yield Store(PostgresBook(engine, system_clock), partial(rebuild_portfolio, engine)), all_portfolios(engine)


def _spare_database(path: Path) -> None:
    """Raises BadTarget where a database lies: it may be the old system's own."""
    if not path.is_file():
        return
    with path.open("rb") as stream:
        if stream.read(len(SQLITE)) == SQLITE:
            raise BadTarget(f"{path} is a database, and none is ever replaced: name a new file")


def _folder(settings: Settings, portfolio_id: UUID) -> Path:
    return settings.data_dir / "legacy" / str(portfolio_id)


def _new_events(found: Prepared) -> int:
    (count,) = found.stage.connection.execute("select count(*) from events where position is null").fetchone()
    return int(count)


def _tell(asked: Asked, report: Callable[[], Report], lines: list[str], title: str) -> None:
    """The report in the form that was asked for, and as a page where one was."""
    if asked.report is not None:
        with whole_file(asked.report) as file:
            file.write(html_page(title, lines))
    click.echo(json.dumps(report(), ensure_ascii=False, indent=2) if asked.as_json else "\n".join(lines))
