"""`daybook bot kinds`, `enable` and `disable`: which code of other packages may run, as facts in a portfolio's log."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Final
from uuid import UUID

import click
from pydantic import ValidationError

from api.cli.recording import time_of
from api.cli.replaying import named_portfolios
from api.runtime.settings import BadSettings, Settings, usable_folder
from api.runtime.wiring import chosen_feed, portfolio_name
from ledger.events import BotKindDisabled, BotKindEnabled, Event
from ledger.log.envelope import NewEvent
from ledger.postgres.book import PostgresBook
from ledger.postgres.database import open_database
from ledger.projections.bots import EnabledBotKind
from ledger.replay.verify import all_portfolios, rebuild_outdated
from ledger.rows import Rows
from ledger.values import new_id, system_clock
from signals.bot import first_fault
from signals.registry import BUILT_IN
from signals.sandbox.bots import ForeignBot
from signals.sandbox.discovery import BotUnusable, InstalledBot, installed_bot, installed_bots
from signals.sandbox.process import Limits
from signals.testkit.scaffold import BadBot

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


def print_kinds(settings: Settings, portfolio: str | None, *, as_json: bool) -> None:
    """One line for each kind, or a JSON list. Raises BadSettings for a portfolio that was named and is not there."""
    found = known_kinds(_enabled(settings, portfolio))
    if as_json:
        click.echo(json.dumps([asdict(kind) for kind in found], ensure_ascii=False, indent=2))
        return
    for kind in found:
        package = f"{kind.distribution} {kind.version}" if kind.distribution else f"version {kind.version}"
        click.echo(f"{kind.kind:<20} {kind.state:<10} {package:<30} {STATES[kind.state]}".rstrip())


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
            at = time_of(book, reading)
        if new is not None:
            event_id = new_id()
            book.record(chosen[0], [NewEvent(new, event_id, at, "owner", event_id)])
    return name, new is not None


def driven_name(settings: Settings) -> str:
    """The name of the portfolio that `daybook serve` drives with these settings. Raises BadSettings."""
    return portfolio_name(chosen_feed(settings.feed, lambda: 0.0))


@contextmanager
def _book(settings: Settings) -> Iterator[tuple[PostgresBook, list[UUID]]]:
    usable_folder(settings.data_dir)
    with open_database(settings.data_dir, settings.database) as engine:
        rebuild_outdated(engine)
        yield PostgresBook(engine, system_clock), all_portfolios(engine)
