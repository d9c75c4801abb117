"""Many portfolios replayed side by side by any `concurrent.futures.Executor`: processes here, or a cluster elsewhere.

Portfolios have nothing in common but the database, so the result is the same at every number of workers.
"""

from collections.abc import Callable, Iterable
from concurrent.futures import BrokenExecutor, Executor, Future, as_completed
from contextlib import AbstractContextManager, suppress
from typing import Final
from uuid import UUID

from ledger.chain import BrokenLog
from ledger.database import WRITER, engine_for
from ledger.differences import PortfolioReplay
from ledger.log import NoSuchPortfolio
from ledger.replay import rebuild_portfolio, verify_portfolio

ATTEMPTS: Final = 3
"""So often is a portfolio tried whose worker was lost."""

Progress = Callable[[int], None]


class WorkersLost(Exception):
    """Worker processes were killed again and again; the sentence says what may help."""


def verify_many(
    url: str,
    portfolio_ids: Iterable[UUID],
    new_executor: Callable[[], AbstractContextManager[Executor]],
    progress: Progress = lambda _: None,
    *,
    rebuild: bool = False,
    thorough: bool = False,
) -> list[PortfolioReplay]:
    """As `verify_portfolio` for each portfolio (after rebuilding it, if asked), in the order given.

    The workers connect to `url` themselves. When one of them dies, what it had not finished is done again by a new
    executor. Raises WorkersLost when that happens a third time.
    """
    wanted = list(portfolio_ids)
    results: dict[UUID, PortfolioReplay] = {}
    for _ in range(ATTEMPTS):
        waiting = [one for one in wanted if one not in results]
        # What is lost with a worker is not in the results, so the next round does it again.
        with suppress(BrokenExecutor), new_executor() as executor:
            futures: list[Future[PortfolioReplay]] = [
                executor.submit(replay_one, url, one, rebuild, thorough) for one in waiting
            ]
            _collect(futures, results, progress)
        if len(results) == len(wanted):
            return [results[one] for one in wanted]
    lost = len(wanted) - len(results)
    raise WorkersLost(
        f"worker processes died {ATTEMPTS} times and {lost} portfolios are left:"
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
    futures: Iterable[Future[PortfolioReplay]], results: dict[UUID, PortfolioReplay], progress: Progress
) -> None:
    lost: BrokenExecutor | None = None
    for future in as_completed(futures):
        try:
            result = future.result()
        except BrokenExecutor as error:
            lost = error
            continue
        results[result.portfolio_id] = result
        progress(result.events)
    if lost is not None:
        raise lost
