"""`daybook accounts`: add, list and remove accounts at exchanges."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import rich_click as click

from api.cli.keys import installation
from api.cli.options import AS_JSON_LIST, asset
from api.runtime.settings import load_settings
from ledger.values import Asset, system_clock

if TYPE_CHECKING:
    from api.runtime.accounts import Accounts


@contextmanager
def _accounts() -> Iterator["Accounts"]:
    from api.runtime.accounts import Accounts  # slow to load

    with installation(load_settings()) as (book, own_key):
        yield Accounts(book, own_key, system_clock)


@click.group()
def accounts() -> None:
    """Add, list and remove accounts at exchanges. Without --live an account is a test account without real money.

    Exit codes: 0 done, 1 failure, 2 usage.

    Example: daybook accounts list
    """


@accounts.command()
@click.option("--venue", required=True, help="The exchange: binance, luno, kraken, …")
@click.option("--name", required=True, help="Name of the account in Daybook.")
@click.option("--key", envvar="DAYBOOK_VENUE_KEY", required=True, help="API key. May trade, must not withdraw.")
@click.option(
    "--secret", envvar="DAYBOOK_VENUE_SECRET", help="Secret of the key; read from standard input if it is - or missing."
)
@click.option("--portfolio", metavar="NAME", required=True, help="Portfolio of the account.")
@click.option("--create", is_flag=True, help="Open the portfolio first; needs --base.")
@click.option("--base", callback=asset, help="Base currency of the created portfolio.")
@click.option("--endpoint", metavar="URL", help="Address on this machine of a simulated exchange.")
@click.option("--live", is_flag=True, help="Real money. Without it: --endpoint, or the exchange's test network.")
@click.option("--adopt", is_flag=True, help="Record the present balances as opening entries.")
@click.option("--yes", is_flag=True, help="Add an account with real money without confirmation.")
def add(
    venue: str,
    name: str,
    key: str,
    secret: str | None,
    portfolio: str,
    create: bool,
    base: str | None,
    endpoint: str | None,
    live: bool,
    adopt: bool,
    yes: bool,
) -> None:
    """Add an account. Its key is tried, then encrypted with installation.key and never shown.

    Exit codes: 0 done, 1 failure, 2 usage.

    Example: daybook accounts add --venue binance --name main --key KEY --portfolio mine --create --base USDT --adopt
    """
    if create != (base is not None):
        raise click.UsageError("--create and --base must be given together")
    if live and endpoint:
        raise click.UsageError("--live cannot be combined with a local --endpoint")
    if live and not yes:
        click.confirm(f"Real money: allow Daybook to place orders in {name} at {venue}?", abort=True, err=True)
    given = sys.stdin.readline().strip() if secret in (None, "-") else secret
    if not given:
        raise click.UsageError("missing secret: use --secret, DAYBOOK_VENUE_SECRET or standard input")
    from api.runtime.accounts import NewAccount
    from execution.exchanges.ccxt.exchange import ApiKey

    currency = Asset(base) if base else None
    new = NewAccount(portfolio, name, venue, ApiKey(key, given), endpoint, live, currency, adopt)
    with _accounts() as known:
        recorded = known.add(new)
    click.echo(f"{name} at {venue} belongs to {portfolio} ({new.where}).")
    for event in recorded:
        click.echo(f"recorded {event.type} {event.model_dump_json()}")


@accounts.command("list")
@AS_JSON_LIST
def list_accounts(as_json: bool) -> None:
    """List the accounts with stored keys, without the keys. Exit codes: 0 done, 1 failure.

    Example: daybook accounts list --json
    """
    with _accounts() as known:
        found = known.all()
    listed = [
        {
            "account": one.account,
            "venue": one.venue,
            "mode": "live" if one.live else "test",
            "endpoint": one.endpoint,
            "portfolio_id": str(one.portfolio_id),
        }
        for one in found
    ]
    if as_json:
        click.echo(json.dumps(listed, indent=2))
        return
    for one in listed:
        click.echo("  ".join(str(one[name]) for name in one if one[name] is not None))
    if not listed:
        click.echo("No accounts. Add one with daybook accounts add.")


@accounts.command()
@click.option("--name", required=True, help="Name of the account.")
@click.option("--portfolio", metavar="NAME", required=True, help="Portfolio of the account.")
def remove(name: str, portfolio: str) -> None:
    """Delete the key of an account. Its entries stay in the ledger. Exit codes: 0 done, 1 failure.

    Example: daybook accounts remove --name main --portfolio mine
    """
    with _accounts() as known:
        known.remove(portfolio, name)
    click.echo(f"Deleted the key of {name} in {portfolio}; its entries stay in the ledger.")
