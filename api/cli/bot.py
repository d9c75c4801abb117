"""`daybook bot`: create and test bots, and enable or disable those of other packages.

Enabling and disabling are events in a portfolio's log.
"""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final
from uuid import UUID

import rich_click as click
from pydantic import ValidationError

from api.cli.options import AS_JSON_LIST, echo_json
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
from signals.testkit.check import check_bot, find_bots, read_parameters
from signals.testkit.scaffold import BadBot, write_package

STATES: Final = {
    "built-in": "",
    "enabled": "may run, with these files",
    "installed": "may not run: read its code, then use daybook bot enable",
    "changed": "does not run: its files have changed since it was enabled; enable it again",
    "missing": "does not run: its package is no longer installed",
}
"""States of a kind of bot."""


@dataclass(frozen=True, slots=True)
class KnownKind:
    """One line of the list. `sha256` is that of the enabled files, else of the installed ones."""

    kind: str
    state: str
    version: str
    distribution: str | None = None
    sha256: str | None = None


@click.group()
def bot() -> None:
    """Create bots, test them, and enable bots of other packages.

    Exit codes: 0 done, 1 failure, 2 usage.

    Example: daybook bot new momentum && daybook bot test momentum
    """


@bot.command()
@click.option(
    "--portfolio", metavar="NAME", help="Portfolio in which they are enabled (default: that of daybook serve)."
)
@AS_JSON_LIST
def kinds(portfolio: str | None, as_json: bool) -> None:
    """List the kinds of bot: built in, installed by other packages, and whether those may run.

    Runs no package's code. Exit codes: 0 done, 1 failure, 2 usage.

    Example: daybook bot kinds --json
    """
    found = known_kinds(_enabled(load_settings(), portfolio))
    if as_json:
        echo_json([asdict(kind) for kind in found])
        return
    for kind in found:
        package = f"{kind.distribution} {kind.version}" if kind.distribution else f"version {kind.version}"
        click.echo(f"{kind.kind:<20} {kind.state:<10} {package:<30} {STATES[kind.state]}".rstrip())


@bot.command()
@click.argument("name")
@click.option(
    "--in",
    "folder",
    type=click.Path(path_type=Path),
    default=Path(),
    metavar="DIR",
    help="Parent folder; the current one by default.",
)
def new(name: str, folder: Path) -> None:
    """Create a package with a bot called NAME: code, parameters, tests and entry point.

    Exit codes: 0 done, 1 an unusable name or folder, 2 usage.

    Example: daybook bot new momentum --in ~/bots
    """
    for path in write_package(name, folder, BUILT_IN):
        click.echo(path)


@bot.command()
@click.argument("what", metavar="KIND|PATH")
@click.option("--params", metavar="JSON", default="{}", help="Parameters; defaults where left out.")
@AS_JSON_LIST
def test(what: str, params: str, as_json: bool) -> None:
    """Test that a bot depends on its candles and parameters alone: not on the future, the clock, chance or memory.

    PATH is a Python file or a package's folder. Its code is run.

    Exit codes: 0 no violation, 1 violations (each is listed) or a bot that cannot run, 2 usage.

    Example: daybook bot test momentum/ --params '{"length": 5}'
    """
    found = [(bot, check_bot(bot, read_parameters(bot, params), code)) for bot, code in find_bots(what)]
    if as_json:
        results = [{"kind": bot.kind, "version": bot.version, "breaches": breaches} for bot, breaches in found]
        echo_json(results)
    for bot, breaches in () if as_json else found:
        rules = "1 rule" if len(breaches) == 1 else f"{len(breaches)} rules"
        outcome = f"breaks {rules}:" if breaches else "keeps every rule."
        click.echo("\n  ".join([f"{bot.kind} (version {bot.version}) {outcome}", *breaches]))
    sys.exit(1 if any(breaches for _, breaches in found) else 0)


@bot.command()
@click.argument("kind")
@click.option("--portfolio", metavar="NAME", help="Portfolio (default: that of daybook serve).")
def enable(kind: str, portfolio: str | None) -> None:
    """Allow the installed code of KIND, as it is now, to run in a process of its own. Read it first: it runs as you.

    Exit codes: 0 done, 1 failure, 2 usage.

    Example: daybook bot enable momentum
    """
    click.echo(enable_kind(load_settings(), kind, portfolio))


@bot.command()
@click.argument("kind")
@click.option("--portfolio", metavar="NAME", help="Portfolio (default: that of daybook serve).")
@click.option("--reason", metavar="TEXT", default="", help="Reason; kept in the log.")
def disable(kind: str, portfolio: str | None, reason: str) -> None:
    """Disable the code of KIND; bots of this kind fail at their next candle.

    Exit codes: 0 done, 1 failure, 2 usage.

    Example: daybook bot disable momentum --reason "too loud"
    """
    click.echo(disable_kind(load_settings(), kind, portfolio, reason))


def known_kinds(enabled: Mapping[str, EnabledBotKind]) -> list[KnownKind]:
    """Return every kind that is built in, installed or enabled, by name. Runs no package's code."""
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
    """Enable the installed code of this kind as it is now; return the result in one sentence.

    Starts it once as a trial. Raises BotUnusable, BadBot and BadSettings, and then records nothing.
    """
    if kind in BUILT_IN:
        raise BadBot(f"{kind} is built in and needs no enabling")
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

    bot = f"{kind} (version {version}) of {found.distribution} {found.distribution_version}, sha256 {sha256[:12]}…"
    name, recorded = _record(settings, portfolio, event)
    return f"{bot} {'may run' if recorded else 'was enabled already'} in {name!r}"


def disable_kind(settings: Settings, kind: str, portfolio: str | None, reason: str) -> str:
    """Disable the code of this kind; return the result in one sentence. Raises BadBot if it is not enabled, and BadSettings."""

    def event(rows: Rows) -> Event:
        if rows.get(EnabledBotKind, kind) is None:
            raise BadBot(f"the kind {kind[:40]!r} is not enabled: see daybook bot kinds")
        return BotKindDisabled(kind=kind, reason=reason)

    name, _ = _record(settings, portfolio, event)
    return f"{kind} is disabled in {name!r}"


def _installed_kind(bot: InstalledBot, row: EnabledBotKind | None) -> KnownKind:
    try:
        sha256 = bot.code.sha256()
    except BotUnusable:  # its entry point leads nowhere: nothing to hash or run
        sha256 = None
    state = "installed" if row is None else "enabled" if row.sha256 == sha256 else "changed"
    return KnownKind(bot.kind, state, bot.distribution_version, bot.distribution, row.sha256 if row else sha256)


def _enabled(settings: Settings, portfolio: str | None) -> dict[str, EnabledBotKind]:
    """The enabled kinds; none before Daybook was first started."""
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
    """Record the event, if any; return the portfolio's name and whether there was one. Raises BadSettings."""
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
                raise BadBot(f"cannot be recorded: {first_fault(error)}") from None
            at = portfolio_time(book, reading)
        if new is not None:
            event_id = new_id()
            book.record(chosen[0], [NewEvent(new, event_id, at, "owner", event_id)])
    return name, new is not None


def driven_name(settings: Settings) -> str:
    """Return the name of the portfolio of `daybook serve` with these settings. Raises BadSettings."""
    return portfolio_name(chosen_feed(settings.feed, lambda: 0.0))


@contextmanager
def _book(settings: Settings) -> Iterator[tuple[PostgresBook, list[UUID]]]:
    with open_ledger(settings) as engine:
        rebuild_outdated(engine)
        yield PostgresBook(engine, system_clock), all_portfolios(engine)
