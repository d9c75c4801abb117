"""What ledger and venue do not agree about, until somebody has explained it."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar
from uuid import UUID

from ledger.events import DifferenceFound, DifferenceResolved, Event
from ledger.log.envelope import Envelope
from ledger.rows import Change, Row, Rows, replaced


@dataclass(frozen=True, slots=True)
class DifferenceView(Row):
    """A difference. `status`: found → resolved; `reason` says how it was explained."""

    table: ClassVar[str] = "differences"
    key: ClassVar[tuple[str, ...]] = ("difference_id",)
    difference_id: UUID
    position: int
    account: str
    venue: str
    subject: str
    ledger: str
    venue_says: str
    found_at: datetime
    status: str
    reason: str


class DifferencesProjection:
    name = "differences"
    version = 1
    events: tuple[type[Event], ...] = (DifferenceFound, DifferenceResolved)
    rows: tuple[type[Row], ...] = (DifferenceView,)

    def fold(self, rows: Rows, envelope: Envelope) -> list[Change]:
        match envelope.event:
            case DifferenceFound() as found:
                return [
                    DifferenceView(
                        difference_id=envelope.event_id,
                        position=envelope.position,
                        account=found.account,
                        venue=found.venue,
                        subject=found.subject,
                        ledger=found.ledger,
                        venue_says=found.venue_says,
                        found_at=envelope.occurred_at,
                        status="found",
                        reason="",
                    )
                ]
            case DifferenceResolved() as resolved:
                view = rows.get(DifferenceView, resolved.difference_id)
                assert view is not None, f"difference {resolved.difference_id} was never found"
                return [replaced(view, status="resolved", reason=resolved.reason)]
            case _:
                return []


def differences_of(rows: Rows, account: str) -> list[DifferenceView]:
    """What nobody has explained yet in the account, oldest first."""
    return sorted((one for one in unexplained(rows) if one.account == account), key=lambda one: one.position)


def unexplained(rows: Rows) -> Iterator[DifferenceView]:
    """What nobody has explained yet, in all accounts."""
    return (one for one in rows.where(DifferenceView) if one.status == "found")
