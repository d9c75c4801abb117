"""Stored views compared with a fast replay, or written by one."""

from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from ledger.postgres.log import Raw
from ledger.postgres.views import row_kinds
from ledger.replay.fast.copy import Tally, stored_lines, write_lines
from ledger.replay.fast.decode import Unverified
from ledger.replay.fast.fold import Unsupported
from ledger.replay.fast.lines import text_of
from ledger.replay.fast.replay import FastReplay, Progress
from ledger.rows import Row, state_hash

AHEAD: Final = 8
"""At most this many lists of lines wait to be written."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """A fast replay and the tables whose stored rows differ from it."""

    replay: FastReplay
    state_hash: str
    differing: tuple[str, ...]


def compare_views(connection: Raw, portfolio_id: UUID, generation: int | None, progress: Progress) -> Comparison | None:
    """Compare the log with the stored rows of a generation (None: with no rows).

    None if only the event-by-event replay can fold the log. Runs in the caller's transaction, which must see a single
    snapshot and is left as it was.
    """
    replay = FastReplay(connection, portfolio_id, progress)
    replayed = {kind: Tally() for kind in row_kinds()}

    def texts() -> Iterator[str]:
        with closing(replay.lines()) as chunks:
            for kind, lines in chunks:
                replayed[kind].add(lines)
                for line in lines:
                    yield text_of(kind, line)

    try:
        with connection.transaction():
            found = state_hash(texts())
    except (Unsupported, Unverified):
        return None
    return Comparison(replay, found, tuple(_differing(connection, portfolio_id, generation, replayed)))


def _differing(
    connection: Raw, portfolio_id: UUID, generation: int | None, replayed: Mapping[type[Row], Tally]
) -> Iterator[str]:
    for kind, tally in replayed.items():
        stored = Tally()
        if generation is not None:
            with closing(stored_lines(connection, portfolio_id, generation, kind)) as lines:
                stored.add(lines)
        if stored != tally:
            yield kind.table


def write_views(
    reading: Raw, writing: Raw, portfolio_id: UUID, generation: int, progress: Progress
) -> FastReplay | None:
    """Write the rows of a new generation; None, with nothing written, if only the event-by-event replay can.

    Reads a single snapshot on one connection and writes in the transaction of another, in a thread: while the database
    stores one list of lines, the next is folded.
    """
    replay = FastReplay(reading, portfolio_id, progress)
    try:
        with writing.transaction(), ThreadPoolExecutor(1) as writer, closing(replay.lines()) as chunks:
            waiting: deque[Future[None]] = deque()
            for kind, lines in chunks:
                waiting.append(writer.submit(write_lines, writing, portfolio_id, generation, kind, lines))
                if len(waiting) > AHEAD:
                    waiting.popleft().result()
            for one in waiting:
                one.result()
    except (Unsupported, Unverified):
        return None
    return replay
