"""The lots of a portfolio as they go out over HTTP: the report of `daybook lots`, with null for what is not known or not there."""

from api.http.schemas import Answer, Request
from ledger.events.fields import Name
from ledger.reports.lot_methods import Term
from ledger.values import Money, Quantity, UtcTime


class NamedLot(Request):
    """So much of the lot that the trade (or other event) with this id opened."""

    lot_id: Name
    quantity: Quantity


class NamedLots(Request):
    """For each sale, by its id, the lots that are to cover it, in their order; ids are those that the lots are told with."""

    lots: dict[Name, list[NamedLot]]


class LotMatchAnswer(Answer):
    """The part of a sale that one lot covered; `term` where a holding period was asked for and it is known."""

    lot_id: str
    quantity: Money
    proceeds: Money
    cost_basis: Money | None
    realized_pnl: Money | None
    term: Term | None = None


class LotSaleAnswer(Answer):
    """A sale, or a purchase that closed short lots. Money is of the matched part whose cost is known."""

    id: str
    instrument: str
    time: UtcTime
    quantity: Money
    proceeds: Money
    cost_basis: Money | None
    realized_pnl: Money | None
    matches: list[LotMatchAnswer]
    unmatched_quantity: Money | None = None
    unmatched_proceeds: Money | None = None
    unknown_cost_quantity: Money | None = None
    unknown_cost_proceeds: Money | None = None
    kind: str = "trade"


class OpenLotAnswer(Answer):
    """What is left of a lot, and what that cost; of a short lot what is owed, and what selling it brought."""

    lot_id: str
    instrument: str
    quantity: Money
    cost_basis: Money | None
    short: bool = False


class LotTotalsAnswer(Answer):
    """The sums of a product; the open cost is of the lots whose cost is known, null where it is of none of them."""

    realized_pnl: Money
    open_quantity: Money
    open_cost_basis: Money | None
    fees: Money
    unknown_cost_quantity: Money | None = None


class LotErrorAnswer(Answer):
    id: str
    instrument: str
    error: str


class LotsAnswer(Answer):
    method: str
    sells: list[LotSaleAnswer]
    open_lots: list[OpenLotAnswer]
    totals: dict[str, LotTotalsAnswer]
    errors: list[LotErrorAnswer]
