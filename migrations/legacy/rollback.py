"""Undoing an import as one act: every imported movement of value is taken back; nothing is deleted."""

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
    """What a rollback did: trades taken back now, trades that were taken back before, later movements left as they are.

    `closed` says whether the portfolio was closed: it is when nothing but the import was in it.
    """

    reversed: int
    before: int
    later: int
    closed: bool


def roll_back(store: Store, portfolio_id: UUID, name: str, now: datetime) -> RolledBack:
    """No imported trade counts any more, in one transaction; what came later stands as it is.

    Repeated, it takes back nothing more. Raises NoSuchPortfolio, and WrongPortfolio for one that no import opened.
    """
    found = _looked_at(store, portfolio_id, name)
    story = derived_id("legacy rollback", portfolio_id)
    left = [(at, position, id_) for id_, (at, position) in found.trades.items() if id_ not in found.gone]
    # The newest first: what is taken back then has only later events of other origin behind it to fold again.
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
class _Looked:
    """The imported trades by id with their time and position, what was taken back, and what else moved value."""

    trades: dict[UUID, tuple[datetime, int]] = field(default_factory=dict)
    gone: set[UUID] = field(default_factory=set)
    later: int = 0
    closed: bool = False


def _looked_at(store: Store, portfolio_id: UUID, name: str) -> _Looked:
    store.book.log.head(portfolio_id)
    found = _Looked()
    for envelope in store.book.log.read(portfolio_id):
        ours = envelope.actor == ACTOR and MARK in envelope.metadata
        if envelope.position == 1 and not ours:
            raise WrongPortfolio(f"{name!r} was not opened by an import: daybook reverse takes back single events")
        if envelope.type == TradeReversed.type:
            found.gone.add(UUID(json.loads(envelope.payload)["reverses"]))
        elif ours and envelope.type == TradeExecuted.type:
            found.trades[envelope.event_id] = (envelope.occurred_at, envelope.position)
        elif envelope.type in MOVES:
            found.later += 1
        found.closed = found.closed or envelope.type == PortfolioClosed.type
    return found


def _encoded(story: UUID, id_: UUID, at: datetime, event: Event) -> EncodedEvent:
    metadata = canonical_json({"legacy": {"rollback": str(story)}})
    return EncodedEvent(id_, event.type, event.version, at, ACTOR, story, None, encode(event), metadata)
