"""`daybook record`: a JSON list of entries goes into one portfolio, all of it or nothing."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Final, NoReturn, get_args
from uuid import UUID

from pydantic import Field, TypeAdapter, ValidationError

from api.cli.importing import counted
from api.runtime.portfolios import chosen_portfolios, open_ledger
from api.runtime.settings import Settings
from api.runtime.wiring import last_market_time
from ledger.entries.kinds import AnyEntry
from ledger.entries.recording import MARKETS_OWN, record_checked
from ledger.entries.rules import entry_event, entry_time, trade_event_id
from ledger.errors import CannotRecord
from ledger.events import TradeExecuted
from ledger.events.fields import Name, fault_text
from ledger.imports.files import BadFile
from ledger.log.envelope import NewEvent, encode
from ledger.postgres.book import PostgresBook, StoredReading
from ledger.postgres.log import Raw, read_story
from ledger.projections.portfolio import portfolio_of
from ledger.values import derived_id, system_clock

ID: Final = TypeAdapter(Name)
ENTRY: Final[TypeAdapter[AnyEntry]] = TypeAdapter(Annotated[AnyEntry, Field(discriminator="kind")])
KINDS: Final = tuple(get_args(kind.model_fields["kind"].annotation)[0] for kind in get_args(AnyEntry))
"""What an entry may be."""


@dataclass(frozen=True, slots=True)
class FileEntry:
    """An entry of the file under the name that its writer gave it."""

    place: str
    name: str
    entry: AnyEntry

    def story(self, portfolio_id: UUID) -> UUID:
        """The id that belongs to this name in the portfolio, however often the file is recorded."""
        return derived_id(portfolio_id, "record", self.name)


class IdTaken(CannotRecord):
    """The id of an entry was recorded with other content."""

    kind = "id-taken"


class _OnlyLooked(Exception):
    """Everything can be recorded, and nothing is to be."""


def record_file(settings: Settings, path: Path, portfolio: str, *, dry_run: bool) -> str:
    """The file's entries are in the portfolio (with `dry_run` they could be); says so in one sentence.

    An entry whose id was recorded before is left out. Raises BadFile for a file, and for an entry, that cannot be used,
    and BadSettings for a portfolio that is not there; nothing is recorded then.
    """
    entries = read_entries(path)
    with open_ledger(settings) as engine:
        portfolio_id = chosen_portfolios(engine, portfolio)[0]
        count = _record(PostgresBook(engine, system_clock), portfolio_id, path, entries, dry_run=dry_run)
    known = f", {len(entries) - count} known already" if count < len(entries) else ""
    are = "could be" if dry_run else "is" if count == 1 else "are"
    return f"{path}: {counted(count, 'entry')} {are} recorded in {portfolio!r}{known}"


def read_entries(path: Path) -> list[FileEntry]:
    """The entries of the file in their order. Raises BadFile, naming the first one that is wrong."""
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
            raise BadFile(f"{path}: {one.place}: the id {one.name!r} stands there twice: give each entry its own")
        names.add(one.name)
    return entries


def _record(book: PostgresBook, portfolio_id: UUID, path: Path, entries: Sequence[FileEntry], *, dry_run: bool) -> int:
    """How many entries are new. Raises BadFile."""
    count = 0

    def prepare(reading: StoredReading) -> list[NewEvent]:
        nonlocal count
        new = _new_events(book, path, reading, entries)
        count = len(new)
        return new

    def alongside(_connection: Raw) -> None:
        if dry_run:
            raise _OnlyLooked

    try:
        record_checked(book, portfolio_id, prepare, alongside)
    except _OnlyLooked:
        pass
    except CannotRecord as error:
        raise BadFile(f"{path}: {error}: nothing was recorded") from None
    return count


def _new_events(book: PostgresBook, path: Path, reading: StoredReading, entries: Sequence[FileEntry]) -> list[NewEvent]:
    now, events = time_of(book, reading), list[NewEvent]()
    taken: set[UUID] = set()
    for one in entries:
        try:
            new = _new_event(one, reading, now)
        except CannotRecord as error:
            raise BadFile(f"{path}: {one.place} ({one.name}): {error}: nothing was recorded") from None
        if new is not None and new.event_id in taken:
            raise BadFile(
                f"{path}: {one.place} ({one.name}): this trade stands in the file twice: nothing was recorded"
            )
        if new is not None:
            taken.add(new.event_id)
            events.append(new)
    return events


def _new_event(one: FileEntry, reading: StoredReading, now: datetime) -> NewEvent | None:
    """The entry's event, or None where it was recorded before. Raises CannotRecord."""
    rows, story = reading.rows, one.story(reading.portfolio_id)
    event = entry_event(one.entry, rows)
    known = next(iter(read_story(reading.connection, reading.portfolio_id, story)), None)
    if known is not None:
        same_time = one.entry.occurred_at in (None, known.occurred_at)
        if not same_time or (known.type, known.payload) != (event.type, encode(event)):
            raise IdTaken("this id was recorded with other content: reverse that, or say another id")
        return None
    at = entry_time(one.entry, portfolio_of(rows), now)
    event_id = trade_event_id(event, reading.portfolio_id, rows) if isinstance(event, TradeExecuted) else story
    return NewEvent(event, event_id, at, "owner", story)


def time_of(book: PostgresBook, reading: StoredReading) -> datetime:
    """The time that the portfolio has come to: that of its market where it has one."""
    market = last_market_time(book, reading.portfolio_id)
    by_market = market is not None and MARKETS_OWN.fullmatch(portfolio_of(reading.rows).name)
    return market if market is not None and by_market else system_clock()


def _entry(path: Path, place: str, found: object) -> FileEntry:
    if not isinstance(found, dict) or "id" not in found:
        _refuse(path, place, "an entry is an object with an id of its own and the fields of its kind")
    if found.get("kind") not in KINDS:
        _refuse(path, place, f"kind is {_shown(found.get('kind'))}: it must be one of {', '.join(KINDS)}")
    try:
        name = ID.validate_python(found["id"])
        entry = ENTRY.validate_python({field: value for field, value in found.items() if field != "id"})
    except ValidationError as error:
        said = "; ".join(f"{'.'.join(map(str, one['loc'])) or 'id'}: {fault_text(one)}" for one in error.errors())
        _refuse(path, place, said)
    return FileEntry(place, name, entry)


def _shown(kind: object) -> str:
    return "missing" if kind is None else repr(kind)[:60]


def _refuse(path: Path, place: str, said: str) -> NoReturn:
    raise BadFile(f"{path}: {place}: {said}: nothing was recorded")


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """The object, in which a name that is given twice stands under a name that no entry knows."""
    found: dict[str, object] = {}
    for name, value in pairs:
        found[f"{name} (given twice)" if name in found else name] = value
    return found
