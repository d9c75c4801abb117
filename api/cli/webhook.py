"""`daybook webhook`: webhooks through which other services send signals, each with its own secrets."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

import rich_click as click

from api.cli.keys import installation
from api.cli.options import AS_JSON_LIST, echo_json
from api.http.webhook_templates import TEMPLATES
from api.runtime.settings import load_settings
from ledger.postgres.book import PostgresBook
from ledger.postgres.webhooks import WebhookRecord, read_webhooks
from ledger.values import Instrument, system_clock, time_text

if TYPE_CHECKING:
    from api.http.webhooks import Webhooks


def symbols(_context: click.Context, _parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, Instrument]:
    """Parse TICKER=PRODUCT pairs. Raises BadParameter."""
    found: dict[str, Instrument] = {}
    for value in values:
        ticker, equals, product = value.rpartition("=")
        if not equals or not ticker:
            raise click.BadParameter(f"{value[:40]!r} is not TICKER=PRODUCT such as BTCUSD=BTC-USD")
        if ticker in found:
            raise click.BadParameter(f"{ticker[:40]!r} is mapped twice")
        try:
            found[ticker] = Instrument(product)
        except ValueError as error:
            raise click.BadParameter(str(error)) from None
    return found


@click.group()
def webhook() -> None:
    """Add, list, rotate and remove webhooks: POST /api/v1/webhooks/NAME. docs/webhooks.md explains signing.

    Exit codes: 0 done, 1 failure, 2 usage.

    Example: daybook webhook add my-model
    """


@webhook.command()
@click.argument("name")
@click.option(
    "--template",
    type=click.Choice(TEMPLATES),
    default="signal",
    show_default=True,
    help="Format of the body: a Daybook signal, or a TradingView alert.",
)
@click.option(
    "--passphrase", is_flag=True, help="The body contains the secret, for TradingView, which cannot sign. Weaker."
)
@click.option(
    "--map",
    "tickers",
    multiple=True,
    metavar="TICKER=PRODUCT",
    callback=symbols,
    help="Repeatable: BTCUSD=BTC-USD.",
)
def add(name: str, template: str, passphrase: bool, tickers: Mapping[str, Instrument]) -> None:
    """Add a webhook and print its secret once.

    Exit codes: 0 done, 1 a name in use or a failure, 2 usage.

    Example: daybook webhook add chart --template tradingview --passphrase --map BTCUSD=BTC-USD
    """
    if passphrase and template != "tradingview":
        raise click.UsageError("--passphrase needs --template tradingview: other senders must sign.")
    if (template == "tradingview") != bool(tickers):
        raise click.UsageError("--template tradingview needs --map for each of its tickers, and only it accepts --map.")
    with installation(load_settings()) as (book, pepper):
        secret = _webhooks(book, pepper).add(name, template, tickers, passphrase=passphrase)
    click.echo(secret)
    use = 'send it as "secret" in the body' if passphrase else "sign every message with it"
    click.echo(f"Secret of {name}, shown once: {use}; the address is /api/v1/webhooks/{name}.", err=True)


@webhook.command("list")
@AS_JSON_LIST
def list_webhooks(as_json: bool) -> None:
    """List every webhook: its authentication, number of live secrets, and last use.

    Exit codes: 0 done, 1 failure.

    Example: daybook webhook list --json
    """
    with installation(load_settings()) as (book, _), book.transaction() as connection:
        found = [_as_json(one) for one in read_webhooks(connection)]
    if as_json:
        echo_json(found)
        return
    for one in found:
        click.echo("  ".join(f"{name} {value}" if name != "name" else str(value) for name, value in one.items()))
    if not found:
        click.echo("No webhooks. Add one with daybook webhook add.")


@webhook.command()
@click.argument("name")
@click.option("--at-once", is_flag=True, help="Refuse the previous secret from now on, e.g. because it leaked.")
def rotate(name: str, at_once: bool) -> None:
    """Create a new secret and print it once. The previous one stays valid until the next rotation.

    Exit codes: 0 done, 1 an unknown webhook or a failure.

    Example: daybook webhook rotate my-model
    """
    with installation(load_settings()) as (book, pepper):
        secret = _webhooks(book, pepper).rotate(name, at_once=at_once)
    click.echo(secret)
    before = "is refused" if at_once else "stays valid until the next rotation"
    click.echo(f"New secret of {name}, shown once; the previous one {before}.", err=True)


@webhook.command()
@click.argument("name")
def remove(name: str) -> None:
    """Remove a webhook; messages under its name are refused.

    Exit codes: 0 done, 1 an unknown webhook or a failure.

    Example: daybook webhook remove my-model
    """
    with installation(load_settings()) as (book, pepper):
        _webhooks(book, pepper).remove(name)
    click.echo(f"Removed the webhook {name}.")


def _as_json(one: WebhookRecord) -> dict[str, object]:
    return {
        "name": one.name,
        "template": one.template,
        "proof": "passphrase in the body" if one.passphrase else "signature",
        "tickers": json.loads(one.symbols),
        "live_secrets": len(one.salts),
        "created_at": time_text(one.created_at),
        "last_used_at": time_text(one.last_used_at) if one.last_used_at else None,
    }


def _webhooks(book: PostgresBook, pepper: bytes) -> "Webhooks":
    from api.http.webhooks import Webhooks  # slow to load

    return Webhooks(book, pepper, system_clock)
