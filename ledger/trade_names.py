"""What trades are called in reports for people: by the id their venue or file gave them."""

from collections import Counter
from uuid import UUID

from ledger.projections.trades import TradeView
from ledger.rows import Rows


def trade_names(rows: Rows) -> dict[UUID, str]:
    """The venue's id of each trade by the id of its event; a trade whose id another one has too is left out."""
    ids = {trade.trade_id: trade.venue_trade_id for trade in rows.history(TradeView)}
    uses = Counter(ids.values())
    return {trade_id: name for trade_id, name in ids.items() if uses[name] == 1}
