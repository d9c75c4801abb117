"""Trade names in reports: the ids of venue or file."""

from collections import Counter
from uuid import UUID

from ledger.projections.trades import TradeView
from ledger.rows import Rows


def trade_names(rows: Rows) -> dict[UUID, str]:
    """Return the venue's id of each trade by event id, without trades that share their venue's id.

    A reversed trade does not make the id of an active trade ambiguous, such as its corrected version.
    """
    trades = list(rows.history(TradeView))
    active = Counter(trade.venue_trade_id for trade in trades if not trade.reversed)
    reversed_ = Counter(trade.venue_trade_id for trade in trades if trade.reversed)
    return {
        trade.trade_id: trade.venue_trade_id
        for trade in trades
        if active[trade.venue_trade_id] + (reversed_[trade.venue_trade_id] if trade.reversed else 0) == 1
    }


def trades_called(rows: Rows, name: str) -> list[UUID]:
    """Return the trades with the venue's id `name`: the active ones, else the reversed ones."""
    found = [trade for trade in rows.history(TradeView) if trade.venue_trade_id == name]
    return [trade.trade_id for trade in found if not trade.reversed] or [trade.trade_id for trade in found]
