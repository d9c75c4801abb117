"""What a translation gives: what becomes of each row, the events, and each trade as the legacy figures saw it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final, Literal, NamedTuple
from uuid import UUID

import uuid_utils

from ledger.events import Event
from ledger.imports.pending import PendingEvent, pending_event
from ledger.log.envelope import canonical_json
from ledger.values import NAMESPACE, Asset
from migrations.legacy.read.cells import Row, hash_of, plain, row_hash
from migrations.legacy.read.schema import MAPPING
from migrations.legacy.translate.decisions import Decisions

Word = Literal["imported", "merged", "archived", "quarantined"]
RANKS: Final = {"bots": 0, "raw_trades": 1, "trades": 2, "bot_signal_history": 3}
_IDS: Final = uuid_utils.UUID(bytes=NAMESPACE.bytes)
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Context:
    """Where the rows go: the portfolio of the real trades, that of the paper trades, the currency both are kept in.

    `bots` are the products of the bots that are still there, by the bots' ids. Without `origins` the events do not say
    where they come from, without `sightings` nothing is kept for the comparison of figures: both take their time.
    """

    portfolio_id: UUID
    paper_id: UUID
    base: Asset
    bots: Mapping[str, str] = field(default_factory=dict)
    decisions: Decisions = field(default_factory=dict)
    origins: bool = True
    sightings: bool = True


class Fate(NamedTuple):
    """What becomes of a row: imported as events, merged into other rows' events, archived, or quarantined with a reason.

    `events` are the ids of the events that stand for it. `flags` are what somebody should look at.
    """

    table: str
    key: str
    word: Word
    reason: str = ""
    flags: tuple[str, ...] = ()
    events: tuple[UUID, ...] = ()


class Staged(NamedTuple):
    """An event on its way, and the row it comes from. `fee` is what the legacy figures took as its fee."""

    table: str
    key: str
    id: int
    portfolio_id: UUID
    product: str
    ready: PendingEvent
    fee: Decimal = Decimal(0)


class Seen(NamedTuple):
    """A trade as the stages from `first` up to (not with) `last` of the comparison see it (`comparison.py`).

    The figures that count only what is written just so see it from stage `strict` on. `usd` is its value, None where the
    row does not tell it; `at` and `id` are its place in the legacy order; `bot` is "" for a trade that belongs to none.
    """

    product: str
    first: int
    last: int
    strict: int
    at: datetime
    id: int
    bot: str
    side: str
    size: Decimal
    usd: Decimal | None
    price: Decimal
    fee: Decimal


@dataclass(slots=True)
class Translation:
    """What some rows became."""

    fates: list[Fate] = field(default_factory=list)
    staged: list[Staged] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)


def event_id(portfolio_id: UUID, table: str, key: str, *what: str) -> UUID:
    """The id of what a row becomes; the same whenever and however often it is imported into this portfolio."""
    # What derived_id gives, in a third of its time.
    parts = ("legacy", portfolio_id, table, key, MAPPING, *what)
    return UUID(int=uuid_utils.uuid5(_IDS, "\x1f".join(map(str, parts))).int)


def origin(context: Context, table: str, key: str, row: Row, **more: object) -> str:
    """Canonical JSON about where an event comes from: the row as it was, its hash, and what was done with it."""
    if not context.origins:
        return "{}"
    told = {name: value for name, value in more.items() if value not in (None, "", (), [], {})}
    as_it_was = plain(row)
    legacy = {"table": table, "key": key, "row": as_it_was, "hash": hash_of(as_it_was), "mapping": MAPPING, **told}
    return canonical_json({"legacy": legacy}).encode("utf-8", "backslashreplace").decode()


def merged_into(context: Context, rows: Sequence[tuple[str, Row]]) -> list[dict[str, str]]:
    """What an event's origin says of the rows of `trades`, by their keys, that merged into it."""
    return [{"table": "trades", "key": key, "hash": row_hash(row)} for key, row in rows] if context.origins else []


def event_of_row(event: Event, id_: UUID, at: datetime, metadata: str, table: str, key: str) -> PendingEvent:
    """The event on its way."""
    return pending_event(event, id_, at, metadata, RANKS.get(table, 0), f"{table} {key}")


def micros(at: datetime) -> int:
    """Microseconds since 1970, exactly."""
    return (at - EPOCH) // timedelta(microseconds=1)
