"""`daybook replay`: runs the proof over portfolios and prints what it found."""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from uuid import UUID

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from api.runtime.settings import BadSettings, Settings, usable_folder
from ledger.log.checkpoints import known_public_key, positions_of, read_checkpoint_file
from ledger.log.event_log import NoSuchPortfolio
from ledger.log.hash_chain import BrokenLog
from ledger.postgres.database import open_database, shown_url
from ledger.processes import worker_processes
from ledger.projections.portfolio import portfolio_id_of
from ledger.replay.differences import Difference, PortfolioReplay
from ledger.replay.parallel import verify_many
from ledger.replay.verify import (
    all_portfolios,
    count_events,
    held_to,
    rebuild_portfolio,
    stray_differences,
    verify_portfolio,
)
from ledger.rows import state_hash

VERIFIED, DIFFERENT, BROKEN = 0, 3, 4


@dataclass(frozen=True, slots=True)
class Labour:
    """How portfolios are replayed: so many at once in processes, or on the Dask cluster at `executor`."""

    workers: int = 1
    executor: str | None = None
    rebuild: bool = False
    thorough: bool = False


def run_replay(
    settings: Settings, labour: Labour, *, portfolio: str | None, as_json: bool, checkpoint: Path | None = None
) -> int:
    """Replays all portfolios or one, prints the result, and returns the exit code.

    With a checkpoint, every log that it names must still hold what it saw. Raises BadCheckpoint,
    and BadSettings for a portfolio that is not there.
    """
    usable_folder(settings.data_dir)
    seen = positions_of(read_checkpoint_file(checkpoint, known_public_key(settings.data_dir))) if checkpoint else ()
    started = time.monotonic()
    with open_database(settings.data_dir, settings.database) as engine:
        known = all_portfolios(engine)
        chosen = named_portfolios(known, portfolio)
        if portfolio is not None and not chosen:
            raise BadSettings(f"there is no portfolio called {portfolio!r}: daybook replay lists them")
        if not known:
            click.echo(f"daybook: nothing has been recorded yet in {_where(settings)}", err=True)
        total = count_events(engine, chosen) * (2 if labour.rebuild and _alone(labour) else 1)
        with progress_bar(total, shown=not as_json) as advance:
            if _alone(labour):
                for portfolio_id in chosen if labour.rebuild else ():
                    # Nothing is built on a broken log; verifying tells where it is broken.
                    with suppress(BrokenLog, NoSuchPortfolio):
                        rebuild_portfolio(engine, portfolio_id, advance)
                results = [verify_portfolio(engine, one, advance, thorough=labour.thorough) for one in chosen]
            else:
                url = engine.url.render_as_string(hide_password=False)
                results = verify_many(
                    url,
                    chosen,
                    partial(new_executor, labour),
                    advance,
                    rebuild=labour.rebuild,
                    thorough=labour.thorough,
                )
        wanted = [(one, head) for one, head in seen if portfolio is None or one in chosen]
        results = held_to(engine, results, wanted)
        strays = stray_differences(engine) if portfolio is None else []
    seconds = time.monotonic() - started
    _print(results, strays, seconds, as_json=as_json)
    return exit_code(results, strays)


def _alone(labour: Labour) -> bool:
    return labour.workers == 1 and labour.executor is None


@contextmanager
def new_executor(labour: Labour) -> Iterator[Executor]:
    """Processes on this machine, or the workers of a Dask cluster. Raises UsageError when there is no such cluster."""
    if labour.executor is None:
        with worker_processes(labour.workers) as processes:
            yield processes
        return
    scheme, _, address = labour.executor.partition("://")
    if scheme != "dask" or not address:
        raise click.UsageError(f"--executor {labour.executor!r} is not dask://host:port")
    try:
        from distributed import Client
    except ImportError:
        raise click.UsageError("--executor needs the package distributed: pip install 'daybook[dask]'") from None
    try:
        client = Client(f"tcp://{address}", timeout="10s")
    except OSError as error:
        raise click.UsageError(f"no Dask scheduler answers at {address}: {error}") from None
    with client, client.get_executor() as workers:
        yield workers


def _where(settings: Settings) -> str:
    return shown_url(settings.database) if settings.database else f"the data folder {settings.data_dir}"


def exit_code(results: Sequence[PortfolioReplay], strays: Sequence[Difference]) -> int:
    """What the command ends with: a broken chain outweighs a difference."""
    if any(result.broken for result in results):
        return BROKEN
    return DIFFERENT if strays or any(result.differences for result in results) else VERIFIED


def summary_of(results: Sequence[PortfolioReplay], strays: Sequence[Difference], seconds: float) -> dict[str, object]:
    """What a replay found, as it is printed in JSON."""
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
    summary = summary_of(results, strays, seconds)
    if as_json:
        click.echo(json.dumps(summary, ensure_ascii=False, indent=2))
        return
    for result in results:
        click.echo(f"{result.name or result.portfolio_id}: {result.events} events, {result.trades} trades")
    print_verdict(summary)


def print_verdict(summary: Mapping[str, object]) -> None:
    """A line for each difference, and one that says whether all is proven."""
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
    """The one portfolio's hash, or the hash over all, or nothing when a log could not be read."""
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


def named_portfolios(known: Sequence[UUID], portfolio: str | None) -> list[UUID]:
    """Those of `known` that a name or an id stands for; all of them when none is given."""
    if portfolio is None:
        return list(known)
    wanted = {portfolio_id_of(portfolio)}
    with suppress(ValueError):
        wanted.add(UUID(portfolio))
    return [one for one in known if one in wanted]


@contextmanager
def progress_bar(total: int, *, shown: bool) -> Iterator[Callable[[int], None]]:
    """A bar on standard error while the context is open, where a terminal is there to show it."""
    console = Console(stderr=True)
    columns = (TextColumn("replaying"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not (shown and console.is_terminal)) as bar:
        task = bar.add_task("replaying", total=total)
        yield lambda done: bar.advance(task, done)
