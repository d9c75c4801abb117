"""A fresh database for measurements."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Engine

from ledger.postgres.database import connected
from ledger.postgres.embedded import embedded_postgres


@contextmanager
def fresh_database() -> Iterator[tuple[str, Engine]]:
    """Run a server with its defaults, which are durable, as for users; yield the URL and an engine."""
    with tempfile.TemporaryDirectory(prefix="daybook-bench-") as folder:
        Path(folder).chmod(0o755)
        with embedded_postgres(Path(folder)) as url, connected(url) as engine:
            yield url, engine
