"""Trades: one row per fill."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import ClassVar
from uuid import UUID

from ledger.booking.legs import gross_value, total_fees
from ledger.events import Event, TradeExecuted, TradeReversed
from ledger.log.envelope import Envelope
from ledger.rows import Change, PastRow, Row, Rows, replaced


@dataclass(frozen=True, slots=True)
class TradeView(PastRow):
    """A fill: `value` is quantity * price and `fees` all its fees, both in the portfolio's base currency.

    `reversed` trades stay visible but are excluded from all totals.
    """

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
    reversed: bool


class TradesProjection:
    name = "trades"
    version = 2
    events: tuple[type[Event], ...] = (TradeExecuted, TradeReversed)
    rows: tuple[type[Row], ...] = (TradeView,)

    def fold(self, rows: Rows, envelope: Envelope) -> list[Change]:
        trade = envelope.event
        if isinstance(trade, TradeReversed):
            known = rows.get(TradeView, trade.reverses)
            return [replaced(known, reversed=True)] if known else []
        assert isinstance(trade, TradeExecuted)
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
                reversed=False,
            )
        ]
