"""The minimum of a rebuild or verification: read the log, verify its chain, decode the trades, fold the lots."""

from collections.abc import Callable
from contextlib import closing
from functools import partial
from uuid import UUID

from sqlalchemy import Engine

from bench.figures import Figure, rate
from bench.raw_limits import RawLimits
from ledger.postgres.log import Raw, raw
from ledger.replay.fast.copy import raw_events
from ledger.replay.fast.decode import plain_trade, verified_raw
from ledger.replay.fast.replay import FastReplay


def measure_floor(engine: Engine, portfolio_id: UUID, events: int, limits: RawLimits) -> list[Figure]:
    """Measure each step together with the previous ones; nothing is compared or written."""

    def read(connection: Raw) -> int:
        with closing(raw_events(connection, portfolio_id)) as raws:
            return sum(1 for _ in raws)

    def verify(connection: Raw) -> int:
        with closing(raw_events(connection, portfolio_id)) as raws:
            return sum(1 for _ in verified_raw(portfolio_id, raws))

    def decode(connection: Raw) -> int:
        with closing(raw_events(connection, portfolio_id)) as raws:
            return sum(1 for one in verified_raw(portfolio_id, raws) if plain_trade(one))

    def fold(connection: Raw) -> int:
        with closing(FastReplay(connection, portfolio_id).lines()) as chunks:
            return sum(len(lines) for _, lines in chunks)

    steps: list[tuple[str, Callable[[Raw], int]]] = [
        ("read the log", read),
        ("read and verify the log", verify),
        ("the same, trades decoded", decode),
        ("the same, folded into lines of rows", fold),
    ]
    figures: list[Figure] = []
    for name, work in steps:
        with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
            own = raw(connection)
            figures.append(rate(name, "events/s", events, partial(work, own), limits.fifo))
    return figures
