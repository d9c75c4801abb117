"""Work file of an import: the translated source in SQLite, for constant memory."""

import json
import sqlite3
from collections.abc import Generator, Iterable
from contextlib import closing
from datetime import timedelta
from itertools import islice
from typing import Final
from uuid import UUID

from ledger.imports.pending import PendingEvent
from migrations.legacy.read.source import Source
from migrations.legacy.translate.outcomes import EPOCH, RANKS, Context, Fate, Seen, Staged, Translation, micros

BATCH: Final = 1_000
"""Translations per insert."""

TABLES: Final = """
create table fates (tbl, key, word, reason, flags, events, primary key (tbl, key)) without rowid;
create table events (id primary key, portfolio, product, type, version, at integer, rank integer, number integer, sub integer,
                     payload, metadata, named, fee, position integer);
create table seen (product, first integer, last integer, strict integer, at integer, id integer, bot, side, size, usd, price, fee);
create table trade_rows (place integer primary key, key, cells, ref, product, side, at integer, turn integer);
create table fills (fill_id primary key, key, cells, content, order_ref, order_id, place integer);
create table log (id primary key, portfolio, position integer, type, version, product, payload, at integer, tbl, key,
                  reversed_by);
create index log_by_product on log (portfolio, product, at, position);
"""

_compact: Final = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode
_Values = tuple[object, ...]


class Stage:
    """The work file of one source. Its content depends only on the source, the decisions and the context."""

    def __init__(self, connection: sqlite3.Connection, source: Source, context: Context) -> None:
        self.connection = connection
        self.source = source
        self.context = context

    def write(self, translations: Iterable[Translation]) -> None:
        """Store the translations, a batch at a time."""
        waiting = iter(translations)
        while some := list(islice(waiting, BATCH)):
            self._insert("fates", 6, (_fate_row(fate) for one in some for fate in one.fates))
            self._insert(
                "events", 14, (_event_row(event, place) for one in some for place, event in enumerate(one.staged))
            )
            self._insert("seen", 12, (_seen_row(seen) for one in some for seen in one.seen))

    def events(self, portfolio_id: UUID, where: str = "1") -> Generator[PendingEvent, None, None]:
        """Yield the staged events of a portfolio in the order of their import."""
        with closing(self.connection.cursor()) as cursor:
            cursor.execute(
                "select id, type, version, at, payload, metadata, rank, named from events where portfolio = ?"
                f" and {where} order by at, rank, number, sub",
                (str(portfolio_id),),
            )
            for id_, kind, version, at, payload, metadata, rank, named in cursor:
                time = EPOCH + timedelta(microseconds=at)
                yield PendingEvent(UUID(id_), kind, version, time, payload, metadata, rank, named)

    def _insert(self, table: str, columns: int, rows: Iterable[_Values]) -> None:
        self.connection.executemany(f"insert into {table} values ({', '.join('?' * columns)})", rows)


def _fate_row(one: Fate) -> _Values:
    return (one.table, one.key, one.word, one.reason, _compact(one.flags), _compact([*map(str, one.events)]))


def _event_row(one: Staged, place: int) -> _Values:
    made = one.ready
    order = (micros(made.time), RANKS[one.table], one.id, place)
    texts = (made.payload, made.metadata, f"{one.table} {one.key}", format(one.fee, "f"))
    return (str(made.event_id), str(one.portfolio_id), one.product, made.type, made.version, *order, *texts, None)


def _seen_row(one: Seen) -> _Values:
    usd = None if one.usd is None else format(one.usd, "f")
    size, price, fee = (format(figure, "f") for figure in (one.size, one.price, one.fee))
    place = (one.first, one.last, one.strict, micros(one.at), one.id, one.bot, one.side)
    return (one.product, *place, size, usd, price, fee)
