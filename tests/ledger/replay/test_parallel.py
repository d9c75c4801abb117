"""Portfolios replayed in parallel: the same results for every number of workers and after a worker was killed."""

import os
import signal
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any
from uuid import UUID

import click
import psycopg
import pytest
from distributed import LocalCluster
from sqlalchemy import Engine

from api.cli.workers import Workers
from ledger.postgres.book import PostgresBook
from ledger.replay.parallel import WorkersLost, verify_many
from ledger.replay.verify import verify_portfolio
from tests.conftest import wait_until_blocked
from tests.support.events import Story, realistic_batches, record_all
from tests.support.worker_processes import processes

Superuser = psycopg.Connection[tuple[Any, ...]]


@pytest.fixture
def chosen(postgres_book: PostgresBook, superuser: Superuser, new_story: Callable[[], Story]) -> list[UUID]:
    """Five portfolios: three intact ones, one with a wrong row, one with a broken chain."""
    stories = [new_story() for _ in range(5)]
    for number, story in enumerate(stories):
        record_all(postgres_book, story, [[new for batch in realistic_batches(story, 4 + number) for new in batch]])
    superuser.execute("update balances set quantity = 1 where portfolio_id = %s", (stories[1].portfolio_id,))
    superuser.execute("alter table events disable trigger refuse_change")
    superuser.execute(
        "update events set actor = 'x' where portfolio_id = %s and position = 4", (stories[3].portfolio_id,)
    )
    return [story.portfolio_id for story in stories]


def summary(results: list[Any]) -> list[object]:
    """The results in comparable form, broken chains by their text."""
    return [(one.portfolio_id, one.events, one.state_hash, one.differences, str(one.broken)) for one in results]


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_verify_many_gives_the_same_results_for_every_number_of_workers(
    engine: Engine, database_url: str, chosen: list[UUID], workers: int
) -> None:
    """Intact, different and broken logs are reported in the order given."""
    progress: list[int] = []
    alone = [verify_portfolio(engine, one) for one in chosen]
    found = verify_many(database_url, chosen, processes(workers), progress.append)

    assert summary(found) == summary(alone)
    assert [one.broken.position for one in found if one.broken] == [4]
    assert sum(progress) == sum(one.events for one in found)


def test_verify_many_repeats_the_tasks_of_a_killed_worker(
    engine: Engine, database_url: str, chosen: list[UUID]
) -> None:
    alone = [verify_portfolio(engine, one) for one in chosen]
    pools: list[ProcessPoolExecutor] = []

    def new_pool() -> Executor:
        pools.append(processes(2)())
        return pools[-1]

    with ThreadPoolExecutor(1) as thread, psycopg.connect(database_url) as holder:
        holder.execute("lock table view_checkpoints in access exclusive mode")
        work = thread.submit(verify_many, database_url, chosen, new_pool)
        wait_until_blocked(database_url, work)
        os.kill(next(iter(pools[0]._processes)), signal.SIGKILL)
        while len(pools) < 2:
            assert not work.done()
        holder.rollback()
        assert summary(work.result()) == summary(alone)
    assert len(pools) == 2


class Doomed(ThreadPoolExecutor):
    """An executor whose workers always die."""

    def submit(self, *_: Any, **__: Any) -> Any:
        from concurrent.futures.process import BrokenProcessPool

        raise BrokenProcessPool("a process in the process pool was terminated abruptly")


def test_verify_many_raises_when_workers_die_three_times(database_url: str, chosen: list[UUID]) -> None:
    """The error reports how many portfolios are left and a remedy."""
    pools: list[Executor] = []

    def new_pool() -> Executor:
        pools.append(Doomed(1))
        return pools[-1]

    with pytest.raises(WorkersLost, match=r"died 3 times and 5 portfolios are left: .*fewer --workers"):
        verify_many(database_url, chosen, new_pool)
    assert len(pools) == 3


def test_verify_many_gives_the_same_results_on_a_cluster(engine: Engine, database_url: str, chosen: list[UUID]) -> None:
    """The workers are those of a Dask cluster."""
    alone = [verify_portfolio(engine, one) for one in chosen]
    with LocalCluster(
        n_workers=1, threads_per_worker=2, processes=False, protocol="tcp", dashboard_address=None
    ) as cluster:
        address = cluster.scheduler_address.replace("tcp", "dask")
        assert summary(verify_many(database_url, chosen, Workers(cluster=address).executor)) == summary(alone)


@pytest.mark.parametrize("address", ["localhost:8786", "tcp://localhost:8786", "dask://"])
def test_workers_refuse_an_invalid_cluster_address(address: str) -> None:
    """The error shows the expected form of the address."""
    with pytest.raises(click.UsageError, match=r"must be dask://host:port"):
        Workers(cluster=address).executor().__enter__()
