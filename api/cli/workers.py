"""Workers of a command: this process, several processes, or a Dask cluster."""

from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import rich_click as click

from ledger.processes import worker_processes

EXECUTOR: Final = click.option("--executor", metavar="URL", help="Dask cluster to work on: dask://host:port.")


@dataclass(frozen=True, slots=True)
class Workers:
    """`count` processes on this machine, or the Dask cluster at the address `cluster`."""

    count: int = 1
    cluster: str | None = None

    @property
    def alone(self) -> bool:
        """True when the work is done in this process."""
        return self.count == 1 and self.cluster is None

    @contextmanager
    def executor(self) -> Iterator[Executor]:
        """Open an executor. Raises UsageError if the cluster cannot be reached."""
        if self.cluster is not None:
            with self._cluster() as workers:
                yield workers
            return
        with ThreadPoolExecutor(1) if self.alone else worker_processes(self.count) as workers:
            yield workers

    @contextmanager
    def _cluster(self) -> Iterator[Executor]:
        scheme, _, address = (self.cluster or "").partition("://")
        if scheme != "dask" or not address:
            raise click.UsageError(f"--executor {self.cluster!r} must be dask://host:port")
        try:
            from distributed import Client
        except ImportError:
            raise click.UsageError(
                "--executor needs distributed: run make extras or pip install 'daybook[dask]'"
            ) from None
        try:
            client = Client(f"tcp://{address}", timeout="10s")
        except OSError as error:
            raise click.UsageError(f"no Dask scheduler answers at {address}: {error}") from None
        with client, client.get_executor() as workers:
            yield workers
