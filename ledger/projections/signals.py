"""Signals with their verdicts, and current opinions of bots, the basis of confirmation and cooldown."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import ClassVar
from uuid import UUID

from ledger.events import (
    ApprovalRequested,
    Event,
    OrderRequested,
    SignalApproved,
    SignalEmitted,
    SignalExpired,
    SignalRejected,
    TradeExecuted,
)
from ledger.events.fields import RuleChecked
from ledger.log.envelope import Envelope
from ledger.projections.policy import limit_of
from ledger.rows import Change, Row, Rows, replaced


@dataclass(frozen=True, slots=True)
class SignalView(Row):
    """A signal. `status`: emitted → asked (while a person has to approve it) → approved, rejected or expired.

    `failed_rules` lists the failed rules, separated by commas; `reason` is that of the first.
    """

    table: ClassVar[str] = "signals"
    key: ClassVar[tuple[str, ...]] = ("signal_id",)
    signal_id: UUID
    position: int
    bot_id: str
    instrument: str
    asof: datetime
    price: Decimal
    score: Decimal
    confidence: Decimal
    horizon_s: int | None
    note: str
    status: str
    verdict_position: int | None
    failed_rules: str
    reason: str

    @property
    def live(self) -> bool:
        return self.status in ("emitted", "asked")


class SignalsProjection:
    name = "signals"
    version = 1
    events: tuple[type[Event], ...] = (
        SignalEmitted,
        ApprovalRequested,
        SignalApproved,
        SignalRejected,
        SignalExpired,
    )
    rows: tuple[type[Row], ...] = (SignalView,)

    def fold(self, rows: Rows, envelope: Envelope) -> list[Change]:
        match envelope.event:
            case SignalEmitted() as event:
                return [_emitted(event, envelope)]
            case ApprovalRequested() as event:
                return [replaced(_undecided(rows, event.signal_id), status="asked")]
            case SignalApproved() as event:
                return _judged(rows, event.signal_id, "approved", event.rules, envelope)
            case SignalRejected() as event:
                return _judged(rows, event.signal_id, "rejected", event.rules, envelope)
            case SignalExpired() as event:
                return _judged(rows, event.signal_id, "expired", event.rules, envelope)
            case _:
                return []


def _emitted(event: SignalEmitted, envelope: Envelope) -> SignalView:
    return SignalView(
        signal_id=envelope.event_id,
        position=envelope.position,
        bot_id=event.bot_id,
        instrument=str(event.instrument),
        asof=event.asof,
        price=event.price,
        score=event.score,
        confidence=event.confidence,
        horizon_s=event.horizon_s,
        note=event.note,
        status="emitted",
        verdict_position=None,
        failed_rules="",
        reason="",
    )


def _judged(
    rows: Rows, signal_id: UUID, status: str, rules: tuple[RuleChecked, ...], envelope: Envelope
) -> list[Change]:
    signal = _undecided(rows, signal_id)
    failed = [rule for rule in rules if not rule.passed]
    names, reason = ",".join(rule.rule for rule in failed), failed[0].reason if failed else ""
    return [replaced(signal, status=status, verdict_position=envelope.position, failed_rules=names, reason=reason)]


def _undecided(rows: Rows, signal_id: UUID) -> SignalView:
    signal = rows.get(SignalView, signal_id)
    assert signal is not None, f"verdict on a signal that was never emitted: {signal_id}"
    assert signal.live, f"second verdict on signal {signal_id}"
    return signal


# --- opinions ---


@dataclass(frozen=True, slots=True)
class OpinionView(Row):
    """The opinion of `bot_id` on `instrument`: `action` buy, sell or hold, at `bars` consecutive closes since `since`.

    Every trade attempt resets it (hold, 0 bars). `traded_at` is the time of the bot's last fill.
    """

    table: ClassVar[str] = "opinions"
    key: ClassVar[tuple[str, ...]] = ("bot_id", "instrument")
    bot_id: str
    instrument: str
    action: str
    since: datetime
    asof: datetime
    bars: int
    traded_at: datetime | None


class OpinionsProjection:
    name = "opinions"
    version = 1
    events: tuple[type[Event], ...] = (SignalEmitted, OrderRequested, TradeExecuted)
    rows: tuple[type[Row], ...] = (OpinionView,)

    def fold(self, rows: Rows, envelope: Envelope) -> list[Change]:
        event = envelope.event
        if isinstance(event, SignalEmitted):
            return _opinion_after(rows, event)
        if not isinstance(event, OrderRequested | TradeExecuted) or not (event.triggered_by or "").startswith("bot:"):
            return []
        opinion = rows.get(OpinionView, str(event.triggered_by).removeprefix("bot:"), str(event.instrument))
        if opinion is None:
            return []
        if isinstance(event, OrderRequested):
            return [replaced(opinion, action="hold", since=envelope.occurred_at, bars=0)]
        traded_at = max(opinion.traded_at or envelope.occurred_at, envelope.occurred_at)
        return [replaced(opinion, traded_at=traded_at)]


def action_of(score: Decimal, threshold: Decimal) -> str:
    """Return buy or sell when |score| reaches the threshold, else hold."""
    if abs(score) < threshold:
        return "hold"
    return "buy" if score > 0 else "sell"


def _opinion_after(rows: Rows, signal: SignalEmitted) -> list[Change]:
    action = action_of(signal.score, limit_of(rows, "action_score"))
    before = rows.get(OpinionView, signal.bot_id, str(signal.instrument))
    if before is not None and signal.asof <= before.asof:
        return []
    if before is None or before.action != action or before.bars == 0:
        bars, since = int(action != "hold"), signal.asof
    else:
        bars, since = before.bars + int(action != "hold"), before.since
    traded_at = before.traded_at if before else None
    return [OpinionView(signal.bot_id, str(signal.instrument), action, since, signal.asof, bars, traded_at)]
