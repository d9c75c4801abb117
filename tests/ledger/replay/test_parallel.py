"""Portfolios replayed side by side: the same result at every number of workers, and after a worker was killed."""

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
    """Five portfolios: three whole ones, one with a wrong row, one with a broken chain."""
    stories = [new_story() for _ in range(5)]
    for number, story in enumerate(stories):
        record_all(postgres_book, story, [[new for batch in realistic_batches(story, 4 + number) for new in batch]])
    superuser.execute("update balances set quantity = 1 where portfolio_id = %s", (stories[1].portfolio_id,))
    superuser.execute("alter table events disable trigger refuse_change")
    superuser.execute(
        "update events set actor = 'x' where portfolio_id = %s and position = 4", (stories[3].portfolio_id,)
    )
    return [story.portfolio_id for story in stories]


def said(results: list[Any]) -> list[object]:
    """What the results say, broken chains by their text."""
    return [(one.portfolio_id, one.events, one.state_hash, one.differences, str(one.broken)) for one in results]


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_every_number_of_workers_says_the_same(
    engine: Engine, database_url: str, chosen: list[UUID], workers: int
) -> None:
    """What is whole, different or broken is so at any number of workers, with the same hashes, in the order asked for."""
    told: list[int] = []
    alone = [verify_portfolio(engine, one) for one in chosen]
    found = verify_many(database_url, chosen, processes(workers), told.append)

    assert said(found) == said(alone)
    assert [one.broken.position for one in found if one.broken] == [4]
    assert sum(told) == sum(one.events for one in found)


def test_what_a_killed_worker_had_not_finished_is_done_again(
    engine: Engine, database_url: str, chosen: list[UUID]
) -> None:
    """A worker that is killed in the middle of its work costs time and nothing else."""
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
        assert said(work.result()) == said(alone)
    assert len(pools) == 2


class Doomed(ThreadPoolExecutor):
    """An executor whose workers are always lost."""

    def submit(self, *_: Any, **__: Any) -> Any:
        from concurrent.futures.process import BrokenProcessPool

        raise BrokenProcessPool("a process in the process pool was terminated abruptly")


def test_workers_that_die_every_time_are_given_up(database_url: str, chosen: list[UUID]) -> None:
    """After the third lost pool the caller is told how many portfolios are left and what to try."""
    pools: list[Executor] = []

    def new_pool() -> Executor:
        pools.append(Doomed(1))
        return pools[-1]

    with pytest.raises(WorkersLost, match=r"died 3 times and 5 portfolios are left: .*fewer --workers"):
        verify_many(database_url, chosen, new_pool)
    assert len(pools) == 3


def test_a_cluster_says_the_same(engine: Engine, database_url: str, chosen: list[UUID]) -> None:
    """The workers of a Dask cluster, found by its address, give the results of this process."""
    alone = [verify_portfolio(engine, one) for one in chosen]
    with LocalCluster(
        n_workers=1, threads_per_worker=2, processes=False, protocol="tcp", dashboard_address=None
    ) as cluster:
        address = cluster.scheduler_address.replace("tcp", "dask")
        assert said(verify_many(database_url, chosen, Workers(cluster=address).executor)) == said(alone)


@pytest.mark.parametrize("address", ["localhost:8786", "tcp://localhost:8786", "dask://"])
def test_what_is_no_cluster_is_wrong_use(address: str) -> None:
    """An address that names no Dask scheduler is refused with the form it should have."""
    with pytest.raises(click.UsageError, match=r"must be dask://host:port"):
        Workers(cluster=address).executor().__enter__()
