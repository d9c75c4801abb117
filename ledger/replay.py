"""Replay: read the log again, prove it, and compare what follows from it with what is stored. Cannot trade: no door to a venue."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from functools import partial
from uuid import UUID

import psycopg
from sqlalchemy import Engine

from ledger.book import Stopped, attempt_fold, changes_of
from ledger.chain import BrokenLog, Head, checked, genesis_hash
from ledger.checkpoints import behind_checkpoint
from ledger.envelope import Envelope
from ledger.identities import broken_identities
from ledger.postgres import (
    Raw,
    head_in,
    head_record,
    head_recorded_at,
    lock_head,
    lock_rebuild,
    portfolio_ids,
    raw,
    read_event,
    read_page,
    read_stream,
)
from ledger.projections.portfolio import PortfolioView
from ledger.projections.trades import TradeView
from ledger.rows import Gone, Key, MemoryRows, Row, all_rows, field_names, key_of, row_text, state_hash
from ledger.values import decimal_text
from ledger.views import (
    ViewCheckpoint,
    copy_rows,
    drop_older_generations,
    newer_generations,
    read_checkpoint,
    row_kinds,
    stored_rows,
    stray_rows,
    versions_text,
    write_changes,
    write_checkpoint,
)

Progress = Callable[[int], None]
"""Called now and then with the number of events done since the last call."""


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


def verify_portfolio(engine: Engine, portfolio_id: UUID, progress: Progress = lambda _: None) -> PortfolioReplay:
    """The portfolio's log, chain, views and identities, compared at one moment; appends go on meanwhile."""
    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        own = raw(connection)
        rows, counter = MemoryRows(recorded=partial(read_event, own, portfolio_id)), _Counter(progress)
        try:
            stopped = _fold_checked(own, portfolio_id, rows, counter)
        except BrokenLog as broken:
            return PortfolioReplay(portfolio_id, _name(rows), counter.events, 0, "", (), broken)
        finally:
            counter.flush()
        differences = [
            *_checkpoint_differences(own, portfolio_id, counter.events, stopped),
            *_generation_differences(own, portfolio_id),
            *_row_differences(own, portfolio_id, rows),
            *(Difference(portfolio_id, *broken, None) for broken in broken_identities(rows)),
        ]
        texts = (row_text(row) for row in all_rows(rows, row_kinds()))
        trades = sum(1 for _ in rows.history(TradeView))
        return PortfolioReplay(portfolio_id, _name(rows), counter.events, trades, state_hash(texts), tuple(differences))


def log_behind(engine: Engine, portfolio_id: UUID, wanted: Head) -> BrokenLog | None:
    """What is wrong with the portfolio's log if it once stood at `wanted`, or None."""
    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        own = raw(connection)
        found = read_page(own, portfolio_id, wanted.position - 1, 1)
        there = found[0].hash if found and found[0].position == wanted.position else None
        return behind_checkpoint(portfolio_id, head_record(own, portfolio_id), there, wanted)


def held_to(
    engine: Engine, results: Sequence[PortfolioReplay], wanted: Sequence[tuple[UUID, Head]]
) -> list[PortfolioReplay]:
    """The results, broken where a log does not hold what a checkpoint saw of it; a log that vanished is one of them."""
    held = {result.portfolio_id: result for result in results}
    for portfolio_id, head in wanted:
        result = held.get(portfolio_id) or PortfolioReplay(portfolio_id, "", 0, 0, "", ())
        if result.broken is None:
            held[portfolio_id] = replace(result, broken=log_behind(engine, portfolio_id, head))
    return list(held.values())


def heads(engine: Engine) -> list[tuple[UUID, Head]]:
    """Where every portfolio's log stands, all at one moment."""
    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        own = raw(connection)
        return [(portfolio_id, head_in(own, portfolio_id)) for portfolio_id in portfolio_ids(own)]


def stray_differences(engine: Engine) -> list[Difference]:
    """Stored view rows of portfolios that have no log."""
    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        own = raw(connection)
        known = portfolio_ids(own)
        return [
            Difference(portfolio_id, f"{table}: {count} rows", "present", "no such portfolio in the log", None)
            for table, portfolio_id, count in stray_rows(own, known)
        ]


def all_portfolios(engine: Engine) -> list[UUID]:
    """The ids of all portfolios that have a log."""
    with engine.connect() as connection:
        return portfolio_ids(raw(connection))


def count_events(engine: Engine, chosen: Iterable[UUID]) -> int:
    """How many events these portfolios hold by their head rows."""
    with engine.connect() as connection:
        heads = (head_record(raw(connection), portfolio_id) for portfolio_id in chosen)
        return sum(head.position for head in heads if head is not None)


def rebuild_portfolio(engine: Engine, portfolio_id: UUID, progress: Progress = lambda _: None) -> int:
    """The portfolio's views are written anew from its log and taken into use in one transaction; returns the position.

    Readers see the old rows until then. Appends wait only while the last few events are caught up.
    Raises NoSuchPortfolio, and BrokenLog when the log does not hold together (the old views stay).
    """
    with engine.begin() as connection:
        own = raw(connection)
        lock_rebuild(own, portfolio_id)
        head_in(own, portfolio_id)
        before = read_checkpoint(own, portfolio_id)
        generation = before.generation + 1 if before else 1
        rows, counter = MemoryRows(recorded=partial(read_event, own, portfolio_id)), _Counter(progress)
        stopped = _fold_checked(own, portfolio_id, rows, counter, to_head=False)
        for kind in row_kinds():
            copy_rows(own, portfolio_id, generation, kind, rows.history(kind))
        lock_head(own, portfolio_id)
        checkpoint = ViewCheckpoint(generation, counter.position, versions_text(), stopped)
        if stopped is None:
            checkpoint = _catch_up(own, portfolio_id, rows, checkpoint)
        write_checkpoint(own, portfolio_id, checkpoint)
        counter.flush()
    with engine.begin() as connection:
        drop_older_generations(raw(connection), portfolio_id, generation, row_kinds())
    return checkpoint.position


def rebuild_outdated(engine: Engine) -> list[UUID]:
    """The portfolios whose views were made by another version of the folds; their views are written anew."""
    with engine.connect() as connection:
        own = raw(connection)
        found = [(one, read_checkpoint(own, one)) for one in portfolio_ids(own)]
    outdated = [one for one, checkpoint in found if checkpoint is not None and checkpoint.versions != versions_text()]
    for portfolio_id in outdated:
        rebuild_portfolio(engine, portfolio_id)
    return outdated


class _Counter:
    """Counts events and tells the progress bar every thousand of them."""

    def __init__(self, progress: Progress) -> None:
        self.events = 0
        self.position = 0
        self._told = 0
        self._progress = progress

    def count(self, envelopes: Iterable[Envelope]) -> Iterator[Envelope]:
        for envelope in envelopes:
            yield envelope
            self.events += 1
            if self.events - self._told >= 1000:
                self.flush()

    def flush(self) -> None:
        self._progress(self.events - self._told)
        self._told = self.events


def _fold_checked(
    connection: Raw, portfolio_id: UUID, rows: MemoryRows, counter: _Counter, *, to_head: bool = True
) -> Stopped | None:
    """Folds the whole log into `rows`, proving the chain on the way; says where folding had to stop. Raises BrokenLog."""
    last, stopped = Head(0, genesis_hash(portfolio_id)), None
    recorded_at = None
    for envelope in counter.count(checked(portfolio_id, read_stream(connection, portfolio_id))):
        last, recorded_at = Head(envelope.position, envelope.hash), envelope.recorded_at
        if stopped is not None:
            continue
        changes, failure = attempt_fold(rows, envelope)
        if failure is None:
            rows.apply(changes)
            counter.position = envelope.position
        else:
            stopped = Stopped(envelope.position, failure)
    if to_head:
        _check_head(connection, portfolio_id, last, recorded_at)
    return stopped


def _check_head(connection: Raw, portfolio_id: UUID, last: Head, recorded_at: datetime | None) -> None:
    head = head_record(connection, portfolio_id)
    if head is None:
        raise BrokenLog(portfolio_id, last.position, "the head row is missing")
    if head.position > last.position:
        raise BrokenLog(portfolio_id, last.position + 1, f"events up to {head.position} are missing at the end")
    if head.position < last.position:
        raise BrokenLog(portfolio_id, head.position + 1, f"the head row knows of no event after {head.position}")
    if head != last:
        raise BrokenLog(portfolio_id, last.position, "the last event is not the one the head row names")
    if head_recorded_at(connection, portfolio_id) != recorded_at:
        raise BrokenLog(portfolio_id, last.position, "the head row names another time than the last event's")


def _catch_up(connection: Raw, portfolio_id: UUID, rows: MemoryRows, checkpoint: ViewCheckpoint) -> ViewCheckpoint:
    for envelope in list(read_stream(connection, portfolio_id, checkpoint.position)):
        changes, failure = attempt_fold(rows, envelope)
        if failure is not None:
            return replace(checkpoint, stopped=Stopped(envelope.position, failure))
        rows.apply(changes)
        write_changes(connection, portfolio_id, checkpoint.generation, changes)
        checkpoint = replace(checkpoint, position=envelope.position)
    return checkpoint


def _checkpoint_differences(
    connection: Raw, portfolio_id: UUID, events: int, stopped: Stopped | None
) -> Iterator[Difference]:
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


def _generation_differences(connection: Raw, portfolio_id: UUID) -> Iterator[Difference]:
    """Rows of a generation that was never taken into use; a rebuild commits its rows and the checkpoint together."""
    found = read_checkpoint(connection, portfolio_id)
    if found is None:
        return
    for kind in row_kinds():
        for generation, count in newer_generations(connection, portfolio_id, found.generation, kind):
            text = f"generation {generation}: {count} rows"
            yield Difference(portfolio_id, kind.table, text, f"view_checkpoints.generation is {found.generation}", None)


def _row_differences(connection: Raw, portfolio_id: UUID, rows: MemoryRows) -> list[Difference]:
    checkpoint = read_checkpoint(connection, portfolio_id)
    if checkpoint is None:
        return []
    found: dict[tuple[type[Row], Key], tuple[Row | None, Row | None]] = {}
    unreadable: list[Difference] = []
    for kind in row_kinds():
        try:
            stored = {key_of(row): row for row in stored_rows(connection, portfolio_id, checkpoint.generation, kind)}
        except psycopg.DataError as error:
            # A hand put something there that no value of ours can be, such as an infinite time.
            unreadable.append(
                Difference(portfolio_id, kind.table, f"a row that cannot be read: {error}", "readable", None)
            )
            continue
        for row in rows.history(kind):
            other = stored.pop(key_of(row), None)
            if other != row:
                found[(kind, key_of(row))] = (other, row)
        found |= {(kind, key): (row, None) for key, row in stored.items()}
    first = _first_events(connection, portfolio_id, found) if found else {}
    return unreadable + [
        _difference(portfolio_id, kind, key, stored_row, replayed, first.get((kind, key)))
        for (kind, key), (stored_row, replayed) in found.items()
    ]


def _first_events(
    connection: Raw, portfolio_id: UUID, wanted: Mapping[tuple[type[Row], Key], object]
) -> dict[tuple[type[Row], Key], int]:
    """For each row the position of the first event that touches it, found by folding once more."""
    rows, first = MemoryRows(recorded=partial(read_event, connection, portfolio_id)), dict[tuple[type[Row], Key], int]()
    for envelope in read_stream(connection, portfolio_id):
        if attempt_fold(rows, envelope)[1] is not None:
            break
        changes = changes_of(rows, envelope)
        for change in changes:
            name = (change.kind, change.key) if isinstance(change, Gone) else (type(change), key_of(change))
            if name in wanted:
                first.setdefault(name, envelope.position)
        rows.apply(changes)
    return first


def _difference(
    portfolio_id: UUID, kind: type[Row], key: Key, stored: Row | None, replayed: Row | None, first: int | None
) -> Difference:
    where = f"{kind.table}[{', '.join(_shown(part) for part in key)}]"
    if stored is None or replayed is None:
        texts = ["no row" if row is None else row_text(row) for row in (stored, replayed)]
        return Difference(portfolio_id, where, texts[0], texts[1], first)
    names = [name for name in field_names(kind) if getattr(stored, name) != getattr(replayed, name)]
    shown = [", ".join(f"{name}={_shown(getattr(row, name))}" for name in names) for row in (stored, replayed)]
    return Difference(portfolio_id, f"{where}.{','.join(names)}", shown[0], shown[1], first)


def _shown(value: object) -> str:
    return decimal_text(value) if isinstance(value, Decimal) else str(value)


def _name(rows: MemoryRows) -> str:
    return next((view.name for view in rows.where(PortfolioView)), "")
