"""Exits: the stops and targets of positions."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import ClassVar
from uuid import UUID

from ledger.events import Event, ExitArmed, ExitChanged, ExitDisarmed, ExitTriggered
from ledger.log.envelope import Envelope
from ledger.rows import Change, Row, Rows, replaced


@dataclass(frozen=True, slots=True)
class ExitView(Row):
    """An exit. `status`: armed → triggered → armed again or disarmed. `quantity` None: the account's whole position.

    `sale_id` is the sell order of the last trigger, `changes` the number of the exit's events, `position` that of the
    first, `reason` the reason of its end.
    """

    table: ClassVar[str] = "exits"
    key: ClassVar[tuple[str, ...]] = ("exit_id",)
    exit_id: UUID
    position: int
    account: str
    instrument: str
    order_id: UUID | None
    status: str
    quantity: Decimal | None
    bought: Decimal
    stop: Decimal | None
    target: Decimal | None
    trail: Decimal | None
    sale_id: UUID | None
    armed_at: datetime
    changes: int
    reason: str

    @property
    def live(self) -> bool:
        return self.status != "disarmed"

    @property
    def source(self) -> str:
        """The `triggered_by` of the exit's orders and trades."""
        return f"exit:{self.exit_id}"


class ExitsProjection:
    name = "exits"
    version = 1
    events: tuple[type[Event], ...] = (ExitArmed, ExitChanged, ExitTriggered, ExitDisarmed)
    rows: tuple[type[Row], ...] = (ExitView,)

    def fold(self, rows: Rows, envelope: Envelope) -> list[Change]:
        event = envelope.event
        match event:
            case ExitArmed():
                return [_armed(event, envelope, rows.get(ExitView, event.exit_id))]
            case ExitChanged():
                names = ("quantity", "bought", "stop", "target", "trail")
                changed: dict[str, object] = {name: getattr(event, name) for name in names}
            case ExitTriggered():
                changed = {"status": "triggered", "sale_id": event.order_id}
            case ExitDisarmed():
                changed = {"status": "disarmed", "reason": event.reason}
            case _:
                return []
        known = rows.get(ExitView, event.exit_id)
        assert known is not None, f"event for exit {event.exit_id}, which was never armed"
        return [replaced(known, **changed, changes=known.changes + 1)]


def _armed(event: ExitArmed, envelope: Envelope, known: ExitView | None) -> ExitView:
    return ExitView(
        exit_id=event.exit_id,
        position=known.position if known else envelope.position,
        account=event.account,
        instrument=str(event.instrument),
        order_id=event.order_id,
        status="armed",
        quantity=event.quantity,
        bought=event.bought,
        stop=event.stop,
        target=event.target,
        trail=event.trail,
        sale_id=known.sale_id if known else None,
        armed_at=envelope.occurred_at,
        changes=known.changes + 1 if known else 1,
        reason="",
    )
