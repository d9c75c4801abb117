"""What a rebuild or a verification cannot do without: the log received, its chain proven, trades taken apart, lots folded."""

from collections.abc import Callable
from contextlib import closing
from functools import partial
from uuid import UUID

from sqlalchemy import Engine

from bench.figures import Figure, rate
from bench.raw_limits import RawLimits
from ledger.postgres.log import Raw, raw
from ledger.replay.fast.copy import raw_events
from ledger.replay.fast.decode import plain_trade, proven
from ledger.replay.fast.replay import FastReplay


def measure_floor(engine: Engine, portfolio_id: UUID, events: int, limits: RawLimits) -> list[Figure]:
    """Each step with those before it, over a stored log of so many events; nothing is compared or written."""

    def received(connection: Raw) -> int:
        with closing(raw_events(connection, portfolio_id)) as raws:
            return sum(1 for _ in raws)

    def held(connection: Raw) -> int:
        with closing(raw_events(connection, portfolio_id)) as raws:
            return sum(1 for _ in proven(portfolio_id, raws))

    def apart(connection: Raw) -> int:
        with closing(raw_events(connection, portfolio_id)) as raws:
            return sum(1 for one in proven(portfolio_id, raws) if plain_trade(one))

    def folded(connection: Raw) -> int:
        with closing(FastReplay(connection, portfolio_id).lines()) as chunks:
            return sum(len(lines) for _, lines in chunks)

    steps: list[tuple[str, Callable[[Raw], int]]] = [
        ("the log received, nothing more", received),
        ("the log received and proven", held),
        ("the same, trades taken apart", apart),
        ("the same, folded into lines of rows", folded),
    ]
    figures: list[Figure] = []
    for name, work in steps:
        with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
            own = raw(connection)
            figures.append(rate(name, "events/s", events, partial(work, own), limits.fifo))
    return figures
