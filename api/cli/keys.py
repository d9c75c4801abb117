"""`daybook key`: issue, list and revoke API keys, each with its scopes."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import rich_click as click

from api.cli.options import AS_JSON_LIST, echo_json
from api.runtime.keys import Keys, installation_key, state_of
from api.runtime.portfolios import open_ledger
from api.runtime.scopes import SCOPES, Scope
from api.runtime.settings import Settings, load_settings
from ledger.postgres.api_keys import ApiKeyRecord, read_api_keys
from ledger.postgres.book import PostgresBook
from ledger.values import system_clock, time_text

MOST_DAYS: Final = 3650


@contextmanager
def installation(settings: Settings) -> Iterator[tuple[PostgresBook, bytes]]:
    """Open the database; yields the book and the installation key."""
    with open_ledger(settings) as engine:
        yield PostgresBook(engine, system_clock), installation_key(settings.data_dir)


@click.group()
def key() -> None:
    """Issue, list and revoke API keys for programs. The owner uses the owner's token.

    Exit codes: 0 done, 1 failure, 2 usage.

    Example: daybook key issue --name my-model --scope signal:emit --expires 90
    """


@key.command()
@click.option("--name", required=True, help="Program that uses the key; shown in events. Keys may share a name.")
@click.option("--scope", "scopes", type=click.Choice(SCOPES), multiple=True, required=True, help="Repeatable.")
@click.option("--expires", type=click.IntRange(1, MOST_DAYS), metavar="DAYS", help="Lifetime; unlimited by default.")
def issue(name: str, scopes: tuple[Scope, ...], expires: int | None) -> None:
    """Issue a key and print it once: only its hash is stored.

    Exit codes: 0 done, 1 failure, 2 usage.

    Example: daybook key issue --name my-model --scope signal:emit --scope read
    """
    with installation(load_settings()) as (book, pepper):
        token, made = Keys(book, pepper, system_clock).issue(name, scopes, expires)
    until = "until it is revoked" if made.expires_at is None else f"until {time_text(made.expires_at)}"
    click.echo(token)
    click.echo(f"Key of {name}, shown once; scopes {', '.join(made.scopes)}, valid {until}.", err=True)
    click.echo(f"Send it as 'Authorization: Bearer KEY'; revoke it with daybook key revoke {made.key_id}.", err=True)


@key.command("list")
@AS_JSON_LIST
def list_keys(as_json: bool) -> None:
    """List every key ever issued: id, program, scopes, state and last use.

    Exit codes: 0 done, 1 failure.

    Example: daybook key list --json
    """
    with installation(load_settings()) as (book, _), book.transaction() as connection:
        found = read_api_keys(connection)
    if as_json:
        echo_json([_as_json(one) for one in found])
        return
    for one in found:
        used = f"last used at {time_text(one.last_used_at)}" if one.last_used_at else "never used"
        click.echo(f"{one.key_id}  {one.name}  {' '.join(one.scopes)}  {state_of(one, system_clock())}  {used}")
    if not found:
        click.echo("No keys. Issue one with daybook key issue.")


@key.command()
@click.argument("key_id")
def revoke(key_id: str) -> None:
    """Revoke a key. A running Daybook refuses it from the next request on.

    Exit codes: 0 done, 1 an unknown key or a failure.

    Example: daybook key revoke 0f3a5b7c9d1e
    """
    with installation(load_settings()) as (book, pepper):
        ended = Keys(book, pepper, system_clock).revoke(key_id)
    click.echo(f"{ended.key_id}, a key of {ended.name}, is {state_of(ended, system_clock())}.")


def _as_json(one: ApiKeyRecord) -> dict[str, object]:
    return {
        "key_id": one.key_id,
        "name": one.name,
        "scopes": list(one.scopes),
        "state": state_of(one, system_clock()),
        "created_at": time_text(one.created_at),
        "expires_at": time_text(one.expires_at) if one.expires_at else None,
        "revoked_at": time_text(one.revoked_at) if one.revoked_at else None,
        "last_used_at": time_text(one.last_used_at) if one.last_used_at else None,
    }
