"""Targets: the owner's goals for the portfolio."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import ClassVar

from ledger.events import Event, TargetRemoved, TargetSet
from ledger.log.envelope import Envelope
from ledger.rows import Change, Deleted, Row, Rows


@dataclass(frozen=True, slots=True)
class Target(Row):
    """A target in force, as in `TargetSet`; `target` is its name: value, reserve, income-month, allocation-BTC."""

    table: ClassVar[str] = "targets"
    key: ClassVar[tuple[str, ...]] = ("target",)
    target: str
    kind: str
    asset: str | None
    period: str | None
    value: Decimal
    set_at: datetime


class TargetsProjection:
    name = "targets"
    version = 1
    events: tuple[type[Event], ...] = (TargetSet, TargetRemoved)
    rows: tuple[type[Row], ...] = (Target,)

    def fold(self, rows: Rows, envelope: Envelope) -> list[Change]:
        match envelope.event:
            case TargetSet() as event:
                name, asset = target_name(event), None if event.asset is None else str(event.asset)
                return [Target(name, event.kind, asset, event.period, event.value, envelope.occurred_at)]
            case TargetRemoved() as event:
                return [Deleted(Target, (target_name(event),))]
            case _:
                return []


def target_name(event: TargetSet | TargetRemoved) -> str:
    """Return the target's name: its kind, followed by its asset or period if it has one."""
    about = event.asset or event.period
    return event.kind if about is None else f"{event.kind}-{about}"
