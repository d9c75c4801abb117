"""Import: the events of a file that a portfolio does not hold yet go into its log, each once, however often it is tried."""

import csv
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from itertools import chain, islice
from pathlib import Path
from typing import Final, Literal
from uuid import UUID

from pydantic import ValidationError

from ledger.envelope import Envelope
from ledger.events import AccountOpened, Event, PortfolioOpened
from ledger.exports.export import Ignored
from ledger.file_entries import Entry, FileEntries, Refused
from ledger.files import Table, table_of
from ledger.fills import sentences
from ledger.log import Conflict, NoSuchPortfolio
from ledger.postgres import read_events_by_id
from ledger.postgres_book import PostgresBook
from ledger.projections.portfolio import AccountView
from ledger.ready import Ready, ready
from ledger.trade_rows import COLUMNS, JsonNumber
from ledger.values import Asset, derived_id, time_text

AT_ONCE: Final = 2_000
"""So many events are recorded together with their views; more go into the log first, and the views are made anew."""
BATCH: Final = 5_000
REASON: Final = "reason"

Held = Callable[[Sequence[UUID]], Mapping[UUID, Envelope]]
"""What the portfolio already holds under these ids."""
Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Store:
    """Where imports go: the book, and how a portfolio's views are made anew from its log."""

    book: PostgresBook
    rebuild: Callable[[UUID], int]


class WrongPortfolio(Exception):
    """The portfolio is not one that this file can go into; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What importing would do. `new` and `known` count events; `bad` counts entries of the file, `conflicts` among them.

    `ignored` says how many rows change nothing that a ledger keeps, by the reason. `first` and `last` are the times of
    the earliest and latest event, known ones included.
    """

    rows: int
    new: int
    known: int
    ignored: Mapping[str, int]
    first: datetime | None
    last: datetime | None
    refused: tuple[Refused, ...]
    accounts: Mapping[str, str]
    order: Literal["ascending", "descending", "mixed"] = "ascending"

    @property
    def bad(self) -> int:
        return len(self.refused)

    @property
    def conflicts(self) -> int:
        return sum(one.conflict for one in self.refused)


@dataclass(frozen=True, slots=True)
class Import:
    """What was done: the plan, how many events of the file went in, and the format of the file."""

    plan: Plan
    format: str
    imported: int
    bad_rows: Path | None


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked for. `base` is checked against the portfolio's, and is what a new one is opened with (else USD)."""

    path: Path
    portfolio_id: UUID
    portfolio_name: str
    create: bool = False
    base: Asset | None = None
    dry_run: bool = False
    skip_bad: bool = False


def import_trades(store: Store, wanted: Wanted, content: bytes, progress: Progress = lambda _: None) -> Import:
    """The new events of the file are in the portfolio's log and its views; with bad rows nothing is, unless they are skipped.

    The log grows in batches, each of them whole. Killed in between, it holds the first batches, and the views may stand
    behind it; importing the same file again adds the rest and brings the views up, and the end is as if nothing had
    happened. Rows that are skipped are written beside the file before anything else, with the reasons. Raises BadFile,
    NoSuchPortfolio and WrongPortfolio.
    """
    table = table_of(wanted.path, content)
    base, exists = _base_of(store, wanted)
    entries = FileEntries(table, wanted.portfolio_id, base, content, progress)
    held = _held_in(store, wanted.portfolio_id) if exists else _nothing_held
    plan = plan_of(entries, held)
    if wanted.dry_run or (plan.refused and not wanted.skip_bad):
        return Import(plan, table.format, 0, None)
    bad_rows = write_bad_rows(table, plan.refused) if plan.refused else None
    new = _in_time(plan, (one for one in judged(entries, held) if isinstance(one, Ready)))
    opening = _opening(store, wanted, base, plan, exists=exists)
    if exists or plan.new:
        append_many(store, wanted.portfolio_id, chain(opening, new))
    return Import(plan, table.format, plan.new, bad_rows)


@dataclass(frozen=True, slots=True)
class Known:
    """An event that the log holds with the same content, or that an earlier row of the file has stated."""

    ready: Ready


def plan_of(entries: FileEntries, held: Held) -> Plan:
    """Goes through the file once and changes nothing."""
    counts: Counter[type] = Counter()
    ignored: Counter[str] = Counter()
    refused: list[Refused] = []
    first: datetime | None = None
    last: datetime | None = None
    before: datetime | None = None
    later = earlier = False
    for one in judged(entries, held):
        counts[type(one)] += 1
        if isinstance(one, Ignored):
            ignored[one.why] += len(one.lines)
        elif isinstance(one, Refused):
            refused.append(one)
        else:
            time = one.ready.time if isinstance(one, Known) else one.time
            first = time if first is None or time < first else first
            last = time if last is None or time > last else last
            later, earlier = later or (before or time) < time, earlier or (before or time) > time
            before = time
    new, known = counts[Ready], counts[Known]
    order: Literal["ascending", "descending", "mixed"] = (
        "ascending" if not earlier else "mixed" if later else "descending"
    )
    return Plan(entries.rows, new, known, dict(ignored), first, last, tuple(refused), dict(entries.accounts), order)


def judged(entries: Iterable[Entry], held: Held) -> Iterator[Ready | Known | Refused | Ignored]:
    """Every entry in its order: those that are new as they are, the others as known, refused or ignored.

    Same id and same content (type, payload, time) is known, wherever it came from. Keeps 180 bytes for each event.
    """
    seen: dict[int, int] = {}
    going = iter(entries)
    while some := list(islice(going, BATCH)):
        stored = held([one.event_id for one in some if isinstance(one, Ready)])
        for one in some:
            if not isinstance(one, Ready):
                yield one
                continue
            content = hash((one.payload, one.time))
            earlier = seen.get(one.event_id.int)
            if earlier is None:
                seen[one.event_id.int] = content
            envelope = stored.get(one.event_id)
            if envelope is not None and not same_fact(envelope, one):
                error = f"already recorded with other content: {_difference(envelope, one)}"
                yield Refused((one.line,), one.id, error, conflict=True)
            elif earlier not in (None, content):
                error = "an earlier row of this file has the same id with other content: correct one of them"
                yield Refused((one.line,), one.id, error, conflict=True)
            elif envelope is not None or earlier is not None:
                yield Known(one)
            else:
                yield one


def _in_time(plan: Plan, new: Iterator[Ready]) -> Iterable[Ready]:
    """The events as they happened: many exports begin with the newest, and whatever comes late is folded in at a cost.

    A file in order streams through; another one is held whole, some 700 bytes for each event.
    """
    if plan.order == "ascending":
        return new
    held = list(new)
    if plan.order == "descending":
        held.reverse()
    return sorted(held, key=lambda one: one.time)


def same_fact(stored: Envelope, one: Ready) -> bool:
    """Whether the log says the same, whichever file it came from."""
    return (
        stored.payload == one.payload
        and stored.occurred_at == one.time
        and (stored.type, stored.version) == (one.type, one.version)
    )


def append_many(store: Store, portfolio_id: UUID, events: Iterable[Ready]) -> int:
    """`events` are in the log and in the views; returns how many there were. Few go in at once, many in batches.

    Killed between two batches, the log holds whole batches and the views stand behind it; the next call with whatever
    events, none included, brings them up.
    """
    going = iter(events)
    few = list(islice(going, AT_ONCE + 1))
    held = _held_in(store, portfolio_id)
    count = 0
    if 0 < len(few) <= AT_ONCE:
        count = _appended(few, held, lambda some: store.book.record(portfolio_id, [one.new_event() for one in some]))
    elif few:
        count = _appended_many(store, portfolio_id, chain(few, going), held)
    _bring_views_up(store, portfolio_id)
    return count


def _appended_many(store: Store, portfolio_id: UUID, events: Iterator[Ready], held: Held) -> int:
    """Appends in batches; while the database stores one, the next is read."""

    def append(some: Sequence[Ready]) -> object:
        return store.book.append_encoded(portfolio_id, [one.encoded() for one in some])

    count = 0
    with ThreadPoolExecutor(1) as writer:
        waiting: Future[int] | None = None
        while batch := list(islice(events, BATCH)):
            count += waiting.result() if waiting else 0
            waiting = writer.submit(_appended, batch, held, append)
        count += waiting.result() if waiting else 0
    return count


def _appended(batch: Sequence[Ready], held: Held, append: Callable[[Sequence[Ready]], object]) -> int:
    """Appends the batch. Where somebody else was quicker with some of it, only the rest goes in."""
    try:
        append(batch)
    except Conflict:
        stored = held([one.event_id for one in batch])
        if not stored or not all(same_fact(stored[one.event_id], one) for one in batch if one.event_id in stored):
            raise
        rest = [one for one in batch if one.event_id not in stored]
        if rest:
            append(rest)
    return len(batch)


def _bring_views_up(store: Store, portfolio_id: UUID) -> None:
    with store.book.reading(portfolio_id) as reading:
        position, stopped = reading.position, reading.stopped
    if stopped is None and position < store.book.log.head(portfolio_id).position:
        store.rebuild(portfolio_id)


def _base_of(store: Store, wanted: Wanted) -> tuple[Asset, bool]:
    """The base currency to import with, and whether the portfolio exists already."""
    opened = next(iter(store.book.log.read(wanted.portfolio_id, 0, 1)), None)
    if opened is None:
        if not wanted.create:
            raise NoSuchPortfolio(
                f"there is no portfolio called {wanted.portfolio_name!r}: name another one, or open it with --create"
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


def _opening(store: Store, wanted: Wanted, base: Asset, plan: Plan, *, exists: bool) -> Iterator[Ready]:
    """The portfolio and the accounts that are not there yet, as of the first event of the file."""
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


def _opened(event: Event, event_id: UUID, at: datetime) -> Ready:
    return ready(event, event_id, at, "{}", 0, "")


def _held_in(store: Store, portfolio_id: UUID) -> Held:
    def held(ids: Sequence[UUID]) -> Mapping[UUID, Envelope]:
        with store.book.transaction() as connection:
            return read_events_by_id(connection, portfolio_id, ids)

    return held


def _nothing_held(_ids: Sequence[UUID]) -> Mapping[UUID, Envelope]:
    return {}


def _difference(stored: Envelope, one: Ready) -> str:
    """In which fields the two differ, and what each says."""
    if stored.type != one.type:
        return f"{stored.type} there, {one.type} here"
    there, here = json.loads(stored.payload), json.loads(one.payload)
    told = [
        f"{name} is {_shown(there.get(name))} there and {_shown(here.get(name))} here"
        for name in sorted({*there, *here})
        if there.get(name) != here.get(name)
    ]
    if stored.occurred_at != one.time:
        told.append(f"time is {time_text(stored.occurred_at)} there and {time_text(one.time)} here")
    return "; ".join(told)


def _shown(value: object) -> str:
    return value if isinstance(value, str) else "none" if value in (None, []) else json.dumps(value)


def write_bad_rows(table: Table, refused: Sequence[Refused]) -> Path:
    """The refused rows as they were, with a column that says why, in FILE.bad.csv beside the file. Returns its path."""
    reasons = {line: one.error for one in refused for line in one.lines}
    path = table.path.with_name(f"{table.path.name}.bad.csv")
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow((*_without_reason(table.header, table), REASON))
        for line, cells in _original(table):
            if line in reasons:
                writer.writerow((*_without_reason(cells, table), reasons[line]))
    return path


def _original(table: Table) -> Iterator[tuple[int, Sequence[str]]]:
    if not table.is_json:
        yield from table.cells()
        return
    for row in table.rows():
        yield row.number, [_cell(row.fields.get(name)) for name in COLUMNS]


def _cell(value: object) -> str:
    return value.text if isinstance(value, JsonNumber) else "" if value is None else str(value)


def _without_reason(cells: Sequence[str], table: Table) -> Sequence[str]:
    """A file of bad rows that was corrected and still has bad rows gets new reasons, not a second column of them."""
    if table.is_json:
        return cells or COLUMNS
    ends = table.header[-1].strip().lower() == REASON
    return cells[: len(table.header) - 1] if ends else cells
