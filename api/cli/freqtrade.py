"""`daybook freqtrade`: is the freqtrade that is listened to set up as it should be, and turning it on and off."""

import json
import sys
from collections.abc import Iterator

import rich_click as click

from api.runtime.settings import BadSettings, FreqtradeSettings, load_settings
from ledger.values import time_text
from signals.inbound.freqtrade.rest import FreqtradeRest, FreqtradeUnavailable
from signals.market.candle import timeframe_text


@click.group()
def freqtrade() -> None:
    """Look at the freqtrade that Daybook listens to, start it and stop it. docs/freqtrade.md says how to set it up.

    Exit codes: 0 done, 1 failure or something is wrong, 2 usage.

    Example: daybook freqtrade check
    """


@freqtrade.command()
def check() -> None:
    """Say what is wrong with the way freqtrade is set up, each with what to do.

    Exit codes: 0 all is well, 1 something is wrong.

    Example: daybook freqtrade check
    """
    wrong = list(_wrong(_settings()))
    for one in wrong:
        click.echo(f"WRONG: {one}")
    if wrong:
        sys.exit(1)
    click.echo("All is well: freqtrade answers, runs, trades nothing itself and can be listened to.")


@freqtrade.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def state(as_json: bool) -> None:
    """Show what freqtrade runs, and whether it does.

    Exit codes: 0 done, 1 it does not answer.

    Example: daybook freqtrade state --json
    """
    with _rest(_settings()) as rest:
        shown, last = rest.show_config(), rest.health()
    told: dict[str, object] = {
        "state": shown.state,
        "strategy": f"{shown.strategy} {shown.strategy_version}".strip(),
        "timeframe": timeframe_text(shown.timeframe),
        "exchange": shown.exchange,
        "dry_run": shown.dry_run,
        "max_open_trades": shown.max_open_trades,
        "version": shown.version,
        "api_version": shown.api_version,
        "last_process_at": time_text(last) if last else None,
    }
    if as_json:
        click.echo(json.dumps(told, ensure_ascii=False, indent=2))
        return
    for name, value in told.items():
        click.echo(f"{name:<16} {value}")


@freqtrade.command()
def start() -> None:
    """Have freqtrade run.

    Exit codes: 0 done, 1 it does not answer.

    Example: daybook freqtrade start
    """
    with _rest(_settings()) as rest:
        click.echo(f"freqtrade: {rest.start()}")


@freqtrade.command()
def stop() -> None:
    """Have freqtrade stand still: it analyses nothing any more, and no signals come from it.

    Exit codes: 0 done, 1 it does not answer.

    Example: daybook freqtrade stop
    """
    with _rest(_settings()) as rest:
        click.echo(f"freqtrade: {rest.stop()}")


def _wrong(settings: FreqtradeSettings) -> Iterator[str]:
    """What keeps its signals from coming, one sentence each."""
    try:
        with _rest(settings) as rest:
            rest.ping()
            yield from rest.show_config().problems()
            unseen = sorted(set(settings.pairs) - set(rest.whitelist()))
    except FreqtradeUnavailable as unavailable:
        yield str(unavailable)
        return
    for pair in unseen:
        yield f"freqtrade does not look at {pair}: add it to its pair_whitelist, or take it out of pairs"
    from signals.inbound.freqtrade.listener import refused_by, websocket_of

    refused = refused_by(websocket_of(settings.url, settings.ws_token.get_secret_value()))
    if refused:
        yield refused


def _settings() -> FreqtradeSettings:
    settings = load_settings().freqtrade
    if settings is None:
        raise BadSettings("no freqtrade is configured: add a table [freqtrade] to daybook.toml (docs/freqtrade.md)")
    return settings


def _rest(settings: FreqtradeSettings) -> FreqtradeRest:
    from api.runtime.freqtrade_listener import rest_of  # which is slow to load

    return rest_of(settings)
