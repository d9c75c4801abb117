"""`daybook replay` and `daybook checkpoint`: replay logs, verify them and show differences."""

import json
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import rich_click as click

from api.cli.options import AS_JSON, ONE_PORTFOLIO, at_any_time, echo_json, progress_bar
from api.cli.workers import EXECUTOR, Workers
from api.runtime.output_files import whole_file
from api.runtime.portfolios import chosen_portfolios, open_ledger
from api.runtime.settings import Settings, load_settings, usable_folder
from ledger.log.checkpoints import (
    checkpoint_text,
    known_public_key,
    make_checkpoint,
    positions_of,
    read_checkpoint_file,
    signing_key,
)
from ledger.log.event_log import BrokenLog, Head, NoSuchPortfolio
from ledger.log.point_in_time import PointInTime
from ledger.postgres.database import shown_url
from ledger.projections.valuation import PortfolioValuation, PositionValuation
from ledger.replay.differences import Difference, PortfolioReplay
from ledger.replay.history import ReplayAt, replay_at
from ledger.replay.parallel import verify_many
from ledger.replay.verify import (
    compare_with_heads,
    count_events,
    heads,
    rebuild_portfolio,
    stray_differences,
    verify_portfolio,
)
from ledger.rows import state_hash
from ledger.values import decimal_text, system_clock, time_text

VERIFIED, DIFFERENT, BROKEN = 0, 3, 4


@click.command()
@click.option("--verify", is_flag=True, help="Compare the stored views with the log (the default).")
@click.option("--rebuild", is_flag=True, help="Rebuild the views from the log, then verify.")
@ONE_PORTFOLIO
@click.option(
    "--checkpoint", type=click.Path(path_type=Path), help="Verify that every log extends this signed checkpoint."
)
@at_any_time
@click.option("--thorough", is_flag=True, help="Replay long logs event by event too, not by fast replay alone.")
@click.option(
    "--workers", type=click.IntRange(1, 64), default=1, help="Number of parallel processes, one portfolio each."
)
@EXECUTOR
@AS_JSON
def replay(
    verify: bool,
    rebuild: bool,
    portfolio: str | None,
    checkpoint: Path | None,
    past: PointInTime,
    thorough: bool,
    workers: int,
    executor: str | None,
    as_json: bool,
) -> None:
    """Replay the log, verify its hash chain, and compare the stored views with it.

    With --as-of or --known-at, print the portfolio as it was at that time.

    Exit codes: 0 all equal, 3 a difference, 4 broken chain, 2 usage, 1 failure.

    Example: daybook replay --verify --json
    """
    settings = load_settings()
    if past:
        if rebuild or checkpoint:
            raise click.UsageError("--as-of and --known-at cannot be combined with --rebuild or --checkpoint")
        sys.exit(_replay_past(settings, past, portfolio=portfolio, as_json=as_json))
    scope = Scope(portfolio, checkpoint, rebuild=rebuild, thorough=thorough)
    sys.exit(_replay(settings, scope, Workers(workers, executor), as_json=as_json))


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
def checkpoint(file: Path) -> None:
    """Write a signed file with the position and hash of every log. Keep it outside this machine.

    replay --checkpoint then reveals truncated, rewritten and deleted logs.

    Exit codes: 0 done, 1 failure.

    Example: daybook checkpoint friday.json && daybook replay --checkpoint friday.json
    """
    settings = load_settings()
    usable_folder(settings.data_dir)
    key = signing_key(settings.data_dir)
    with open_ledger(settings) as engine:
        made = make_checkpoint(heads(engine), system_clock(), key)
    with whole_file(file) as stream:
        stream.write(checkpoint_text(made))
    signed = f"signed with {made.public_key}"
    click.echo(f"{file}: {len(made.portfolios)} portfolios at {time_text(made.made_at)}, {signed}")


@dataclass(frozen=True, slots=True)
class Scope:
    """One portfolio or all, and the signed checkpoint to compare with, if any."""

    portfolio: str | None
    checkpoint: Path | None
    rebuild: bool
    thorough: bool


def _replay(settings: Settings, scope: Scope, workers: Workers, *, as_json: bool) -> int:
    """Replay, print the result and return the exit code. Raises BadCheckpoint and BadSettings."""
    seen: Sequence[tuple[UUID, Head]] = ()
    if scope.checkpoint:
        usable_folder(settings.data_dir)
        seen = positions_of(read_checkpoint_file(scope.checkpoint, known_public_key(settings.data_dir)))
    started = time.monotonic()
    with open_ledger(settings) as engine:
        chosen = chosen_portfolios(engine, scope.portfolio)
        if not chosen:
            click.echo(f"daybook: nothing has been recorded yet in {_where(settings)}", err=True)
        total = count_events(engine, chosen) * (2 if scope.rebuild and workers.alone else 1)
        with progress_bar("replaying", total, shown=not as_json) as advance:
            if workers.alone:
                for portfolio_id in chosen if scope.rebuild else ():
                    # A broken log is not rebuilt; verifying it reports the position.
                    with suppress(BrokenLog, NoSuchPortfolio):
                        rebuild_portfolio(engine, portfolio_id, advance)
                results = [verify_portfolio(engine, one, advance, thorough=scope.thorough) for one in chosen]
            else:
                url = engine.url.render_as_string(hide_password=False)
                options = {"rebuild": scope.rebuild, "thorough": scope.thorough}
                results = verify_many(url, chosen, workers.executor, advance, **options)
        expected = [(one, head) for one, head in seen if scope.portfolio is None or one in chosen]
        results = compare_with_heads(engine, results, expected)
        strays = stray_differences(engine) if scope.portfolio is None else []
    _print(results, strays, time.monotonic() - started, as_json=as_json)
    return _exit_code(results, strays)


def _where(settings: Settings) -> str:
    return shown_url(settings.database) if settings.database else f"the data folder {settings.data_dir}"


def _exit_code(results: Sequence[PortfolioReplay], strays: Sequence[Difference]) -> int:
    """The exit code: a broken chain outweighs a difference."""
    if any(result.broken for result in results):
        return BROKEN
    return DIFFERENT if strays or any(result.differences for result in results) else VERIFIED


def _summary(results: Sequence[PortfolioReplay], strays: Sequence[Difference], seconds: float) -> dict[str, object]:
    """The JSON report of a replay."""
    differences = [*(_broken(result) for result in results if result.broken is not None)]
    found = [*strays, *(difference for result in results for difference in result.differences)]
    differences += [_as_object(difference) for difference in found]
    events = sum(result.events for result in results)
    return {
        "portfolios": len(results),
        "events": events,
        "trades": sum(result.trades for result in results),
        "seconds": round(seconds, 3),
        "events_per_second": round(events / seconds) if seconds else 0,
        "verified": not differences,
        "state_hash": _overall_hash(results),
        "differences": differences,
    }


def _print(results: Sequence[PortfolioReplay], strays: Sequence[Difference], seconds: float, *, as_json: bool) -> None:
    summary = _summary(results, strays, seconds)
    if as_json:
        echo_json(summary)
        return
    for result in results:
        click.echo(f"{result.name or result.portfolio_id}: {result.events} events, {result.trades} trades")
    _print_verdict(summary)


def _print_verdict(summary: Mapping[str, object]) -> None:
    """Print one line for each difference, then the verdict."""
    differences = summary["differences"]
    assert isinstance(differences, list)
    for difference in differences:
        click.echo(
            f"DIFFERENCE {difference['what']}: stored {difference['stored']}, replayed {difference['replayed']}"
            f" (first event concerned: {difference['first_event']})"
        )
    click.echo(
        f"{'VERIFIED' if summary['verified'] else 'NOT VERIFIED'}: {summary['events']} events"
        f" in {summary['seconds']:.2f} s, state hash {summary['state_hash'] or 'none'}"
    )


def _overall_hash(results: Sequence[PortfolioReplay]) -> str:
    """The hash of the only portfolio, else a hash over all; empty if a log could not be read."""
    if any(result.broken for result in results):
        return ""
    if len(results) == 1:
        return results[0].state_hash
    return state_hash(f"{result.portfolio_id} {result.state_hash}" for result in results)


def _broken(result: PortfolioReplay) -> dict[str, object]:
    assert result.broken is not None
    return {
        "portfolio_id": str(result.portfolio_id),
        "what": f"events[position {result.broken.position}]",
        "stored": result.broken.reason,
        "replayed": "an unbroken chain",
        "first_event": result.broken.position,
    }


def _as_object(difference: Difference) -> dict[str, object]:
    return {
        "portfolio_id": str(difference.portfolio_id),
        "what": difference.what,
        "stored": difference.stored,
        "replayed": difference.replayed,
        "first_event": difference.first_event,
    }


def _replay_past(settings: Settings, past: PointInTime, *, portfolio: str | None, as_json: bool) -> int:
    """Replay up to a point in time, print the portfolios' values, and return the exit code.

    Verifies the chain and the identities. Stored views are current, so they are not compared. Raises BadSettings.
    """
    started = time.monotonic()
    with open_ledger(settings) as engine:
        chosen = chosen_portfolios(engine, portfolio)
        with progress_bar("replaying", count_events(engine, chosen), shown=not as_json) as advance:
            found = [replay_at(engine, portfolio_id, past, advance) for portfolio_id in chosen]
    results = [one.replay for one in found]
    summary = _summary(results, [], time.monotonic() - started)
    if as_json:
        times = {"as_of": _text(past.as_of), "known_at": _text(past.known_at)}
        click.echo(json.dumps({**times, **summary, "state": [_state(one) for one in found]}, indent=2))
    else:
        for one in found:
            _print_state(one)
        _print_verdict(summary)
    return _exit_code(results, [])


def _state(one: ReplayAt) -> dict[str, object]:
    """The portfolio with the fields of `GET /portfolio/`."""
    state: dict[str, object] = {"portfolio_id": str(one.replay.portfolio_id), "position": one.position}
    if one.worth is None:
        return state
    worth = {
        field.name: _text(getattr(one.worth, field.name))
        for field in fields(PortfolioValuation)
        if field.name != "positions"
    }
    positions = [
        {field.name: _text(getattr(held, field.name)) for field in fields(PositionValuation)}
        for held in one.worth.positions
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
