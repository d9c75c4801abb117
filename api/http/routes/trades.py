"""Trades and orders: what happened, and asking for more of it."""

from datetime import timedelta
from uuid import UUID

from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody

from api.http.auth import caller_of
from api.http.commands import IdempotencyKey, Running
from api.http.entry_schemas import NewReversal, ReversalAnswer
from api.http.errors import Problem
from api.http.order_schemas import TradeTicket
from api.http.reading import (
    PAST,
    AnyRequest,
    InPortfolio,
    commands_of,
    cursor_of,
    driven_only,
    limit_of_page,
    only_parameters,
    page_of,
    reading_of,
    story_of,
    system_of,
)
from api.http.routes.orders import order_answer
from api.http.routes.portfolio import lot_answer, match_answer
from api.http.schemas import (
    EventAnswer,
    ExecutedAnswer,
    PreviewAnswer,
    TradeAnswer,
    TradeDetail,
    TradePage,
)
from api.runtime.wiring import System
from execution.review.review import Approval, ManualTicket
from ledger.booking.legs import moves_of
from ledger.booking.lots import Lot, Match
from ledger.entries.recording import record_checked
from ledger.entries.rules import reversal_of
from ledger.log.envelope import NewEvent
from ledger.log.point_in_time import PointInTime
from ledger.postgres.book import StoredReading
from ledger.projections import VALUE_PROJECTIONS
from ledger.projections.portfolio import base_currency_of
from ledger.projections.trades import TradeView
from ledger.values import Instrument, round18


class TradeController(Controller):
    path = "/api/v1/trades"
    tags = ("trades",)

    @get("/", operation_id="listTrades", sync_to_thread=True)
    def list_trades(
        self,
        request: AnyRequest,
        past: NamedDependency[PointInTime],
        portfolio: InPortfolio = None,
        limit: FromQuery[int] = 50,
        cursor: FromQuery[str | None] = None,
        product_id: FromQuery[str | None] = None,
        triggered_by: FromQuery[str | None] = None,
    ) -> TradePage:
        """Trades, newest first."""
        only_parameters(request, *PAST, "portfolio", "limit", "cursor", "product_id", "triggered_by")
        size = limit_of_page(limit)
        with reading_of(request, portfolio, past, VALUE_PROJECTIONS) as reading:
            found = reading.rows.newest(
                TradeView, cursor_of(cursor), size + 1, instrument=product_id, triggered_by=triggered_by
            )
        page, following = page_of(found, size)
        return TradePage(items=[TradeAnswer.model_validate(one) for one in page], next_cursor=following)

    @get("/{trade_id:uuid}", operation_id="getTrade", sync_to_thread=True)
    def get_trade(
        self,
        request: AnyRequest,
        past: NamedDependency[PointInTime],
        trade_id: FromPath[UUID],
        portfolio: InPortfolio = None,
    ) -> TradeDetail:
        """One trade with its whole story: signal, verdict, order, fills, lots."""
        only_parameters(request, *PAST, "portfolio")
        with reading_of(request, portfolio, past, VALUE_PROJECTIONS) as reading:
            trade = reading.rows.get(TradeView, trade_id)
            if trade is None:
                raise Problem(404, "unknown-trade", f"there is no trade {trade_id}")
            return _detail(reading, trade, past)

    @post("/preview", operation_id="previewTrade", status_code=200, sync_to_thread=True)
    def preview_trade(
        self, request: AnyRequest, data: JSONBody[TradeTicket], portfolio: InPortfolio = None
    ) -> PreviewAnswer:
        """What review would say to the ticket now. Nothing is stored."""
        only_parameters(request, "portfolio")
        system = system_of(request)
        driven_only(system, portfolio)
        verdict = system.trader.preview(_ticket(system, data))
        value = round18(verdict.size.value) if isinstance(verdict, Approval) else None
        return PreviewAnswer(approved=isinstance(verdict, Approval), value=value, rules=list(verdict.rules))

    @post("/execute", operation_id="executeTrade", status_code=201, sync_to_thread=True)
    def execute_trade(
        self,
        request: AnyRequest,
        data: JSONBody[TradeTicket],
        idempotency_key: IdempotencyKey = None,
        portfolio: InPortfolio = None,
    ) -> Response[ExecutedAnswer]:
        """Reviews the ticket, stores the order, sends it, and answers with its fills as soon as it has ended.

        An order that is still open after three seconds (a limit order, say) is answered as it is then.
        """
        only_parameters(request, "portfolio")
        system = system_of(request)
        portfolio_id = driven_only(system, portfolio)

        def act(running: Running) -> None:
            system.trader.request(
                _ticket(system, data),
                running.event_id(),
                lambda events, position: system.leadership.record(events, position, alongside=running.claim),
                caller_of(request).actor,
            )
            system.trader.wait_for(running.event_id(), request.app.state.fill_patience_s)

        def answer(running: Running) -> ExecutedAnswer:
            return _executed(system, running.event_id())

        command = ("POST /trades/execute", data)
        return commands_of(request).run(portfolio_id, idempotency_key, command, act, answer, 201)

    @post("/{trade_id:uuid}/reverse", operation_id="reverseTrade", status_code=201, sync_to_thread=True)
    def reverse_trade(
        self,
        request: AnyRequest,
        trade_id: FromPath[UUID],
        data: JSONBody[NewReversal],
        idempotency_key: IdempotencyKey = None,
        portfolio: InPortfolio = None,
    ) -> Response[ReversalAnswer]:
        """Takes a trade back, or any other event that moved value, by its event id: from now on it never happened.

        Both stay in the log. Entered again as it should have been, it gives the figures of having been right at once.
        """
        only_parameters(request, "portfolio")
        system = system_of(request)
        with reading_of(request, portfolio) as reading:
            portfolio_id = reading.portfolio_id

        def act(running: Running) -> None:
            def prepare(reading: StoredReading) -> list[NewEvent]:
                return [reversal_of(trade_id, data.reason, running.event_id(), reading.rows, caller_of(request).actor)]

            record_checked(system.book, portfolio_id, prepare, running.claim)

        def answer(running: Running) -> ReversalAnswer:
            return _taken_back(system, portfolio_id, trade_id, running.event_id())

        command = (f"POST /trades/{trade_id}/reverse", data)
        return commands_of(request).run(portfolio_id, idempotency_key, command, act, answer, 201)


def _ticket(system: System, data: TradeTicket) -> ManualTicket:
    """The ticket in the words of the trading room. Raises Problem 422 for a product that this market does not have."""
    if data.product_id not in system.feed.instruments:
        known = ", ".join(system.feed.instruments)
        detail = f"{data.product_id} is not traded here; the products are {known}"
        raise Problem(422, "unknown-product", detail, products=list(system.feed.instruments))
    return ManualTicket(
        instrument=Instrument(data.product_id),
        side=data.side,
        kind=data.type,
        base_size=data.base_size,
        quote_size=data.quote_size if data.quote_size is not None else data.size_usd,
        limit_price=data.limit_price,
        account=data.account,
        stop_price=data.stop_price,
        time_in_force=data.time_in_force,
        lifetime=None if data.expires_in_s is None else timedelta(seconds=data.expires_in_s),
    )


def _executed(system: System, order_id: UUID) -> ExecutedAnswer:
    with system.book.reading(system.portfolio_id) as reading:
        return order_answer(reading, order_id)


def _taken_back(system: System, portfolio_id: UUID, event_id: UUID, reversal_id: UUID) -> ReversalAnswer:
    with system.book.reading(portfolio_id) as reading:
        event, reversal = reading.rows.recorded(event_id), reading.rows.recorded(reversal_id)
        trade = reading.rows.get(TradeView, event_id)
    return ReversalAnswer(
        event=EventAnswer.model_validate(event),
        trade=TradeAnswer.model_validate(trade) if trade else None,
        reversal=EventAnswer.model_validate(reversal),
    )


def _detail(reading: StoredReading, trade: TradeView, past: PointInTime) -> TradeDetail:
    lots, matches = _lots_and_matches(reading, trade)
    return TradeDetail(
        trade=TradeAnswer.model_validate(trade),
        story=story_of(reading, trade.position, past),
        opened_lots=[lot_answer(lot) for lot in lots],
        matches=[match_answer(match) for match in matches],
    )


def _lots_and_matches(reading: StoredReading, trade: TradeView) -> tuple[list[Lot], list[Match]]:
    """The lots that the trade opened, and the matches that it or a later disposal of those lots made."""
    recorded = reading.rows.recorded(trade.trade_id)
    moves = moves_of(recorded.event, base_currency_of(reading.rows)) if recorded else ()
    assets = sorted({str(move.asset) for move in moves})
    place = (trade.occurred_at, trade.position)
    lots = [lot for asset in assets for lot in reading.rows.history(Lot, asset, *place)]
    closed = [match for asset in assets for match in reading.rows.history(Match, asset, *place)]
    return lots, [*reading.rows.naming(Match, trade.trade_id, "opening_event_id"), *closed]
