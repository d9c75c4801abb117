"""Trades: listed with their lots, previewed, executed and reversed."""

from datetime import timedelta
from typing import Annotated, Final, Self
from uuid import UUID

from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody
from pydantic import BeforeValidator, Field, model_validator

from api.http.commands import Commands
from api.http.errors import Problem
from api.http.requests import AnyRequest, Paging, Snapshot, driven_portfolio, story_of
from api.http.routes.orders import ExecutedAnswer, order_answer
from api.http.routes.portfolio import LotAnswer, MatchAnswer, lot_answer, match_answer
from api.http.schemas import PRINTABLE, Answer, EventAnswer, Page, Request, TradeAnswer
from api.runtime.wiring import System
from execution.review.review import Approval, ManualTicket
from ledger.booking.legs import moves_of
from ledger.booking.lots import Lot, Match
from ledger.entries.rules import reversal_of
from ledger.events.fields import OrderKind, RuleChecked, Text, TimeInForce
from ledger.postgres.book import StoredReading
from ledger.projections import VALUE_PROJECTIONS
from ledger.projections.portfolio import base_currency_of
from ledger.projections.trades import TradeView
from ledger.values import Instrument, Money, Price, Quantity, Side, round18

LONGEST_LIFE_S: Final = 90 * 24 * 3600


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


class TradeTicket(Request):
    """A manual order. Exactly one of base_size and quote_size (alias size_usd) is required.

    A stop order becomes a market order once its stop_price is reached. Whatever has not filled after `expires_in_s`
    seconds (default: one day) is cancelled; ioc and fok orders never rest.
    """

    product_id: Instrument
    side: Annotated[Side, BeforeValidator(_lower)]
    type: Annotated[OrderKind, BeforeValidator(_lower)] = "market"
    base_size: Quantity | None = None
    quote_size: Quantity | None = None
    size_usd: Quantity | None = None
    limit_price: Price | None = None
    stop_price: Price | None = None
    time_in_force: Annotated[TimeInForce, BeforeValidator(_lower)] | None = None
    expires_in_s: Annotated[int, Field(ge=1, le=LONGEST_LIFE_S)] | None = None
    account: Annotated[str, Field(min_length=1, max_length=100, pattern=PRINTABLE)] | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        sizes = [size for size in (self.base_size, self.quote_size, self.size_usd) if size is not None]
        if len(sizes) != 1:
            raise ValueError(f"exactly one of base_size and quote_size is required (given: {len(sizes)})")
        for kind, price in (("limit", self.limit_price), ("stop", self.stop_price)):
            if (self.type == kind) != (price is not None):
                raise ValueError(f"{kind}_price is required for a {kind} order and allowed for no other")
        if self.type == "stop" and self.base_size is None:
            raise ValueError("a stop order needs a base_size")
        if self.time_in_force is not None and self.type != "limit":
            raise ValueError("time_in_force is allowed for limit orders only")
        return self


class NewReversal(Request):
    """Reason for reversing an entry."""

    reason: Annotated[Text, Field(min_length=1)]


class TradePage(Page):
    items: list[TradeAnswer]


class TradeDetail(Answer):
    """One trade with its whole story: signal, verdict, order, fills, and the lots it opened or closed."""

    trade: TradeAnswer
    story: list[EventAnswer]
    opened_lots: list[LotAnswer]
    matches: list[MatchAnswer]


class PreviewAnswer(Answer):
    """The verdict of review on a ticket, with every rule's numbers. `value` is the approved size, null if rejected."""

    approved: bool
    value: Money | None
    rules: list[RuleChecked]


class ReversalAnswer(Answer):
    """The reversed event (for a trade also the trade), and the event that reversed it."""

    event: EventAnswer
    trade: TradeAnswer | None
    reversal: EventAnswer


class TradeController(Controller):
    path = "/api/v1/trades"
    tags = ("trades",)

    @get("/", operation_id="listTrades", sync_to_thread=True)
    def list_trades(
        self,
        snapshot: NamedDependency[Snapshot],
        paging: NamedDependency[Paging],
        product_id: FromQuery[str | None] = None,
        triggered_by: FromQuery[str | None] = None,
    ) -> TradePage:
        """Trades, newest first."""
        with snapshot.reading(VALUE_PROJECTIONS) as reading:
            found = reading.rows.newest(
                TradeView, paging.before, paging.size + 1, instrument=product_id, triggered_by=triggered_by
            )
        return paging.answer(TradePage, found)

    @get("/{trade_id:uuid}", operation_id="getTrade", sync_to_thread=True)
    def get_trade(self, snapshot: NamedDependency[Snapshot], trade_id: FromPath[UUID]) -> TradeDetail:
        """One trade with its whole story: signal, verdict, order, fills, lots."""
        with snapshot.reading(VALUE_PROJECTIONS) as reading:
            trade = reading.rows.get(TradeView, trade_id)
            if trade is None:
                raise Problem(404, "unknown-trade", f"there is no trade {trade_id}")
            lots, matches = _lots_and_matches(reading, trade)
            return TradeDetail(
                trade=TradeAnswer.model_validate(trade),
                story=story_of(reading, trade.position, snapshot.past),
                opened_lots=[lot_answer(lot) for lot in lots],
                matches=[match_answer(match) for match in matches],
            )

    @post("/preview", operation_id="previewTrade", status_code=200, sync_to_thread=True)
    def preview_trade(self, latest: NamedDependency[Snapshot], data: JSONBody[TradeTicket]) -> PreviewAnswer:
        """Reviews a ticket without storing anything."""
        system = latest.system
        driven_portfolio(system, latest.portfolio)
        verdict = system.trader.preview(_ticket(system, data))
        value = round18(verdict.size.value) if isinstance(verdict, Approval) else None
        return PreviewAnswer(approved=isinstance(verdict, Approval), value=value, rules=list(verdict.rules))

    @post("/execute", operation_id="executeTrade", status_code=201, sync_to_thread=True)
    def execute_trade(
        self, request: AnyRequest, commands: NamedDependency[Commands], data: JSONBody[TradeTicket]
    ) -> Response[ExecutedAnswer]:
        """Reviews a ticket, stores and sends the order, and answers with its fills as soon as it has ended.

        An order that is still open after three seconds, such as a limit order, is answered in its state by then.
        """
        command = commands.driven(data)
        system, order_id = command.system, command.event_id()

        def act() -> None:
            system.trader.request(_ticket(system, data), order_id, command.record_as_leader, command.actor)
            system.trader.wait_for(order_id, request.app.state.fill_patience_s)

        return command.run(act, lambda reading: order_answer(reading, order_id))

    @post("/{trade_id:uuid}/reverse", operation_id="reverseTrade", status_code=201, sync_to_thread=True)
    def reverse_trade(
        self, commands: NamedDependency[Commands], trade_id: FromPath[UUID], data: JSONBody[NewReversal]
    ) -> Response[ReversalAnswer]:
        """Reverses a trade, or any other event that moved value, by its event id: it no longer counts.

        Both events stay in the log. Entered again correctly, it gives the figures of a correct first entry.
        """
        command = commands.existing(data)
        return command.record(
            lambda reading: [reversal_of(trade_id, data.reason, command.event_id(), reading.rows, command.actor)],
            lambda reading: _reversed(reading, trade_id, command.event_id()),
        )


def _ticket(system: System, data: TradeTicket) -> ManualTicket:
    """Raises Problem 422 for a product that is not in this market."""
    if data.product_id not in system.feed.instruments:
        known = ", ".join(system.feed.instruments)
        detail = f"{data.product_id} is not traded here (products: {known})"
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


def _reversed(reading: StoredReading, event_id: UUID, reversal_id: UUID) -> ReversalAnswer:
    rows = reading.rows
    events = {"event": rows.recorded(event_id), "reversal": rows.recorded(reversal_id)}
    return ReversalAnswer.model_validate({**events, "trade": rows.get(TradeView, event_id)})


def _lots_and_matches(reading: StoredReading, trade: TradeView) -> tuple[list[Lot], list[Match]]:
    """Lots that the trade opened, and matches made by it or by later disposals of those lots."""
    recorded = reading.rows.recorded(trade.trade_id)
    moves = moves_of(recorded.event, base_currency_of(reading.rows)) if recorded else ()
    assets = sorted({str(move.asset) for move in moves})
    place = (trade.occurred_at, trade.position)
    lots = [lot for asset in assets for lot in reading.rows.history(Lot, asset, *place)]
    closed = [match for asset in assets for match in reading.rows.history(Match, asset, *place)]
    return lots, [*reading.rows.naming(Match, trade.trade_id, "opening_event_id"), *closed]
