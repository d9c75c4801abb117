"""What a portfolio's log holds of an import, beside what the source calls for now."""

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
class Held:
    """What the log says of the import: `later` events of value are not of it; `rolled_back` when it was undone.

    `mapping` is that of the import that opened the portfolio, None for a portfolio that no import opened.
    """

    exists: bool = False
    mapping: int | None = None
    imported: int = 0
    later: int = 0
    rolled_back: bool = False
    closed: bool = False


def read_log(stage: Stage, log: EventLog, portfolio_id: UUID) -> Held:
    """The imported events of the log are in the stage's table `log`; staged events that stand there know their position."""
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
    return Held(exists, mapping, imported, later, rolled_back, closed)


def reconcile(stage: Stage, portfolio_id: UUID) -> list[str]:
    """The stage as the log makes it; returns the ids of imported trades that the source no longer calls for.

    An event taken back before gets its next id. A row that says something else than when it was imported is quarantined,
    and its event stays as it is, until somebody decides to replace it.
    """
    portfolio = str(portfolio_id)
    _entered_again(stage, portfolio)
    stale = _changed(stage, portfolio)
    stage.connection.execute(
        "update events set position = (select position from log where log.id = events.id) where portfolio = ?",
        (portfolio,),
    )
    with closing(stage.connection.cursor()) as cursor:
        # Rows that are gone from the source are no reason: it may have been cut.
        cursor.execute(
            "select log.id from log join fates on fates.tbl = log.tbl and fates.key = log.key left join events on"
            " events.id = log.id where log.portfolio = ? and log.type = ? and log.reversed_by is null"
            " and events.id is null order by log.at desc, log.position desc",
            (portfolio, TradeExecuted.type),
        )
        stale += [id_ for (id_,) in cursor if id_ not in stale]
    return stale


def _entered_again(stage: Stage, portfolio: str) -> None:
    """Staged events whose id was taken back have the next id that is free or stands."""
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
    """Rows whose event stands in the log with other content; returns the ids of those that are to be replaced."""
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
            _rename(stage, id_, str(derived_id("entered again", id_, taken_back_id(UUID(id_)))))
            continue
        connection.execute("update events set payload = ?, at = ? where id = ?", (payload, at, id_))
        if kind == TradeExecuted.type or table == "bot_signal_history":
            why = "the row says something else than when it was imported: what was imported stands until it is replaced"
            connection.execute(
                "update fates set word = 'quarantined', reason = ? where tbl = ? and key = ?", (why, table, key)
            )
    return replaced


def taken_back_id(event_id: UUID) -> UUID:
    """The id of the reversal of an imported event that the source no longer calls for."""
    return derived_id("legacy taken back", event_id)


def _rename(stage: Stage, before: str, after: str) -> None:
    """The staged event has another id, also where fates name it."""
    connection = stage.connection
    connection.execute("update events set id = ? where id = ?", (after, before))
    connection.execute(
        "update fates set events = replace(events, ?, ?) where events like ?", (before, after, f"%{before}%")
    )


def _row(envelope: Envelope, portfolio_id: UUID) -> tuple[object, ...]:
    origin = json.loads(envelope.metadata)["legacy"]
    # No text inside the payload can look like that: its quotes would be escaped.
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
