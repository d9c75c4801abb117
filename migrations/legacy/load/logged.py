"""Compares the imported events in a portfolio's log with those staged from the source."""

import json
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from ledger.booking.legs import MOVING
from ledger.events import PortfolioClosed, PortfolioOpened, TradeExecuted, TradeReversed
from ledger.imports.pending import ACTOR
from ledger.log.envelope import Envelope
from ledger.log.event_log import EventLog
from ledger.values import derived_id
from migrations.legacy.load.stage import Stage
from migrations.legacy.translate.decisions import decision_of
from migrations.legacy.translate.outcomes import micros

MARK: Final = '"legacy":{'
MOVES: Final = frozenset(kind.type for kind in MOVING)


@dataclass(frozen=True, slots=True)
class LogState:
    """State of an import in the log. `later` counts value events that were not imported.

    `mapping` is the version of the import that opened the portfolio, None if no import opened it.
    """

    exists: bool = False
    mapping: int | None = None
    imported: int = 0
    later: int = 0
    rolled_back: bool = False
    closed: bool = False


def read_log(stage: Stage, log: EventLog, portfolio_id: UUID) -> LogState:
    """Read the imported events of a log into the stage's table `log`."""
    exists, mapping, imported, later, rolled_back, closed = False, None, 0, 0, False, False
    rows: list[tuple[object, ...]] = []
    reversals: list[tuple[str, str]] = []
    for envelope in log.read(portfolio_id):
        exists = True
        ours = envelope.actor == ACTOR and MARK in envelope.metadata
        if envelope.type == TradeReversed.type:
            reversals.append((str(envelope.event_id), str(json.loads(envelope.payload)["reverses"])))
            rolled_back = rolled_back or '"rollback":' in envelope.metadata
        elif envelope.type == PortfolioClosed.type:
            closed, rolled_back = True, rolled_back or '"rollback":' in envelope.metadata
        elif ours and envelope.type == PortfolioOpened.type:
            mapping = int(json.loads(envelope.metadata)["legacy"]["mapping"])
        elif ours and '"table":' in envelope.metadata:
            imported += 1
            rows.append(_row(envelope, portfolio_id))
        elif envelope.type in MOVES:
            later += 1
        if len(rows) >= 1000:
            _insert(stage, rows)
            rows = []
    _insert(stage, rows)
    stage.connection.executemany("update log set reversed_by = ? where id = ?", reversals)
    return LogState(exists, mapping, imported, later, rolled_back, closed)


def reconcile(stage: Stage, portfolio_id: UUID) -> list[str]:
    """Adjust the staged events to the log and return the ids of imported trades no longer in the source, to be reversed.

    An event that was reversed gets its next id. A row that changed since its import is quarantined and keeps its event
    until a decision replaces it.
    """
    portfolio = str(portfolio_id)
    _entered_again(stage, portfolio)
    stale = _changed(stage, portfolio)
    stage.connection.execute(
        "update events set position = (select position from log where log.id = events.id) where portfolio = ?",
        (portfolio,),
    )
    with closing(stage.connection.cursor()) as cursor:
        # Trades of rows missing in the source stay: it may have been truncated.
        cursor.execute(
            "select log.id from log join fates on fates.tbl = log.tbl and fates.key = log.key left join events on"
            " events.id = log.id where log.portfolio = ? and log.type = ? and log.reversed_by is null"
            " and events.id is null order by log.at desc, log.position desc",
            (portfolio, TradeExecuted.type),
        )
        stale += [id_ for (id_,) in cursor if id_ not in stale]
    return stale


def _entered_again(stage: Stage, portfolio: str) -> None:
    """Give staged events whose id was reversed the next id that is unused or not reversed."""
    connection = stage.connection
    found = connection.execute(
        "select events.id from events join log on log.id = events.id where events.portfolio = ? and reversed_by is not null",
        (portfolio,),
    ).fetchall()
    for (id_,) in found:
        following = id_
        while row := connection.execute("select reversed_by from log where id = ?", (following,)).fetchone():
            if row[0] is None:
                break
            following = str(derived_id("entered again", following, row[0]))
        _rename(stage, id_, following)


def _changed(stage: Stage, portfolio: str) -> list[str]:
    """Handle rows whose event in the log differs; return the ids of the events to replace."""
    connection = stage.connection
    found = connection.execute(
        "select events.id, events.type, log.payload, log.at, log.tbl, log.key from events join log on log.id = events.id"
        " where events.portfolio = ? and reversed_by is null and (events.payload <> log.payload or events.at <> log.at)",
        (portfolio,),
    ).fetchall()
    replaced: list[str] = []
    for id_, kind, payload, at, table, key in found:
        decided = decision_of(stage.context.decisions, table, key).get("action") == "replace"
        if decided and kind == TradeExecuted.type:
            replaced.append(id_)
            _rename(stage, id_, str(derived_id("entered again", id_, reversal_id(UUID(id_)))))
            continue
        connection.execute("update events set payload = ?, at = ? where id = ?", (payload, at, id_))
        if kind == TradeExecuted.type or table == "bot_signal_history":
            why = "the row changed since its import: the imported event stays until a decision replaces it"
            connection.execute(
                "update fates set word = 'quarantined', reason = ? where tbl = ? and key = ?", (why, table, key)
            )
    return replaced


def reversal_id(event_id: UUID) -> UUID:
    """Return the id of the reversal of an imported event that the source no longer contains."""
    return derived_id("legacy taken back", event_id)


def _rename(stage: Stage, before: str, after: str) -> None:
    """Change the id of a staged event, in fates too."""
    connection = stage.connection
    connection.execute("update events set id = ? where id = ?", (after, before))
    connection.execute(
        "update fates set events = replace(events, ?, ?) where events like ?", (before, after, f"%{before}%")
    )


def _row(envelope: Envelope, portfolio_id: UUID) -> tuple[object, ...]:
    origin = json.loads(envelope.metadata)["legacy"]
    # Unambiguous: quotes within texts of the payload are escaped.
    _, _, rest = envelope.payload.partition('"instrument":"') if envelope.type == TradeExecuted.type else ("", "", "")
    product = rest.partition('"')[0]
    return (
        str(envelope.event_id),
        str(portfolio_id),
        envelope.position,
        envelope.type,
        envelope.version,
        product,
        envelope.payload,
        micros(envelope.occurred_at),
        origin["table"],
        origin["key"],
    )


def _insert(stage: Stage, rows: Iterable[tuple[object, ...]]) -> None:
    stage.connection.executemany("insert into log values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, null)", rows)
