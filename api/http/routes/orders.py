"""Orders: what became of them, ending them, and saying what nobody else can know."""

from uuid import UUID

from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody

from api.http.auth import caller_of
from api.http.commands import IdempotencyKey, Running
from api.http.errors import Problem
from api.http.order_schemas import Cancellation, DifferenceAnswer, Explanation, Resolution
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
    system_of,
)
from api.http.schemas import ExecutedAnswer, OrderAnswer, OrderPage, TradeAnswer
from ledger.entries.recording import record_checked
from ledger.events import DifferenceResolved
from ledger.log.envelope import NewEvent
from ledger.log.point_in_time import PointInTime
from ledger.postgres.book import StoredReading
from ledger.projections.orders import OrderView
from ledger.projections.portfolio import DifferenceView
from ledger.projections.trades import TradeView


class OrderController(Controller):
    path = "/api/v1/orders"
    tags = ("orders",)

    @get("/", operation_id="listOrders", sync_to_thread=True)
    def list_orders(
        self,
        request: AnyRequest,
        past: NamedDependency[PointInTime],
        portfolio: InPortfolio = None,
        limit: FromQuery[int] = 50,
        cursor: FromQuery[str | None] = None,
        status: FromQuery[str | None] = None,
        product_id: FromQuery[str | None] = None,
    ) -> OrderPage:
        """Orders, newest first."""
        only_parameters(request, *PAST, "portfolio", "limit", "cursor", "status", "product_id")
        size = limit_of_page(limit)
        with reading_of(request, portfolio, past) as reading:
            found = reading.rows.newest(OrderView, cursor_of(cursor), size + 1, status=status, instrument=product_id)
        page, following = page_of(found, size)
        return OrderPage(items=[OrderAnswer.model_validate(one) for one in page], next_cursor=following)

    @get("/{order_id:uuid}", operation_id="getOrder", sync_to_thread=True)
    def get_order(
        self,
        request: AnyRequest,
        past: NamedDependency[PointInTime],
        order_id: FromPath[UUID],
        portfolio: InPortfolio = None,
    ) -> ExecutedAnswer:
        """One order and its fills."""
        only_parameters(request, *PAST, "portfolio")
        with reading_of(request, portfolio, past) as reading:
            return order_answer(reading, order_id)

    @post("/{order_id:uuid}/cancel", operation_id="cancelOrder", status_code=200, sync_to_thread=True)
    def cancel_order(
        self,
        request: AnyRequest,
        order_id: FromPath[UUID],
        data: JSONBody[Cancellation],
        idempotency_key: IdempotencyKey = None,
        portfolio: InPortfolio = None,
    ) -> Response[ExecutedAnswer]:
        """Asks the venue to end the order. It may have filled meanwhile: the answer says what is known so far."""
        only_parameters(request, "portfolio")
        system = system_of(request)
        portfolio_id = driven_only(system, portfolio)

        def act(running: Running) -> None:
            system.trader.cancel(
                order_id,
                data.reason,
                running.event_id(),
                lambda events, position: system.leadership.record(events, position, alongside=running.claim),
                caller_of(request).actor,
            )

        def answer(_running: Running) -> ExecutedAnswer:
            with system.book.reading(portfolio_id) as reading:
                return order_answer(reading, order_id)

        command = (f"POST /orders/{order_id}/cancel", data)
        return commands_of(request).run(portfolio_id, idempotency_key, command, act, answer)

    @post("/{order_id:uuid}/resolve", operation_id="resolveOrder", status_code=200, sync_to_thread=True)
    def resolve_order(
        self,
        request: AnyRequest,
        order_id: FromPath[UUID],
        data: JSONBody[Resolution],
        idempotency_key: IdempotencyKey = None,
        portfolio: InPortfolio = None,
    ) -> Response[ExecutedAnswer]:
        """Says what became of an order of unknown outcome, and how that is known. Fills that come all the same count."""
        only_parameters(request, "portfolio")
        system = system_of(request)
        portfolio_id = driven_only(system, portfolio)

        def act(running: Running) -> None:
            system.trader.resolve(
                order_id,
                data.outcome,
                _stated(data.reason),
                running.event_id(),
                lambda events, position: system.leadership.record(events, position, alongside=running.claim),
                caller_of(request).actor,
            )

        def answer(_running: Running) -> ExecutedAnswer:
            with system.book.reading(portfolio_id) as reading:
                return order_answer(reading, order_id)

        command = (f"POST /orders/{order_id}/resolve", data)
        return commands_of(request).run(portfolio_id, idempotency_key, command, act, answer)


class DifferenceController(Controller):
    path = "/api/v1/differences"
    tags = ("orders",)

    @get("/", operation_id="listDifferences", sync_to_thread=True)
    def list_differences(self, request: AnyRequest, portfolio: InPortfolio = None) -> list[DifferenceAnswer]:
        """What ledger and venues do not agree about, and what was said of it, oldest first."""
        only_parameters(request, "portfolio")
        with reading_of(request, portfolio) as reading:
            found = sorted(reading.rows.where(DifferenceView), key=lambda one: one.position)
        return [DifferenceAnswer.model_validate(one) for one in found]

    @post("/{difference_id:uuid}/resolve", operation_id="resolveDifference", status_code=200, sync_to_thread=True)
    def resolve_difference(
        self,
        request: AnyRequest,
        difference_id: FromPath[UUID],
        data: JSONBody[Explanation],
        idempotency_key: IdempotencyKey = None,
        portfolio: InPortfolio = None,
    ) -> Response[DifferenceAnswer]:
        """Explains a difference; the account trades again when it was the last. What is still there is found again."""
        only_parameters(request, "portfolio")
        system = system_of(request)
        with reading_of(request, portfolio) as reading:
            portfolio_id = reading.portfolio_id

        def act(running: Running) -> None:
            def prepare(reading: StoredReading) -> list[NewEvent]:
                _unexplained(reading, difference_id)
                event = DifferenceResolved(difference_id=difference_id, reason=_stated(data.reason))
                event_id, actor = running.event_id(), caller_of(request).actor
                return [NewEvent(event, event_id, system.clock(), actor, difference_id, difference_id)]

            record_checked(system.book, portfolio_id, prepare, running.claim)

        def answer(_running: Running) -> DifferenceAnswer:
            with system.book.reading(portfolio_id) as reading:
                return DifferenceAnswer.model_validate(reading.rows.get(DifferenceView, difference_id))

        command = (f"POST /differences/{difference_id}/resolve", data)
        return commands_of(request).run(portfolio_id, idempotency_key, command, act, answer)


def order_answer(reading: StoredReading, order_id: UUID) -> ExecutedAnswer:
    """The order and its fills. Raises Problem 404."""
    order = reading.rows.get(OrderView, order_id)
    if order is None:
        raise Problem(404, "unknown-order", f"there is no order {order_id}")
    fills = sorted(reading.rows.naming(TradeView, order_id, "order_id"), key=lambda trade: trade.position)
    trades = [TradeAnswer.model_validate(trade) for trade in fills]
    return ExecutedAnswer(order=OrderAnswer.model_validate(order), trades=trades)


def _stated(reason: str) -> str:
    """The reason that a person gave. Raises Problem 422 where nothing is to be read in it."""
    if not reason.strip():
        raise Problem(422, "no-reason", "the reason is blank: say how it is known what happened")
    return reason


def _unexplained(reading: StoredReading, difference_id: UUID) -> None:
    view = reading.rows.get(DifferenceView, difference_id)
    if view is None:
        raise Problem(404, "unknown-difference", f"there is no difference {difference_id}")
    if view.status == "resolved":
        raise Problem(409, "already-resolved", f"difference {difference_id} is explained already: {view.reason}")
