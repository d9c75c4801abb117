"""Translates a whole source into its work file: bots, fills with the rows about their orders, other rows, signals."""

import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import timedelta
from itertools import chain, groupby
from operator import itemgetter
from typing import Final, NamedTuple, TypeVar
from uuid import UUID

from ledger.values import Asset
from migrations.legacy.load.stage import TABLES, Stage
from migrations.legacy.read.cells import Row
from migrations.legacy.read.source import BadSource, Source
from migrations.legacy.translate.bots import product_of_bot, translated_bot, translated_signal
from migrations.legacy.translate.decisions import Decided, Decisions, decision_of
from migrations.legacy.translate.orders import WINDOW, translated_cluster, translated_order
from migrations.legacy.translate.outcomes import Context, Fate, Translation, event_id, micros
from migrations.legacy.translate.rows import RawRow, TradeRow, place_of, raw_of, trade_of

_encode: Final = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode
LARGEST_CLUSTER: Final = 200
"""At most so many rows without fills are compared with one another."""
_WINDOW: Final = WINDOW // timedelta(microseconds=1)

Progress = Callable[[int], None]
"""Receives the number of rows read since the last call."""
One = TypeVar("One")

# Every order has a turn. A row of `trades` that names it, or one of its fills, has the first turn that it names.
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


class Placed(NamedTuple):
    """A row of `trades` in the work file: product and side, time in microseconds since 1970 (None if unknown), cells."""

    traded: tuple[str, str]
    at: int | None
    key: str
    cells: str


@contextmanager
def staged(source: Source, context: Context, progress: Progress = lambda _: None) -> Iterator[Stage]:
    """Translate the source into a work file, deleted with the source's copy. Raises BadSource when the disk is full."""
    path = source.path.with_name("work.sqlite")
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        stage = Stage(connection, source, context)
        try:
            # The file lives only as long as this process needs it, so it need not survive a power cut.
            connection.executescript("pragma journal_mode = off; pragma synchronous = off;" + TABLES)
            connection.execute("begin")
            _translate(stage, progress)
            connection.execute("commit")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_FULL:
                raise
            raise BadSource(f"there is no room to work in {path.parent.parent}: make some, and try again") from None
        yield stage


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


def _translate(stage: Stage, progress: Progress) -> None:
    connection = stage.connection
    stage.write(_bots(stage))
    stage.write(_unusable_fills(stage))
    _place_trades(stage, progress)
    connection.executescript(_ORDERS)
    connection.execute("begin")
    stage.write(chain(_orders(stage), _clusters(stage), _signals(stage, progress)))
    connection.executescript(_INDEXES)
    connection.execute("begin")
    # What repeats a row that cannot be used cannot be used either.
    connection.execute(
        "update fates set word = 'quarantined', reason = reason || ', which is quarantined', events = '[]'"
        " where word = 'merged' and not exists (select 1 from events where id = json_extract(fates.events, '$[0]'))"
    )


def _bots(stage: Stage) -> Iterator[Translation]:
    for key, row in stage.source.rows("bots"):
        yield translated_bot(stage.context, key, row, _decided(stage, "bots", key))


def _signals(stage: Stage, progress: Progress) -> Iterator[Translation]:
    table = "bot_signal_history"
    for key, row in _counted(stage.source.rows(table), progress):
        yield translated_signal(stage.context, key, row, _decided(stage, table, key))


def _unusable_fills(stage: Stage) -> Iterator[Translation]:
    """Put the fills into the work file; yields the fates of rows that are no usable fill or repeat another one."""
    for key, row in stage.source.rows("raw_trades"):
        decided = _decided(stage, "raw_trades", key)
        fate: Fate | None = None
        if decided.get("action") == "archive":
            fate = Fate("raw_trades", key, "archived", "decided: it did not happen")
        elif isinstance(fill := raw_of(key, row, decided), str):
            fate = Fate("raw_trades", key, "quarantined", fill)
        else:
            fate = _place_fill(stage, row, fill)
        if fate is not None:
            yield Translation([fate])


def _place_fill(stage: Stage, row: Row, fill: RawRow) -> Fate | None:
    """Put the fill into the work file; returns its fate if another fill has its fill_id."""
    content = repr((fill.order_id, fill.product, fill.side, fill.quantity, fill.price, fill.commission, fill.at))
    # A fill without an order is an order of its own.
    ref = f"order {fill.order_id}" if fill.order_id else f"fill {fill.key}"
    values = (fill.fill_id, fill.key, _packed(row), content, ref, fill.order_id, fill.id)
    if stage.connection.execute("insert or ignore into fills values (?, ?, ?, ?, ?, ?, ?)", values).rowcount:
        return None
    find = "select key, content from fills where fill_id = ?"
    first, stated = stage.connection.execute(find, (fill.fill_id,)).fetchone()
    if stated == content:
        kept = event_id(stage.context.portfolio_id, "raw_trades", first)
        return Fate("raw_trades", fill.key, "merged", f"says the same as row {first}", events=(kept,))
    why = f"row {first} says something else under the same fill_id: correct or archive one of them"
    return Fate("raw_trades", fill.key, "quarantined", why)


def _place_trades(stage: Stage, progress: Progress) -> None:
    """Put the rows of `trades` into the work file, to be found by their order and in order of time."""

    def placed() -> Iterator[tuple[object, ...]]:
        for key, row in _counted(stage.source.rows("trades"), progress):
            ref, product, side, at = place_of(row, _decided(stage, "trades", key))
            yield key, _packed(row), ref or None, product, side, None if at is None else micros(at)

    insert = "insert into trade_rows (key, cells, ref, product, side, at) values (?, ?, ?, ?, ?, ?)"
    stage.connection.executemany(insert, placed())


def _orders(stage: Stage) -> Iterator[Translation]:
    """Every order with known fills, together with the rows about it or one of its fills."""
    turn_of = itemgetter(0)
    with closing(stage.connection.cursor()) as fills, closing(stage.connection.cursor()) as rows:
        fills.execute("select turn, key, cells from fills join orders using (order_ref) order by turn, place, key")
        rows.execute("select turn, key, cells from trade_rows where turn is not null order by turn, place")
        about = groupby(rows, turn_of)
        turn, of_turn = next(about, (0, iter(())))
        for number, some in groupby(fills, turn_of):
            trades: list[TradeRow] = []
            if turn == number:
                trades = [_trade(stage, key, cells) for _, key, cells in of_turn]
                turn, of_turn = next(about, (0, iter(())))
            yield translated_order(stage.context, [_fill(stage, key, cells) for _, key, cells in some], trades)


def _clusters(stage: Stage) -> Iterator[Translation]:
    """The rows without known fills, those that may be about one execution together."""
    for cluster in _close_rows(stage.connection):
        yield translated_cluster(stage.context, [_trade(stage, one.key, one.cells) for one in cluster])


def _close_rows(connection: sqlite3.Connection) -> Iterator[Sequence[Placed]]:
    """Rows of one product and side without known fills, in order of time, none far from the one before."""
    cluster: list[Placed] = []
    with closing(connection.cursor()) as cursor:
        cursor.execute(
            "select product, side, at, key, cells from trade_rows where turn is null order by product, side, at, place"
        )
        for product, side, at, key, cells in cursor:
            placed = Placed((product, side), at, key, cells)
            end = len(cluster)
            if cluster and _together(cluster[-1], placed):
                end = _widest_gap(cluster) if end >= LARGEST_CLUSTER else 0
            if end:
                yield cluster[:end]
                cluster = cluster[end:]
            cluster.append(placed)
    yield cluster


def _together(before: Placed, after: Placed) -> bool:
    if before.at is None or after.at is None or before.traded != after.traded:
        return False
    return after.at - before.at <= _WINDOW


def _widest_gap(cluster: Sequence[Placed]) -> int:
    """Where to split a long cluster: at the widest gap in its second half."""

    def gap(place: int) -> int:
        return (cluster[place].at or 0) - (cluster[place - 1].at or 0)

    return max(range(len(cluster) // 2, len(cluster)), key=gap)


def _counted(rows: Iterator[One], progress: Progress) -> Iterator[One]:
    """The rows; `progress` is called every thousand."""
    for count, one in enumerate(rows, start=1):
        yield one
        if count % 1000 == 0:
            progress(1000)


def _decided(stage: Stage, table: str, key: str) -> Decided:
    return decision_of(stage.context.decisions, table, key)


def _packed(row: Row) -> str:
    """The cells of a row as JSON, bytes in hex; the columns are those of its table."""
    return _encode([cell.hex() if isinstance(cell, bytes) else cell for cell in row.values()])


def _unpacked(stage: Stage, table: str, cells: str) -> Row:
    return dict(zip(stage.source.tables[table].columns, json.loads(cells), strict=True))


def _trade(stage: Stage, key: str, cells: str) -> TradeRow:
    return trade_of(key, _unpacked(stage, "trades", cells), _decided(stage, "trades", key))


def _fill(stage: Stage, key: str, cells: str) -> RawRow:
    fill = raw_of(key, _unpacked(stage, "raw_trades", cells), _decided(stage, "raw_trades", key))
    assert isinstance(fill, RawRow), "only usable fills are in the work file"
    return fill
