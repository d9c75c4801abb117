"""Portfolios and positions."""

from datetime import datetime
from typing import Any

from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody

from api.http.auth import caller_of
from api.http.commands import IdempotencyKey, Running
from api.http.entry_schemas import NewPortfolio
from api.http.errors import Problem
from api.http.reading import (
    PAST,
    AnyRequest,
    InPortfolio,
    commands_of,
    is_driven,
    limit_of_page,
    only_parameters,
    reading_of,
    system_of,
)
from api.http.schemas import (
    LotAnswer,
    MatchAnswer,
    PortfolioAnswer,
    PortfolioName,
    PositionAnswer,
    PositionDetail,
    UnmatchedAnswer,
)
from api.runtime.wiring import System
from ledger.booking.lots import Lot, Match, UnmatchedDisposal
from ledger.entries.recording import open_portfolio
from ledger.events import AccountOpened, PortfolioOpened
from ledger.log.point_in_time import PointInTime
from ledger.postgres.book import StoredReading
from ledger.projections import VALUE_PROJECTIONS
from ledger.projections.holdings import Holding
from ledger.projections.portfolio import AccountView, PortfolioView, base_currency_of, portfolio_id_of, portfolio_of
from ledger.projections.valuation import PositionValuation, value_holding, value_portfolio
from ledger.replay.verify import all_portfolios
from ledger.rows import Rows
from ledger.values import time_text, utc_time


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

    @post("/portfolios", operation_id="openPortfolio", status_code=201, sync_to_thread=True)
    def new_portfolio(
        self, request: AnyRequest, data: JSONBody[NewPortfolio], idempotency_key: IdempotencyKey = None
    ) -> Response[PortfolioName]:
        """Opens an empty portfolio, with its accounts if any are named. Its name is its own for ever."""
        only_parameters(request)
        system, portfolio_id = system_of(request), portfolio_id_of(data.name)

        def act(running: Running) -> None:
            opened = PortfolioOpened(name=data.name, base_currency=data.base_currency, allow_short=data.allow_short)
            accounts = [AccountOpened(account=one.account, venue=one.venue, mode=one.mode) for one in data.accounts]
            actor = caller_of(request).actor
            open_portfolio(system.book, opened, accounts, running.event_id, system.clock(), running.claim, actor)

        def answer(_running: Running) -> PortfolioName:
            with system.book.reading(portfolio_id) as reading:
                return PortfolioName(portfolio_id=portfolio_id, **_fields(portfolio_of(reading.rows)))

        return commands_of(request).run(portfolio_id, idempotency_key, ("POST /portfolios", data), act, answer, 201)

    @get("/portfolio", operation_id="getPortfolio", sync_to_thread=True)
    def get_portfolio(
        self,
        request: AnyRequest,
        past: NamedDependency[PointInTime],
        portfolio: InPortfolio = None,
    ) -> PortfolioAnswer:
        """Cash, value, P&L and positions of the portfolio (the driven one unless named) at its last marks."""
        only_parameters(request, *PAST, "portfolio")
        system = system_of(request)
        with reading_of(request, portfolio, past, VALUE_PROJECTIONS) as reading:
            driven, accounts = is_driven(system, reading), list(reading.rows.where(AccountView))
            view, worth = next(iter(reading.rows.where(PortfolioView))), value_portfolio(reading.rows)
            simulated_fills = driven and any(one.venue == system.paper.venue for one in accounts)
            return PortfolioAnswer(
                portfolio_id=reading.portfolio_id,
                name=view.name,
                base_currency=worth.base_currency,
                mode="live" if any(one.mode == "live" for one in accounts) else "paper",
                market=system.feed.label if driven else None,
                simulated=system.feed.simulated if driven else None,
                market_time=past.as_of if past else system.market_clock() if driven else None,
                assumptions=list(system.paper.terms.describe()) if simulated_fills else None,
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
        past: NamedDependency[PointInTime],
        product_id: FromPath[str],
        portfolio: InPortfolio = None,
        limit: FromQuery[int] = 100,
        cursor: FromQuery[str | None] = None,
    ) -> PositionDetail:
        """One position with its open lots and what closed others, newest first, each naming its trades.

        The matches come in pages; open lots and what no lot covered are told whole.
        """
        only_parameters(request, *PAST, "portfolio", "limit", "cursor")
        size = limit_of_page(limit)
        with reading_of(request, portfolio, past, VALUE_PROJECTIONS) as reading:
            currency = base_currency_of(reading.rows)
            asset = product_id.removesuffix(f"-{currency}")
            holding = reading.rows.get(Holding, asset)
            if holding is None:
                raise Problem(404, "unknown-position", f"nothing was ever held in {product_id[:50]}")
            matches, following = _page_of_matches(reading.rows, asset, cursor, size)
            return PositionDetail(
                position=_position(
                    value_holding(reading.rows, holding, currency), _now(system_of(request), reading, past)
                ),
                open_lots=[lot_answer(lot) for lot in reading.rows.where(Lot, asset)],
                matches=[match_answer(match) for match in matches],
                next_cursor=following,
                unmatched=[
                    UnmatchedAnswer.model_validate(one) for one in reading.rows.history(UnmatchedDisposal, asset)
                ],
            )


def _page_of_matches(rows: Rows, asset: str, cursor: str | None, size: int) -> tuple[list[Match], str | None]:
    """The newest matches older than the one `cursor` names, and the cursor of the next page."""
    found = sorted(rows.history(Match, asset), key=_order_of, reverse=True)
    if cursor is not None:
        last = _order_in(cursor)
        found = [match for match in found if _order_of(match) < last]
    page = found[:size]
    return page, _cursor_at(page[-1]) if len(found) > size else None


def _order_of(match: Match) -> tuple[datetime, list[int]]:
    """The order in which matches came about."""
    places = [match.closing_position, match.closing_leg, match.opening_position, match.opening_leg]
    return match.closed_at, places


def _cursor_at(match: Match) -> str:
    closed_at, places = _order_of(match)
    return "_".join([time_text(closed_at), *map(str, places)])


def _order_in(cursor: str) -> tuple[datetime, list[int]]:
    """Raises Problem 400 for a cursor that was never given out."""
    at, *places = cursor.split("_")
    try:
        if len(places) != 4:
            raise ValueError
        return utc_time(at), [int(place) for place in places]
    except ValueError:
        raise Problem(400, "bad-cursor", "cursor must be the next_cursor of an earlier answer") from None


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


def _now(system: System, reading: StoredReading, past: PointInTime) -> datetime | None:
    """The time to tell the age of prices at: that of the past asked for, or the market's.

    None when neither is known: of a portfolio whose market this program does not watch, and of one as it was known at
    a time, for a market has its own time.
    """
    if past:
        return past.as_of
    return system.market_clock() if is_driven(system, reading) else None


def _position(one: PositionValuation, now: datetime | None) -> PositionAnswer:
    age = max(int((now - one.price_at).total_seconds()), 0) if now and one.price_at else None
    fields = {name: getattr(one, name) for name in PositionAnswer.model_fields if name != "price_age_s"}
    return PositionAnswer(price_age_s=age, **fields)


def _fields(view: PortfolioView) -> dict[str, Any]:
    return {name: getattr(view, name) for name in PortfolioName.model_fields if name != "portfolio_id"}
