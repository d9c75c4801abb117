"""Bots: registration, status and last signal; modes; and third-party kinds allowed to run."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import ClassVar, Final

from ledger.events import (
    BotConfigured,
    BotFailed,
    BotKindDisabled,
    BotKindEnabled,
    BotModeSet,
    BotRegistered,
    BotStarted,
    BotStopped,
    Event,
    SignalEmitted,
    SignalExpired,
    SignalRejected,
)
from ledger.events.bots import BotMode
from ledger.log.envelope import Envelope
from ledger.projections.signals import SignalView
from ledger.rows import Change, Deleted, Row, Rows, replaced


@dataclass(frozen=True, slots=True)
class BotView(Row):
    """A bot. `status` is stopped, running or failed; `parameters` is the canonical JSON text of its settings.

    `last_asof`, `last_score` and `last_confidence` are those of its newest signal, None before the first. With `repeats`
    the bot emits its opinion at the next close even if it is unchanged: review rejected the newest signal with "not
    yet" or let it expire, or the bot was started or configured since.
    """

    table: ClassVar[str] = "bots"
    key: ClassVar[tuple[str, ...]] = ("bot_id",)
    bot_id: str
    kind: str
    bot_version: str
    instrument: str
    timeframe: str
    parameters: str
    status: str
    status_reason: str
    status_since: datetime
    last_asof: datetime | None
    last_score: Decimal | None
    last_confidence: Decimal | None
    repeats: bool


class BotsProjection:
    name = "bots"
    version = 2
    events: tuple[type[Event], ...] = (
        BotRegistered,
        BotConfigured,
        BotStarted,
        BotStopped,
        BotFailed,
        SignalEmitted,
        SignalRejected,
        SignalExpired,
    )
    rows: tuple[type[Row], ...] = (BotView,)

    def fold(self, rows: Rows, envelope: Envelope) -> list[Change]:
        event = envelope.event
        if isinstance(event, BotRegistered):
            return [_registered(event, envelope)]
        if isinstance(event, SignalRejected | SignalExpired):
            return _judged(rows, event)
        if not isinstance(event, BotConfigured | BotStarted | BotStopped | BotFailed | SignalEmitted):
            return []
        bot = rows.get(BotView, event.bot_id)
        if bot is None:
            # Imported history may contain signals of bots that were never registered here.
            return []
        match event:
            case BotConfigured():
                return [replaced(bot, parameters=event.parameters, repeats=True)]
            case SignalEmitted():
                return [_with_last_signal(bot, event)]
            case BotStarted():
                return [replaced(_with_status(bot, "running", "", envelope), repeats=True)]
            case BotStopped():
                return [_with_status(bot, "stopped", event.reason, envelope)]
            case BotFailed():
                return [_with_status(bot, "failed", event.error, envelope)]


def _registered(event: BotRegistered, envelope: Envelope) -> BotView:
    return BotView(
        bot_id=event.bot_id,
        kind=event.kind,
        bot_version=event.bot_version,
        instrument=event.instrument,
        timeframe=event.timeframe,
        parameters=event.parameters,
        status="stopped",
        status_reason="not started yet",
        status_since=envelope.occurred_at,
        last_asof=None,
        last_score=None,
        last_confidence=None,
        repeats=False,
    )


def _with_status(bot: BotView, status: str, reason: str, envelope: Envelope) -> BotView:
    return replaced(bot, status=status, status_reason=reason, status_since=envelope.occurred_at)


def _with_last_signal(bot: BotView, event: SignalEmitted) -> BotView:
    if bot.last_asof is not None and event.asof < bot.last_asof:
        return bot
    return replaced(bot, last_asof=event.asof, last_score=event.score, last_confidence=event.confidence, repeats=False)


def _judged(rows: Rows, event: SignalRejected | SignalExpired) -> list[Change]:
    """Let the bot repeat its newest signal if it expired or was rejected with "not yet"."""
    signal = rows.get(SignalView, event.signal_id)
    bot = rows.get(BotView, signal.bot_id) if signal else None
    if signal is None or bot is None or signal.asof != bot.last_asof:
        return []
    return [replaced(bot, repeats=isinstance(event, SignalExpired) or event.not_yet)]


# --- modes ---


AUTOMATIC: Final[BotMode] = "automatic"
"""The default mode of every bot."""


@dataclass(frozen=True, slots=True)
class Mode(Row):
    """The mode set for a bot or an external signal source: automatic, ask or off."""

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
    """Return the mode in force."""
    row = rows.get(Mode, bot_id)
    return AUTOMATIC if row is None else row.mode


# --- kinds ---


@dataclass(frozen=True, slots=True)
class EnabledBotKind(Row):
    """A third-party bot kind whose code may run while its files have this `sha256`."""

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
                return [] if known is None else [Deleted(EnabledBotKind, (disabled.kind,))]
            case _:
                return []
