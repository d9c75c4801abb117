"""Result of a translation: the fate of each row, the events, and trades as the legacy figures counted them."""

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
    """Target of a translation: the portfolios of real and of paper trades, and their base currency.

    `bots` are the products of the existing bots by bot id. `origins` adds each event's source to its metadata, `comparison`
    records trades for the comparison of figures; both take time.
    """

    portfolio_id: UUID
    paper_id: UUID
    base: Asset
    bots: Mapping[str, str] = field(default_factory=dict)
    decisions: Decisions = field(default_factory=dict)
    origins: bool = True
    comparison: bool = True


class Fate(NamedTuple):
    """Result for a row: imported as events, merged into other rows' events, archived, or quarantined with a reason.

    `events` are the ids of its events. `flags` need the user's attention.
    """

    table: str
    key: str
    word: Word
    reason: str = ""
    flags: tuple[str, ...] = ()
    events: tuple[UUID, ...] = ()


class Staged(NamedTuple):
    """An event to import and its row. `fee` is its fee in the legacy figures."""

    table: str
    key: str
    id: int
    portfolio_id: UUID
    product: str
    ready: PendingEvent
    fee: Decimal = Decimal(0)


class Seen(NamedTuple):
    """A trade as counted by the stages of the comparison from `first` to before `last` (see `comparison.py`).

    The case-sensitive figures count it from stage `strict` on. `usd` is its value, None if the row has none; `at` and `id`
    are its place in the legacy order; `bot` is "" for a trade without a bot.
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
    """Fates, events and counted trades of some rows."""

    fates: list[Fate] = field(default_factory=list)
    staged: list[Staged] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)


def event_id(portfolio_id: UUID, table: str, key: str, *what: str) -> UUID:
    """Return the id of an event of a row; the same for each import into this portfolio."""
    # The same as derived_id, three times as fast.
    parts = ("legacy", portfolio_id, table, key, MAPPING, *what)
    return UUID(int=uuid_utils.uuid5(_IDS, "\x1f".join(map(str, parts))).int)


def origin(context: Context, table: str, key: str, row: Row, **more: object) -> str:
    """Return an event's source as canonical JSON: the unchanged row, its hash, and details of its translation."""
    if not context.origins:
        return "{}"
    details = {name: value for name, value in more.items() if value not in (None, "", (), [], {})}
    values = plain(row)
    legacy = {"table": table, "key": key, "row": values, "hash": hash_of(values), "mapping": MAPPING, **details}
    return canonical_json({"legacy": legacy}).encode("utf-8", "backslashreplace").decode()


def merged_into(context: Context, rows: Sequence[tuple[str, Row]]) -> list[dict[str, str]]:
    """List the rows of `trades` merged into an event, for its origin."""
    return [{"table": "trades", "key": key, "hash": row_hash(row)} for key, row in rows] if context.origins else []


def event_of_row(event: Event, id_: UUID, at: datetime, metadata: str, table: str, key: str) -> PendingEvent:
    return pending_event(event, id_, at, metadata, RANKS.get(table, 0), f"{table} {key}")


def micros(at: datetime) -> int:
    """Microseconds since 1970, exactly."""
    return (at - EPOCH) // timedelta(microseconds=1)
