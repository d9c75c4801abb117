"""Portfolios and positions."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody
from pydantic import Field

from api.http.commands import Commands
from api.http.errors import Problem
from api.http.requests import AnyRequest, Snapshot, bad_cursor, page_size, system_of
from api.http.routes.entries import NewAccount
from api.http.schemas import Answer, Request
from ledger.booking.lots import Lot, Match, UnmatchedDisposal
from ledger.entries.recording import open_portfolio
from ledger.events import AccountOpened, PortfolioOpened
from ledger.events.fields import Name
from ledger.postgres.book import StoredReading
from ledger.projections import VALUE_PROJECTIONS
from ledger.projections.holdings import Holding
from ledger.projections.portfolio import AccountView, PortfolioView, base_currency_of, portfolio_id_of, portfolio_of
from ledger.projections.valuation import PositionValuation, value_holding, value_portfolio
from ledger.replay.verify import all_portfolios
from ledger.rows import Rows
from ledger.values import Asset, Money, UtcTime, time_text, utc_time


class NewPortfolio(Request):
    """A portfolio to open. With `allow_short`, selling more than the position opens short lots."""

    name: Name
    base_currency: Asset
    allow_short: bool = False
    accounts: Annotated[tuple[NewAccount, ...], Field(max_length=100)] = ()


class PortfolioName(Answer):
    portfolio_id: UUID
    name: str
    base_currency: str
    allow_short: bool
    opened_at: UtcTime
    closed_at: UtcTime | None
    closed_reason: str | None


class PositionAnswer(Answer):
    """A position at its last recorded mark; the price and all that depends on it are null while there is no mark.

    `unmatched_quantity` was sold or withdrawn without a lot, `unknown_cost_quantity` is held at an unstated cost: while
    there is any, cost, average cost and unrealised P&L are null. Realised P&L excludes `unknown_cost_proceeds`.
    """

    product_id: str
    quantity: Money
    cost_basis: Money | None
    average_cost: Money | None
    price: Money | None
    price_at: UtcTime | None
    price_age_s: int | None
    price_source: str | None
    current_value: Money | None
    unrealized_pnl: Money | None
    unrealized_pnl_pct: Money | None
    realized_pnl: Money
    unmatched_quantity: Money
    unmatched_proceeds: Money
    unknown_cost_quantity: Money
    unknown_cost_proceeds: Money


class PortfolioAnswer(Answer):
    """A portfolio at log position `position`. `mode` is live if any of its accounts is; `market` describes the prices.

    `assumptions` of simulated fills are null without a paper account. They, `market`, `simulated` and `market_time` are
    null for a portfolio that this program does not trade in.
    """

    portfolio_id: UUID
    name: str
    base_currency: str
    mode: Literal["paper", "live"]
    market: str | None
    simulated: bool | None
    market_time: UtcTime | None
    assumptions: list[str] | None
    position: int
    cash: Money
    total_value: Money | None
    realized_pnl: Money
    unrealized_pnl: Money | None
    fees: Money
    income: Money
    expenses: Money
    positions: list[PositionAnswer]


class LotAnswer(Answer):
    """An acquisition; `open_cost` is null while its cost is unknown. For a short lot it is the proceeds of its sale."""

    lot_id: UUID
    opened_at: UtcTime
    quantity: Money
    open_quantity: Money
    open_cost: Money | None
    short: bool
    triggered_by: str | None


class MatchAnswer(Answer):
    """A part of a lot and the event that closed it. Cost and gain are null if the cost is unknown.

    `kind` is that of the closing event: a trade, a fee or expense paid in the asset, or a withdrawal at cost.
    """

    opening_trade_id: UUID
    closing_trade_id: UUID
    opened_at: UtcTime
    closed_at: UtcTime
    quantity: Money
    proceeds: Money
    cost_basis: Money | None
    realized_pnl: Money | None
    kind: str
    short: bool
    opened_by: str | None
    closed_by: str | None


class UnmatchedAnswer(Answer):
    """A disposal without a lot. Its `proceeds` are no gain: the cost was never recorded."""

    event_id: UUID
    occurred_at: UtcTime
    quantity: Money
    proceeds: Money
    kind: str


class PositionDetail(Answer):
    """A position with all its open lots and one page of `matches`, newest first; `next_cursor` is null on the last."""

    position: PositionAnswer
    open_lots: list[LotAnswer]
    matches: list[MatchAnswer]
    next_cursor: str | None
    unmatched: list[UnmatchedAnswer]


class PortfolioController(Controller):
    path = "/api/v1"
    tags = ("portfolio",)

    @get("/portfolios", operation_id="listPortfolios", sync_to_thread=True)
    def list_portfolios(self, request: AnyRequest) -> list[PortfolioName]:
        """All portfolios in the database."""
        system, found = system_of(request), []
        for portfolio_id in all_portfolios(system.engine):
            with system.book.reading(portfolio_id) as reading:
                found += [_name(portfolio_id, view) for view in reading.rows.where(PortfolioView)]
        return found

    @post("/portfolios", operation_id="openPortfolio", status_code=201, sync_to_thread=True)
    def new_portfolio(
        self, fixed_commands: NamedDependency[Commands], data: JSONBody[NewPortfolio]
    ) -> Response[PortfolioName]:
        """Opens an empty portfolio, with accounts if any are given. Its name is never reused."""
        command = fixed_commands.within(portfolio_id_of(data.name), data)
        system = command.system

        def act() -> None:
            opened = PortfolioOpened(name=data.name, base_currency=data.base_currency, allow_short=data.allow_short)
            accounts = [AccountOpened(account=one.account, venue=one.venue, mode=one.mode) for one in data.accounts]
            open_portfolio(
                system.book, opened, accounts, command.event_id, system.clock(), command.claim, command.actor
            )

        return command.run(act, lambda reading: _name(reading.portfolio_id, portfolio_of(reading.rows)))

    @get("/portfolio", operation_id="getPortfolio", sync_to_thread=True)
    def get_portfolio(self, snapshot: NamedDependency[Snapshot]) -> PortfolioAnswer:
        """Cash, value, P&L and positions of the portfolio at its last marks."""
        system = snapshot.system
        with snapshot.reading(VALUE_PROJECTIONS) as reading:
            driven, accounts = snapshot.is_driven(reading), list(reading.rows.where(AccountView))
            view, worth = next(iter(reading.rows.where(PortfolioView))), value_portfolio(reading.rows)
            simulated_fills = driven and any(one.venue == system.paper.venue for one in accounts)
            return PortfolioAnswer(
                portfolio_id=reading.portfolio_id,
                name=view.name,
                base_currency=worth.base_currency,
                mode="live" if any(one.mode == "live" for one in accounts) else "paper",
                market=system.feed.label if driven else None,
                simulated=system.feed.simulated if driven else None,
                market_time=_now(snapshot, reading),
                assumptions=list(system.paper.terms.describe()) if simulated_fills else None,
                position=reading.position,
                cash=worth.cash,
                total_value=worth.total_value,
                realized_pnl=worth.realized_pnl,
                unrealized_pnl=worth.unrealized_pnl,
                fees=worth.fees,
                income=worth.income,
                expenses=worth.expenses,
                positions=[_position(one, _now(snapshot, reading)) for one in worth.positions],
            )

    @get("/portfolio/positions/{product_id:str}", operation_id="getPosition", sync_to_thread=True)
    def get_position(
        self,
        snapshot: NamedDependency[Snapshot],
        product_id: FromPath[str],
        limit: FromQuery[int] = 100,
        cursor: FromQuery[str | None] = None,
    ) -> PositionDetail:
        """One position with its open lots, unmatched disposals and a page of its matches, newest first."""
        size = page_size(limit)
        with snapshot.reading(VALUE_PROJECTIONS) as reading:
            rows, currency = reading.rows, base_currency_of(reading.rows)
            asset = product_id.removesuffix(f"-{currency}")
            holding = rows.get(Holding, asset)
            if holding is None:
                raise Problem(404, "unknown-position", f"nothing was ever held in {product_id[:50]}")
            matches, following = _page_of_matches(rows, asset, cursor, size)
            return PositionDetail(
                position=_position(value_holding(rows, holding, currency), _now(snapshot, reading)),
                open_lots=[lot_answer(lot) for lot in rows.where(Lot, asset)],
                matches=[match_answer(match) for match in matches],
                next_cursor=following,
                unmatched=[UnmatchedAnswer.model_validate(one) for one in rows.history(UnmatchedDisposal, asset)],
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
    places = [match.closing_position, match.closing_leg, match.opening_position, match.opening_leg]
    return match.closed_at, places


def _cursor_at(match: Match) -> str:
    closed_at, places = _order_of(match)
    return "_".join([time_text(closed_at), *map(str, places)])


def _order_in(cursor: str) -> tuple[datetime, list[int]]:
    """Raises Problem 400 for a malformed cursor."""
    at, *places = cursor.split("_")
    try:
        if len(places) != 4:
            raise ValueError
        return utc_time(at), [int(place) for place in places]
    except ValueError:
        raise bad_cursor() from None


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


def _now(snapshot: Snapshot, reading: StoredReading) -> datetime | None:
    """Time that the age of prices refers to: the requested `as_of`, or the market's present.

    None if neither is known: for a portfolio whose market this program does not follow, and with `known_at` alone,
    because a market has a clock of its own.
    """
    if snapshot.past:
        return snapshot.past.as_of
    return snapshot.system.market_clock() if snapshot.is_driven(reading) else None


def _position(one: PositionValuation, now: datetime | None) -> PositionAnswer:
    age = max(int((now - one.price_at).total_seconds()), 0) if now and one.price_at else None
    fields = {name: getattr(one, name) for name in PositionAnswer.model_fields if name != "price_age_s"}
    return PositionAnswer(price_age_s=age, **fields)


def _name(portfolio_id: UUID, view: PortfolioView) -> PortfolioName:
    fields: dict[str, Any] = {
        name: getattr(view, name) for name in PortfolioName.model_fields if name != "portfolio_id"
    }
    return PortfolioName(portfolio_id=portfolio_id, **fields)
