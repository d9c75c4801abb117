"""`daybook record` and `daybook reverse`: record entries, or reverse an event."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Final, NoReturn, get_args
from uuid import UUID

import rich_click as click
from pydantic import Field, TypeAdapter, ValidationError

from api.cli.options import AS_JSON, IN_PORTFOLIO, counted
from api.runtime.market_time import portfolio_time
from api.runtime.portfolios import chosen_portfolios, open_ledger
from api.runtime.settings import Settings, load_settings
from ledger.entries.kinds import AnyEntry
from ledger.entries.recording import record_checked
from ledger.entries.rules import entry_event, entry_time, reversal_of, trade_event_id
from ledger.errors import CannotRecord
from ledger.events import TradeExecuted
from ledger.events.fields import Name, Text, fault_text
from ledger.imports.files import BadFile
from ledger.log.envelope import Envelope, NewEvent, encode
from ledger.postgres.book import PostgresBook, StoredReading
from ledger.postgres.log import Raw, read_story
from ledger.projections.portfolio import portfolio_of
from ledger.projections.reversals import NothingToReverse
from ledger.replay.verify import rebuild_outdated
from ledger.reports.trade_names import trades_called
from ledger.rows import Rows
from ledger.values import derived_id, new_id, system_clock

ID: Final = TypeAdapter(Name)
REASON: Final = TypeAdapter(Text)
ENTRY: Final[TypeAdapter[AnyEntry]] = TypeAdapter(Annotated[AnyEntry, Field(discriminator="kind")])
KINDS: Final = tuple(get_args(kind.model_fields["kind"].annotation)[0] for kind in get_args(AnyEntry))
"""The kinds of entry."""


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@IN_PORTFOLIO
@click.option("--dry-run", is_flag=True, help="Check everything and record nothing.")
def record(file: Path, portfolio: str, dry_run: bool) -> None:
    """Record a JSON list of entries (deposits, income, splits, trades made elsewhere), all of it or nothing.

    Each has an id of its own beside the fields of POST /api/v1/portfolio/entries. Entries recorded before are skipped, so
    a file can be recorded again.

    Exit codes: 0 done, 1 an unusable entry or file, 2 usage.

    Example: daybook record history.json --portfolio mine --dry-run
    """
    click.echo(record_file(load_settings(), file, portfolio, dry_run=dry_run))


@click.command()
@click.argument("event_id")
@IN_PORTFOLIO
@click.option("--reason", metavar="TEXT", required=True, help="Why it was wrong; kept in the log.")
@AS_JSON
def reverse(event_id: str, portfolio: str, reason: str, as_json: bool) -> None:
    """Reverse a trade, or any other event that moved value. Both stay in the log; totals exclude them.

    A trade may be given by the id of its venue or file, if no other trade has the same. Enter or import it again with
    the right values: the figures are then as if it had been right from the start.

    Exit codes: 0 done, 1 nothing to reverse or a failure, 2 usage.

    Example: daybook reverse t42 --portfolio mine --reason "the price was mistyped"
    """
    if not reason.strip():
        raise click.UsageError("--reason must not be blank")
    try:
        REASON.validate_python(reason)
    except ValidationError as error:
        raise NothingToReverse(f"unusable reason: {error.errors()[0]['msg']}") from None
    with open_ledger(load_settings()) as engine:
        portfolio_id = chosen_portfolios(engine, portfolio)[0]
        rebuild_outdated(engine)
        event, reversal_id = _reverse(PostgresBook(engine, system_clock), portfolio_id, event_id, reason)
    report = {
        "portfolio": portfolio,
        "event_id": str(event.event_id),
        "type": event.type,
        "reversed_by": str(reversal_id),
        "reason": reason,
    }
    sentence = f"{event.type} {event_id} of {portfolio} is reversed: {reason}"
    click.echo(json.dumps(report, ensure_ascii=False, indent=2) if as_json else sentence)


@dataclass(frozen=True, slots=True)
class FileEntry:
    """An entry of the file, with its place there and the id that its author gave it."""

    place: str
    name: str
    entry: AnyEntry

    def story(self, portfolio_id: UUID) -> UUID:
        """Return the correlation id of this entry in the portfolio; the same at every recording."""
        return derived_id(portfolio_id, "record", self.name)


class IdTaken(CannotRecord):
    """The id of an entry was recorded with other content."""

    kind = "id-taken"


class _DryRun(Exception):
    """Ends the transaction of a dry run."""


def record_file(settings: Settings, path: Path, portfolio: str, *, dry_run: bool) -> str:
    """Record the file's entries, or check with `dry_run` that they could be; return the result in one sentence.

    Entries whose id was recorded before are skipped. Nothing is recorded on failure. Raises BadFile for an unusable file
    or entry, and BadSettings for an unknown portfolio.
    """
    entries = read_entries(path)
    with open_ledger(settings) as engine:
        portfolio_id = chosen_portfolios(engine, portfolio)[0]
        count = _record(PostgresBook(engine, system_clock), portfolio_id, path, entries, dry_run=dry_run)
    known = f", {len(entries) - count} known already" if count < len(entries) else ""
    are = "could be" if dry_run else "is" if count == 1 else "are"
    return f"{path}: {counted(count, 'entry')} {are} recorded in {portfolio!r}{known}"


def read_entries(path: Path) -> list[FileEntry]:
    """Return the entries of the file in order. Raises BadFile, which names the first that is wrong."""
    try:
        found = json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=_once)
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadFile(f"{path} is not JSON in UTF-8: {error}") from None
    if not isinstance(found, list):
        raise BadFile(f"{path} must be a JSON list of entries: put the entries between [ and ]")
    entries = [_entry(path, f"index {index}", one) for index, one in enumerate(found)]
    names: set[str] = set()
    for one in entries:
        if one.name in names:
            raise BadFile(f"{path}: {one.place}: duplicate id {one.name!r}: give each entry its own")
        names.add(one.name)
    return entries


def _record(book: PostgresBook, portfolio_id: UUID, path: Path, entries: Sequence[FileEntry], *, dry_run: bool) -> int:
    """Record the entries and return how many are new. Raises BadFile."""
    count = 0

    def prepare(reading: StoredReading) -> list[NewEvent]:
        nonlocal count
        new = _new_events(book, path, reading, entries)
        count = len(new)
        return new

    def alongside(_connection: Raw) -> None:
        if dry_run:
            raise _DryRun

    try:
        record_checked(book, portfolio_id, prepare, alongside)
    except _DryRun:
        pass
    except CannotRecord as error:
        raise BadFile(f"{path}: {error}: nothing was recorded") from None
    return count


def _new_events(book: PostgresBook, path: Path, reading: StoredReading, entries: Sequence[FileEntry]) -> list[NewEvent]:
    now, events = portfolio_time(book, reading), dict[UUID, NewEvent]()
    for one in entries:
        try:
            new = _new_event(one, reading, now)
        except CannotRecord as error:
            raise BadFile(f"{path}: {one.place} ({one.name}): {error}: nothing was recorded") from None
        if new is not None and new.event_id in events:
            raise BadFile(f"{path}: {one.place} ({one.name}): duplicate trade in the file: nothing was recorded")
        if new is not None:
            events[new.event_id] = new
    return list(events.values())


def _new_event(one: FileEntry, reading: StoredReading, now: datetime) -> NewEvent | None:
    """Return the entry's event, or None if it was recorded before. Raises CannotRecord."""
    rows, story = reading.rows, one.story(reading.portfolio_id)
    event = entry_event(one.entry, rows)
    known = next(iter(read_story(reading.connection, reading.portfolio_id, story)), None)
    if known is not None:
        same_time = one.entry.occurred_at in (None, known.occurred_at)
        if not same_time or (known.type, known.payload) != (event.type, encode(event)):
            raise IdTaken("this id was recorded with other content: reverse that entry, or use another id")
        return None
    at = entry_time(one.entry, portfolio_of(rows), now)
    event_id = trade_event_id(event, reading.portfolio_id, rows) if isinstance(event, TradeExecuted) else story
    return NewEvent(event, event_id, at, "owner", story)


def _entry(path: Path, place: str, found: object) -> FileEntry:
    if not isinstance(found, dict) or "id" not in found:
        _refuse(path, place, "an entry is an object with an id of its own and the fields of its kind")
    if found.get("kind") not in KINDS:
        kind = "missing" if found.get("kind") is None else repr(found["kind"])[:60]
        _refuse(path, place, f"kind is {kind}: it must be one of {', '.join(KINDS)}")
    try:
        name = ID.validate_python(found["id"])
        entry = ENTRY.validate_python({field: value for field, value in found.items() if field != "id"})
    except ValidationError as error:
        _refuse(
            path,
            place,
            "; ".join(f"{'.'.join(map(str, one['loc'])) or 'id'}: {fault_text(one)}" for one in error.errors()),
        )
    return FileEntry(place, name, entry)


def _refuse(path: Path, place: str, reason: str) -> NoReturn:
    raise BadFile(f"{path}: {place}: {reason}: nothing was recorded")


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Return the object; a name that occurs twice gets one that no kind of entry has, so validation refuses it."""
    found: dict[str, object] = {}
    for name, value in pairs:
        found[f"{name} (given twice)" if name in found else name] = value
    return found


def _reverse(book: PostgresBook, portfolio_id: UUID, name: str, reason: str) -> tuple[Envelope, UUID]:
    """Reverse the event called `name`; return it and the id of the reversal. Raises NothingToReverse."""
    reversal_id = new_id()
    event_id = UUID(int=0)

    def prepare(reading: StoredReading) -> list[NewEvent]:
        nonlocal event_id
        event_id = _event_called(reading.rows, name)
        return [reversal_of(event_id, reason, reversal_id, reading.rows)]

    try:
        record_checked(book, portfolio_id, prepare, lambda _connection: None)
    except CannotRecord as error:
        raise NothingToReverse(f"{error}: nothing was recorded") from None
    with book.reading(portfolio_id) as reading:
        event = reading.rows.recorded(event_id)
        assert event is not None, "it was reversed"
        return event, reversal_id


def _event_called(rows: Rows, name: str) -> UUID:
    """Return the id of the only trade called `name`, or `name` as an event id. Raises NothingToReverse."""
    found = trades_called(rows, name)
    if len(found) > 1:
        ids = ", ".join(str(one) for one in found[:10])
        raise NothingToReverse(f"{len(found)} trades are called {name!r}: give the event id of one of them: {ids}")
    try:
        return found[0] if found else UUID(name)
    except ValueError:
        raise NothingToReverse(f"there is no trade called {name[:100]!r}, and it is not an event id") from None
