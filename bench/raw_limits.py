"""Raw limits: PostgreSQL and plain Python on this machine, without Daybook."""

import hashlib
from collections import deque
from dataclasses import dataclass
from decimal import Decimal
from uuid import uuid4

import psycopg

from bench.figures import Figure, rate

COMMITS = 1_000


@dataclass(frozen=True, slots=True)
class RawLimits:
    """The figures that Daybook's are compared with."""

    commits: Figure
    copied: Figure
    read: Figure
    hashed: Figure
    drained: Figure
    fifo: Figure
    integers: Figure

    @property
    def figures(self) -> list[Figure]:
        return [self.commits, self.copied, self.read, self.drained, self.hashed, self.fifo, self.integers]


def measure_raw_limits(url: str, rows: int) -> RawLimits:
    """Measure durable single-row commits, COPY in and out, reading rows, a SHA-256 chain, FIFO on Decimals and integers."""
    payload = '{"account":"paper","instrument":"BTC-USD","price":"100.25","quantity":"0.12345678","side":"buy"}' * 2
    with psycopg.connect(url) as connection:
        connection.execute("create table raw_limit (id uuid primary key, position bigint, payload text)")
        connection.commit()
        commits = rate("raw commits, one row each", "commits/s", COMMITS, lambda: _commit_rows(connection, payload))
        copied = rate("raw COPY in", "rows/s", rows, lambda: _copy_rows(connection, rows, payload))
        read = rate("raw read of full rows", "rows/s", rows, lambda: _read_rows(connection))
        drained = rate("raw COPY out, binary", "rows/s", rows, lambda: _drain_rows(connection))
        connection.execute("drop table raw_limit")
        connection.commit()
    hashed = rate("raw SHA-256 chain", "hashes/s", rows, lambda: _hash_chain(rows, payload.encode()))
    fifo = rate("raw FIFO, Decimals in a deque", "trades/s", rows, lambda: plain_fifo(rows))
    integers = rate("raw FIFO, integers in a deque", "trades/s", rows, lambda: integer_fifo(rows))
    return RawLimits(commits, copied, read, hashed, drained, fifo, integers)


def plain_fifo(trades: int) -> Decimal:
    """Realised P&L of `trades` alternating trades by minimal FIFO, the limit for a rebuild."""
    lots: deque[list[Decimal]] = deque()
    realized, price = Decimal(0), Decimal("100.25")
    for number in range(trades):
        quantity = Decimal(number % 7 + 1) / 100
        if number % 2 == 0:
            lots.append([quantity, price])
            continue
        while quantity > 0 and lots:
            taken = min(quantity, lots[0][0])
            realized += taken * (price - lots[0][1])
            lots[0][0] -= taken
            quantity -= taken
            if not lots[0][0]:
                lots.popleft()
    return realized


def integer_fifo(trades: int) -> int:
    """As `plain_fifo`, in integers."""
    lots: deque[list[int]] = deque()
    realized, price = 0, 10025
    for number in range(trades):
        quantity = number % 7 + 1
        if number % 2 == 0:
            lots.append([quantity, price])
            continue
        while quantity > 0 and lots:
            taken = min(quantity, lots[0][0])
            realized += taken * (price - lots[0][1])
            lots[0][0] -= taken
            quantity -= taken
            if not lots[0][0]:
                lots.popleft()
    return realized


def _drain_rows(connection: psycopg.Connection[tuple[object, ...]]) -> int:
    with connection.cursor() as cursor, cursor.copy("copy raw_limit to stdout (format binary)") as copy:
        return sum(1 for _ in copy)


def _commit_rows(connection: psycopg.Connection[tuple[object, ...]], payload: str) -> None:
    for number in range(COMMITS):
        connection.execute("insert into raw_limit values (%s, %s, %s)", (uuid4(), number, payload))
        connection.commit()


def _copy_rows(connection: psycopg.Connection[tuple[object, ...]], rows: int, payload: str) -> None:
    with connection.cursor() as cursor, cursor.copy("copy raw_limit from stdin") as copy:
        for number in range(rows):
            copy.write_row((uuid4(), number, payload))
    connection.commit()


def _read_rows(connection: psycopg.Connection[tuple[object, ...]]) -> int:
    return sum(1 for _ in connection.execute("select id, position, payload from raw_limit"))


def _hash_chain(rows: int, payload: bytes) -> bytes:
    link = b""
    for _ in range(rows):
        link = hashlib.sha256(link + payload).digest()
    return link
