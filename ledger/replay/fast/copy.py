"""The SQL of the fast replay: COPY events out as bytes, and rows in and out as lines of text."""

from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, get_type_hints
from uuid import UUID

from ledger.events import TradeReversed
from ledger.postgres.log import Raw
from ledger.replay.fast.decode import RawEvent
from ledger.rows import Row, field_names

# The fields in the order in which they are hashed, and the hash. COPY BINARY writes each after its length as a 4-byte
# big-endian number, like the hash: the bytes received are the bytes hashed.
_BODY: Final = (
    "'daybook-1'::bytea, uuid_send(portfolio_id), position, event_id, type, version,"
    " (extract(epoch from occurred_at) * 1000000)::bigint, (extract(epoch from recorded_at) * 1000000)::bigint, actor,"
    " correlation_id, coalesce(uuid_send(causation_id), ''::bytea), payload, metadata, hash"
)
_SIGNATURE: Final = b"PGCOPY\n\xff\r\n\0"
_HEADER: Final = len(_SIGNATURE) + 8
ENDLESS: Final = 2**63 - 1
"""A position that no log reaches."""


def raw_events(
    connection: Raw, portfolio_id: UUID, *, after: int = 0, last: int = ENDLESS, by_time: Sequence[str] = ()
) -> Generator[RawEvent, None, None]:
    """The events after position `after` up to `last` by position, or those of the types `by_time` by time of occurrence.

    Close the generator where it is created: the connection cannot be used until it is closed or exhausted.
    """
    chosen, order = ("and type = any(%s)", "occurred_at, position") if by_time else ("", "position")
    values = (portfolio_id, after, last, *([list(by_time)] if by_time else []))
    statement = (
        f"copy (select {_BODY} from events where portfolio_id = %s and position > %s and position <= %s {chosen}"
        f" order by {order}) to stdout (format binary)"
    )
    with connection.cursor() as cursor, cursor.copy(statement, values) as copy:
        for data in copy:
            raw = bytes(data)
            if raw.startswith(_SIGNATURE):
                raw = raw[_HEADER:]
            if len(raw) > 2:
                yield raw


def has_late(connection: Raw, portfolio_id: UUID, types: Sequence[str]) -> bool:
    """Return True if an event of these types has a lower position than one that occurred before it."""
    row = connection.execute(
        "select coalesce(bool_or(late), false) from (select occurred_at < lag(occurred_at) over (order by position) as late"
        " from events where portfolio_id = %s and type = any(%s)) places",
        (portfolio_id, list(types)),
    ).fetchone()
    return row is not None and bool(row[0])


def reversed_ids(connection: Raw, portfolio_id: UUID, last: int) -> frozenset[bytes]:
    """The ids of the events reversed up to position `last`, found without decoding the reversals."""
    rows = connection.execute(
        """select distinct substring(payload from '"reverses":"([0-9a-f-]{36})"') from events"""
        " where portfolio_id = %s and type = %s and position <= %s",
        (portfolio_id, TradeReversed.type, last),
    )
    return frozenset(bytes.fromhex(id_.replace("-", "")) for (id_,) in rows if id_ is not None)


def write_lines(connection: Raw, portfolio_id: UUID, generation: int, kind: type[Row], lines: Sequence[str]) -> None:
    """Insert new rows of one kind, given as lines."""
    before = f"{portfolio_id}\t{generation}\t"
    text = before + f"\n{before}".join(lines) + "\n"
    statement = f"copy {kind.table} (portfolio_id, generation, {', '.join(field_names(kind))}) from stdin"
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        copy.write(text)


def stored_lines(connection: Raw, portfolio_id: UUID, generation: int, kind: type[Row]) -> Generator[str, None, None]:
    """The stored rows of one kind as lines, unordered, with decimals as `decimal_text` writes them.

    The connection cannot be used until the generator is closed or exhausted.
    """
    fields = ", ".join(f"trim_scale({name})" if _is_decimal(kind, name) else name for name in field_names(kind))
    statement = f"copy (select {fields} from {kind.table} where portfolio_id = %s and generation = %s) to stdout"
    with connection.cursor() as cursor, cursor.copy(statement, (portfolio_id, generation)) as copy:
        for data in copy:
            yield str(data, "utf-8")[:-1]


def _is_decimal(kind: type[Row], name: str) -> bool:
    return get_type_hints(kind)[name] in (Decimal, Decimal | None)


@dataclass(slots=True)
class Tally:
    """Number of lines and sum of their hashes: equal for equal rows in any order.

    Python's string hash has 64 bits and a random key per process: different rows collide with probability 2^-64, and
    collisions cannot be prepared.
    """

    count: int = 0
    total: int = 0

    def add(self, lines: Iterable[str]) -> None:
        hashes = [hash(line) for line in lines]
        self.count += len(hashes)
        self.total += sum(hashes)
