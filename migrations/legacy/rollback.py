"""Rolls back an import in one transaction: reverses all imported trades. Nothing is deleted."""

import json
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final
from uuid import UUID

from ledger.events import Event, PortfolioClosed, TradeExecuted, TradeReversed
from ledger.imports.pending import ACTOR
from ledger.imports.run import Store, WrongPortfolio, append_many
from ledger.log.envelope import EncodedEvent, canonical_json, encode
from ledger.values import derived_id
from migrations.legacy.load.logged import MARK, MOVES

REASON: Final = "the import was rolled back"


@dataclass(frozen=True, slots=True)
class RolledBack:
    """Result of a rollback: trades reversed now and `before`, and `later` value events, which stay.

    `closed` is True if the portfolio was closed, as it is without later value events.
    """

    reversed: int
    before: int
    later: int
    closed: bool


def roll_back(store: Store, portfolio_id: UUID, name: str, now: datetime) -> RolledBack:
    """Reverse all imported trades in one transaction; later events stay. Repeating it has no effect.

    Raises NoSuchPortfolio, and WrongPortfolio for a portfolio that no import opened.
    """
    found = _scan(store, portfolio_id, name)
    story = derived_id("legacy rollback", portfolio_id)
    left = [(at, position, id_) for id_, (at, position) in found.trades.items() if id_ not in found.reversed]
    # Newest first, so that each reversal refolds only later events that were not imported.
    events = [
        _encoded(story, derived_id("legacy rollback", id_), at, TradeReversed(reverses=id_, reason=REASON))
        for at, _, id_ in sorted(left, reverse=True)
    ]
    closing = not found.later and not found.closed
    if closing:
        events.append(_encoded(story, derived_id("legacy closed", portfolio_id), now, PortfolioClosed(reason=REASON)))
    if events:
        store.book.append_encoded(portfolio_id, events)
    append_many(store, portfolio_id, ())
    return RolledBack(len(left), len(found.trades) - len(left), found.later, closing)


@dataclass(slots=True)
class _Scan:
    """Imported trades by id with time and position, reversed ids, and the number of other value events."""

    trades: dict[UUID, tuple[datetime, int]] = field(default_factory=dict)
    reversed: set[UUID] = field(default_factory=set)
    later: int = 0
    closed: bool = False


def _scan(store: Store, portfolio_id: UUID, name: str) -> _Scan:
    store.book.log.head(portfolio_id)
    found = _Scan()
    for envelope in store.book.log.read(portfolio_id):
        ours = envelope.actor == ACTOR and MARK in envelope.metadata
        if envelope.position == 1 and not ours:
            raise WrongPortfolio(f"{name!r} was not opened by an import: use daybook reverse for single events")
        if envelope.type == TradeReversed.type:
            found.reversed.add(UUID(json.loads(envelope.payload)["reverses"]))
        elif ours and envelope.type == TradeExecuted.type:
            found.trades[envelope.event_id] = (envelope.occurred_at, envelope.position)
        elif envelope.type in MOVES:
            found.later += 1
        found.closed = found.closed or envelope.type == PortfolioClosed.type
    return found


def _encoded(story: UUID, id_: UUID, at: datetime, event: Event) -> EncodedEvent:
    metadata = canonical_json({"legacy": {"rollback": str(story)}})
    return EncodedEvent(id_, event.type, event.version, at, ACTOR, story, None, encode(event), metadata)
