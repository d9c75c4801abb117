"""`daybook accounts`: the accounts at venues that Daybook may trade with."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import rich_click as click

from api.cli.keys import installation
from api.cli.options import asset
from api.runtime.settings import load_settings
from ledger.values import Asset, system_clock

if TYPE_CHECKING:
    from api.runtime.accounts import Accounts


@contextmanager
def _accounts() -> Iterator["Accounts"]:
    from api.runtime.accounts import Accounts  # the venues' clients are slow to load

    with installation(load_settings()) as (book, own_key):
        yield Accounts(book, own_key, system_clock)


@click.group()
def accounts() -> None:
    """Add, list and remove accounts at venues. Without --live an account is a test and holds no real money.

    Exit codes: 0 done, 1 failure, 2 usage.

    Example: daybook accounts list
    """


@accounts.command()
@click.option("--venue", required=True, help="Where it is: binance, luno, kraken, …")
@click.option("--name", required=True, help="What the account is called here.")
@click.option("--key", envvar="DAYBOOK_VENUE_KEY", required=True, help="The API key. May trade, must not withdraw.")
@click.option(
    "--secret", envvar="DAYBOOK_VENUE_SECRET", help="Its secret; - or nothing: read it from standard input instead."
)
@click.option("--portfolio", metavar="NAME", required=True, help="The portfolio that the account belongs to.")
@click.option("--create", is_flag=True, help="Open the portfolio first; needs --base.")
@click.option("--base", callback=asset, help="The base currency of a portfolio that is created.")
@click.option("--endpoint", metavar="URL", help="An address on this machine that stands in for the venue.")
@click.option("--live", is_flag=True, help="Real money. Without it: --endpoint, or the venue's own test address.")
@click.option("--adopt", is_flag=True, help="Record what the venue holds now as opening entries.")
@click.option("--yes", is_flag=True, help="Do not ask before an account with real money is added.")
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
    """Add an account. Its key is tried, then sealed with installation.key; it is shown nowhere.

    Exit codes: 0 done, 1 failure, 2 usage.

    Example: daybook accounts add --venue binance --name main --key KEY --portfolio mine --create --base USDT --adopt
    """
    if create != (base is not None):
        raise click.UsageError("--create and --base belong together")
    if live and endpoint:
        raise click.UsageError("an endpoint on this machine is never --live")
    if live and not yes:
        click.confirm(f"Real money: may Daybook place orders in {name} at {venue}?", abort=True, err=True)
    told = sys.stdin.readline().strip() if secret in (None, "-") else secret
    if not told:
        raise click.UsageError(
            "the secret is missing: give --secret, DAYBOOK_VENUE_SECRET, or write it to standard input"
        )
    from api.runtime.accounts import NewAccount
    from execution.exchanges.ccxt.exchange import ApiKey

    currency = Asset(base) if base else None
    new = NewAccount(portfolio, name, venue, ApiKey(key, told), endpoint, live, currency, adopt)
    with _accounts() as known:
        recorded = known.add(new)
    click.echo(f"{name} at {venue} belongs to {portfolio} ({new.where}).")
    for event in recorded:
        click.echo(f"recorded {event.type} {event.model_dump_json()}")


@accounts.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON list.")
def list_accounts(as_json: bool) -> None:
    """Show the accounts that Daybook has keys for, without the keys. Exit codes: 0 done, 1 failure.

    Example: daybook accounts list --json
    """
    with _accounts() as known:
        found = known.all()
    told = [
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
        click.echo(json.dumps(told, indent=2))
        return
    for one in told:
        click.echo("  ".join(str(one[name]) for name in one if one[name] is not None))
    if not told:
        click.echo("There are no accounts: daybook accounts add makes one.")


@accounts.command()
@click.option("--name", required=True, help="The account's name.")
@click.option("--portfolio", metavar="NAME", required=True, help="The portfolio that it belongs to.")
def remove(name: str, portfolio: str) -> None:
    """Forget the key of an account. What the ledger has of it stays. Exit codes: 0 done, 1 failure.

    Example: daybook accounts remove --name main --portfolio mine
    """
    with _accounts() as known:
        known.remove(portfolio, name)
    click.echo(f"The key of {name} in {portfolio} is gone; its entries stay in the ledger.")
