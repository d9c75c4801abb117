"""Exports a portfolio to the legacy tables: the imported rows and later trades, so that the old system can continue."""

import json
import shutil
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Final
from uuid import UUID

from ledger.booking.legs import total_fees
from ledger.events import TradeExecuted, TradeReversed
from ledger.imports.pending import ACTOR
from ledger.imports.run import Store, WrongPortfolio
from ledger.log.envelope import Envelope
from ledger.values import Side, decimal_text, time_text
from migrations.legacy.load.logged import MARK, MOVES
from migrations.legacy.load.run import newest_archive
from migrations.legacy.read.schema import quoted

RAW_TRADES: Final = (
    "create table if not exists raw_trades (id integer primary key, fill_id varchar(100) not null unique,"
    " order_id varchar(100) not null, product_id varchar(20), side varchar(10), size float, size_in_quote boolean,"
    " price float, commission float, created_at varchar(50), synced_at datetime)"
)
TRADES: Final = (
    "create table if not exists trades (id integer primary key, bot_id integer, product_id varchar(20), side varchar(10),"
    " size float, price float, fee float, commission float, order_id varchar(100) unique, status varchar(20),"
    " combined_signal_score float, signal_scores text, size_usd float, size_in_quote boolean, created_at datetime,"
    " filled_at datetime)"
)


@dataclass(frozen=True, slots=True)
class Exported:
    """Rows by table, and the number of later trades among them.

    `left_out` counts later movements that the legacy tables cannot represent, such as deposits and income.
    """

    tables: Mapping[str, int]
    later: int
    left_out: int


def export_legacy(store: Store, portfolio_id: UUID, name: str, folder: Path, target: Path) -> Exported:
    """Write a legacy SQLite database: the archived tables unchanged, followed by later trades.

    A later trade is a row of raw_trades and one of trades: filled, in base units, side in upper case. Rows of reversed
    imported trades stay. Raises NoSuchPortfolio, and WrongPortfolio without an archive of this import.
    """
    store.book.log.head(portfolio_id)
    archive = newest_archive(folder)
    if archive is None:
        raise WrongPortfolio(f"no archive of an import into {name!r} in {folder}")
    shutil.copyfile(archive, target)
    with closing(sqlite3.connect(target)) as connection, connection:
        later = left_out = 0
        for envelope in _later(store, portfolio_id):
            if isinstance(envelope.event, TradeExecuted):
                _add(connection, envelope, envelope.event)
                later += 1
            else:
                left_out += 1
        names = connection.execute(
            "select name from sqlite_master where type = 'table' and name not like 'sqlite~_%' escape '~'"
        )
        tables = {
            str(table): int(connection.execute(f"select count(*) from {quoted(table)}").fetchone()[0])
            for (table,) in names.fetchall()
        }
    return Exported(tables, later, left_out)


def _later(store: Store, portfolio_id: UUID) -> Iterator[Envelope]:
    """Yield value events that were neither imported nor reversed, in log order."""
    log = store.book.log
    reversed_ = {
        json.loads(one.payload)["reverses"] for one in log.read(portfolio_id) if one.type == TradeReversed.type
    }
    for envelope in log.read(portfolio_id):
        ours = envelope.actor == ACTOR and MARK in envelope.metadata
        if not ours and envelope.type in MOVES and str(envelope.event_id) not in reversed_:
            yield envelope


def _add(connection: sqlite3.Connection, envelope: Envelope, trade: TradeExecuted) -> None:
    connection.execute(RAW_TRADES)
    connection.execute(TRADES)
    fill_id, at = f"{trade.venue}-{trade.venue_trade_id}"[:100], time_text(envelope.occurred_at)
    order_id = str(trade.order_id or fill_id)
    side = "BUY" if trade.side is Side.BUY else "SELL"
    size, price, fee = _number(trade.quantity), _number(trade.price), _number(total_fees(trade))
    shared = {"product_id": str(trade.instrument), "side": side, "size": size, "price": price, "size_in_quote": 0}
    raw = {"fill_id": fill_id, "order_id": order_id, "commission": fee, "created_at": at, "synced_at": at}
    _insert(connection, "raw_trades", {**shared, **raw})
    bot = (trade.triggered_by or "").removeprefix("bot:legacy-")
    row = {
        "bot_id": int(bot) if bot.isdecimal() else None,
        "fee": 0.0,
        "commission": fee,
        "order_id": fill_id,
        "status": "filled",
        "combined_signal_score": 0.0,
        "signal_scores": "{}",
        "size_usd": _number(trade.quantity * trade.price),
        "created_at": at.removesuffix("Z").replace("T", " "),
        "filled_at": at.removesuffix("Z").replace("T", " "),
    }
    _insert(connection, "trades", {**shared, **row})


def _insert(connection: sqlite3.Connection, table: str, row: Mapping[str, object]) -> None:
    """Insert a row with the next id, in the columns that the table has."""
    existing = {str(column[1]) for column in connection.execute(f"pragma table_info({quoted(table)})")}
    (last,) = connection.execute(f"select coalesce(max(id), 0) from {quoted(table)}").fetchone()
    values = {"id": last + 1, **{name: value for name, value in row.items() if name in existing}}
    columns, marks = ", ".join(map(quoted, values)), ", ".join("?" * len(values))
    connection.execute(f"insert into {quoted(table)} ({columns}) values ({marks})", tuple(values.values()))


def _number(value: Decimal) -> float:
    """Convert to a float, the type of the legacy columns."""
    return float(decimal_text(value))
