"""What trades are called in reports for people: by the id their venue or file gave them."""

from collections import Counter
from uuid import UUID

from ledger.projections.trades import TradeView
from ledger.rows import Rows


def trade_names(rows: Rows) -> dict[UUID, str]:
    """The venue's id of each trade by the id of its event; a trade whose id another one has too is left out.

    A reversed trade takes no name from one that counts, such as itself entered again.
    """
    trades = list(rows.history(TradeView))
    counting = Counter(trade.venue_trade_id for trade in trades if not trade.reversed)
    reversed_ = Counter(trade.venue_trade_id for trade in trades if trade.reversed)
    return {
        trade.trade_id: trade.venue_trade_id
        for trade in trades
        if counting[trade.venue_trade_id] + (reversed_[trade.venue_trade_id] if trade.reversed else 0) == 1
    }


def trades_called(rows: Rows, name: str) -> list[UUID]:
    """The trades that may be meant by the venue's id: those that count, or else those that were reversed."""
    found = [trade for trade in rows.history(TradeView) if trade.venue_trade_id == name]
    return [trade.trade_id for trade in found if not trade.reversed] or [trade.trade_id for trade in found]
