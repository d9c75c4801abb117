"""`daybook import legacy` and `daybook export legacy`: migrate from the bot-coupled system, and back."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from functools import partial, reduce, wraps
from pathlib import Path
from typing import Final
from uuid import UUID

import rich_click as click

from api.cli.options import AS_JSON, IN_PORTFOLIO, asset, counted, progress_bar
from api.runtime.output_files import BadTarget, draft_of, whole_file
from api.runtime.portfolios import portfolio_id_for
from api.runtime.settings import load_settings, usable_folder
from ledger.imports.run import Store
from ledger.postgres.book import PostgresBook
from ledger.postgres.database import open_database
from ledger.replay.verify import all_portfolios, rebuild_outdated, rebuild_portfolio
from ledger.values import Asset, system_clock
from migrations.legacy.check.check_import import check_import
from migrations.legacy.export import export_legacy as write_tables
from migrations.legacy.load.run import Prepared, Wanted, prepared, run_import
from migrations.legacy.report import Report, check_lines, check_report, html_page, plan_lines, plan_report
from migrations.legacy.rollback import roll_back
from migrations.legacy.translate.decisions import UNDECIDED, read_decisions

PROVEN, UNPROVEN = 0, 3
SQLITE: Final = b"SQLite format 3\x00"
"""The first bytes of every SQLite database."""

Command = Callable[..., None]

DECISIONS = click.option(
    "--decisions",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A JSON file that resolves ambiguous rows.",
)
BASE = click.option(
    "--base", metavar="ASSET", callback=asset, help="Base currency of a new portfolio (else that of most trades)."
)


@dataclass(frozen=True, slots=True)
class Options:
    """Options of the commands that read a legacy source."""

    source_url: str
    portfolio: str
    as_json: bool
    report: Path | None
    decisions: Path | None = None
    base: str | None = None


def _with_options(*more: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """Add the shared options and these to a command; passed on as one `Options`."""
    shared: list[Callable[[Command], Command]] = [
        click.argument("source_url", metavar="SOURCE_URL"),
        IN_PORTFOLIO,
        *more,
        AS_JSON,
        click.option(
            "--report", type=click.Path(path_type=Path), metavar="FILE", help="Write the report as an HTML page too."
        ),
    ]

    def decorated(command: Command) -> Command:
        @wraps(command)
        def run(**values: object) -> None:
            command(Options(**values))  # type: ignore[arg-type]  # click has converted them

        start: Command = run
        return reduce(lambda inner, option: option(inner), reversed(shared), start)

    return decorated


@click.group()
def legacy() -> None:
    """Migrate from the bot-coupled system: plan, run, check, and roll back if need be. The source is never changed.

    SOURCE_URL is its SQLite file, or the postgresql:// address of a copy. Exit codes: 0 done, 1 failure, 2 usage.

    Example: daybook import legacy plan trading.db --portfolio mine
    """


@legacy.command()
@_with_options(DECISIONS, BASE)
def plan(options: Options) -> None:
    """Report what each row would become, and which rows are ambiguous and why. Nothing is written.

    Exit codes: 0 done, 1 an unusable source or a failure, 2 usage.

    Example: daybook import legacy plan trading.db --portfolio mine --report plan.html
    """
    with _prepared(options) as (_, found):
        lines = [*plan_lines(found), f"Nothing was written to {options.portfolio}: this was the plan"]
        _print(options, lambda: plan_report(found), lines, "Plan of the migration")


@legacy.command()
@_with_options(DECISIONS, BASE)
def run(options: Options) -> None:
    """Import everything not imported yet. Stopped at any moment and run again, it continues and repeats nothing.

    Paper trades go into a portfolio of their own, called NAME paper. Exit codes: 0 done, 1 failure, 2 usage.

    Example: daybook import legacy run trading.db --portfolio mine --decisions decisions.json
    """
    with _prepared(options, origins=True) as (store, found):
        lines = list(plan_lines(found))
        with progress_bar("importing", _new_events(found), shown=not options.as_json) as advance:
            done = run_import(store, found, advance)
        lines += [
            f"{counted(done.imported, 'event')} imported into {options.portfolio}",
            *([f"{counted(done.reversed, 'trade')} of an earlier run reversed"] if done.reversed else []),
            f"the unchanged source is kept in {done.archive.name}",
        ]
        more = {"imported": done.imported, "taken_back_now": done.reversed, "archive": str(done.archive)}
        _print(options, lambda: {**plan_report(found), **more}, lines, "Migration")


@legacy.command()
@_with_options()
def check(options: Options) -> None:
    """Account for every row of the source, and explain every difference between its figures and the ledger's.

    Exit codes: 0 all is accounted for and explained, 3 something is not, 1 failure, 2 usage.

    Example: daybook import legacy check trading.db --portfolio mine --json
    """
    with _prepared(options, comparison=True) as (store, found):
        checked = check_import(store, found)
        lines = list(check_lines(checked))
        _print(options, lambda: check_report(checked), lines, f"Check of the migration of {found.source.label}")
    sys.exit(PROVEN if checked.ok else UNPROVEN)


@legacy.command()
@_with_options()
def rollback(options: Options) -> None:
    """Reverse the whole import, paper trades included. Nothing is deleted; later movements stay.

    The source is not read. Exit codes: 0 done, 1 failure, 2 usage.

    Example: daybook import legacy rollback trading.db --portfolio mine
    """
    with _store() as (store, known):
        portfolio_id = portfolio_id_for(options.portfolio, known)
        wanted = Wanted(options.source_url, options.portfolio, portfolio_id, _folder(portfolio_id))
        done = {options.portfolio: roll_back(store, portfolio_id, options.portfolio, system_clock())}
        if wanted.paper_id in known:
            done[wanted.paper_name] = roll_back(store, wanted.paper_id, wanted.paper_name, system_clock())
    lines = []
    for name, one in done.items():
        end = "the portfolio is closed" if one.closed else f"{counted(one.later, 'later movement')} kept"
        before = f" ({one.before} already reversed)" if one.before else ""
        lines.append(f"{name}: {counted(one.reversed, 'imported trade')} reversed{before}; {end}")
    _print(options, lambda: {name: asdict(one) for name, one in done.items()}, lines, "Rollback")


@click.command("legacy")
@click.argument("file", type=click.Path(path_type=Path))
@IN_PORTFOLIO
@AS_JSON
def export_legacy(file: Path, portfolio: str, as_json: bool) -> None:
    """Write the portfolio as the legacy system's tables, in a SQLite file with which it can start again.

    Imported rows are as they were; later trades follow them. Exit codes: 0 done, 1 failure, 2 usage.

    Example: daybook export legacy trading-again.db --portfolio mine
    """
    _refuse_database(file)
    with _store() as (store, known), draft_of(file) as draft:
        portfolio_id = portfolio_id_for(portfolio, known)
        done = write_tables(store, portfolio_id, portfolio, _folder(portfolio_id), draft)
    if as_json:
        click.echo(json.dumps(asdict(done), indent=2))
        return
    rows = ", ".join(counted(count, "row") + f" of {name}" for name, count in done.tables.items())
    click.echo(f"{file}: {rows}; {counted(done.later, 'later trade')} among them")
    if done.left_out:
        click.echo(f"{counted(done.left_out, 'later movement')} left out: the legacy tables cannot hold them")


@contextmanager
def _prepared(options: Options, *, origins: bool = False, comparison: bool = False) -> Iterator[tuple[Store, Prepared]]:
    if options.report is not None:
        _refuse_database(options.report)
    decisions = UNDECIDED if options.decisions is None else read_decisions(options.decisions)
    with _store() as (store, known):
        portfolio_id = portfolio_id_for(options.portfolio, known)
        base = None if options.base is None else Asset(options.base)
        folder = _folder(portfolio_id)
        wanted = Wanted(options.source_url, options.portfolio, portfolio_id, folder, decisions, base)
        with ExitStack() as stack:
            with progress_bar("reading", None, shown=not options.as_json) as advance:
                found = stack.enter_context(prepared(store, wanted, advance, origins=origins, comparison=comparison))
            yield store, found


@contextmanager
def _store() -> Iterator[tuple[Store, list[UUID]]]:
    settings = load_settings()
    usable_folder(settings.data_dir)
    with open_database(settings.data_dir, settings.database) as engine:
        rebuild_outdated(engine)
        yield Store(PostgresBook(engine, system_clock), partial(rebuild_portfolio, engine)), all_portfolios(engine)


def _refuse_database(path: Path) -> None:
    """Raise BadTarget if `path` is an SQLite database: it may be the legacy system's own."""
    if not path.is_file():
        return
    with path.open("rb") as stream:
        if stream.read(len(SQLITE)) == SQLITE:
            raise BadTarget(f"{path} is a database, which is never replaced: name a new file")


def _folder(portfolio_id: UUID) -> Path:
    return load_settings().data_dir / "legacy" / str(portfolio_id)


def _new_events(found: Prepared) -> int:
    (count,) = found.stage.connection.execute("select count(*) from events where position is null").fetchone()
    return int(count)


def _print(options: Options, report: Callable[[], Report], lines: list[str], title: str) -> None:
    """Print the report as JSON or as lines, and write it as a page if --report names one."""
    if options.report is not None:
        with whole_file(options.report) as file:
            file.write(html_page(title, lines))
    text = json.dumps(report(), ensure_ascii=False, indent=2) if options.as_json else "\n".join(lines)
    click.echo(text)
