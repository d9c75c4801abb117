"""PostgresLog: the log in PostgreSQL, with the SQL to append and read."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

import psycopg
from sqlalchemy import Connection, Engine

from ledger.log.envelope import EncodedEvent, Envelope, NewEvent, batch_text, check_batch, encoded
from ledger.log.event_log import Conflict, Head, NoSuchPortfolio, PositionConflict
from ledger.log.point_in_time import OPENINGS, PointInTime
from ledger.values import Clock

Raw = psycopg.Connection[tuple[Any, ...]]

_APPEND: Final = "select event_id, position, recorded_at, hash, appended from append_events(%s, %s, %s, %s::jsonb)"
_APPEND_MANY: Final = (
    "select last_position, recorded_at, hashes from append_many(%b::uuid, %b::bigint, %b::timestamptz, %b::uuid[],"
    " %b::text[], %b::smallint[], %b::timestamptz[], %b::text[], %b::uuid[], %b::uuid[], %b::text[], %b::text[])"
)
COLUMNS: Final = (
    "portfolio_id, position, event_id, type, version, occurred_at, recorded_at, actor,"
    " correlation_id, causation_id, payload, metadata, hash"
)
_PAGE: Final = 5000


class _Stored(NamedTuple):
    """The place of an event in the log; `new` if this append stored it."""

    position: int
    recorded_at: datetime
    hash: bytes
    new: bool


@dataclass(frozen=True, slots=True)
class Appended:
    """The events of an append and their places, in the order given."""

    portfolio_id: UUID
    events: Sequence[EncodedEvent]
    stored: Sequence[_Stored]

    @property
    def new(self) -> int:
        """The number of events that were not in the log before."""
        return sum(one.new for one in self.stored)

    def envelopes(self, *, new: bool = False) -> list[Envelope]:
        """The envelopes of all events, or of the new ones only."""
        return [
            event.at(self.portfolio_id, one.position, one.recorded_at, one.hash)
            for event, one in zip(self.events, self.stored, strict=True)
            if one.new or not new
        ]


class PostgresLog:
    """The log in PostgreSQL. Each append is one durable transaction; positions follow commit order."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock

    def append(
        self, portfolio_id: UUID, events: Sequence[NewEvent], expected_position: int | None = None
    ) -> list[Envelope]:
        return self._append(portfolio_id, [encoded(new) for new in events], expected_position).envelopes()

    def append_encoded(
        self, portfolio_id: UUID, events: Sequence[EncodedEvent], expected_position: int | None = None
    ) -> int:
        """Append events that are encoded already; return the number of new ones.

        The payloads are not validated: an invalid one is stored and stops the views at its position.
        """
        return self._append(portfolio_id, events, expected_position).new

    def _append(self, portfolio_id: UUID, events: Sequence[EncodedEvent], expected_position: int | None) -> Appended:
        with domain_errors(), self._engine.begin() as connection:
            return append_in(raw(connection), portfolio_id, events, expected_position, self._clock())

    def read(self, portfolio_id: UUID, after: int = 0, limit: int | None = None) -> Iterator[Envelope]:
        left = limit
        while left is None or left > 0:
            with self._engine.connect() as connection:
                page = read_page(raw(connection), portfolio_id, after, min(_PAGE, left) if left is not None else _PAGE)
            yield from page
            if not page:
                return
            after = page[-1].position
            left = None if left is None else left - len(page)

    def head(self, portfolio_id: UUID) -> Head:
        with self._engine.connect() as connection:
            return head_in(raw(connection), portfolio_id)

    def portfolios(self) -> list[UUID]:
        with self._engine.connect() as connection:
            return portfolio_ids(raw(connection))


def append_in(
    connection: Raw,
    portfolio_id: UUID,
    events: Sequence[EncodedEvent],
    expected_position: int | None,
    recorded_at: datetime,
) -> Appended:
    """Append as `EventLog.append` in the caller's transaction; the portfolio's head stays locked until it ends."""
    if len(events) >= BULK_FROM:
        check_batch(events)
        appended = append_many(connection, portfolio_id, events, expected_position, recorded_at)
        if appended is not None:
            return appended
    return send_append(connection, portfolio_id, events, expected_position, recorded_at)()


BULK_FROM: Final = 20
"""Batches of at least this size try the array insert first; below it the shorter statement is faster."""


def append_many(
    connection: Raw,
    portfolio_id: UUID,
    events: Sequence[EncodedEvent],
    expected_position: int | None,
    recorded_at: datetime,
) -> Appended | None:
    """Store the events if all are new and the head is at the expected position; otherwise store nothing and return None.

    After None use `send_append` in the same transaction. The portfolio's head stays locked until the transaction ends.
    """
    columns = [list(column) for column in zip(*events, strict=True)] or [[] for _ in EncodedEvent._fields]
    row = connection.execute(
        _APPEND_MANY, (portfolio_id, expected_position, recorded_at, *columns), binary=True
    ).fetchone()
    if row is None:
        return None
    last, recorded_at, hashes = row
    first = last - len(events) + 1
    stored = [_Stored(first + index, recorded_at, bytes(hash_), new=True) for index, hash_ in enumerate(hashes)]
    return Appended(portfolio_id, events, stored)


def send_append(
    connection: Raw,
    portfolio_id: UUID,
    events: Sequence[EncodedEvent],
    expected_position: int | None,
    recorded_at: datetime,
) -> Callable[[], Appended]:
    """Send the append and return a function that receives its result. In a pipeline, more can be sent in between."""
    check_batch(events)
    cursor = connection.execute(_APPEND, (portfolio_id, expected_position, recorded_at, batch_text(events)))

    def received() -> Appended:
        stored = {row[0]: _Stored(row[1], row[2], bytes(row[3]), new=row[4]) for row in cursor}
        return Appended(portfolio_id, events, [stored[event.event_id] for event in events])

    return received


def read_page(connection: Raw, portfolio_id: UUID, after: int, limit: int) -> list[Envelope]:
    """The first `limit` envelopes after position `after`."""
    cursor = connection.execute(
        f"select {COLUMNS} from events where portfolio_id = %s and position > %s order by position limit %s",
        (portfolio_id, after, limit),
    )
    return [stored(row) for row in cursor]


def read_stream(connection: Raw, portfolio_id: UUID, after: int = 0, last: int | None = None) -> Iterator[Envelope]:
    """All envelopes after position `after` up to `last`, read in the caller's transaction one page at a time.

    No server-side cursor: if the reader stops early, the garbage collector would close the cursor during the
    connection's next statement, and deadlock.
    """
    while page := read_page(connection, portfolio_id, after, _PAGE if last is None else min(_PAGE, last - after)):
        yield from page
        after = page[-1].position


def read_events(
    connection: Raw,
    portfolio_id: UUID,
    past: PointInTime,
    *,
    types: Sequence[str] = (),
    before: int | None = None,
    limit: int = 100,
) -> list[Envelope]:
    """The newest envelopes below position `before` in `past`, newest first, of the given types (empty: all)."""
    cursor = connection.execute(
        f"select {COLUMNS} from events where portfolio_id = %s and (%s::bigint is null or position < %s)"
        " and (%s::timestamptz is null or occurred_at <= %s or type = any(%s)) and (%s::timestamptz is null or recorded_at <= %s)"
        " and (cardinality(%s::text[]) = 0 or type = any(%s::text[])) order by position desc limit %s",
        (
            portfolio_id,
            *(before, before),
            *(past.as_of, past.as_of, list(OPENINGS)),
            *(past.known_at, past.known_at),
            *(list(types), list(types)),
            limit,
        ),
    )
    return [stored(row) for row in cursor]


def read_event(connection: Raw, portfolio_id: UUID, event_id: UUID) -> Envelope | None:
    """The event with this id, if the log holds it."""
    row = connection.execute(
        f"select {COLUMNS} from events where portfolio_id = %s and event_id = %s", (portfolio_id, event_id)
    ).fetchone()
    return None if row is None else stored(row)


def read_story(connection: Raw, portfolio_id: UUID, correlation_id: UUID) -> list[Envelope]:
    """All envelopes with this correlation id, in order."""
    cursor = connection.execute(
        f"select {COLUMNS} from events where portfolio_id = %s and correlation_id = %s order by position",
        (portfolio_id, correlation_id),
    )
    return [stored(row) for row in cursor]


def read_events_by_id(connection: Raw, portfolio_id: UUID, ids: Sequence[UUID]) -> dict[UUID, Envelope]:
    """The events with these ids that are in the log, by id."""
    found: dict[UUID, Envelope] = {}
    for start in range(0, len(ids), _PAGE):
        cursor = connection.execute(
            f"select {COLUMNS} from events where portfolio_id = %s and event_id = any(%s)",
            (portfolio_id, list(ids[start : start + _PAGE])),
        )
        found |= {envelope.event_id: envelope for envelope in map(stored, cursor)}
    return found


def head_in(connection: Raw, portfolio_id: UUID) -> Head:
    """The end of the log in the caller's transaction. Raises NoSuchPortfolio."""
    head = head_record(connection, portfolio_id)
    if head is None:
        raise NoSuchPortfolio(f"there is no portfolio {portfolio_id}")
    return head


def head_record(connection: Raw, portfolio_id: UUID) -> Head | None:
    """The head row, if there is one."""
    row = connection.execute(
        "select head_position, head_hash from portfolios where portfolio_id = %s", (portfolio_id,)
    ).fetchone()
    return None if row is None else Head(row[0], bytes(row[1]))


def head_recorded_at(connection: Raw, portfolio_id: UUID) -> datetime | None:
    """The time of the last recording in the head row, if there is one."""
    row = connection.execute(
        "select head_recorded_at from portfolios where portfolio_id = %s", (portfolio_id,)
    ).fetchone()
    return None if row is None else row[0]


def position_known_at(connection: Raw, portfolio_id: UUID, known_at: datetime) -> int:
    """The last position recorded by then (0: none), found by bisection: times of recording never decrease."""
    head = head_record(connection, portfolio_id)
    known, beyond = 0, (head.position if head else 0) + 1
    while beyond - known > 1:
        middle = (known + beyond) // 2
        row = connection.execute(
            "select recorded_at from events where portfolio_id = %s and position = %s", (portfolio_id, middle)
        ).fetchone()
        if row is not None and row[0] <= known_at:
            known = middle
        else:
            beyond = middle
    return known


def events_after(connection: Raw, portfolio_id: UUID, moment: datetime) -> tuple[int, int]:
    """The number of events that occurred after `moment`, and the number of all events."""
    row = connection.execute(
        "select count(*) filter (where occurred_at > %s), count(*) from events where portfolio_id = %s",
        (moment, portfolio_id),
    ).fetchone()
    return (0, 0) if row is None else (row[0], row[1])


def portfolio_ids(connection: Raw) -> list[UUID]:
    """All portfolios that have events or a head row, sorted by id."""
    # Each step looks up the next id: listing a few portfolios does not read millions of events.
    rows = connection.execute(
        "with recursive logged as ("
        " (select portfolio_id from events order by portfolio_id limit 1)"
        " union all"
        " select (select portfolio_id from events e where e.portfolio_id > logged.portfolio_id"
        "         order by portfolio_id limit 1) from logged where logged.portfolio_id is not null)"
        " select portfolio_id from portfolios union select portfolio_id from logged where portfolio_id is not null order by 1"
    )
    return [row[0] for row in rows]


def lock_head(connection: Raw, portfolio_id: UUID) -> None:
    """Block appends to the portfolio until the caller's transaction ends."""
    connection.execute("select lock_portfolio(%s)", (portfolio_id,))


def lock_rebuild(connection: Raw, portfolio_id: UUID) -> None:
    """Block other rebuilds of the portfolio, but no appends, until the caller's transaction ends."""
    connection.execute("select pg_advisory_xact_lock(73051, hashtext(%s))", (str(portfolio_id),))


def raw(connection: Connection) -> Raw:
    """The psycopg connection under a SQLAlchemy one, in the same transaction."""
    driver = connection.connection.driver_connection
    assert isinstance(driver, psycopg.Connection)
    return driver


@contextmanager
def domain_errors() -> Iterator[None]:
    """Convert errors raised by the functions of the schema into domain errors."""
    try:
        yield
    except psycopg.Error as error:
        if error.sqlstate == "DB001":
            raise NoSuchPortfolio(_message(error)) from None
        if error.sqlstate == "DB002":
            raise Conflict(_message(error)) from None
        if error.sqlstate == "DB004":
            raise PositionConflict(_message(error)) from None
        raise


def _message(error: psycopg.Error) -> str:
    return str(error.diag.message_primary)


def stored(row: tuple[Any, ...]) -> Envelope:
    """The envelope of a row of `COLUMNS`."""
    return Envelope(*(*row[:12], bytes(row[12])))
