"""The plan of an import: which events of the file are new, known, reversed, ignored or invalid."""

import json
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any, Final, Literal
from uuid import UUID

from ledger.imports.entries import Entry, FileEntries
from ledger.imports.formats.format import Ignored, InvalidRow
from ledger.imports.pending import PendingEvent
from ledger.imports.reentry import entered
from ledger.log.envelope import Envelope
from ledger.values import time_text

BATCH: Final = 5_000
"""Rows looked up at once."""

Held = Callable[[Sequence[UUID]], Mapping[UUID, Envelope]]
"""Looks up the events that the portfolio holds under these ids."""
Reversals = Mapping[UUID, UUID]
"""Ids of reversals by the ids of the events they reversed."""
NONE_REVERSED: Final[Reversals] = {}


@dataclass(frozen=True, slots=True)
class Known:
    """An event that the log or an earlier row of the file has with the same content; `note` states a reversal."""

    event: PendingEvent
    note: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """The outcome of an import. `new` and `known` count events; `bad` counts entries of the file, `conflicts` included.

    `ignored` counts the rows that change no balance, by reason. `first` and `last` are the times of the earliest and
    latest event, known ones included; `order` is that of the file. `reversed` are the known events that were reversed.
    """

    rows: int
    new: int
    known: int
    ignored: Mapping[str, int]
    first: datetime | None
    last: datetime | None
    invalid: tuple[InvalidRow, ...]
    reversed: tuple[Known, ...]
    accounts: Mapping[str, str]
    order: Literal["ascending", "descending", "mixed"] = "ascending"

    @property
    def bad(self) -> int:
        return len(self.invalid)

    @property
    def conflicts(self) -> int:
        return sum(one.conflict for one in self.invalid)


def plan_of(entries: FileEntries, held: Held, reversals: Reversals = NONE_REVERSED) -> Plan:
    """Plan the import in one pass over the file, without storing anything."""
    counts: Counter[type] = Counter()
    ignored: Counter[str] = Counter()
    invalid: list[InvalidRow] = []
    undone: list[Known] = []
    first: datetime | None = None
    last: datetime | None = None
    before: datetime | None = None
    later = earlier = False
    for one in judged(entries, held, reversals):
        counts[type(one)] += 1
        if isinstance(one, Ignored):
            ignored[one.why] += len(one.lines)
        elif isinstance(one, InvalidRow):
            invalid.append(one)
        else:
            time = one.event.time if isinstance(one, Known) else one.time
            undone += [one] if isinstance(one, Known) and one.note else []
            first = time if first is None or time < first else first
            last = time if last is None or time > last else last
            later, earlier = later or (before or time) < time, earlier or (before or time) > time
            before = time
    new, known = counts[PendingEvent], counts[Known]
    order: Literal["ascending", "descending", "mixed"] = (
        "ascending" if not earlier else "mixed" if later else "descending"
    )
    return Plan(
        rows=entries.rows,
        new=new,
        known=known,
        ignored=dict(ignored),
        first=first,
        last=last,
        invalid=tuple(invalid),
        reversed=tuple(undone),
        accounts=dict(entries.accounts),
        order=order,
    )


def judged(
    entries: Iterable[Entry], held: Held, reversals: Reversals = NONE_REVERSED
) -> Iterator[PendingEvent | Known | InvalidRow | Ignored]:
    """Classify the entries in order; those that are new pass unchanged.

    An event with a recorded id and the same content (type, payload, time) is known, whichever file it came from. Market
    values taken from other rows of its file are not content. A reversed event is known too; with other content it is new
    and gets its next id. Keeps 180 bytes for each event.
    """
    seen: dict[int, int] = {}
    going = iter(entries)
    while some := list(islice(going, BATCH)):
        new = [one for one in map(_event_of, some) if one is not None]
        stored = held([*(one.event_id for one in new), *(one.own_fill for one in new if one.own_fill)])
        for one in some:
            if isinstance(one, InvalidRow) and one.unvalued is not None:
                found = _as_stored(one.unvalued, stored, held, reversals)
                yield found if isinstance(found, Known) else one
                continue
            if not isinstance(one, PendingEvent):
                yield one
                continue
            content = hash((one.payload, one.time))
            earlier = seen.get(one.event_id.int)
            if earlier is None:
                seen[one.event_id.int] = content
            found = _as_stored(one, stored, held, reversals)
            if not isinstance(found, InvalidRow) and earlier not in (None, content):
                error = "an earlier row of this file has the same id with other content: correct one of them"
                yield InvalidRow((one.line,), one.id, error, conflict=True)
            else:
                yield Known(one) if isinstance(found, PendingEvent) and earlier is not None else found


def _as_stored(
    one: PendingEvent, stored: Mapping[UUID, Envelope], held: Held, reversals: Reversals
) -> PendingEvent | Known | InvalidRow:
    """Compare the event with the log. A reversed event with other content gets its next id."""
    if one.own_fill is not None and one.own_fill in stored:
        reversal = reversals.get(one.own_fill)
        if reversal is None:
            return Known(one)
        if _same_figures(stored[one.own_fill], one):
            return Known(one, _reversed_on(held, reversal))
    if one.event_id not in stored:
        return one
    found = entered(one.event_id, lambda id_: stored.get(id_) or held([id_]).get(id_), reversals.get)
    if found.valid is not None and same_fact(found.valid, one):
        return Known(one)
    for envelope in found.reversed:
        if same_fact(envelope, one):
            return Known(one, _reversed_on(held, reversals[envelope.event_id]))
    if found.valid is not None:
        error = f"already recorded with other content: {_difference(found.valid, one)}"
        return InvalidRow((one.line,), one.id, error, conflict=True)
    return one._replace(event_id=found.next_id)


def _same_figures(own_fill: Envelope, one: PendingEvent) -> bool:
    """`True` if the file states our own fill as recorded, apart from its order and source."""
    ours, theirs = json.loads(own_fill.payload), json.loads(one.payload)
    named = (theirs.keys() | ours.keys()) - {"order_id", "triggered_by"}
    return own_fill.occurred_at == one.time and all(ours.get(name) == theirs.get(name) for name in named)


def _reversed_on(held: Held, reversal: UUID) -> str:
    at = time_text(held([reversal])[reversal].recorded_at)
    return f"reversed on {at}: change the row to enter it again"


def same_fact(stored: Envelope, one: PendingEvent) -> bool:
    """`True` if the log holds the same content; values guessed from other rows are not compared."""
    if stored.occurred_at != one.time or (stored.type, stored.version) != (one.type, one.version):
        return False
    if stored.payload == one.payload:
        return True
    return bool(one.guessed) and _stated(stored.payload, one.guessed) == _stated(one.payload, one.guessed)


def _stated(payload: str, guessed: Collection[str]) -> dict[str, object]:
    """The payload without the market values of these assets."""
    stated: dict[str, Any] = json.loads(payload)
    if stated.get("instrument", "").rpartition("-")[2] in guessed:
        stated.pop("quote_rate", None)
    for valued in (stated, *stated.get("fees", ()), stated.get("fee") or {}):
        if valued.get("asset") in guessed:
            valued.pop("value", None)
    return stated


def _event_of(entry: Entry) -> PendingEvent | None:
    """The event to look up for the entry."""
    if isinstance(entry, InvalidRow):
        return entry.unvalued
    return entry if isinstance(entry, PendingEvent) else None


def _difference(stored: Envelope, one: PendingEvent) -> str:
    """The fields that differ, with both values."""
    if stored.type != one.type:
        return f"{stored.type} there, {one.type} here"
    there, here = json.loads(stored.payload), json.loads(one.payload)
    found = [
        f"{name} is {_shown(there.get(name))} there and {_shown(here.get(name))} here"
        for name in sorted({*there, *here})
        if there.get(name) != here.get(name)
    ]
    if stored.occurred_at != one.time:
        found.append(f"time is {time_text(stored.occurred_at)} there and {time_text(one.time)} here")
    return "; ".join(found)


def _shown(value: object) -> str:
    return value if isinstance(value, str) else "none" if value in (None, []) else json.dumps(value)
