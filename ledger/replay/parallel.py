"""Work that is done side by side by any `concurrent.futures.Executor`: processes here, or a cluster elsewhere.

What is done has nothing in common, so the result is the same at every number of workers. Portfolios replayed are the
first such work: they share but the database.
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
"""So often is a portfolio tried whose worker was lost."""

NewExecutor = Callable[[], AbstractContextManager[Executor]]
Key = TypeVar("Key")
Result = TypeVar("Result")


class WorkersLost(DaybookError):
    """Worker processes were killed again and again; the sentence says what may help."""


def verify_many(
    url: str,
    portfolio_ids: Iterable[UUID],
    new_executor: NewExecutor,
    progress: Progress = lambda _: None,
    *,
    rebuild: bool = False,
    thorough: bool = False,
) -> list[PortfolioReplay]:
    """As `verify_portfolio` for each portfolio (after rebuilding it, if asked), in the order given.

    The workers connect to `url` themselves. When one of them dies, what it had not finished is done again by a new
    executor. Raises WorkersLost when that happens a third time.
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
    """What `work` makes of each tuple of arguments; `done` hears of each as soon as it is there.

    What a dead worker had not finished is done again by a new executor. Raises WorkersLost, which names the tasks as they
    are `called`, when that happens a third time, and whatever `work` raises.
    """
    results: dict[Key, Result] = {}
    for _ in range(ATTEMPTS):
        # What is lost with a worker is not in the results, so the next round does it again.
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
    """One portfolio, on connections of its own: what a worker does."""
    engine = engine_for(url, WRITER)
    try:
        if rebuild:
            # Nothing is built on a broken log; verifying tells where it is broken.
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
