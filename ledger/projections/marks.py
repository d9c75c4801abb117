"""Marks: the last recorded price of each instrument."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import ClassVar

from ledger.events import Event, MarkRecorded
from ledger.log.envelope import Envelope
from ledger.rows import Change, Row, Rows


@dataclass(frozen=True, slots=True)
class Mark(Row):
    """`price` of `instrument` in its quote currency, seen at `observed_at` by `source`."""

    table: ClassVar[str] = "marks"
    key: ClassVar[tuple[str, ...]] = ("instrument",)
    instrument: str
    price: Decimal
    observed_at: datetime
    source: str


class MarksProjection:
    name = "marks"
    version = 1
    events: tuple[type[Event], ...] = (MarkRecorded,)
    rows: tuple[type[Row], ...] = (Mark,)

    def fold(self, rows: Rows, envelope: Envelope) -> list[Change]:
        mark = envelope.event
        if not isinstance(mark, MarkRecorded):
            return []
        known = rows.get(Mark, str(mark.instrument))
        if known is not None and known.observed_at > envelope.occurred_at:
            return []
        return [Mark(str(mark.instrument), mark.price, envelope.occurred_at, mark.source)]
