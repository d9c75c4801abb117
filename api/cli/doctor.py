"""`daybook doctor`: the settings in force, secrets masked, and each problem with its remedy."""

import socket
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import rich_click as click

from api.cli.options import counted
from api.runtime.owner_token import HASH_FILE
from api.runtime.settings import SETTINGS_FILE, BadSettings, Settings, load_settings, unknown_variables, usable_folder
from api.runtime.wiring import chosen_feed
from api.serve import HOST
from ledger.postgres.database import NewerSchema, database_problems, open_database, server_facts, shown_url
from ledger.postgres.embedded import DatabaseUnavailable
from ledger.replay.verify import all_portfolios


@dataclass(frozen=True, slots=True)
class Finding:
    """One check; `problem` includes the remedy and is empty if there is none."""

    name: str
    value: str
    problem: str = ""


@click.command()
def doctor() -> None:
    """Show the settings in force and any problem with them or the database, each with its remedy.

    Exit codes: 0 no problem, 1 a problem.

    Example: daybook doctor
    """
    problems = 0
    for finding in findings(load_settings()):
        click.echo(f"{finding.name:<15} {finding.value}")
        if finding.problem:
            click.echo(f"{'':<15} PROBLEM: {finding.problem}")
            problems += 1
    click.echo(f"{counted(problems, 'problem')}." if problems else "No problems.")
    sys.exit(1 if problems else 0)


def findings(settings: Settings) -> Iterator[Finding]:
    """Yield all checks, the settings first. Creates nothing: no folder, no database."""
    yield Finding("settings file", f"{SETTINGS_FILE}" if SETTINGS_FILE.exists() else f"no {SETTINGS_FILE} here")
    for name in unknown_variables():
        yield Finding("variable", name, f"unknown setting: correct or unset {name}")
    yield _data_folder(settings)
    yield _port(settings)
    yield _feed(settings)
    yield _token(settings)
    yield from _freqtrade(settings)
    yield from _database(settings)


def _data_folder(settings: Settings) -> Finding:
    folder = settings.data_dir
    if not folder.exists():
        return Finding("data folder", f"{folder.absolute()} (created by daybook serve)")
    try:
        usable_folder(folder)
    except BadSettings as error:
        return Finding("data folder", str(folder.absolute()), str(error))
    return Finding("data folder", str(folder.absolute()))


def _port(settings: Settings) -> Finding:
    with socket.socket() as client:
        client.settimeout(1)
        taken = client.connect_ex((HOST, settings.port)) == 0
    return Finding("port", f"{settings.port} ({'in use by a running Daybook or another program' if taken else 'free'})")


def _feed(settings: Settings) -> Finding:
    try:
        feed = chosen_feed(settings.feed, lambda: 0.0)
    except BadSettings as error:
        return Finding("feed", settings.feed, str(error))
    return Finding("feed", f"{settings.feed} ({feed.label})")


def _token(settings: Settings) -> Finding:
    if settings.owner_token is not None:
        return Finding("owner token", "set with DAYBOOK_OWNER_TOKEN (not shown)")
    path = settings.data_dir / HASH_FILE
    if not path.exists():
        return Finding("owner token", "created and shown by the first daybook serve")
    value = f"its hash is in {path}; if it is lost, remove that file and restart"
    if path.stat().st_mode & 0o077:
        return Finding("owner token", value, f"other users can read {path}: run chmod 600 {path}")
    return Finding("owner token", value)


def _freqtrade(settings: Settings) -> Iterator[Finding]:
    listening = settings.freqtrade
    if listening is not None:
        yield Finding("freqtrade", f"{listening.url} as {listening.username}; see daybook freqtrade check")


def _database(settings: Settings) -> Iterator[Finding]:
    if settings.database is None and not (settings.data_dir / "postgres" / "PG_VERSION").exists():
        yield Finding("database", "embedded PostgreSQL (created by daybook serve)")
        return
    where = shown_url(settings.database) if settings.database else "embedded PostgreSQL in the data folder"
    try:
        with open_database(settings.data_dir, settings.database) as engine:
            yield Finding("database", where, "; ".join(database_problems(engine)))
            yield _server(server_facts(engine))
            yield Finding("portfolios", str(len(all_portfolios(engine))))
    except (DatabaseUnavailable, NewerSchema) as error:
        yield Finding("database", where, str(error))


def _server(facts: Mapping[str, str]) -> Finding:
    durable = {name: facts[name] for name in ("fsync", "full_page_writes")}
    value = ", ".join(
        [f"PostgreSQL {facts['server_version']}", *(f"{name} {value}" for name, value in durable.items())]
    )
    unsafe = set(durable.values()) != {"on"}
    return Finding("server", value, "a power cut can corrupt the database: turn both on" if unsafe else "")
