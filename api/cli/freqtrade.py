"""`daybook freqtrade`: check, start and stop the freqtrade whose signals are used."""

import sys
from collections.abc import Iterator

import rich_click as click

from api.cli.options import AS_JSON, echo_json
from api.runtime.settings import BadSettings, FreqtradeSettings, load_settings
from ledger.values import time_text
from signals.inbound.freqtrade.rest import FreqtradeRest, FreqtradeUnavailable
from signals.market.candle import timeframe_text


@click.group()
def freqtrade() -> None:
    """Check, start and stop the freqtrade whose signals are used. docs/freqtrade.md explains its set-up.

    Exit codes: 0 done, 1 failure or a problem, 2 usage.

    Example: daybook freqtrade check
    """


@freqtrade.command()
def check() -> None:
    """List the problems of freqtrade's set-up, each with its remedy.

    Exit codes: 0 no problem, 1 a problem.

    Example: daybook freqtrade check
    """
    problems = list(_problems(_settings()))
    for one in problems:
        click.echo(f"PROBLEM: {one}")
    if problems:
        sys.exit(1)
    click.echo("No problems: freqtrade answers, runs, does not trade itself and accepts listeners.")


@freqtrade.command()
@AS_JSON
def state(as_json: bool) -> None:
    """Show freqtrade's strategy and state.

    Exit codes: 0 done, 1 no answer.

    Example: daybook freqtrade state --json
    """
    with _rest(_settings()) as rest:
        shown, last = rest.show_config(), rest.health()
    report: dict[str, object] = {
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
        echo_json(report)
        return
    for name, value in report.items():
        click.echo(f"{name:<16} {value}")


@freqtrade.command()
def start() -> None:
    """Start the freqtrade bot.

    Exit codes: 0 done, 1 no answer.

    Example: daybook freqtrade start
    """
    with _rest(_settings()) as rest:
        click.echo(f"freqtrade: {rest.start()}")


@freqtrade.command()
def stop() -> None:
    """Stop the freqtrade bot: it analyses no candles and sends no signals.

    Exit codes: 0 done, 1 no answer.

    Example: daybook freqtrade stop
    """
    with _rest(_settings()) as rest:
        click.echo(f"freqtrade: {rest.stop()}")


def _problems(settings: FreqtradeSettings) -> Iterator[str]:
    """Yield the reasons why no signals would arrive, one sentence each."""
    try:
        with _rest(settings) as rest:
            rest.ping()
            yield from rest.show_config().problems()
            unseen = sorted(set(settings.pairs) - set(rest.whitelist()))
    except FreqtradeUnavailable as unavailable:
        yield str(unavailable)
        return
    for pair in unseen:
        yield f"freqtrade does not watch {pair}: add it to its pair_whitelist, or remove it from pairs"
    from signals.inbound.freqtrade.listener import refused_by, websocket_of

    refused = refused_by(websocket_of(settings.url, settings.ws_token.get_secret_value()))
    if refused:
        yield refused


def _settings() -> FreqtradeSettings:
    settings = load_settings().freqtrade
    if settings is None:
        raise BadSettings("freqtrade is not configured: add a table [freqtrade] to daybook.toml (docs/freqtrade.md)")
    return settings


def _rest(settings: FreqtradeSettings) -> FreqtradeRest:
    from api.runtime.freqtrade_listener import rest_of  # slow to load

    return rest_of(settings)
