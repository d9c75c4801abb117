"""Staging: the whole source translated into a work file, so that memory stays flat however long the source is."""

import sqlite3
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import closing, contextmanager
from datetime import timedelta
from functools import partial
from itertools import chain, groupby, islice
from operator import itemgetter
from pathlib import Path
from typing import Final, NamedTuple, TypeVar
from uuid import UUID

from ledger.imports.pending import PendingEvent
from ledger.processes import each
from ledger.values import Asset
from migrations.legacy.load.parts import (
    FillRead,
    Kept,
    Order,
    Told,
    fills_read,
    orders_told,
    others_told,
    signals_told,
    told,
    trades_placed,
)
from migrations.legacy.read.source import BadSource, Source
from migrations.legacy.translate.bots import product_of_bot, translated_bot
from migrations.legacy.translate.decisions import Decisions, decision_of
from migrations.legacy.translate.orders import WINDOW
from migrations.legacy.translate.outcomes import EPOCH, Context, Fate, Translation, event_id

AT_ONCE: Final = 1_000
"""So many rows are worked on at once."""
LARGEST_CLUSTER: Final = 200
"""Without fills to tell, at most so many rows are compared with one another."""
_WINDOW: Final = WINDOW // timedelta(microseconds=1)

Progress = Callable[[int], None]
One = TypeVar("One")

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


class Placed(NamedTuple):
    """A row of `trades`: its product and side, its time in microseconds since 1970 (None where it tells none)."""

    traded: tuple[str, str]
    at: int | None
    kept: Kept


class Stage:
    """The work file of one source. What is in it follows from the source, the decisions and the context alone."""

    def __init__(self, connection: sqlite3.Connection, path: Path, source: Source, context: Context) -> None:
        self.connection = connection
        self.path = path
        self.source = source
        self.context = context

    def write(self, rows: Told) -> None:
        """What some rows became is in the work file."""
        self.connection.executemany("insert into fates values (?, ?, ?, ?, ?, ?)", rows.fates)
        self.connection.executemany(
            "insert into events values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, null)", rows.events
        )
        self.connection.executemany("insert into seen values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows.seen)

    def events(self, portfolio_id: UUID, where: str = "1") -> Generator[PendingEvent, None, None]:
        """The staged events of a portfolio in the order in which they go into its log."""
        with closing(self.connection.cursor()) as cursor:
            cursor.execute(
                "select id, type, version, at, payload, metadata, rank, named from events where portfolio = ?"
                f" and {where} order by at, rank, number, sub",
                (str(portfolio_id),),
            )
            for id_, kind, version, at, payload, metadata, rank, named in cursor:
                yield PendingEvent(
                    UUID(id_), kind, version, EPOCH + timedelta(microseconds=at), payload, metadata, rank, named
                )


@contextmanager
def staged(
    source: Source, context: Context, progress: Progress = lambda _: None, processes: Executor | None = None
) -> Iterator[Stage]:
    """The source, translated. `progress` is told of rows. Raises BadSource when the disk has no room for that."""
    path = source.path.with_name("work.sqlite")
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        stage = Stage(connection, path, source, context)
        try:
            # The file lives as long as this program looks at it: nothing of it has to survive a power cut.
            connection.executescript("pragma journal_mode = off; pragma synchronous = off;" + _TABLES)
            connection.execute("begin")
            _translate(stage, progress, processes)
            connection.execute("commit")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_FULL:
                raise
            raise BadSource(f"there is no room to work in {path.parent.parent}: make some, and try again") from None
        yield stage


def _translate(stage: Stage, progress: Progress, processes: Executor | None) -> None:
    source, context, connection = stage.source, stage.context, stage.connection
    columns = {name: table.columns for name, table in source.tables.items()}
    for key, row in source.rows("bots"):
        stage.write(told([translated_bot(context, key, row, decision_of(context.decisions, "bots", key))]))
    for fills in each(processes, partial(fills_read, context.decisions, columns), _some(source.cells("raw_trades"))):
        _take_fills(stage, fills)
    trades = _some(_counted(source.cells("trades"), progress))
    connection.executemany(
        "insert into trade_rows (key, cells, ref, product, side, at) values (?, ?, ?, ?, ?, ?)",
        chain.from_iterable(each(processes, partial(trades_placed, context.decisions, columns), trades)),
    )
    connection.executescript(_ORDERS)
    connection.execute("begin")
    signals = _some(_counted(source.cells("bot_signal_history"), progress))
    for rows in chain(
        each(processes, partial(orders_told, context, columns), _some(_orders(connection))),
        each(processes, partial(others_told, context, columns), _others(connection)),
        each(processes, partial(signals_told, context, columns), signals),
    ):
        stage.write(rows)
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


def _counted(rows: Iterator[One], progress: Progress) -> Iterator[One]:
    """The rows; `progress` hears of every thousand."""
    for count, one in enumerate(rows, start=1):
        yield one
        if count % 1000 == 0:
            progress(1000)


def _some(rows: Iterator[One]) -> Iterator[Sequence[One]]:
    """The rows, so many at once."""
    while some := list(islice(rows, AT_ONCE)):
        yield some


def _take_fills(stage: Stage, fills: Sequence[FillRead]) -> None:
    """Fills that cannot be used are quarantined; one that says the same as another of its fill_id merges into it."""
    connection, usable = stage.connection, [one.values for one in fills if one.fate is None]
    fates = [one.fate for one in fills if one.fate is not None]
    before = connection.total_changes
    connection.executemany("insert or ignore into fills values (?, ?, ?, ?, ?, ?, ?)", usable)
    if connection.total_changes - before < len(usable):
        for fill_id, key, _, said, *_ in usable:
            found = connection.execute("select key, said from fills where fill_id = ?", (fill_id,)).fetchone()
            if found[0] != key:
                fates.append(_repeated(stage.context, str(key), found[0], same=found[1] == said))
    stage.write(told([Translation(fates)]))


def _repeated(context: Context, key: str, first: str, *, same: bool) -> Fate:
    """What becomes of a fill whose fill_id another one has."""
    if same:
        stands = event_id(context.portfolio_id, "raw_trades", first)
        return Fate("raw_trades", key, "merged", f"says the same as row {first}", events=(stands,))
    why = f"row {first} says something else under the same fill_id: correct or archive one of them"
    return Fate("raw_trades", key, "quarantined", why)


def _orders(connection: sqlite3.Connection) -> Iterator[Order]:
    """The fills of every order, with the rows that tell of it or of one of them."""
    turn_of = itemgetter(0)
    with closing(connection.cursor()) as fills, closing(connection.cursor()) as rows:
        fills.execute("select turn, key, cells from fills join orders using (order_ref) order by turn, place, key")
        rows.execute("select turn, key, cells from trade_rows where turn is not null order by turn, place")
        about = groupby(rows, turn_of)
        turn, of_turn = next(about, (0, iter(())))
        for number, some in groupby(fills, turn_of):
            trades: list[Kept] = []
            if turn == number:
                trades = [(key, cells) for _, key, cells in of_turn]
                turn, of_turn = next(about, (0, iter(())))
            yield [(key, cells) for _, key, cells in some], trades


def _others(connection: sqlite3.Connection) -> Iterator[Sequence[Sequence[Kept]]]:
    """The clusters of rows of which no fill is known, some at once."""
    some: list[Sequence[Kept]] = []
    rows = 0
    for cluster in _clusters(connection):
        some.append(cluster)
        rows += len(cluster)
        if rows >= AT_ONCE:
            yield some
            some, rows = [], 0
    yield some


def _clusters(connection: sqlite3.Connection) -> Iterator[Sequence[Kept]]:
    """Rows of one product and side of which no fill is known, in order of time, none far from the one before."""
    cluster: list[Placed] = []
    with closing(connection.cursor()) as cursor:
        cursor.execute(
            "select product, side, at, key, cells from trade_rows where turn is null order by product, side, at, place"
        )
        for product, side, at, key, cells in cursor:
            placed = Placed((product, side), at, (key, cells))
            end = len(cluster)
            if cluster and _together(cluster[-1], placed):
                end = _widest_gap(cluster) if end >= LARGEST_CLUSTER else 0
            if end:
                yield [one.kept for one in cluster[:end]]
                cluster = cluster[end:]
            cluster.append(placed)
    yield [one.kept for one in cluster]


def _together(before: Placed, after: Placed) -> bool:
    if before.at is None or after.at is None or before.traded != after.traded:
        return False
    return after.at - before.at <= _WINDOW


def _widest_gap(cluster: Sequence[Placed]) -> int:
    """Where to part a long row of trades: where two in its second half lie farthest from each other."""

    def gap(place: int) -> int:
        return (cluster[place].at or 0) - (cluster[place - 1].at or 0)

    return max(range(len(cluster) // 2, len(cluster)), key=gap)
