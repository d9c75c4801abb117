"""Verify a portfolio: replay its log, verify the hash chain, and compare the result with the stored views."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from uuid import UUID

import psycopg
from sqlalchemy import Engine

from ledger.log.checkpoints import behind_checkpoint
from ledger.log.envelope import Envelope
from ledger.log.event_log import BrokenLog, Head, genesis_hash, verified
from ledger.postgres.log import (
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
from ledger.postgres.sessions import extend_timeout, restore_timeout, snapshot
from ledger.postgres.views import (
    StoredRows,
    ViewCheckpoint,
    copy_rows,
    drop_older_generations,
    read_checkpoint,
    row_kinds,
    stored_rows,
    stray_rows,
    versions_text,
    write_changes,
    write_checkpoint,
)
from ledger.projections.book import Stopped, attempt_fold
from ledger.replay.differences import (
    Difference,
    PortfolioReplay,
    checkpoint_differences,
    difference,
    first_events,
    generation_differences,
    name_in,
    replay_result,
)
from ledger.replay.fast.replay import FAST_FROM, Progress
from ledger.replay.fast.views import Comparison, compare_views, write_views
from ledger.rows import Key, MemoryRows, Row, key_of


def verify_portfolio(
    engine: Engine, portfolio_id: UUID, progress: Progress = lambda _: None, *, thorough: bool = False
) -> PortfolioReplay:
    """Verify the log, its hash chain, the views and the invariants in one snapshot; appends continue meanwhile.

    Long logs are folded by the fast replay (`docs/adr/0014`). Events are also folded one by one for short logs, with
    `thorough`, and whenever the fast replay finds a difference or does not support the log: every reported difference
    comes from the event-by-event replay, except a disagreement between the two.
    """
    with snapshot(engine) as own:
        head = head_record(own, portfolio_id)
        length = head.position if head else 0
        progress = _bounded(progress, length)
        found = read_checkpoint(own, portfolio_id)
        fast = compare_views(own, portfolio_id, found.generation if found else None, progress)
        if fast is not None and length >= FAST_FROM and not thorough:
            result = _fast_result(own, portfolio_id, fast)
            if result is not None:
                return result
        result = _event_by_event(own, portfolio_id, progress)
        if fast is None or result.broken or result.differences:
            return result
        return replace(result, differences=tuple(_disagreement(fast, result)))


def _bounded(progress: Progress, length: int) -> Progress:
    """Report at most `length` events, however often they are read."""
    left = length

    def advance(events: int) -> None:
        nonlocal left
        progress(min(events, left))
        left -= min(events, left)

    return advance


def _fast_result(connection: Raw, portfolio_id: UUID, fast: Comparison) -> PortfolioReplay | None:
    """Return the result of the fast replay, or None if anything differs."""
    replay = fast.replay
    try:
        _check_head(connection, portfolio_id, replay.head, replay.recorded_at)
    except BrokenLog:
        return None
    events = replay.head.position
    differences = [
        *checkpoint_differences(connection, portfolio_id, events, None),
        *generation_differences(connection, portfolio_id),
    ]
    if differences or fast.differing or any(replay.fold.broken_invariants()):
        return None
    return PortfolioReplay(portfolio_id, name_in(replay.rows), events, replay.fold.trades, fast.state_hash, ())


def _disagreement(fast: Comparison, result: PortfolioReplay) -> Iterator[Difference]:
    """Report differences of the fast replay from `result`, which has none."""
    if fast.state_hash != result.state_hash:
        yield Difference(result.portfolio_id, "fast replay: state hash", fast.state_hash, result.state_hash, None)
    for table in fast.differing:
        yield Difference(result.portfolio_id, f"fast replay: {table}", "other rows", "as stored", None)
    for name, left, right in fast.replay.fold.broken_invariants():
        yield Difference(result.portfolio_id, f"fast replay: {name}", left, right, None)


def _event_by_event(connection: Raw, portfolio_id: UUID, progress: Progress) -> PortfolioReplay:
    rows, counter = MemoryRows(recorded=partial(read_event, connection, portfolio_id)), _Counter(progress)
    try:
        stopped = _fold_checked(connection, portfolio_id, rows, counter)
    except BrokenLog as broken:
        return PortfolioReplay(portfolio_id, name_in(rows), counter.events, 0, "", (), broken)
    finally:
        counter.flush()
    differences = [
        *checkpoint_differences(connection, portfolio_id, counter.events, stopped),
        *generation_differences(connection, portfolio_id),
        *_row_differences(connection, portfolio_id, rows),
    ]
    return replay_result(portfolio_id, rows, counter.events, differences)


def compare_with_heads(
    engine: Engine, results: Sequence[PortfolioReplay], wanted: Sequence[tuple[UUID, Head]]
) -> list[PortfolioReplay]:
    """Return the results, marked as broken where a log does not contain the head in a checkpoint, or is missing."""
    compared = {result.portfolio_id: result for result in results}
    for portfolio_id, head in wanted:
        result = compared.get(portfolio_id) or PortfolioReplay(portfolio_id, "", 0, 0, "", ())
        if result.broken is None:
            compared[portfolio_id] = replace(result, broken=_behind(engine, portfolio_id, head))
    return list(compared.values())


def _behind(engine: Engine, portfolio_id: UUID, wanted: Head) -> BrokenLog | None:
    with snapshot(engine) as own:
        found = read_page(own, portfolio_id, wanted.position - 1, 1)
        there = found[0].hash if found and found[0].position == wanted.position else None
        return behind_checkpoint(portfolio_id, head_record(own, portfolio_id), there, wanted)


def heads(engine: Engine) -> list[tuple[UUID, Head]]:
    """The heads of all logs, in one snapshot."""
    with snapshot(engine) as own:
        return [(portfolio_id, head_in(own, portfolio_id)) for portfolio_id in portfolio_ids(own)]


def stray_differences(engine: Engine) -> list[Difference]:
    """View rows of portfolios that have no log."""
    with snapshot(engine) as own:
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
    """The number of events of these portfolios by their head rows."""
    with engine.connect() as connection:
        heads = (head_record(raw(connection), portfolio_id) for portfolio_id in chosen)
        return sum(head.position for head in heads if head is not None)


def rebuild_portfolio(engine: Engine, portfolio_id: UUID, progress: Progress = lambda _: None) -> int:
    """Rebuild the portfolio's views from its log in one transaction; return their position.

    Readers see the old rows until it commits. Appends wait only while the last few events are folded.

    Raises:
        NoSuchPortfolio: there is no such log.
        BrokenLog: the log is not intact; the old views remain.
    """
    with engine.begin() as connection:
        own = raw(connection)
        lock_rebuild(own, portfolio_id)
        extend_timeout(own)
        head = head_in(own, portfolio_id)
        before = read_checkpoint(own, portfolio_id)
        generation = before.generation + 1 if before else 1
        progress = _bounded(progress, head.position)
        replay = None
        if head.position >= FAST_FROM:
            with snapshot(engine) as reading:
                replay = write_views(reading, own, portfolio_id, generation, progress)
        if replay is not None:
            checkpoint = ViewCheckpoint(generation, replay.head.position, versions_text())
            rows: MemoryRows | StoredRows = StoredRows(portfolio_id, generation).within(own)
        else:
            rows, checkpoint = _write_event_by_event(own, portfolio_id, generation, progress)
        restore_timeout(own)
        lock_head(own, portfolio_id)
        if checkpoint.stopped is None:
            checkpoint = _catch_up(own, portfolio_id, rows, checkpoint)
        write_checkpoint(own, portfolio_id, checkpoint)
    with engine.begin() as connection:
        drop_older_generations(raw(connection), portfolio_id, generation, row_kinds())
    if checkpoint.position >= FAST_FROM:
        _analyze(engine)
    return checkpoint.position


def _analyze(engine: Engine) -> None:
    """Update the planner's statistics; without them queries on new rows are slow for a minute."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for kind in row_kinds():
            raw(connection).execute(f"analyze {kind.table}")


def _write_event_by_event(
    connection: Raw, portfolio_id: UUID, generation: int, progress: Progress
) -> tuple[MemoryRows, ViewCheckpoint]:
    rows, counter = MemoryRows(recorded=partial(read_event, connection, portfolio_id)), _Counter(progress)
    stopped = _fold_checked(connection, portfolio_id, rows, counter, to_head=False)
    for kind in row_kinds():
        copy_rows(connection, portfolio_id, generation, kind, rows.history(kind))
    counter.flush()
    return rows, ViewCheckpoint(generation, counter.position, versions_text(), stopped)


def rebuild_outdated(engine: Engine) -> list[UUID]:
    """Rebuild views made by other versions of the projections or behind the log; return their portfolios.

    A killed import leaves whole batches in the log without rows. Views that stopped are not rebuilt.
    """
    with snapshot(engine) as own:
        found = [(one, read_checkpoint(own, one), head_record(own, one)) for one in portfolio_ids(own)]
    outdated = [one for one, checkpoint, head in found if head is not None and _is_outdated(checkpoint, head)]
    for portfolio_id in outdated:
        rebuild_portfolio(engine, portfolio_id)
    return outdated


def _is_outdated(checkpoint: ViewCheckpoint | None, head: Head) -> bool:
    if checkpoint is None or checkpoint.versions != versions_text():
        return True
    return checkpoint.stopped is None and checkpoint.position < head.position


class _Counter:
    """Counts events and reports progress every 1,000 of them."""

    def __init__(self, progress: Progress) -> None:
        self.events = 0
        self.position = 0
        self._reported = 0
        self._progress = progress

    def count(self, envelopes: Iterable[Envelope]) -> Iterator[Envelope]:
        for envelope in envelopes:
            yield envelope
            self.events += 1
            if self.events - self._reported >= 1000:
                self.flush()

    def flush(self) -> None:
        self._progress(self.events - self._reported)
        self._reported = self.events


def _fold_checked(
    connection: Raw, portfolio_id: UUID, rows: MemoryRows, counter: _Counter, *, to_head: bool = True
) -> Stopped | None:
    """Fold the log into `rows`, verifying the hash chain; return where folding stopped, if it did. Raises BrokenLog."""
    last, stopped = Head(0, genesis_hash(portfolio_id)), None
    recorded_at = None
    for envelope in counter.count(verified(portfolio_id, read_stream(connection, portfolio_id))):
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
    """Raise BrokenLog unless the head row matches the last event and its time of recording."""
    head = head_record(connection, portfolio_id)
    if head is None:
        raise BrokenLog(portfolio_id, last.position, "the head row is missing")
    if head.position > last.position:
        raise BrokenLog(portfolio_id, last.position + 1, f"events up to {head.position} are missing at the end")
    if head.position < last.position:
        raise BrokenLog(portfolio_id, head.position + 1, f"the head row has no event after {head.position}")
    if head != last:
        raise BrokenLog(portfolio_id, last.position, "the last event is not the one in the head row")
    if head_recorded_at(connection, portfolio_id) != recorded_at:
        raise BrokenLog(portfolio_id, last.position, "the time in the head row is not that of the last event")


def _catch_up(
    connection: Raw, portfolio_id: UUID, rows: MemoryRows | StoredRows, checkpoint: ViewCheckpoint
) -> ViewCheckpoint:
    for envelope in list(read_stream(connection, portfolio_id, checkpoint.position)):
        changes, failure = attempt_fold(rows, envelope)
        if failure is not None:
            return replace(checkpoint, stopped=Stopped(envelope.position, failure))
        rows.apply(changes)
        write_changes(connection, portfolio_id, checkpoint.generation, changes)
        checkpoint = replace(checkpoint, position=envelope.position)
    return checkpoint


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
            # Edited by hand to a value outside our types, such as an infinite time.
            unreadable.append(Difference(portfolio_id, kind.table, f"unreadable row: {error}", "readable", None))
            continue
        for row in rows.history(kind):
            other = stored.pop(key_of(row), None)
            if other != row:
                found[(kind, key_of(row))] = (other, row)
        found |= {(kind, key): (row, None) for key, row in stored.items()}
    first = first_events(connection, portfolio_id, found) if found else {}
    return unreadable + [
        difference(portfolio_id, kind, key, stored_row, replayed, first.get((kind, key)))
        for (kind, key), (stored_row, replayed) in found.items()
    ]
