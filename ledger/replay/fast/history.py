"""The rows at a point in time, folded by the fast replay as far as the first split or reversal in the log.

From there on the event-by-event replay continues with these rows.
"""

from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from ledger.booking.lots import Lot
from ledger.events import SplitRecorded, TradeReversed
from ledger.log.event_log import Head
from ledger.log.point_in_time import AsOfFilter
from ledger.postgres.log import Raw
from ledger.postgres.point_in_time import first_of
from ledger.projections.holdings import HoldingsProjection
from ledger.projections.trades import TradesProjection
from ledger.replay.fast.decode import Unverified
from ledger.replay.fast.fold import LINES, Unsupported
from ledger.replay.fast.replay import FastReplay
from ledger.replay.fast.rows import FoldedRows, row_reader
from ledger.rows import Projection

_UNUSUAL_TYPES: Final = (SplitRecorded.type, TradeReversed.type)


@dataclass(frozen=True, slots=True)
class HistoryStart:
    """The rows that follow from the events up to `head` that `as_of` counts."""

    head: Head
    as_of: AsOfFilter
    rows: FoldedRows


def replay_history(
    connection: Raw, portfolio_id: UUID, moment: datetime | None, known: int, projections: tuple[Projection, ...]
) -> HistoryStart | None:
    """Replay the log up to position `known`, or up to the first split or reversal, as of a time of occurrence.

    None if the event-by-event replay has to start from the first event: short selling is allowed, or the log is broken.
    Runs in the caller's transaction, which must see a single snapshot and is left as it was.
    """
    unusual = first_of(connection, portfolio_id, _UNUSUAL_TYPES)
    last = known if unusual is None else min(known, unusual - 1)
    folded_here = (HoldingsProjection, TradesProjection)
    if last < 1 or not all(any(isinstance(one, kind) for one in projections) for kind in folded_here):
        return None
    rows, history = FoldedRows(), {kind: list[str]() for kind in LINES}
    replay = FastReplay(connection, portfolio_id, rows=rows, last=last, moment=moment, projections=projections)
    try:
        with connection.transaction(), closing(replay.closed_lines()) as chunks:
            for kind, lines in chunks:
                history[kind] += lines
        rows.apply(replay.current_rows())
    except (Unsupported, Unverified):
        return None
    for kind, lines in history.items():
        rows.add_history(kind, lines)
    rows.apply(map(row_reader(Lot), replay.fold.open_lots()))
    return HistoryStart(replay.head, replay.as_of, rows)
