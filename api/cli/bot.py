"""`daybook bot`: writes and tests bots, and enables or disables those of other packages.

Which code of other packages may run is recorded as events in a portfolio's log.
"""

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final
from uuid import UUID

import rich_click as click
from pydantic import ValidationError

from api.runtime.market_time import portfolio_time
from api.runtime.portfolios import named_portfolios, open_ledger
from api.runtime.settings import BadSettings, Settings, load_settings
from api.runtime.wiring import chosen_feed, portfolio_name
from ledger.events import BotKindDisabled, BotKindEnabled, Event
from ledger.log.envelope import NewEvent
from ledger.postgres.book import PostgresBook
from ledger.projections.bots import EnabledBotKind
from ledger.replay.verify import all_portfolios, rebuild_outdated
from ledger.rows import Rows
from ledger.values import new_id, system_clock
from signals.bot import first_fault
from signals.registry import BUILT_IN
from signals.sandbox.bots import ForeignBot
from signals.sandbox.discovery import BotUnusable, InstalledBot, installed_bot, installed_bots
from signals.sandbox.process import Limits
from signals.testkit.scaffold import BadBot, write_package
from signals.testkit.trial import found_bots, parameters_from, tried

STATES: Final = {
    "built-in": "",
    "enabled": "may run, with these files",
    "installed": "may not run: read it, then daybook bot enable it",
    "changed": "does not run: its files are not those that were enabled; enable it again",
    "missing": "does not run: its package is not installed any more",
}
"""What can be said of a kind."""


@dataclass(frozen=True, slots=True)
class KnownKind:
    """One line of the list. `sha256` is of the files that were enabled, or of those that are installed."""

    kind: str
    state: str
    version: str
    distribution: str | None = None
    sha256: str | None = None


@click.group()
def bot() -> None:
    """Write bots, test them, and say which of other packages may run.

    Exit codes: 0 done, 1 failure, 2 usage.

    Example: daybook bot new momentum && daybook bot test momentum
    """


@bot.command()
@click.option("--portfolio", metavar="NAME", help="Where they were enabled (the one that daybook serve drives).")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON list.")
def kinds(portfolio: str | None, as_json: bool) -> None:
    """List the kinds of bot: built in, installed by other packages, and which of those may run.

    No package's code is run for it. Exit codes: 0 done, 1 failure, 2 usage.

    Example: daybook bot kinds --json
    """
    found = known_kinds(_enabled(load_settings(), portfolio))
    if as_json:
        click.echo(json.dumps([asdict(kind) for kind in found], ensure_ascii=False, indent=2))
        return
    for kind in found:
        package = f"{kind.distribution} {kind.version}" if kind.distribution else f"version {kind.version}"
        click.echo(f"{kind.kind:<20} {kind.state:<10} {package:<30} {STATES[kind.state]}".rstrip())


@bot.command()
@click.argument("name")
@click.option(
    "--in", "folder", type=click.Path(path_type=Path), default=Path(), metavar="DIR", help="Where; here by default."
)
def new(name: str, folder: Path) -> None:
    """Write a package with a bot called NAME: its code, parameters, tests and entry point.

    Exit codes: 0 done, 1 a name or a place that cannot be used, 2 usage.

    Example: daybook bot new momentum --in ~/bots
    """
    for path in write_package(name, folder, BUILT_IN):
        click.echo(path)


@bot.command()
@click.argument("what", metavar="KIND|PATH")
@click.option("--params", metavar="JSON", default="{}", help="Its parameters; the defaults where left out.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON list.")
def test(what: str, params: str, as_json: bool) -> None:
    """Ask a bot everything that shows whether it keeps the rules: no future, clock, chance or memory.

    PATH is a Python file or a package's folder. Its code is run.

    Exit codes: 0 it keeps them, 1 it breaks one (each is named) or cannot be asked, 2 usage.

    Example: daybook bot test momentum/ --params '{"length": 5}'
    """
    found = [(bot, tried(bot, parameters_from(bot, params), code)) for bot, code in found_bots(what)]
    if as_json:
        results = [{"kind": bot.kind, "version": bot.version, "breaches": breaches} for bot, breaches in found]
        click.echo(json.dumps(results, ensure_ascii=False, indent=2))
    for bot, breaches in () if as_json else found:
        rules = "1 rule" if len(breaches) == 1 else f"{len(breaches)} rules"
        outcome = f"breaks {rules}:" if breaches else "keeps every rule."
        click.echo("\n  ".join([f"{bot.kind} (version {bot.version}) {outcome}", *breaches]))
    sys.exit(1 if any(breaches for _, breaches in found) else 0)


@bot.command()
@click.argument("kind")
@click.option("--portfolio", metavar="NAME", help="For which portfolio (the one that daybook serve drives).")
def enable(kind: str, portfolio: str | None) -> None:
    """Let the installed code of KIND run as it is now, in a process of its own. Read it first: it runs as you.

    Exit codes: 0 done, 1 failure, 2 usage.

    Example: daybook bot enable momentum
    """
    click.echo(enable_kind(load_settings(), kind, portfolio))


@bot.command()
@click.argument("kind")
@click.option("--portfolio", metavar="NAME", help="For which portfolio (the one that daybook serve drives).")
@click.option("--reason", metavar="TEXT", default="", help="Why; it stays in the log.")
def disable(kind: str, portfolio: str | None, reason: str) -> None:
    """Let the code of KIND run no more; bots of this kind fail at their next candle.

    Exit codes: 0 done, 1 failure, 2 usage.

    Example: daybook bot disable momentum --reason "too loud"
    """
    click.echo(disable_kind(load_settings(), kind, portfolio, reason))


def known_kinds(enabled: Mapping[str, EnabledBotKind]) -> list[KnownKind]:
    """Every kind that is built in, installed or enabled, by name. No package's code is run."""
    ours = [KnownKind(kind, "built-in", bot.version) for kind, bot in BUILT_IN.items()]
    installed = [bot for bot in installed_bots() if bot.kind not in BUILT_IN]
    there = {bot.kind for bot in installed}
    missing = [row for kind, row in enabled.items() if kind not in there]
    return sorted(
        [
            *ours,
            *(_installed_kind(bot, enabled.get(bot.kind)) for bot in installed),
            *(
                KnownKind(row.kind, "missing", row.distribution_version, row.distribution, row.sha256)
                for row in missing
            ),
        ],
        key=lambda known: (known.kind, known.distribution or ""),
    )


def enable_kind(settings: Settings, kind: str, portfolio: str | None) -> str:
    """The installed code of this kind may run from now on, as it is; says so in one sentence.

    It is started once to see that it can be. Raises BotUnusable, BadBot and BadSettings; nothing is recorded then.
    """
    if kind in BUILT_IN:
        raise BadBot(f"{kind} is built in: there is nothing to enable")
    found = installed_bot(kind)
    code = found.code
    sha256 = code.sha256()
    trial = ForeignBot(kind, lambda: code, Limits())
    try:
        version = trial.version
    finally:
        trial.close()

    def event(rows: Rows) -> Event | None:
        known = rows.get(EnabledBotKind, kind)
        if known is not None and known.sha256 == sha256:
            return None
        return BotKindEnabled(
            kind=kind, distribution=found.distribution, distribution_version=found.distribution_version, sha256=sha256
        )

    what = f"{kind} (version {version}) of {found.distribution} {found.distribution_version}, sha256 {sha256[:12]}…"
    name, recorded = _record(settings, portfolio, event)
    return f"{what} {'may run' if recorded else 'was enabled already'} in {name!r}"


def disable_kind(settings: Settings, kind: str, portfolio: str | None, reason: str) -> str:
    """The code of this kind may not run any more. Raises BadBot for one that is not enabled, and BadSettings."""

    def event(rows: Rows) -> Event:
        if rows.get(EnabledBotKind, kind) is None:
            raise BadBot(f"there is no enabled kind {kind[:40]!r}: daybook bot kinds lists them")
        return BotKindDisabled(kind=kind, reason=reason)

    name, _ = _record(settings, portfolio, event)
    return f"{kind} may not run any more in {name!r}"


def _installed_kind(bot: InstalledBot, row: EnabledBotKind | None) -> KnownKind:
    try:
        sha256 = bot.code.sha256()
    except BotUnusable:  # its entry point leads nowhere: there is nothing to hash, and nothing will run
        sha256 = None
    state = "installed" if row is None else "enabled" if row.sha256 == sha256 else "changed"
    return KnownKind(bot.kind, state, bot.distribution_version, bot.distribution, row.sha256 if row else sha256)


def _enabled(settings: Settings, portfolio: str | None) -> dict[str, EnabledBotKind]:
    """What is enabled; nothing where nobody has started Daybook yet."""
    never_started = settings.database is None and not (settings.data_dir / "postgres" / "PG_VERSION").exists()
    if never_started and portfolio is None:
        return {}
    with _book(settings) as (book, portfolios):
        chosen = named_portfolios(portfolios, portfolio or driven_name(settings))
        if not chosen and portfolio is not None:
            raise BadSettings(f"there is no portfolio called {portfolio!r}: daybook replay lists them")
        if not chosen:
            return {}
        with book.reading(chosen[0]) as reading:
            return {row.kind: row for row in reading.rows.where(EnabledBotKind)}


def _record(settings: Settings, portfolio: str | None, event: Callable[[Rows], Event | None]) -> tuple[str, bool]:
    """The portfolio's name, and whether there was an event to record. Raises BadSettings when it is not there."""
    name = portfolio or driven_name(settings)
    with _book(settings) as (book, portfolios):
        chosen = named_portfolios(portfolios, name)
        if not chosen:
            hint = "daybook replay lists them" if portfolio else "start daybook serve once, which opens it"
            raise BadSettings(f"there is no portfolio called {name!r}: {hint}")
        with book.reading(chosen[0]) as reading:
            try:
                new = event(reading.rows)
            except ValidationError as error:
                raise BadBot(f"this cannot be recorded: {first_fault(error)}") from None
            at = portfolio_time(book, reading)
        if new is not None:
            event_id = new_id()
            book.record(chosen[0], [NewEvent(new, event_id, at, "owner", event_id)])
    return name, new is not None


def driven_name(settings: Settings) -> str:
    """The name of the portfolio that `daybook serve` drives with these settings. Raises BadSettings."""
    return portfolio_name(chosen_feed(settings.feed, lambda: 0.0))


@contextmanager
def _book(settings: Settings) -> Iterator[tuple[PostgresBook, list[UUID]]]:
    with open_ledger(settings) as engine:
        rebuild_outdated(engine)
        yield PostgresBook(engine, system_clock), all_portfolios(engine)
