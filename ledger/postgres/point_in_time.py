"""SQL on the log for points in time."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from ledger.log.envelope import Envelope
from ledger.postgres.log import COLUMNS, Raw, stored


def first_of(connection: Raw, portfolio_id: UUID, types: Sequence[str]) -> int | None:
    """The position of the first event of these types, if there is one."""
    row = connection.execute(
        "select min(position) from events where portfolio_id = %s and type = any(%s)", (portfolio_id, list(types))
    ).fetchone()
    return None if row is None else row[0]


def count_between(
    connection: Raw, portfolio_id: UUID, reached: tuple[datetime | None, int], wanted: tuple[datetime | None, int]
) -> int:
    """The number of events between two points in time, each a time of occurrence (None: any) and a last position."""
    (before, position), (moment, last) = reached, wanted
    if before == moment:
        return last - position
    row = connection.execute(
        "select count(*) from events where portfolio_id = %s and position <= %s"
        " and (%s::timestamptz is null or occurred_at <= %s) and (position > %s or occurred_at > %s)",
        (portfolio_id, last, moment, moment, position, before),
    ).fetchone()
    return last if row is None else row[0]


def read_between(
    connection: Raw, portfolio_id: UUID, after: datetime | None, until: datetime | None, last: int, ids: Sequence[UUID]
) -> list[Envelope]:
    """The envelopes up to position `last` that occurred between two times or have one of the ids, in order of position."""
    cursor = connection.execute(
        f"select {COLUMNS} from events where portfolio_id = %s and position <= %s and (event_id = any(%s)"
        " or (occurred_at > %s and (%s::timestamptz is null or occurred_at <= %s))) order by position",
        (portfolio_id, last, list(ids), after, until, until),
    )
    return [stored(row) for row in cursor]
