"""What the rules of risk measure today by: the first price of each day."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import ClassVar

from ledger.envelope import Envelope
from ledger.events import Event, MarkRecorded
from ledger.rows import Change, Row, Rows


@dataclass(frozen=True, slots=True)
class DayOpening(Row):
    """The first mark of `instrument` on the last UTC day on which it has one."""

    table: ClassVar[str] = "day_openings"
    key: ClassVar[tuple[str, ...]] = ("instrument",)
    instrument: str
    price: Decimal
    observed_at: datetime


class RiskProjection:
    name = "risk"
    version = 1
    events: tuple[type[Event], ...] = (MarkRecorded,)
    rows: tuple[type[Row], ...] = (DayOpening,)

    def fold(self, rows: Rows, envelope: Envelope) -> list[Change]:
        mark, at = envelope.event, envelope.occurred_at
        assert isinstance(mark, MarkRecorded)
        known = rows.get(DayOpening, str(mark.instrument))
        if known is not None and (known.observed_at.date(), at) >= (at.date(), known.observed_at):
            return []
        return [DayOpening(str(mark.instrument), mark.price, at)]
