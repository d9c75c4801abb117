"""Portfolios and positions."""

from typing import Any

from litestar import Controller, Response, get

from api.errors import Problem
from api.first_run import portfolio_id_of
from api.reading import AnyRequest, only_parameters, reading_of, system_of
from api.schemas import LotAnswer, MatchAnswer, PortfolioAnswer, PortfolioName, PositionAnswer, PositionDetail
from api.wiring import System
from ledger.lots import Lot, Match
from ledger.projections.holdings import Holding
from ledger.projections.portfolio import PortfolioView, base_currency_of
from ledger.replay import all_portfolios
from ledger.valuation import Valuation, value_holding, worth_of


class PortfolioController(Controller):
    path = "/api/v1"
    tags = ("portfolio",)

    @get("/portfolios", operation_id="listPortfolios", sync_to_thread=True)
    def list_portfolios(self, request: AnyRequest) -> list[PortfolioName]:
        """Every portfolio in the database."""
        only_parameters(request)
        system, found = system_of(request), []
        for portfolio_id in all_portfolios(system.engine):
            with system.book.reading(portfolio_id) as reading:
                for view in reading.rows.where(PortfolioView):
                    found.append(PortfolioName(portfolio_id=portfolio_id, **_fields(view)))
        return found

    @get("/portfolio", operation_id="getPortfolio", sync_to_thread=True)
    def get_portfolio(self, request: AnyRequest, portfolio: str | None = None) -> Response[PortfolioAnswer]:
        """Cash, value, P&L and positions of the portfolio (the driven one unless named) at its last marks."""
        only_parameters(request, "portfolio")
        system = system_of(request)
        with reading_of(system, portfolio) as reading:
            view, worth = next(iter(reading.rows.where(PortfolioView))), worth_of(reading.rows)
            answer = PortfolioAnswer(
                portfolio_id=system.portfolio_id if portfolio is None else portfolio_id_of(view.name),
                name=view.name,
                base_currency=worth.base_currency,
                mode="paper",
                market=system.feed.label,
                simulated=system.feed.simulated,
                market_time=system.feed.now(),
                position=reading.position,
                cash=worth.cash,
                total_value=worth.total_value,
                realized_pnl=worth.realized_pnl,
                unrealized_pnl=worth.unrealized_pnl,
                fees=worth.fees,
                positions=[_position(one, system) for one in worth.positions],
            )
        return Response(answer, headers={"ETag": f'"{answer.position}"'})

    @get("/portfolio/positions/{product_id:str}", operation_id="getPosition", sync_to_thread=True)
    def get_position(self, request: AnyRequest, product_id: str, portfolio: str | None = None) -> PositionDetail:
        """One position with its open lots and closed matches, each naming its trades."""
        only_parameters(request, "portfolio")
        system = system_of(request)
        with reading_of(system, portfolio) as reading:
            currency = base_currency_of(reading.rows)
            asset = product_id.removesuffix(f"-{currency}")
            holding = reading.rows.get(Holding, asset)
            if holding is None:
                raise Problem(404, "unknown-position", f"nothing was ever held in {product_id[:50]}")
            return PositionDetail(
                position=_position(value_holding(reading.rows, holding, currency), system),
                open_lots=[lot_answer(lot) for lot in reading.rows.where(Lot, asset)],
                matches=[match_answer(match) for match in reading.rows.history(Match, asset)],
            )


def lot_answer(lot: Lot) -> LotAnswer:
    return LotAnswer(
        lot_id=lot.event_id,
        opened_at=lot.opened_at,
        quantity=lot.quantity,
        open_quantity=lot.open_quantity,
        open_cost=lot.open_cost,
        triggered_by=lot.triggered_by,
    )


def match_answer(match: Match) -> MatchAnswer:
    return MatchAnswer(
        opening_trade_id=match.opening_event_id,
        closing_trade_id=match.closing_event_id,
        opened_at=match.opened_at,
        closed_at=match.closed_at,
        quantity=match.quantity,
        proceeds=match.proceeds,
        cost_basis=match.cost_basis,
        realized_pnl=match.realized_pnl,
        opened_by=match.opened_by,
        closed_by=match.closed_by,
    )


def _position(one: Valuation, system: System) -> PositionAnswer:
    age = None if one.price_at is None else max(int((system.feed.now() - one.price_at).total_seconds()), 0)
    fields = {name: getattr(one, name) for name in PositionAnswer.model_fields if name != "price_age_s"}
    return PositionAnswer(price_age_s=age, **fields)


def _fields(view: PortfolioView) -> dict[str, Any]:
    return {"name": view.name, "base_currency": view.base_currency, "opened_at": view.opened_at}
