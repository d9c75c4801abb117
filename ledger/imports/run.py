"""Import: append the events of a file that the portfolio does not hold yet, each once, however often it is repeated."""

import csv
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from io import StringIO
from itertools import chain, islice
from pathlib import Path
from typing import Final
from uuid import UUID

from pydantic import ValidationError

from ledger.errors import DaybookError
from ledger.events import AccountOpened, Event, PortfolioOpened
from ledger.imports.csv_trades import COLUMNS, JsonNumber
from ledger.imports.entries import FileEntries
from ledger.imports.facts import sentences
from ledger.imports.files import Table, table_of
from ledger.imports.formats.format import InvalidRow
from ledger.imports.pending import PendingEvent, pending_event
from ledger.imports.plan import BATCH, NONE_REVERSED, Held, Plan, Reversals, judged, plan_of, same_fact
from ledger.log.envelope import Envelope
from ledger.log.event_log import Conflict, NoSuchPortfolio
from ledger.postgres.book import PostgresBook
from ledger.postgres.log import events_after, read_events_by_id
from ledger.projections.portfolio import AccountView
from ledger.projections.reversals import Reversal
from ledger.values import Asset, derived_id

AT_ONCE: Final = 2_000
"""Up to this many events are recorded together with their views; with more, the views are rebuilt afterwards."""

LONG: Final = 5_000
"""From this length of the log on, views are rebuilt by the fast replay."""
FOLD_AGAIN: Final = 3
"""Cost of refolding an event after a late entry, relative to the fast replay of one."""
REASON: Final = "reason"

Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Store:
    """The book that imports go to, and a function that rebuilds a portfolio's views from its log."""

    book: PostgresBook
    rebuild: Callable[[UUID], int]


class WrongPortfolio(DaybookError):
    """The file cannot be imported into this portfolio. The text states the reason and what to do."""


@dataclass(frozen=True, slots=True)
class ImportResult:
    """The plan, the number of events imported, the file's format, and the file of bad rows if one was written."""

    plan: Plan
    format: str
    imported: int
    bad_rows: Path | None


@dataclass(frozen=True, slots=True)
class ImportRequest:
    """The options of an import. `base` must be the portfolio's base currency; a new portfolio gets it, or USD.

    Times more than five minutes after `now` are invalid; without `now` every time is accepted.
    """

    path: Path
    portfolio_id: UUID
    portfolio_name: str
    create: bool = False
    base: Asset | None = None
    dry_run: bool = False
    skip_bad: bool = False
    now: datetime | None = None


def import_trades(
    store: Store, wanted: ImportRequest, content: bytes, progress: Progress = lambda _: None
) -> ImportResult:
    """Import the new events of the file; with bad rows nothing is imported, unless they are skipped.

    Events are appended in batches, each atomic. After a crash in between, importing the same file again appends the rest
    and brings the views up to date, with the same result. Skipped rows are first written beside the file, with reasons.

    Raises:
        BadFile: the file cannot be used at all.
        NoSuchPortfolio: the portfolio does not exist and is not to be created.
        WrongPortfolio: the portfolio has another base currency, or its name is invalid.
    """
    table = table_of(wanted.path, content)
    base, exists = _base_of(store, wanted)
    entries = FileEntries(table, wanted.portfolio_id, base, content, progress, wanted.now)
    held = _held_in(store, wanted.portfolio_id) if exists else _nothing_held
    reversals = _reversals_in(store, wanted.portfolio_id) if exists else NONE_REVERSED
    plan = plan_of(entries, held, reversals)
    if wanted.dry_run or (plan.invalid and not wanted.skip_bad):
        return ImportResult(plan, table.format, 0, None)
    bad_rows = write_bad_rows(table, plan.invalid) if plan.invalid else None
    new = _in_time(plan, (one for one in judged(entries, held, reversals) if isinstance(one, PendingEvent)))
    opening = list(_opening(store, wanted, base, plan, exists=exists))
    imported = 0
    if exists or plan.new:
        imported = append_many(store, wanted.portfolio_id, chain(opening, new)) - len(opening)
    return ImportResult(plan, table.format, max(imported, 0), bad_rows)


def _in_time(plan: Plan, new: Iterator[PendingEvent]) -> Iterable[PendingEvent]:
    """The events in order of time, since late entries are expensive and many exports begin with the newest.

    A file in ascending order is streamed; any other is kept in memory, some 700 bytes for each event.
    """
    if plan.order == "ascending":
        return new
    held = list(new)
    if plan.order == "descending":
        held.reverse()
    return sorted(held, key=lambda one: one.time)


def append_many(store: Store, portfolio_id: UUID, events: Iterable[PendingEvent]) -> int:
    """Append `events` and update the views; return how many were new. Few are recorded at once, many in batches.

    Few events before much of a long log are appended like many, because rebuilding the views is faster than refolding
    all that follows. After a crash between batches, the next call, even without events, brings the views up to date.
    """
    going = iter(events)
    few = list(islice(going, AT_ONCE + 1))
    held = _held_in(store, portfolio_id)
    count = 0
    if 0 < len(few) <= AT_ONCE and not _rebuild_is_cheaper(store, portfolio_id, few):
        count = _appended(
            few, held, lambda some: len(store.book.record(portfolio_id, [one.new_event() for one in some]))
        )
    elif few:
        count = _appended_many(store, portfolio_id, chain(few, going), held)
    _bring_views_up(store, portfolio_id)
    return count


def _rebuild_is_cheaper(store: Store, portfolio_id: UUID, few: Sequence[PendingEvent]) -> bool:
    """`True` if refolding all that follows the events costs more than rebuilding all views."""
    with store.book.transaction() as connection:
        later, events = events_after(connection, portfolio_id, min(one.time for one in few))
    return events > LONG and len(few) * later * FOLD_AGAIN > events


def _appended_many(store: Store, portfolio_id: UUID, events: Iterator[PendingEvent], held: Held) -> int:
    """Append in batches; the next one is read while the database stores the last."""

    def append(some: Sequence[PendingEvent]) -> int:
        return store.book.append_encoded(portfolio_id, [one.encoded() for one in some])

    count = 0
    with ThreadPoolExecutor(1) as writer:
        waiting: Future[int] | None = None
        while batch := list(islice(events, BATCH)):
            count += waiting.result() if waiting else 0
            waiting = writer.submit(_appended, batch, held, append)
        count += waiting.result() if waiting else 0
    return count


def _appended(batch: Sequence[PendingEvent], held: Held, append: Callable[[Sequence[PendingEvent]], int]) -> int:
    """Append the batch; return how many were new. Events that a concurrent import appended first are left out."""
    try:
        return append(batch)
    except Conflict:
        stored = held([one.event_id for one in batch])
        if not stored or not all(same_fact(stored[one.event_id], one) for one in batch if one.event_id in stored):
            raise
        rest = [one for one in batch if one.event_id not in stored]
        return append(rest) if rest else 0


def _bring_views_up(store: Store, portfolio_id: UUID) -> None:
    with store.book.reading(portfolio_id) as reading:
        position, stopped = reading.position, reading.stopped
    if stopped is None and position < store.book.log.head(portfolio_id).position:
        store.rebuild(portfolio_id)


def _base_of(store: Store, wanted: ImportRequest) -> tuple[Asset, bool]:
    """The base currency to import with, and whether the portfolio exists."""
    opened = next(iter(store.book.log.read(wanted.portfolio_id, 0, 1)), None)
    if opened is None:
        if not wanted.create:
            raise NoSuchPortfolio(
                f"there is no portfolio called {wanted.portfolio_name!r}: name another one, or create it with --create"
            )
        base = wanted.base or Asset("USD")
        _new_portfolio(wanted.portfolio_name, base)
        return base, False
    event = opened.event
    assert isinstance(event, PortfolioOpened)
    if wanted.base not in (None, event.base_currency):
        raise WrongPortfolio(
            f"the portfolio {wanted.portfolio_name!r} is kept in {event.base_currency}, not in {wanted.base}: "
            "leave --base out, or import into another portfolio"
        )
    return event.base_currency, True


def _new_portfolio(name: str, base: Asset) -> PortfolioOpened:
    try:
        return PortfolioOpened(name=name, base_currency=base)
    except ValidationError as error:
        raise WrongPortfolio(f"{name[:100]!r} cannot be a portfolio's name: {sentences(error)}") from None


def _opening(store: Store, wanted: ImportRequest, base: Asset, plan: Plan, *, exists: bool) -> Iterator[PendingEvent]:
    """Events that open the portfolio and the accounts that do not exist yet, at the time of the first event."""
    portfolio_id, at = wanted.portfolio_id, plan.first
    if at is None or (exists and not plan.new):
        return
    there: set[str] = set()
    if exists:
        with store.book.reading(portfolio_id) as reading:
            there = {view.account for view in reading.rows.history(AccountView)}
    else:
        opened = _new_portfolio(wanted.portfolio_name, base)
        yield _opened(opened, derived_id("portfolio opened", portfolio_id), at)
    accounts = {
        derived_id("account opened", portfolio_id, account): AccountOpened(account=account, venue=venue, mode="live")
        for account, venue in sorted(plan.accounts.items())
        if account not in there
    }
    stored = _held_in(store, portfolio_id)(list(accounts))
    yield from (_opened(event, event_id, at) for event_id, event in accounts.items() if event_id not in stored)


def _opened(event: Event, event_id: UUID, at: datetime) -> PendingEvent:
    return pending_event(event, event_id, at, "{}", 0, "")


def _held_in(store: Store, portfolio_id: UUID) -> Held:
    def held(ids: Sequence[UUID]) -> Mapping[UUID, Envelope]:
        with store.book.transaction() as connection:
            return read_events_by_id(connection, portfolio_id, ids)

    return held


def _reversals_in(store: Store, portfolio_id: UUID) -> Reversals:
    with store.book.reading(portfolio_id) as reading:
        return {one.event_id: one.reversed_by for one in reading.rows.history(Reversal)}


def _nothing_held(_ids: Sequence[UUID]) -> Mapping[UUID, Envelope]:
    return {}


def write_bad_rows(table: Table, refused: Sequence[InvalidRow]) -> Path:
    """Write the invalid rows with a column of reasons to FILE.bad.csv beside the file; return its path.

    An existing file of that name with other content, which may hold corrections, is kept: FILE.bad-2.csv is next.
    """
    reasons = {line: one.error for one in refused for line in one.lines}
    stream = StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow((*_without_reason(table.header, table), REASON))
    for line, cells in _original(table):
        if line in reasons:
            writer.writerow((*_without_reason(cells, table), reasons[line]))
    return _written_beside(table.path, stream.getvalue().encode())


def _written_beside(path: Path, content: bytes) -> Path:
    number, beside = 1, path.with_name(f"{path.name}.bad.csv")
    while True:
        try:
            with beside.open("xb") as stream:
                stream.write(content)
        except FileExistsError:
            if not beside.is_file() or beside.read_bytes() != content:
                number += 1
                beside = path.with_name(f"{path.name}.bad-{number}.csv")
                continue
        return beside


def _original(table: Table) -> Iterator[tuple[int, Sequence[str]]]:
    if not table.is_json:
        yield from table.cells()
        return
    for row in table.rows():
        yield row.number, [_cell(row.fields.get(name)) for name in COLUMNS]


def _cell(value: object) -> str:
    return value.text if isinstance(value, JsonNumber) else "" if value is None else str(value)


def _without_reason(cells: Sequence[str], table: Table) -> Sequence[str]:
    """The cells without an earlier column of reasons, so that a corrected file of bad rows gets no second one."""
    if table.is_json:
        return cells or COLUMNS
    ends = table.header[-1].strip().lower() == REASON
    return cells[: len(table.header) - 1] if ends else cells
