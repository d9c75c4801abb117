"""Staging: the whole source translated into a work file, so that memory stays flat however long the source is."""

import json
import sqlite3
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import timedelta
from itertools import groupby
from operator import itemgetter
from typing import Final
from uuid import UUID

from ledger.ready import Ready
from ledger.values import Asset
from migrations.legacy.bots import product_of_bot, translated_bot, translated_signal
from migrations.legacy.cells import Row
from migrations.legacy.decisions import Decisions, decision_of
from migrations.legacy.orders import WINDOW, translated_cluster, translated_order
from migrations.legacy.outcomes import (
    EPOCH,
    RANKS,
    Context,
    Fate,
    Seen,
    Staged,
    Translation,
    event_id,
    micros,
    quarantined,
)
from migrations.legacy.source import BadSource, Source
from migrations.legacy.trade_rows import RawRow, TradeRow, place_of, raw_of, trade_of

LARGEST_CLUSTER: Final = 200
"""Without fills to tell, at most so many rows are compared with one another."""

AT_ONCE: Final = 1_000
"""So many fates are written at once."""

_compact: Final = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode

Progress = Callable[[int], None]

_TABLES: Final = """
create table fates (tbl, key, word, reason, flags, events, primary key (tbl, key)) without rowid;
create table events (id primary key, portfolio, product, type, version, at integer, rank integer, number integer, sub integer,
                     payload, metadata, named, fee, position integer);
create table seen (product, first integer, last integer, strict integer, at integer, id integer, bot, side, size, usd, price, fee);
create table trade_rows (place integer primary key, key, cells, ref, product, side, at integer, turn integer);
create table fills (fill_id primary key, key, cells, said, order_ref, order_id, place integer);
create table log (id primary key, portfolio, position integer, type, version, product, payload, at integer, tbl, key,
                  reversed_by);
create index log_by_product on log (portfolio, product, at, position);
"""
# Every order has a turn, and a row of `trades` that names it, or one of its fills, comes with the first that it names.
_ORDERS: Final = """
create table orders (order_ref primary key, turn integer) without rowid;
insert into orders select order_ref, row_number() over (order by min(place), order_ref) from fills group by order_ref;
create table names (name, turn integer, primary key (name, turn)) without rowid;
insert or ignore into names select fill_id, turn from fills join orders using (order_ref);
insert or ignore into names select order_id, turn from fills join orders using (order_ref) where order_id <> '';
update trade_rows set turn = (select min(turn) from names where name = ref) where ref is not null;
"""
_INDEXES: Final = """
create index seen_by_product on seen (product, at, id);
create index events_by_time on events (portfolio, at, rank, number, sub);
"""


class Stage:
    """The work file of one source. What is in it follows from the source, the decisions and the context alone."""

    def __init__(self, connection: sqlite3.Connection, source: Source, context: Context) -> None:
        self.connection = connection
        self.source = source
        self.context = context
        self._fates: list[tuple[object, ...]] = []
        self._events: list[tuple[object, ...]] = []
        self._seen: list[tuple[object, ...]] = []
        self._names: dict[str, tuple[str, ...]] = {}

    def write(self, found: Translation) -> None:
        """What some rows became is staged."""
        self._fates += [
            (one.table, one.key, one.word, one.reason, _texts(one.flags), _texts([*map(str, one.events)]))
            for one in found.fates
        ]
        self._events += [_event_row(one, place) for place, one in enumerate(found.staged)]
        self._seen += [_seen_row(one) for one in found.seen]
        if len(self._fates) >= AT_ONCE:
            self.flush()

    def flush(self) -> None:
        """All that was written is in the work file."""
        self.connection.executemany("insert into fates values (?, ?, ?, ?, ?, ?)", self._fates)
        self.connection.executemany(
            "insert into events values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, null)", self._events
        )
        self.connection.executemany("insert into seen values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", self._seen)
        self._fates, self._events, self._seen = [], [], []

    def packed(self, table: str, row: Row) -> str:
        """The row as the work file keeps it; the names of its columns, which all rows of its table share, are kept here."""
        self._names.setdefault(table, tuple(row))
        return _compact([cell.hex() if isinstance(cell, bytes) else cell for cell in row.values()])

    def _row(self, table: str, cells: str) -> Row:
        return dict(zip(self._names[table], json.loads(cells), strict=True))

    def trade(self, key: str, cells: str) -> TradeRow:
        """A row of `trades` out of the work file."""
        return trade_of(key, self._row("trades", cells), decision_of(self.context.decisions, "trades", key))

    def fill(self, key: str, cells: str) -> RawRow | str:
        """A row of `raw_trades` out of the work file."""
        return raw_of(key, self._row("raw_trades", cells), decision_of(self.context.decisions, "raw_trades", key))

    def events(self, portfolio_id: UUID, where: str = "1") -> Generator[Ready, None, None]:
        """The staged events of a portfolio in the order in which they go into its log."""
        with closing(self.connection.cursor()) as cursor:
            cursor.execute(
                "select id, type, version, at, payload, metadata, rank, named from events where portfolio = ?"
                f" and {where} order by at, rank, number, sub",
                (str(portfolio_id),),
            )
            for id_, kind, version, at, payload, metadata, rank, named in cursor:
                yield Ready(
                    UUID(id_), kind, version, EPOCH + timedelta(microseconds=at), payload, metadata, rank, named
                )


@contextmanager
def staged(source: Source, context: Context, progress: Progress = lambda _: None) -> Iterator[Stage]:
    """The source, translated. `progress` is told of rows. Raises BadSource when the disk has no room for that."""
    path = source.path.with_name("work.sqlite")
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        stage = Stage(connection, source, context)
        try:
            # The file lives as long as this program looks at it: nothing of it has to survive a power cut.
            connection.executescript("pragma journal_mode = off; pragma synchronous = off;" + _TABLES)
            connection.execute("begin")
            _translate(stage, progress)
            connection.execute("commit")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_FULL:
                raise
            raise BadSource(f"there is no room to work in {path.parent.parent}: make some, and try again") from None
        yield stage


def _translate(stage: Stage, progress: Progress) -> None:
    source, context, connection = stage.source, stage.context, stage.connection
    for key, row in source.rows("bots"):
        stage.write(translated_bot(context, key, row, decision_of(context.decisions, "bots", key)))
    for fill_key, fill_row in source.rows("raw_trades"):
        _take_fill(stage, fill_key, fill_row)
    connection.executemany(
        "insert into trade_rows (key, cells, ref, product, side, at) values (?, ?, ?, ?, ?, ?)",
        (_place_row(stage, trade_key, row) for trade_key, row in _told(source.rows("trades"), progress)),
    )
    connection.executescript(_ORDERS)
    connection.execute("begin")
    _translate_orders(stage)
    _translate_others(stage)
    for key, row in _told(source.rows("bot_signal_history"), progress):
        decided = decision_of(context.decisions, "bot_signal_history", key)
        stage.write(translated_signal(context, key, row, decided))
    stage.flush()
    connection.executescript(_INDEXES)
    connection.execute("begin")
    # What repeats a row that cannot be used cannot be used either.
    connection.execute(
        "update fates set word = 'quarantined', reason = reason || ', which is quarantined', events = '[]'"
        " where word = 'merged' and not exists (select 1 from events where id = json_extract(fates.events, '$[0]'))"
    )


def context_of(
    source: Source,
    portfolio_id: UUID,
    paper_id: UUID,
    base: Asset,
    decisions: Decisions,
    *,
    origins: bool = True,
    sightings: bool = True,
) -> Context:
    """The context of a source, with the bots that it still has."""
    bots = {}
    for key, row in source.rows("bots"):
        decided = decision_of(decisions, "bots", key)
        bots[str(row.get("id"))] = product_of_bot({**row, **decided})
    return Context(portfolio_id, paper_id, base, bots, decisions, origins, sightings)


def _told(rows: Iterator[tuple[str, Row]], progress: Progress) -> Iterator[tuple[str, Row]]:
    """The rows; `progress` hears of every thousand."""
    for count, one in enumerate(rows, start=1):
        yield one
        if count % 1000 == 0:
            progress(1000)


def _take_fill(stage: Stage, key: str, row: Row) -> None:
    """A fill that cannot be used is quarantined; one that says the same as another of its fill_id merges into it."""
    decided = decision_of(stage.context.decisions, "raw_trades", key)
    fill = raw_of(key, row, decided)
    if decided.get("action") == "archive":
        stage.write(Translation([Fate("raw_trades", key, "archived", "decided: it did not happen")]))
        return
    if isinstance(fill, str):
        stage.write(Translation(quarantined("raw_trades", [key], fill)))
        return
    said = repr((fill.order_id, fill.product, fill.side, fill.quantity, fill.price, fill.commission, fill.at))
    # A fill without an order stands for itself.
    ref = f"order {fill.order_id}" if fill.order_id else f"fill {key}"
    values = (fill.fill_id, key, stage.packed("raw_trades", row), said, ref, fill.order_id, fill.id)
    if stage.connection.execute("insert or ignore into fills values (?, ?, ?, ?, ?, ?, ?)", values).rowcount:
        return
    found = stage.connection.execute("select key, said from fills where fill_id = ?", (fill.fill_id,)).fetchone()
    if found[1] == said:
        stands = event_id(stage.context.portfolio_id, "raw_trades", found[0])
        fate = Fate("raw_trades", key, "merged", f"says the same as row {found[0]}", events=(stands,))
        stage.write(Translation([fate]))
    else:
        why = f"row {found[0]} says something else under the same fill_id: correct or archive one of them"
        stage.write(Translation(quarantined("raw_trades", [key], why)))


def _place_row(stage: Stage, key: str, row: Row) -> tuple[object, ...]:
    """The row, to be found by its order and in order of time; what else it says is read when its turn comes."""
    ref, product, side, at = place_of(row, decision_of(stage.context.decisions, "trades", key))
    return key, stage.packed("trades", row), ref or None, product, side, micros(at) if at is not None else 0


def _translate_orders(stage: Stage) -> None:
    """Every order of which fills are known, with the rows that tell of it or of one of them."""
    turn_of = itemgetter(0)
    with closing(stage.connection.cursor()) as fills, closing(stage.connection.cursor()) as rows:
        fills.execute("select turn, key, cells from fills join orders using (order_ref) order by turn, place, key")
        rows.execute("select turn, key, cells from trade_rows where turn is not null order by turn, place")
        told = groupby(rows, turn_of)
        turn, about = next(told, (0, iter(())))
        for number, some in groupby(fills, turn_of):
            of_order = [fill for _, key, cells in some if isinstance(fill := stage.fill(key, cells), RawRow)]
            trades = []
            if turn == number:
                trades = [stage.trade(key, cells) for _, key, cells in about]
                turn, about = next(told, (0, iter(())))
            stage.write(translated_order(stage.context, of_order, trades))


def _translate_others(stage: Stage) -> None:
    """The rows of which no fill is known, product by product and side by side, in order of time."""
    cluster: list[TradeRow] = []
    with closing(stage.connection.cursor()) as cursor:
        cursor.execute("select key, cells from trade_rows where turn is null order by product, side, at, place")
        for key, cells in cursor:
            trade = stage.trade(key, cells)
            if cluster and not _together(cluster[-1], trade):
                stage.write(translated_cluster(stage.context, cluster))
                cluster = []
            elif len(cluster) >= LARGEST_CLUSTER:
                end = _widest_gap(cluster)
                stage.write(translated_cluster(stage.context, cluster[:end]))
                cluster = cluster[end:]
            cluster.append(trade)
    stage.write(translated_cluster(stage.context, cluster))


def _together(before: TradeRow, after: TradeRow) -> bool:
    if before.at is None or after.at is None or (before.product, before.side) != (after.product, after.side):
        return False
    return after.at - before.at <= WINDOW


def _widest_gap(cluster: Sequence[TradeRow]) -> int:
    """Where to part a long row of trades: where two in its second half lie farthest from each other."""

    def gap(place: int) -> timedelta:
        before, after = cluster[place - 1].at, cluster[place].at
        return after - before if before is not None and after is not None else timedelta(0)

    return max(range(len(cluster) // 2, len(cluster)), key=gap)


def _texts(texts: Sequence[str]) -> str:
    return _compact(texts) if texts else "[]"


def _event_row(one: Staged, place: int) -> tuple[object, ...]:
    made = one.ready
    rank, named = RANKS[one.table], f"{one.table} {one.key}"
    at = (micros(made.time), rank, one.id, place)
    texts = (made.payload, made.metadata, named, format(one.fee, "f"))
    return (str(made.event_id), str(one.portfolio_id), one.product, made.type, made.version, *at, *texts)


def _seen_row(one: Seen) -> tuple[object, ...]:
    usd = None if one.usd is None else format(one.usd, "f")
    size, price, fee = (format(figure, "f") for figure in (one.size, one.price, one.fee))
    place = (one.first, one.last, one.strict, micros(one.at), one.id, one.bot, one.side)
    return (one.product, *place, size, usd, price, fee)
