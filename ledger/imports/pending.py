"""Events of a file that are not in the log yet, with their payloads already in stored form."""

from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

from ledger.events import Event
from ledger.log.envelope import EncodedEvent, NewEvent, canonical_json, decode, encode
from ledger.values import Asset

ACTOR: Final = "import"


class PendingEvent(NamedTuple):
    """An event that is not in a log yet. `line` and `id` are the row's, for reports.

    `own_fill` is the event's id if it is a fill of our own order, None if it cannot be one. The market values of the
    assets in `guessed` come from other rows of the file.
    """

    event_id: UUID
    type: str
    version: int
    time: datetime
    payload: str
    metadata: str
    line: int
    id: str
    own_fill: UUID | None = None
    guessed: tuple[Asset, ...] = ()

    def new_event(self) -> NewEvent:
        """The decoded event, the first of its own correlation."""
        event = decode(self.type, self.version, self.payload)
        return NewEvent(event, self.event_id, self.time, ACTOR, self.event_id, metadata=self.metadata)

    def encoded(self) -> EncodedEvent:
        """The event in its stored form."""
        return EncodedEvent(
            self.event_id, self.type, self.version, self.time, ACTOR, self.event_id, None, self.payload, self.metadata
        )


class Origin:
    """The metadata of one file's events; `place` is `line` or `index`."""

    def __init__(self, name: str, sha256: str, place: str) -> None:
        self._given = {"file": name, "sha256": sha256}
        self._place = place
        self._before, self._after = canonical_json({**self._given, place: 0}).split(f'"{place}":0', 1)

    def metadata(self, line: int, order_id: str | None = None) -> str:
        """Canonical JSON: file, line or index, SHA-256 of the whole file, and the venue's order id where stated."""
        if order_id is None:
            return f'{self._before}"{self._place}":{line}{self._after}'
        return canonical_json({**self._given, self._place: line, "order_id": order_id})


def pending_event(event: Event, event_id: UUID, time: datetime, metadata: str, line: int, row_id: str) -> PendingEvent:
    """The event with its payload encoded."""
    return PendingEvent(event_id, event.type, event.version, time, encode(event), metadata, line, row_id)
