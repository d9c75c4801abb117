"""What importing a file would do: each of its events is new, known, taken back, or refused with a reason."""

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
"""So many rows are looked up at once."""

Held = Callable[[Sequence[UUID]], Mapping[UUID, Envelope]]
"""What the portfolio already holds under these ids."""
Reversals = Mapping[UUID, UUID]
"""Which event took back which: ids of reversals by the ids of what they reversed."""
NONE_REVERSED: Final[Reversals] = {}


@dataclass(frozen=True, slots=True)
class Known:
    """An event that the log holds with the same content, or that an earlier row of the file has stated.

    `note` says when the log holds it as taken back.
    """

    event: PendingEvent
    note: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """What importing would do. `new` and `known` count events; `bad` counts entries of the file, `conflicts` among them.

    `ignored` says how many rows change nothing that a ledger keeps, by the reason. `first` and `last` are the times of
    the earliest and latest event, known ones included. `taken_back` are those known ones that were reversed.
    """

    rows: int
    new: int
    known: int
    ignored: Mapping[str, int]
    first: datetime | None
    last: datetime | None
    invalid: tuple[InvalidRow, ...]
    taken_back: tuple[Known, ...]
    accounts: Mapping[str, str]
    order: Literal["ascending", "descending", "mixed"] = "ascending"

    @property
    def bad(self) -> int:
        return len(self.invalid)

    @property
    def conflicts(self) -> int:
        return sum(one.conflict for one in self.invalid)


def plan_of(entries: FileEntries, held: Held, reversals: Reversals = NONE_REVERSED) -> Plan:
    """Goes through the file once and changes nothing."""
    counts: Counter[type] = Counter()
    ignored: Counter[str] = Counter()
    invalid: list[InvalidRow] = []
    taken_back: list[Known] = []
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
            taken_back += [one] if isinstance(one, Known) and one.note else []
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
        taken_back=tuple(taken_back),
        accounts=dict(entries.accounts),
        order=order,
    )


def judged(
    entries: Iterable[Entry], held: Held, reversals: Reversals = NONE_REVERSED
) -> Iterator[PendingEvent | Known | InvalidRow | Ignored]:
    """Every entry in its order: those that are new as they are, the others as known, refused or ignored.

    Same id and same content (type, payload, time) is known, wherever it came from; what other rows of its file told of
    its worth is no part of that. What was taken back is known too; with other content it is new, under its next id.
    Keeps 180 bytes for each event.
    """
    seen: dict[int, int] = {}
    going = iter(entries)
    while some := list(islice(going, BATCH)):
        new = [one for one in map(_event_of, some) if one is not None]
        stored = held([*(one.event_id for one in new), *(one.own_fill for one in new if one.own_fill)])
        for one in some:
            if isinstance(one, InvalidRow) and one.unvalued is not None:
                told = _as_stored(one.unvalued, stored, held, reversals)
                yield told if isinstance(told, Known) else one
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
    """What the log makes of the event; one that was taken back and says something else has its next id."""
    if one.own_fill is not None and one.own_fill in stored:
        reversal = reversals.get(one.own_fill)
        if reversal is None:
            return Known(one)
        if _same_figures(stored[one.own_fill], one):
            return Known(one, _reversed_on(held, reversal))
    if one.event_id not in stored:
        return one
    found = entered(one.event_id, lambda id_: stored.get(id_) or held([id_]).get(id_), reversals.get)
    if found.stands is not None and same_fact(found.stands, one):
        return Known(one)
    for envelope in found.taken_back:
        if same_fact(envelope, one):
            return Known(one, _reversed_on(held, reversals[envelope.event_id]))
    if found.stands is not None:
        error = f"already recorded with other content: {_difference(found.stands, one)}"
        return InvalidRow((one.line,), one.id, error, conflict=True)
    return one._replace(event_id=found.free)


def _same_figures(own_fill: Envelope, one: PendingEvent) -> bool:
    """Whether the file says of our own fill what we recorded, apart from which order of whom made it."""
    ours, theirs = json.loads(own_fill.payload), json.loads(one.payload)
    named = (theirs.keys() | ours.keys()) - {"order_id", "triggered_by"}
    return own_fill.occurred_at == one.time and all(ours.get(name) == theirs.get(name) for name in named)


def _reversed_on(held: Held, reversal: UUID) -> str:
    at = time_text(held([reversal])[reversal].recorded_at)
    return f"reversed on {at}: change the row to enter it again"


def same_fact(stored: Envelope, one: PendingEvent) -> bool:
    """Whether the log says the same, whichever file it came from: what other rows of a file told is no part of the fact."""
    if stored.occurred_at != one.time or (stored.type, stored.version) != (one.type, one.version):
        return False
    if stored.payload == one.payload:
        return True
    return bool(one.guessed) and _stated(stored.payload, one.guessed) == _stated(one.payload, one.guessed)


def _stated(payload: str, guessed: Collection[str]) -> dict[str, object]:
    """The payload without what units of these assets were worth."""
    said: dict[str, Any] = json.loads(payload)
    if said.get("instrument", "").rpartition("-")[2] in guessed:
        said.pop("quote_rate", None)
    for told in (said, *said.get("fees", ()), said.get("fee") or {}):
        if told.get("asset") in guessed:
            told.pop("value", None)
    return said


def _event_of(entry: Entry) -> PendingEvent | None:
    """What the log may hold of the entry."""
    if isinstance(entry, InvalidRow):
        return entry.unvalued
    return entry if isinstance(entry, PendingEvent) else None


def _difference(stored: Envelope, one: PendingEvent) -> str:
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
