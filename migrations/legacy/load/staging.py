"""Translates a source into its work file: bots, fills with the rows on their orders, other rows, signals."""

import json
import sqlite3
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
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
"""Maximum number of rows without fills compared with one another."""
_WINDOW: Final = WINDOW // timedelta(microseconds=1)

Progress = Callable[[int], None]
"""Receives the number of rows read since the last call."""
One = TypeVar("One")

# Orders are numbered (`turn`). A row of `trades` gets the lowest number among the orders and fills whose id it contains.
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
    """A row of `trades` in the work file. `at` is in microseconds since 1970, None if unknown."""

    traded: tuple[str, str]
    at: int | None
    key: str
    cells: str


@contextmanager
def staged(source: Source, context: Context, progress: Progress = lambda _: None) -> Iterator[Stage]:
    """Translate the source into a work file, deleted with the source's copy. Raises BadSource if the disk is full."""
    path = source.path.with_name("work.sqlite")
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        stage = Stage(connection, source, context)
        try:
            # Temporary: it need not survive a crash.
            connection.executescript("pragma journal_mode = off; pragma synchronous = off;" + TABLES)
            connection.execute("begin")
            _translate(stage, progress)
            connection.execute("commit")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_FULL:
                raise
            raise BadSource(f"no space in {path.parent.parent}: free some, then retry") from None
        yield stage


def context_of(
    source: Source,
    portfolio_id: UUID,
    paper_id: UUID,
    base: Asset,
    decisions: Decisions,
    *,
    origins: bool = True,
    comparison: bool = True,
) -> Context:
    """Return the context of a source, with its existing bots."""
    bots = {}
    for key, row in source.rows("bots"):
        decided = decision_of(decisions, "bots", key)
        bots[str(row.get("id"))] = product_of_bot({**row, **decided})
    return Context(portfolio_id, paper_id, base, bots, decisions, origins, comparison)


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
    # Rows merged into a quarantined row are quarantined too.
    connection.execute(
        "update fates set word = 'quarantined', reason = reason || ', which is quarantined', events = '[]'"
        " where word = 'merged' and not exists (select 1 from events where id = json_extract(fates.events, '$[0]'))"
    )


def _bots(stage: Stage) -> Iterator[Translation]:
    for key, row in stage.source.rows("bots"):
        yield translated_bot(stage.context, key, row, _decided(stage, "bots", key))


def _signals(stage: Stage, progress: Progress) -> Iterator[Translation]:
    table = "bot_signal_history"
    for key, row in counted(stage.source.rows(table), progress):
        yield translated_signal(stage.context, key, row, _decided(stage, table, key))


def _unusable_fills(stage: Stage) -> Iterator[Translation]:
    """Store the fills in the work file; yield the fates of unusable and repeated rows."""
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
    """Store a fill in the work file; return its fate if another fill has its fill_id."""
    content = repr((fill.order_id, fill.product, fill.side, fill.quantity, fill.price, fill.commission, fill.at))
    # A fill without an order is an order of its own.
    ref = f"order {fill.order_id}" if fill.order_id else f"fill {fill.key}"
    values = (fill.fill_id, fill.key, _packed(row), content, ref, fill.order_id, fill.id)
    if stage.connection.execute("insert or ignore into fills values (?, ?, ?, ?, ?, ?, ?)", values).rowcount:
        return None
    find = "select key, content from fills where fill_id = ?"
    first, existing = stage.connection.execute(find, (fill.fill_id,)).fetchone()
    if existing == content:
        kept = event_id(stage.context.portfolio_id, "raw_trades", first)
        return Fate("raw_trades", fill.key, "merged", f"equal to row {first}", events=(kept,))
    why = f"row {first} has the same fill_id and differs: correct or archive one of them"
    return Fate("raw_trades", fill.key, "quarantined", why)


def _place_trades(stage: Stage, progress: Progress) -> None:
    """Store the rows of `trades` in the work file, to find them by order and by time."""

    def placed() -> Iterator[tuple[object, ...]]:
        for key, row in counted(stage.source.rows("trades"), progress):
            ref, product, side, at = place_of(row, _decided(stage, "trades", key))
            yield key, _packed(row), ref or None, product, side, None if at is None else micros(at)

    insert = "insert into trade_rows (key, cells, ref, product, side, at) values (?, ?, ?, ?, ?, ?)"
    stage.connection.executemany(insert, placed())


def _orders(stage: Stage) -> Iterator[Translation]:
    """Translate each order with known fills together with the rows on it or its fills."""
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
    """Translate the rows without known fills, those that may be one execution together."""
    for cluster in _close_rows(stage.connection):
        yield translated_cluster(stage.context, [_trade(stage, one.key, one.cells) for one in cluster])


def _close_rows(connection: sqlite3.Connection) -> Iterator[Sequence[Placed]]:
    """Group rows without known fills by product and side, in order of time, split at gaps."""
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
    """Return where to split a long cluster: at the widest gap in its second half."""

    def gap(place: int) -> int:
        return (cluster[place].at or 0) - (cluster[place - 1].at or 0)

    return max(range(len(cluster) // 2, len(cluster)), key=gap)


def counted(rows: Iterable[One], progress: Progress) -> Generator[One, None, None]:
    """Yield the rows, calling `progress` after each thousand."""
    for count, one in enumerate(rows, start=1):
        yield one
        if count % 1000 == 0:
            progress(1000)


def _decided(stage: Stage, table: str, key: str) -> Decided:
    return decision_of(stage.context.decisions, table, key)


def _packed(row: Row) -> str:
    """Encode the cells of a row as JSON, bytes as hex, in the order of its table's columns."""
    return _encode([cell.hex() if isinstance(cell, bytes) else cell for cell in row.values()])


def _unpacked(stage: Stage, table: str, cells: str) -> Row:
    return dict(zip(stage.source.tables[table].columns, json.loads(cells), strict=True))


def _trade(stage: Stage, key: str, cells: str) -> TradeRow:
    return trade_of(key, _unpacked(stage, "trades", cells), _decided(stage, "trades", key))


def _fill(stage: Stage, key: str, cells: str) -> RawRow:
    fill = raw_of(key, _unpacked(stage, "raw_trades", cells), _decided(stage, "raw_trades", key))
    assert isinstance(fill, RawRow), "only usable fills are in the work file"
    return fill
