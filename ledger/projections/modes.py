"""Modes: what becomes of each bot's signals."""

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Final

from ledger.events import BotModeSet, Event
from ledger.events.bots import BotMode
from ledger.log.envelope import Envelope
from ledger.rows import Change, Row, Rows

AUTOMATIC: Final[BotMode] = "automatic"
"""Holds for every bot of which nothing else was said."""


@dataclass(frozen=True, slots=True)
class Mode(Row):
    """The mode of a bot, or of a source outside, that was set: automatic, ask or off."""

    table: ClassVar[str] = "bot_modes"
    key: ClassVar[tuple[str, ...]] = ("bot_id",)
    bot_id: str
    mode: str
    set_at: datetime


class ModesProjection:
    name = "modes"
    version = 1
    events: tuple[type[Event], ...] = (BotModeSet,)
    rows: tuple[type[Row], ...] = (Mode,)

    def fold(self, rows: Rows, envelope: Envelope) -> list[Change]:
        match envelope.event:
            case BotModeSet() as event:
                return [Mode(event.bot_id, event.mode, envelope.occurred_at)]
            case _:
                return []


def mode_of(rows: Rows, bot_id: str) -> str:
    """The mode in force."""
    row = rows.get(Mode, bot_id)
    return AUTOMATIC if row is None else row.mode
