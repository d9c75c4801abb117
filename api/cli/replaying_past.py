"""`daybook replay --as-of --known-at`: the portfolio as a replay cut at those times gives it."""

import json
import time
from dataclasses import fields
from datetime import datetime
from decimal import Decimal

import click

from api.cli.replaying import exit_code, named_portfolios, print_verdict, progress_bar, summary_of
from api.runtime.settings import BadSettings, Settings, usable_folder
from ledger.log.point_in_time import PointInTime
from ledger.postgres.database import open_database
from ledger.projections.valuation import Valuation, Worth
from ledger.replay.history import ReplayAt, replay_at
from ledger.replay.verify import all_portfolios, count_events
from ledger.values import decimal_text, time_text


def run_replay_at(settings: Settings, point: PointInTime, *, portfolio: str | None, as_json: bool) -> int:
    """Replays all portfolios or one at the cut, prints what they were worth then, and returns the exit code.

    The chain and the identities are proven; stored views are of now, so they are not compared. Raises
    BadSettings for a portfolio that is not there.
    """
    usable_folder(settings.data_dir)
    started = time.monotonic()
    with open_database(settings.data_dir, settings.database) as engine:
        chosen = named_portfolios(all_portfolios(engine), portfolio)
        if portfolio is not None and not chosen:
            raise BadSettings(f"there is no portfolio called {portfolio!r}: daybook replay lists them")
        with progress_bar(count_events(engine, chosen), shown=not as_json) as advance:
            found = [replay_at(engine, portfolio_id, point, advance) for portfolio_id in chosen]
    results = [one.replay for one in found]
    summary = summary_of(results, [], time.monotonic() - started)
    if as_json:
        click.echo(json.dumps({**_times(point), **summary, "state": [_state(one) for one in found]}, indent=2))
    else:
        for one in found:
            _print_state(one)
        print_verdict(summary)
    return exit_code(results, [])


def _times(point: PointInTime) -> dict[str, str | None]:
    return {"as_of": _text(point.as_of), "known_at": _text(point.known_at)}


def _state(one: ReplayAt) -> dict[str, object]:
    """The portfolio in the words of `GET /portfolio/`."""
    state: dict[str, object] = {"portfolio_id": str(one.replay.portfolio_id), "position": one.position}
    if one.worth is None:
        return state
    worth = {field.name: _text(getattr(one.worth, field.name)) for field in fields(Worth) if field.name != "positions"}
    positions = [
        {field.name: _text(getattr(held, field.name)) for field in fields(Valuation)} for held in one.worth.positions
    ]
    return {**state, "name": one.replay.name, **worth, "positions": positions}


def _print_state(one: ReplayAt) -> None:
    if one.worth is None:
        click.echo(f"{one.replay.portfolio_id}: not open yet")
        return
    worth = one.worth
    click.echo(f"{one.replay.name}: {one.position} events known, {one.replay.trades} trades")
    click.echo(f"  cash {decimal_text(worth.cash)} {worth.base_currency}, realised {decimal_text(worth.realized_pnl)}")
    for held in worth.positions:
        click.echo(
            f"  {held.product_id}: {decimal_text(held.quantity)} at a cost of {_or_unknown(held.cost_basis)},"
            f" worth {_or_unknown(held.current_value, ' (no price)')}"
        )


def _text(value: object) -> str | None:
    if isinstance(value, Decimal):
        return decimal_text(value)
    if isinstance(value, datetime):
        return time_text(value)
    return None if value is None else str(value)


def _or_unknown(value: Decimal | None, why: str = "") -> str:
    return f"unknown{why}" if value is None else decimal_text(value)
