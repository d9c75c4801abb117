"""Opinions: since when a bot has said the same, and when it last traded.

Facts for review's confirmation and cooldown, by event time. The windows themselves are review's business.
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import ClassVar

from ledger.events import Event, OrderRequested, SignalEmitted, TradeExecuted
from ledger.log.envelope import Envelope
from ledger.projections.policy import limit_of
from ledger.rows import Change, Row, Rows, replaced


@dataclass(frozen=True, slots=True)
class Opinion(Row):
    """What `bot_id` says about `instrument`: `action` buy, sell or hold, said at `bars` closes in a row since `since`.

    A trade attempt, good or bad, clears it (hold, 0 bars). `traded_at` is the time of the bot's last fill.
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
    rows: tuple[type[Row], ...] = (Opinion,)

    def fold(self, rows: Rows, envelope: Envelope) -> list[Change]:
        event = envelope.event
        if isinstance(event, SignalEmitted):
            return _said(rows, event)
        if not isinstance(event, OrderRequested | TradeExecuted) or not (event.triggered_by or "").startswith("bot:"):
            return []
        opinion = rows.get(Opinion, str(event.triggered_by).removeprefix("bot:"), str(event.instrument))
        if opinion is None:
            return []
        if isinstance(event, OrderRequested):
            return [replaced(opinion, action="hold", since=envelope.occurred_at, bars=0)]
        traded_at = max(opinion.traded_at or envelope.occurred_at, envelope.occurred_at)
        return [replaced(opinion, traded_at=traded_at)]


def action_of(score: Decimal, threshold: Decimal) -> str:
    """buy or sell when |score| reaches the threshold, else hold."""
    if abs(score) < threshold:
        return "hold"
    return "buy" if score > 0 else "sell"


def _said(rows: Rows, signal: SignalEmitted) -> list[Change]:
    action = action_of(signal.score, limit_of(rows, "action_score"))
    before = rows.get(Opinion, signal.bot_id, str(signal.instrument))
    if before is not None and signal.asof <= before.asof:
        return []
    if before is None or before.action != action or before.bars == 0:
        bars, since = int(action != "hold"), signal.asof
    else:
        bars, since = before.bars + int(action != "hold"), before.since
    traded_at = before.traded_at if before else None
    return [Opinion(signal.bot_id, str(signal.instrument), action, since, signal.asof, bars, traded_at)]
