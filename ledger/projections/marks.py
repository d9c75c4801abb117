"""Marks: the last recorded price of each instrument."""

from dataclasses import dataclass
from datetime import datetime, timedelta
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


@dataclass(frozen=True, slots=True)
class DayClosing(Row):
    """The last mark of `instrument` on a UTC day before that of its newest mark; what is seen at 24:00 is of the day."""

    table: ClassVar[str] = "day_closings"
    key: ClassVar[tuple[str, ...]] = ("instrument",)
    instrument: str
    price: Decimal
    observed_at: datetime


class RiskProjection:
    name = "risk"
    version = 1
    events: tuple[type[Event], ...] = (MarkRecorded,)
    rows: tuple[type[Row], ...] = (DayClosing,)

    def fold(self, rows: Rows, envelope: Envelope) -> list[Change]:
        mark, at = envelope.event, envelope.occurred_at
        assert isinstance(mark, MarkRecorded)
        instrument = str(mark.instrument)
        newest, closing = rows.get(Mark, instrument), rows.get(DayClosing, instrument)
        if newest is None:
            return []
        if day_of(at) > day_of(newest.observed_at):
            return [DayClosing(instrument, newest.price, newest.observed_at)]
        late = day_of(at) < day_of(newest.observed_at)
        if late and (closing is None or at >= closing.observed_at):
            return [DayClosing(instrument, mark.price, at)]
        return []


def day_of(at: datetime) -> datetime:
    """00:00 of the UTC day that `at` belongs to; 24:00 is the last moment of a day."""
    return (at - timedelta(microseconds=1)).replace(hour=0, minute=0, second=0, microsecond=0)


def price_before(rows: Rows, instrument: str, day: datetime) -> Decimal | None:
    """The last price seen up to `day`, which is 00:00 of the newest day; None when none is known."""
    newest, closing = rows.get(Mark, instrument), rows.get(DayClosing, instrument)
    if newest is not None and newest.observed_at <= day:
        return newest.price
    return None if closing is None else closing.price
