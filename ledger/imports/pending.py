"""An event of a file on its way into the log: as light as it can be, its payload already as it is stored."""

from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

from ledger.events import Event
from ledger.log.envelope import EncodedEvent, NewEvent, canonical_json, decode, encode
from ledger.values import Asset

ACTOR: Final = "import"


class PendingEvent(NamedTuple):
    """An event that is not in a log yet, as light as it can be. `line` and `id` are the row's, for reports.

    `own_fill` is the id that the event has where an order of our own made it; None where no order of ours can have.
    What one unit of the assets in `guessed` was worth is not stated by the row: other rows of the file told it.
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
        """The event as every log takes it, first of its own story."""
        event = decode(self.type, self.version, self.payload)
        return NewEvent(event, self.event_id, self.time, ACTOR, self.event_id, metadata=self.metadata)

    def encoded(self) -> EncodedEvent:
        """The same with its stored texts as they are."""
        return EncodedEvent(
            self.event_id, self.type, self.version, self.time, ACTOR, self.event_id, None, self.payload, self.metadata
        )


class Origin:
    """What the events of one file say about where they come from; `place` is what its rows are counted by."""

    def __init__(self, name: str, sha256: str, place: str) -> None:
        self._given = {"file": name, "sha256": sha256}
        self._place = place
        self._before, self._after = canonical_json({**self._given, place: 0}).split(f'"{place}":0', 1)

    def metadata(self, line: int, order_id: str | None = None) -> str:
        """Canonical JSON text: file, line (or index), the whole file's sha256, and the venue's order id where it is told."""
        if order_id is None:
            return f'{self._before}"{self._place}":{line}{self._after}'
        return canonical_json({**self._given, self._place: line, "order_id": order_id})


def pending_event(event: Event, event_id: UUID, time: datetime, metadata: str, line: int, row_id: str) -> PendingEvent:
    """The careful lane's event."""
    return PendingEvent(event_id, event.type, event.version, time, encode(event), metadata, line, row_id)
