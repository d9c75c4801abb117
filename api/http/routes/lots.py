"""Lots and gains of a portfolio by a method: views of the book, which itself stays first in, first out."""

from typing import Final

from litestar import Controller, get, post
from litestar.di import NamedDependency
from litestar.params import FromQuery, JSONBody

from api.http.errors import Problem
from api.http.lot_schemas import LotsAnswer, NamedLots
from api.http.reading import PAST, AnyRequest, InPortfolio, only_parameters, reading_of
from ledger.log.point_in_time import PointInTime
from ledger.projections import VALUE_PROJECTIONS
from ledger.projections.holdings import Holding
from ledger.projections.portfolio import base_currency_of
from ledger.reports.lot_methods import Method
from ledger.reports.lots import View, portfolio_lots_report
from ledger.rows import Rows

METHODS: Final = (Method.FIFO, Method.LIFO, Method.HIFO)
LONGEST_PERIOD_DAYS: Final = 36_500


class LotController(Controller):
    path = "/api/v1/portfolio/lots"
    tags = ("portfolio",)

    @get(operation_id="listLots", sync_to_thread=True)
    def list_lots(
        self,
        request: AnyRequest,
        past: NamedDependency[PointInTime],
        portfolio: InPortfolio = None,
        method: FromQuery[str] = "fifo",
        holding_period: FromQuery[int | None] = None,
        product_id: FromQuery[str | None] = None,
    ) -> LotsAnswer:
        """Sales with their matches, open lots and totals by fifo, lifo or hifo, of all products or one.

        With holding_period (in days) each match says whether it was held longer: long, else short.
        """
        only_parameters(request, *PAST, "portfolio", "method", "holding_period", "product_id")
        view = View(_method(method), holding_period=_days(holding_period))
        with reading_of(request, portfolio, past, VALUE_PROJECTIONS) as reading:
            return _answer(reading.rows, view, product_id)

    @post("/specific", operation_id="nameLots", status_code=200, sync_to_thread=True)
    def name_lots(
        self,
        request: AnyRequest,
        past: NamedDependency[PointInTime],
        data: JSONBody[NamedLots],
        portfolio: InPortfolio = None,
        holding_period: FromQuery[int | None] = None,
        product_id: FromQuery[str | None] = None,
    ) -> LotsAnswer:
        """The same with lots named for sales; what they do not cover is matched first in, first out. Nothing is stored."""
        only_parameters(request, *PAST, "portfolio", "holding_period", "product_id")
        names = {sale: [(one.lot_id, one.quantity) for one in lots] for sale, lots in data.lots.items()}
        view = View(Method.SPECIFIC, names, _days(holding_period))
        with reading_of(request, portfolio, past, VALUE_PROJECTIONS) as reading:
            return _answer(reading.rows, view, product_id)


def _answer(rows: Rows, view: View, product_id: str | None) -> LotsAnswer:
    """The report of all products or of one. Raises Problem 404 for one that was never held, and BadChoice."""
    if product_id is not None:
        asset = product_id.removesuffix(f"-{base_currency_of(rows)}")
        if asset == product_id or rows.get(Holding, asset) is None:
            raise Problem(404, "unknown-position", f"nothing was ever held in {product_id[:50]}")
    return LotsAnswer.model_validate(portfolio_lots_report(rows, view, product_id))


def _method(text: str) -> Method:
    """Raises Problem 400 for one that is not known."""
    found = next((method for method in METHODS if method.value == text), None)
    if found is None:
        raise Problem(400, "bad-method", f"method must be one of {', '.join(METHODS)}")
    return found


def _days(period: int | None) -> int | None:
    """Raises Problem 400 outside 0 to 36500."""
    if period is not None and not 0 <= period <= LONGEST_PERIOD_DAYS:
        raise Problem(400, "bad-holding-period", f"holding_period must be between 0 and {LONGEST_PERIOD_DAYS} days")
    return period
