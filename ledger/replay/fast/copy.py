"""The column road to and from the database: raw events out, lines of rows in and out. Its only SQL.

Nothing here builds an object for an event or a row; `ledger/replay/fast/replay.py` says what is done with the bytes.
"""

from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, get_type_hints
from uuid import UUID

from ledger.events import TradeReversed
from ledger.postgres.log import Raw
from ledger.replay.fast.decode import RawEvent
from ledger.rows import Row, field_names

# The fields in the order in which they are hashed, and the hash. COPY BINARY puts each behind its length as a 4-byte
# big-endian number, as the hash does: so what arrives is what was hashed, and nothing has to be put together again.
_BODY: Final = (
    "'daybook-1'::bytea, uuid_send(portfolio_id), position, event_id, type, version,"
    " (extract(epoch from occurred_at) * 1000000)::bigint, (extract(epoch from recorded_at) * 1000000)::bigint, actor,"
    " correlation_id, coalesce(uuid_send(causation_id), ''::bytea), payload, metadata, hash"
)
_SIGNATURE: Final = b"PGCOPY\n\xff\r\n\0"
_HEADER: Final = len(_SIGNATURE) + 8
ENDLESS: Final = 2**63 - 1
"""Beyond the last position that any log can have."""


def raw_events(
    connection: Raw, portfolio_id: UUID, *, after: int = 0, last: int = ENDLESS, by_time: Sequence[str] = ()
) -> Generator[RawEvent, None, None]:
    """The events above `after`, up to `last`, in order of position, or those of some types in order of occurrence.

    The connection can do nothing else until this is exhausted or closed: close it where it is opened.
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
    """Whether an event of these types stands behind one that occurred after it."""
    row = connection.execute(
        "select coalesce(bool_or(late), false) from (select occurred_at < lag(occurred_at) over (order by position) as late"
        " from events where portfolio_id = %s and type = any(%s)) places",
        (portfolio_id, list(types)),
    ).fetchone()
    return row is not None and bool(row[0])


def reversed_ids(connection: Raw, portfolio_id: UUID, last: int) -> frozenset[bytes]:
    """The ids of the events that reversals up to position `last` name, found without decoding them."""
    rows = connection.execute(
        """select distinct substring(payload from '"reverses":"([0-9a-f-]{36})"') from events"""
        " where portfolio_id = %s and type = %s and position <= %s",
        (portfolio_id, TradeReversed.type, last),
    )
    return frozenset(bytes.fromhex(id_.replace("-", "")) for (id_,) in rows if id_ is not None)


def write_lines(connection: Raw, portfolio_id: UUID, generation: int, kind: type[Row], lines: Sequence[str]) -> None:
    """New rows of one kind, given as lines, are in the table."""
    before = f"{portfolio_id}\t{generation}\t"
    text = before + f"\n{before}".join(lines) + "\n"
    statement = f"copy {kind.table} (portfolio_id, generation, {', '.join(field_names(kind))}) from stdin"
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        copy.write(text)


def stored_lines(connection: Raw, portfolio_id: UUID, generation: int, kind: type[Row]) -> Generator[str, None, None]:
    """The stored rows of one kind as lines, in no order; decimals as `decimal_text` writes them.

    The connection can do nothing else until this is exhausted or closed.
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
    """How many lines there are and the sum of their hashes: equal for equal rows in any order.

    The hash is Python's own for text, 64 bits under a key that each process draws anew: two different sets of rows have
    the same tally once in 2^64 times, and nobody can look for such a set beforehand.
    """

    count: int = 0
    total: int = 0

    def add(self, lines: Iterable[str]) -> None:
        hashes = [hash(line) for line in lines]
        self.count += len(hashes)
        self.total += sum(hashes)
