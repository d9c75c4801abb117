"""Replay: read the log again, prove it, and compare what follows from it with what is stored. Cannot trade: no door to a venue."""

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
from ledger.projections.invariants import broken_invariants
from ledger.projections.portfolio import PortfolioView
from ledger.projections.trades import TradeView
from ledger.replay.differences import (
    Difference,
    PortfolioReplay,
    checkpoint_differences,
    difference,
    first_events,
    generation_differences,
)
from ledger.replay.fast.replay import FAST_FROM, Progress
from ledger.replay.fast.views import Comparison, compare_views, write_views
from ledger.rows import Key, MemoryRows, Row, all_rows, key_of, row_text, state_hash


def verify_portfolio(
    engine: Engine, portfolio_id: UUID, progress: Progress = lambda _: None, *, thorough: bool = False
) -> PortfolioReplay:
    """The portfolio's log, chain, views and identities, compared at one moment; appends go on meanwhile.

    A long log is folded by the column road, whose rows are those of the plain fold (`docs/adr/0014`). The plain fold
    itself runs over short logs, with `thorough` over all, and wherever the column road finds something amiss or something
    it does not know: so each difference is named by the plain fold. Where both ran and disagree, that is a difference.
    """
    with snapshot(engine) as own:
        head = head_record(own, portfolio_id)
        length = head.position if head else 0
        told = _Told(progress, length)
        found = read_checkpoint(own, portfolio_id)
        fast = compare_views(own, portfolio_id, found.generation if found else None, told)
        if fast is not None and length >= FAST_FROM and not thorough:
            result = _fast_result(own, portfolio_id, fast)
            if result is not None:
                return result
        plain = _event_by_event(own, portfolio_id, told)
        if fast is None or plain.broken or plain.differences:
            return plain
        return replace(plain, differences=tuple(_disagreement(fast, plain)))


class _Told:
    """Tells the progress bar of no more events than there are, however often they are read."""

    def __init__(self, progress: Progress, length: int) -> None:
        self._progress = progress
        self._left = length

    def __call__(self, events: int) -> None:
        self._progress(min(events, self._left))
        self._left -= min(events, self._left)


def _fast_result(connection: Raw, portfolio_id: UUID, fast: Comparison) -> PortfolioReplay | None:
    """The result of the column road, or None when anything is amiss."""
    replay = fast.replay
    try:
        check_head(connection, portfolio_id, replay.head, replay.recorded_at)
    except BrokenLog:
        return None
    events = replay.head.position
    differences = [
        *checkpoint_differences(connection, portfolio_id, events, None),
        *generation_differences(connection, portfolio_id),
    ]
    if differences or fast.differing or replay.broken_invariants():
        return None
    return PortfolioReplay(portfolio_id, replay.name, events, replay.trades, fast.state_hash, ())


def _disagreement(fast: Comparison, plain: PortfolioReplay) -> Iterator[Difference]:
    """The plain road found nothing amiss: what the column road says otherwise."""
    if fast.state_hash != plain.state_hash:
        yield Difference(plain.portfolio_id, "column road: state hash", fast.state_hash, plain.state_hash, None)
    for table in fast.differing:
        yield Difference(plain.portfolio_id, f"column road: {table}", "other rows", "as stored", None)
    for name, left, right in fast.replay.broken_invariants():
        yield Difference(plain.portfolio_id, f"column road: {name}", left, right, None)


def _event_by_event(connection: Raw, portfolio_id: UUID, progress: Progress) -> PortfolioReplay:
    rows, counter = MemoryRows(recorded=partial(read_event, connection, portfolio_id)), _Counter(progress)
    try:
        stopped = _fold_checked(connection, portfolio_id, rows, counter)
    except BrokenLog as broken:
        return PortfolioReplay(portfolio_id, _name(rows), counter.events, 0, "", (), broken)
    finally:
        counter.flush()
    differences = [
        *checkpoint_differences(connection, portfolio_id, counter.events, stopped),
        *generation_differences(connection, portfolio_id),
        *_row_differences(connection, portfolio_id, rows),
        *(Difference(portfolio_id, *broken, None) for broken in broken_invariants(rows)),
    ]
    texts = (row_text(row) for row in all_rows(rows, row_kinds()))
    trades = sum(1 for _ in rows.history(TradeView))
    return PortfolioReplay(portfolio_id, _name(rows), counter.events, trades, state_hash(texts), tuple(differences))


def log_behind(engine: Engine, portfolio_id: UUID, wanted: Head) -> BrokenLog | None:
    """What is wrong with the portfolio's log if it once stood at `wanted`, or None."""
    with snapshot(engine) as own:
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
    with snapshot(engine) as own:
        return [(portfolio_id, head_in(own, portfolio_id)) for portfolio_id in portfolio_ids(own)]


def stray_differences(engine: Engine) -> list[Difference]:
    """Stored view rows of portfolios that have no log."""
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
        extend_timeout(own)
        head = head_in(own, portfolio_id)
        before = read_checkpoint(own, portfolio_id)
        generation = before.generation + 1 if before else 1
        told = _Told(progress, head.position)
        replay = None
        if head.position >= FAST_FROM:
            with snapshot(engine) as reading:
                replay = write_views(reading, own, portfolio_id, generation, told)
        if replay is not None:
            checkpoint = ViewCheckpoint(generation, replay.head.position, versions_text())
            rows: MemoryRows | StoredRows = StoredRows(portfolio_id, generation).within(own)
        else:
            rows, checkpoint = _write_event_by_event(own, portfolio_id, generation, told)
        restore_timeout(own)
        lock_head(own, portfolio_id)
        if checkpoint.stopped is None:
            checkpoint = _catch_up(own, portfolio_id, rows, checkpoint)
        write_checkpoint(own, portfolio_id, checkpoint)
    with engine.begin() as connection:
        drop_older_generations(raw(connection), portfolio_id, generation, row_kinds())
    if checkpoint.position >= FAST_FROM:
        _count_anew(engine)
    return checkpoint.position


def _count_anew(engine: Engine) -> None:
    """The database knows how many rows there are now; without that, questions to new rows are slow for a minute."""
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
    """The portfolios whose views another version of the folds made, or that an import left behind; they are written anew.

    An import that was killed leaves whole batches in the log and no rows for them. Views that stopped stay as they are.
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
        check_head(connection, portfolio_id, last, recorded_at)
    return stopped


def check_head(connection: Raw, portfolio_id: UUID, last: Head, recorded_at: datetime | None) -> None:
    """Raises BrokenLog when the head row does not name `last`, recorded then, as the end of the log."""
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
    first = first_events(connection, portfolio_id, found) if found else {}
    return unreadable + [
        difference(portfolio_id, kind, key, stored_row, replayed, first.get((kind, key)))
        for (kind, key), (stored_row, replayed) in found.items()
    ]


def _name(rows: MemoryRows) -> str:
    return next((view.name for view in rows.where(PortfolioView)), "")
