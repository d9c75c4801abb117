"""Independent tasks run in parallel by a `concurrent.futures.Executor`: local processes or a cluster.

The results are the same for every number of workers.
"""

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import BrokenExecutor, Executor, Future, as_completed
from contextlib import AbstractContextManager, suppress
from typing import Final, TypeVar
from uuid import UUID

from ledger.errors import DaybookError
from ledger.log.event_log import BrokenLog, NoSuchPortfolio
from ledger.postgres.database import WRITER, engine_for
from ledger.replay.differences import PortfolioReplay
from ledger.replay.fast.replay import Progress
from ledger.replay.verify import rebuild_portfolio, verify_portfolio

ATTEMPTS: Final = 3
"""Attempts for tasks whose worker died."""

NewExecutor = Callable[[], AbstractContextManager[Executor]]
Key = TypeVar("Key")
Result = TypeVar("Result")


class WorkersLost(DaybookError):
    """Worker processes died in every attempt."""


def verify_many(
    url: str,
    portfolio_ids: Iterable[UUID],
    new_executor: NewExecutor,
    progress: Progress = lambda _: None,
    *,
    rebuild: bool = False,
    thorough: bool = False,
) -> list[PortfolioReplay]:
    """Run `verify_portfolio` for each portfolio, optionally after rebuilding it; results in the given order.

    The workers connect to `url` themselves.

    Raises:
        WorkersLost: as `run_all`.
    """
    wanted = {one: (url, one, rebuild, thorough) for one in portfolio_ids}
    results = run_all(replay_one, wanted, new_executor, lambda _, result: progress(result.events), "portfolios")
    return [results[one] for one in wanted]


def run_all(
    work: Callable[..., Result],
    arguments: Mapping[Key, tuple[object, ...]],
    new_executor: NewExecutor,
    done: Callable[[Key, Result], None],
    called: str,
) -> dict[Key, Result]:
    """Run `work` on each tuple of arguments and call `done` with each result as it arrives.

    If a worker dies, a new executor runs the unfinished tasks. `called` names the tasks in the error message.

    Raises:
        WorkersLost: workers died in `ATTEMPTS` attempts. Exceptions of `work` propagate.
    """
    results: dict[Key, Result] = {}
    for _ in range(ATTEMPTS):
        # Tasks lost with a worker have no result, so the next attempt runs them.
        with suppress(BrokenExecutor), new_executor() as executor:
            waiting = {executor.submit(work, *given): key for key, given in arguments.items() if key not in results}
            _collect(waiting, results, done)
        if len(results) == len(arguments):
            return results
    lost = len(arguments) - len(results)
    raise WorkersLost(
        f"worker processes died {ATTEMPTS} times and {lost} {called} are left:"
        " look for lack of memory in the system's log, and try fewer --workers"
    )


def replay_one(url: str, portfolio_id: UUID, rebuild: bool, thorough: bool) -> PortfolioReplay:
    """Verify one portfolio in a worker, on its own connections."""
    engine = engine_for(url, WRITER)
    try:
        if rebuild:
            # A broken log is not rebuilt; verifying reports where it is broken.
            with suppress(BrokenLog, NoSuchPortfolio):
                rebuild_portfolio(engine, portfolio_id)
        return verify_portfolio(engine, portfolio_id, thorough=thorough)
    finally:
        engine.dispose()


def _collect(
    waiting: Mapping[Future[Result], Key], results: dict[Key, Result], done: Callable[[Key, Result], None]
) -> None:
    lost: BrokenExecutor | None = None
    for future in as_completed(waiting):
        try:
            result = future.result()
        except BrokenExecutor as error:
            lost = error
            continue
        results[waiting[future]] = result
        done(waiting[future], result)
    if lost is not None:
        raise lost
