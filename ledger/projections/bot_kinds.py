"""The kinds of bot from other packages that were enabled, each with the very code that was."""

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from ledger.events import BotKindDisabled, BotKindEnabled, Event
from ledger.log.envelope import Envelope
from ledger.rows import Change, Gone, Row, Rows


@dataclass(frozen=True, slots=True)
class EnabledBotKind(Row):
    """A kind whose code may run when its files still have this `sha256`. A kind without a row may not."""

    table: ClassVar[str] = "bot_kinds"
    key: ClassVar[tuple[str, ...]] = ("kind",)
    kind: str
    distribution: str
    distribution_version: str
    sha256: str
    enabled_at: datetime


class BotKindsProjection:
    name = "bot_kinds"
    version = 1
    events: tuple[type[Event], ...] = (BotKindEnabled, BotKindDisabled)
    rows: tuple[type[Row], ...] = (EnabledBotKind,)

    def fold(self, rows: Rows, envelope: Envelope) -> list[Change]:
        match envelope.event:
            case BotKindEnabled() as enabled:
                code = (enabled.distribution, enabled.distribution_version, enabled.sha256)
                return [EnabledBotKind(enabled.kind, *code, envelope.occurred_at)]
            case BotKindDisabled() as disabled:
                known = rows.get(EnabledBotKind, disabled.kind)
                return [] if known is None else [Gone(EnabledBotKind, (disabled.kind,))]
            case _:
                return []
