"""Trades: one line for each fill, in the words of the log."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import ClassVar
from uuid import UUID

from ledger.envelope import Envelope
from ledger.events import TradeExecuted
from ledger.legs import gross_value, total_fees
from ledger.rows import Change, Row, Rows


@dataclass(frozen=True, slots=True)
class TradeView(Row):
    """A fill: `value` is quantity * price and `fees` all its fees, both in the portfolio's base currency."""

    table: ClassVar[str] = "trades"
    key: ClassVar[tuple[str, ...]] = ("trade_id",)
    trade_id: UUID
    position: int
    occurred_at: datetime
    account: str
    venue: str
    venue_trade_id: str
    instrument: str
    side: str
    quantity: Decimal
    price: Decimal
    value: Decimal
    fees: Decimal
    order_id: UUID | None
    triggered_by: str | None

    @property
    def live(self) -> bool:
        return False


class TradesProjection:
    name = "trades"
    version = 1
    rows: tuple[type[Row], ...] = (TradeView,)

    def fold(self, rows: Rows, envelope: Envelope) -> list[Change]:
        trade = envelope.event
        if not isinstance(trade, TradeExecuted):
            return []
        return [
            TradeView(
                trade_id=envelope.event_id,
                position=envelope.position,
                occurred_at=envelope.occurred_at,
                account=trade.account,
                venue=trade.venue,
                venue_trade_id=trade.venue_trade_id,
                instrument=str(trade.instrument),
                side=trade.side.value,
                quantity=trade.quantity,
                price=trade.price,
                value=gross_value(trade),
                fees=total_fees(trade),
                order_id=trade.order_id,
                triggered_by=trade.triggered_by,
            )
        ]
