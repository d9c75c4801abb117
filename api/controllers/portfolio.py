"""Portfolios and positions."""

from datetime import datetime
from typing import Any

from litestar import Controller, get
from litestar.di import NamedDependency
from litestar.params import FromPath

from api.errors import Problem
from api.reading import PAST, AnyRequest, InPortfolio, is_driven, only_parameters, reading_of, system_of
from api.schemas import LotAnswer, MatchAnswer, PortfolioAnswer, PortfolioName, PositionAnswer, PositionDetail
from api.wiring import System
from ledger.cuts import Cut
from ledger.lots import Lot, Match
from ledger.postgres_book import StoredReading
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
    def get_portfolio(
        self,
        request: AnyRequest,
        past: NamedDependency[Cut],
        portfolio: InPortfolio = None,
    ) -> PortfolioAnswer:
        """Cash, value, P&L and positions of the portfolio (the driven one unless named) at its last marks."""
        only_parameters(request, *PAST, "portfolio")
        system = system_of(request)
        with reading_of(request, portfolio, past) as reading:
            driven = is_driven(system, reading)
            view, worth = next(iter(reading.rows.where(PortfolioView))), worth_of(reading.rows)
            return PortfolioAnswer(
                portfolio_id=reading.portfolio_id,
                name=view.name,
                base_currency=worth.base_currency,
                mode="paper",
                market=system.feed.label if driven else None,
                simulated=system.feed.simulated if driven else None,
                market_time=past.as_of if past else system.market_clock() if driven else None,
                assumptions=list(system.paper.terms.describe()) if driven else None,
                position=reading.position,
                cash=worth.cash,
                total_value=worth.total_value,
                realized_pnl=worth.realized_pnl,
                unrealized_pnl=worth.unrealized_pnl,
                fees=worth.fees,
                income=worth.income,
                expenses=worth.expenses,
                positions=[_position(one, _now(system, reading, past)) for one in worth.positions],
            )

    @get("/portfolio/positions/{product_id:str}", operation_id="getPosition", sync_to_thread=True)
    def get_position(
        self,
        request: AnyRequest,
        past: NamedDependency[Cut],
        product_id: FromPath[str],
        portfolio: InPortfolio = None,
    ) -> PositionDetail:
        """One position with its open lots and closed matches, each naming its trades."""
        only_parameters(request, *PAST, "portfolio")
        with reading_of(request, portfolio, past) as reading:
            currency = base_currency_of(reading.rows)
            asset = product_id.removesuffix(f"-{currency}")
            holding = reading.rows.get(Holding, asset)
            if holding is None:
                raise Problem(404, "unknown-position", f"nothing was ever held in {product_id[:50]}")
            now = _now(system_of(request), reading, past)
            return PositionDetail(
                position=_position(value_holding(reading.rows, holding, currency), now),
                open_lots=[lot_answer(lot) for lot in reading.rows.where(Lot, asset)],
                matches=[match_answer(match) for match in reading.rows.history(Match, asset)],
            )


def lot_answer(lot: Lot) -> LotAnswer:
    return LotAnswer(
        lot_id=lot.event_id,
        opened_at=lot.opened_at,
        quantity=lot.quantity,
        open_quantity=lot.open_quantity,
        open_cost=lot.open_cost if lot.cost_known else None,
        short=lot.short,
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
        cost_basis=match.cost_basis if match.cost_known else None,
        realized_pnl=match.realized_pnl if match.cost_known else None,
        kind=match.kind,
        short=match.short,
        opened_by=match.opened_by,
        closed_by=match.closed_by,
    )


def _now(system: System, reading: StoredReading, past: Cut) -> datetime | None:
    """The time to tell the age of prices at: that of the past asked for, or the market's.

    None when neither is known: of a portfolio whose market this program does not watch, and of one as it was known at
    a time, for a market has its own time.
    """
    if past:
        return past.as_of
    return system.market_clock() if is_driven(system, reading) else None


def _position(one: Valuation, now: datetime | None) -> PositionAnswer:
    age = max(int((now - one.price_at).total_seconds()), 0) if now and one.price_at else None
    fields = {name: getattr(one, name) for name in PositionAnswer.model_fields if name != "price_age_s"}
    return PositionAnswer(price_age_s=age, **fields)


def _fields(view: PortfolioView) -> dict[str, Any]:
    return {"name": view.name, "base_currency": view.base_currency, "opened_at": view.opened_at}
