"""What is not as the log says: the words in which a replay tells it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from uuid import UUID

from ledger.log.event_log import BrokenLog
from ledger.postgres.log import Raw, read_event, read_stream
from ledger.postgres.views import newer_generations, read_checkpoint, row_kinds, versions_text
from ledger.projections.book import Stopped, attempt_fold, changes_of
from ledger.rows import Deleted, Key, MemoryRows, Row, field_names, key_of, row_text
from ledger.values import decimal_text


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is not as the log says: where, what is stored, what the replay gives, and the first event concerned."""

    portfolio_id: UUID
    what: str
    stored: str
    replayed: str
    first_event: int | None


@dataclass(frozen=True, slots=True)
class PortfolioReplay:
    """What replaying one portfolio gave. `broken` is set when the log itself does not hold together."""

    portfolio_id: UUID
    name: str
    events: int
    trades: int
    state_hash: str
    differences: tuple[Difference, ...]
    broken: BrokenLog | None = None


def checkpoint_differences(
    connection: Raw, portfolio_id: UUID, events: int, stopped: Stopped | None
) -> Iterator[Difference]:
    """Where the stored checkpoint is not what replaying `events` gave, which stopped where `stopped` says."""
    found = read_checkpoint(connection, portfolio_id)
    position = stopped.position - 1 if stopped else events
    if stopped is not None:
        text = f"folding stops: {stopped.reason}"
        yield Difference(portfolio_id, "replay", "", text, stopped.position)
    if found is None:
        yield Difference(portfolio_id, "view_checkpoints", "no row", f"position {position}", 1)
        return
    if found.position != position:
        yield Difference(
            portfolio_id,
            "view_checkpoints.position",
            str(found.position),
            str(position),
            min(found.position, position) + 1,
        )
    if found.versions != versions_text():
        yield Difference(portfolio_id, "view_checkpoints.versions", found.versions, versions_text(), None)
    if found.stopped != stopped:
        where = found.stopped or stopped
        yield Difference(
            portfolio_id,
            "view_checkpoints.stopped_position,stopped_reason",
            _shown_stop(found.stopped),
            _shown_stop(stopped),
            where.position if where else None,
        )


def _shown_stop(stopped: Stopped | None) -> str:
    return "not stopped" if stopped is None else f"stopped at {stopped.position}: {stopped.reason}"


def generation_differences(connection: Raw, portfolio_id: UUID) -> Iterator[Difference]:
    """Rows of a generation that was never taken into use; a rebuild commits its rows and the checkpoint together."""
    found = read_checkpoint(connection, portfolio_id)
    if found is None:
        return
    for kind in row_kinds():
        for generation, count in newer_generations(connection, portfolio_id, found.generation, kind):
            text = f"generation {generation}: {count} rows"
            yield Difference(portfolio_id, kind.table, text, f"view_checkpoints.generation is {found.generation}", None)


def first_events(
    connection: Raw, portfolio_id: UUID, wanted: Mapping[tuple[type[Row], Key], object]
) -> dict[tuple[type[Row], Key], int]:
    """For each row the position of the first event that touches it, found by folding once more."""
    rows, first = MemoryRows(recorded=partial(read_event, connection, portfolio_id)), dict[tuple[type[Row], Key], int]()
    for envelope in read_stream(connection, portfolio_id):
        if attempt_fold(rows, envelope)[1] is not None:
            break
        changes = changes_of(rows, envelope)
        for change in changes:
            name = (change.kind, change.key) if isinstance(change, Deleted) else (type(change), key_of(change))
            if name in wanted:
                first.setdefault(name, envelope.position)
        rows.apply(changes)
    return first


def difference(
    portfolio_id: UUID, kind: type[Row], key: Key, stored: Row | None, replayed: Row | None, first: int | None
) -> Difference:
    """One row that is not as replayed; None stands for no row."""
    where = f"{kind.table}[{', '.join(_shown(part) for part in key)}]"
    if stored is None or replayed is None:
        texts = ["no row" if row is None else row_text(row) for row in (stored, replayed)]
        return Difference(portfolio_id, where, texts[0], texts[1], first)
    names = [name for name in field_names(kind) if getattr(stored, name) != getattr(replayed, name)]
    shown = [", ".join(f"{name}={_shown(getattr(row, name))}" for name in names) for row in (stored, replayed)]
    return Difference(portfolio_id, f"{where}.{','.join(names)}", shown[0], shown[1], first)


def _shown(value: object) -> str:
    return decimal_text(value) if isinstance(value, Decimal) else str(value)
