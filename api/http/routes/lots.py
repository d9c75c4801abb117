"""Lots and gains by method, as in `daybook lots`; the book itself stays first in, first out."""

from typing import Final

from litestar import Controller, get, post
from litestar.di import NamedDependency
from litestar.params import FromQuery, JSONBody

from api.http.errors import Problem
from api.http.requests import Snapshot
from api.http.schemas import Answer, Request
from ledger.events.fields import Name
from ledger.projections import VALUE_PROJECTIONS
from ledger.projections.holdings import Holding
from ledger.projections.portfolio import base_currency_of
from ledger.reports.lot_methods import Method, Term
from ledger.reports.lots import View, portfolio_lots_report
from ledger.values import Money, Quantity, UtcTime

METHODS: Final = (Method.FIFO, Method.LIFO, Method.HIFO)
LONGEST_PERIOD_DAYS: Final = 36_500


class NamedLot(Request):
    """A quantity of the lot that the trade (or other event) with this id opened."""

    lot_id: Name
    quantity: Quantity


class NamedLots(Request):
    """For each sale, by its id, the lots that cover it, in order; ids are the `lot_id`s of the report."""

    lots: dict[Name, list[NamedLot]]


class LotMatchAnswer(Answer):
    """The part of a sale that one lot covered; `term` is set if a holding period was requested and applies."""

    lot_id: str
    quantity: Money
    proceeds: Money
    cost_basis: Money | None
    realized_pnl: Money | None
    term: Term | None = None


class LotSaleAnswer(Answer):
    """A sale, or a purchase that closed short lots. Amounts cover the matched part with a known cost."""

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
    """The open quantity of a lot and its cost; for a short lot the quantity owed and the proceeds of its sale."""

    lot_id: str
    instrument: str
    quantity: Money
    cost_basis: Money | None
    short: bool = False


class LotTotalsAnswer(Answer):
    """Totals of a product; `open_cost_basis` covers the lots with a known cost and is null if there is none."""

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


class LotController(Controller):
    path = "/api/v1/portfolio/lots"
    tags = ("portfolio",)

    @get(operation_id="listLots", sync_to_thread=True)
    def list_lots(
        self,
        snapshot: NamedDependency[Snapshot],
        method: FromQuery[str] = "fifo",
        holding_period: FromQuery[int | None] = None,
        product_id: FromQuery[str | None] = None,
    ) -> LotsAnswer:
        """Sales with their matches, open lots and totals by fifo, lifo or hifo, of one product or all.

        With holding_period (in days) each match has a term: long if the lot was held longer, else short.
        """
        return _report(snapshot, View(_method(method), holding_period=_days(holding_period)), product_id)

    @post("/specific", operation_id="nameLots", status_code=200, sync_to_thread=True)
    def name_lots(
        self,
        snapshot: NamedDependency[Snapshot],
        data: JSONBody[NamedLots],
        holding_period: FromQuery[int | None] = None,
        product_id: FromQuery[str | None] = None,
    ) -> LotsAnswer:
        """The same report with lots chosen for sales; the rest is matched first in, first out. Nothing is stored."""
        names = {sale: [(one.lot_id, one.quantity) for one in lots] for sale, lots in data.lots.items()}
        return _report(snapshot, View(Method.SPECIFIC, names, _days(holding_period)), product_id)


def _report(snapshot: Snapshot, view: View, product_id: str | None) -> LotsAnswer:
    """The report of one product or all. Raises BadChoice, and Problem 404 for a product that was never held."""
    with snapshot.reading(VALUE_PROJECTIONS) as reading:
        rows = reading.rows
        if product_id is not None:
            asset = product_id.removesuffix(f"-{base_currency_of(rows)}")
            if asset == product_id or rows.get(Holding, asset) is None:
                raise Problem(404, "unknown-position", f"nothing was ever held in {product_id[:50]}")
        return LotsAnswer.model_validate(portfolio_lots_report(rows, view, product_id))


def _method(text: str) -> Method:
    """Raises Problem 400 for an unknown method."""
    found = next((method for method in METHODS if method.value == text), None)
    if found is None:
        raise Problem(400, "bad-method", f"method must be one of {', '.join(METHODS)}")
    return found


def _days(period: int | None) -> int | None:
    """Raises Problem 400 outside 0 to 36500."""
    if period is not None and not 0 <= period <= LONGEST_PERIOD_DAYS:
        raise Problem(400, "bad-holding-period", f"holding_period must be between 0 and {LONGEST_PERIOD_DAYS} days")
    return period
