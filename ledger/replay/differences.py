"""Differences between the stored rows and a replay, and the result of a replay."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from uuid import UUID

from ledger.log.event_log import BrokenLog
from ledger.postgres.log import Raw, read_event, read_stream
from ledger.postgres.views import newer_generations, read_checkpoint, row_kinds, versions_text
from ledger.projections.book import Stopped, attempt_fold, changes_of
from ledger.projections.invariants import broken_invariants
from ledger.projections.portfolio import PortfolioView
from ledger.projections.trades import TradeView
from ledger.rows import Deleted, Key, MemoryRows, Row, all_rows, field_names, key_of, row_text, state_hash
from ledger.values import decimal_text


@dataclass(frozen=True, slots=True)
class Difference:
    """A stored value that differs from the replay, and the position of the first event that affects it."""

    portfolio_id: UUID
    what: str
    stored: str
    replayed: str
    first_event: int | None


@dataclass(frozen=True, slots=True)
class PortfolioReplay:
    """The result of replaying one portfolio. `broken` is set if the log itself is not intact."""

    portfolio_id: UUID
    name: str
    events: int
    trades: int
    state_hash: str
    differences: tuple[Difference, ...]
    broken: BrokenLog | None = None


def replay_result(
    portfolio_id: UUID, rows: MemoryRows, events: int, differences: Iterable[Difference]
) -> PortfolioReplay:
    """The result of folding this many events into `rows`, with violated invariants added to `differences`."""
    broken = (Difference(portfolio_id, *names, None) for names in broken_invariants(rows))
    trades = sum(1 for _ in rows.history(TradeView))
    found = state_hash(row_text(row) for row in all_rows(rows, row_kinds()))
    return PortfolioReplay(portfolio_id, name_in(rows), events, trades, found, (*differences, *broken))


def name_in(rows: MemoryRows) -> str:
    """The name of the portfolio; empty before it is opened."""
    return next((view.name for view in rows.where(PortfolioView)), "")


def stop_difference(portfolio_id: UUID, stopped: Stopped) -> Difference:
    """The difference reported if folding stopped."""
    return Difference(portfolio_id, "replay", "", f"folding stops: {stopped.reason}", stopped.position)


def checkpoint_differences(
    connection: Raw, portfolio_id: UUID, events: int, stopped: Stopped | None
) -> Iterator[Difference]:
    """Compare the stored checkpoint with a replay of `events` events that stopped at `stopped`."""
    found = read_checkpoint(connection, portfolio_id)
    position = stopped.position - 1 if stopped else events
    if stopped is not None:
        yield stop_difference(portfolio_id, stopped)
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
    """Report rows of generations newer than the checkpoint: a rebuild commits both in one transaction."""
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
    """Return the position of the first event that changes each row, by folding the log again."""
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
    """Return the difference between a stored row and the replayed one (None: no row)."""
    where = f"{kind.table}[{', '.join(_shown(part) for part in key)}]"
    if stored is None or replayed is None:
        texts = ["no row" if row is None else row_text(row) for row in (stored, replayed)]
        return Difference(portfolio_id, where, texts[0], texts[1], first)
    names = [name for name in field_names(kind) if getattr(stored, name) != getattr(replayed, name)]
    shown = [", ".join(f"{name}={_shown(getattr(row, name))}" for name in names) for row in (stored, replayed)]
    return Difference(portfolio_id, f"{where}.{','.join(names)}", shown[0], shown[1], first)


def _shown(value: object) -> str:
    return decimal_text(value) if isinstance(value, Decimal) else str(value)
