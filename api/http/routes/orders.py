"""Orders and differences: listed, cancelled, and resolved by a person."""

from typing import Annotated, Literal
from uuid import UUID

from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody
from pydantic import Field, StringConstraints

from api.http.commands import Commands
from api.http.errors import Problem
from api.http.requests import Paging, Snapshot
from api.http.schemas import Answer, Page, Request, TradeAnswer
from ledger.events import DifferenceResolved
from ledger.events.fields import Text
from ledger.log.envelope import NewEvent
from ledger.postgres.book import StoredReading
from ledger.projections.orders import OrderView
from ledger.projections.portfolio import DifferenceView
from ledger.projections.trades import TradeView
from ledger.values import Money, Side, UtcTime

Reason = Annotated[str, StringConstraints(strict=True, min_length=1, max_length=2000, pattern=r"^[^\x00]*$")]


class Cancellation(Request):
    """A request to cancel an order."""

    reason: Text = ""


class Resolution(Request):
    """The outcome of an order of unknown outcome, and the evidence for it."""

    outcome: Literal["not_placed", "cancelled"]
    reason: Reason


class Explanation(Request):
    """Why ledger and venue differed."""

    reason: Reason


class OrderAnswer(Answer):
    order_id: UUID
    position: int
    client_order_id: str
    account: str
    venue: str
    product_id: str = Field(validation_alias="instrument")
    side: Side
    type: str = Field(validation_alias="kind")
    base_size: Money | None
    quote_size: Money | None
    limit_price: Money | None
    stop_price: Money | None
    time_in_force: str | None
    signal_id: UUID | None
    triggered_by: str
    requested_at: UtcTime
    expires_at: UtcTime
    status: str
    venue_order_id: str | None
    filled_quantity: Money
    filled_value: Money
    reason: str
    cancel_requested_at: UtcTime | None


class ExecutedAnswer(Answer):
    """An order and its fills so far."""

    order: OrderAnswer
    trades: list[TradeAnswer]


class OrderPage(Page):
    items: list[OrderAnswer]


class DifferenceAnswer(Answer):
    difference_id: UUID
    position: int
    account: str
    venue: str
    subject: str
    ledger: str
    venue_says: str
    found_at: UtcTime
    status: str
    reason: str


class OrderController(Controller):
    path = "/api/v1/orders"
    tags = ("orders",)

    @get("/", operation_id="listOrders", sync_to_thread=True)
    def list_orders(
        self,
        snapshot: NamedDependency[Snapshot],
        paging: NamedDependency[Paging],
        status: FromQuery[str | None] = None,
        product_id: FromQuery[str | None] = None,
    ) -> OrderPage:
        """Orders, newest first."""
        with snapshot.reading() as reading:
            found = reading.rows.newest(OrderView, paging.before, paging.size + 1, status=status, instrument=product_id)
        return paging.answer(OrderPage, found)

    @get("/{order_id:uuid}", operation_id="getOrder", sync_to_thread=True)
    def get_order(self, snapshot: NamedDependency[Snapshot], order_id: FromPath[UUID]) -> ExecutedAnswer:
        """One order and its fills."""
        with snapshot.reading() as reading:
            return order_answer(reading, order_id)

    @post("/{order_id:uuid}/cancel", operation_id="cancelOrder", status_code=200, sync_to_thread=True)
    def cancel_order(
        self, commands: NamedDependency[Commands], order_id: FromPath[UUID], data: JSONBody[Cancellation]
    ) -> Response[ExecutedAnswer]:
        """Requests cancellation at the venue. The order may still fill: the answer is its state so far."""
        command = commands.driven(data)

        def act() -> None:
            command.system.trader.cancel(
                order_id, data.reason, command.event_id(), command.record_as_leader, command.actor
            )

        return command.run(act, lambda reading: order_answer(reading, order_id))

    @post("/{order_id:uuid}/resolve", operation_id="resolveOrder", status_code=200, sync_to_thread=True)
    def resolve_order(
        self, commands: NamedDependency[Commands], order_id: FromPath[UUID], data: JSONBody[Resolution]
    ) -> Response[ExecutedAnswer]:
        """Sets the outcome of an order of unknown outcome, with the evidence. Later fills are still booked."""
        command = commands.driven(data)

        def act() -> None:
            command.system.trader.resolve(
                order_id,
                data.outcome,
                _stated(data.reason),
                command.event_id(),
                command.record_as_leader,
                command.actor,
            )

        return command.run(act, lambda reading: order_answer(reading, order_id))


class DifferenceController(Controller):
    path = "/api/v1/differences"
    tags = ("orders",)

    @get("/", operation_id="listDifferences", sync_to_thread=True)
    def list_differences(self, latest: NamedDependency[Snapshot]) -> list[DifferenceAnswer]:
        """Differences between ledger and venues with their explanations, oldest first."""
        with latest.reading() as reading:
            found = sorted(reading.rows.where(DifferenceView), key=lambda one: one.position)
        return [DifferenceAnswer.model_validate(one) for one in found]

    @post("/{difference_id:uuid}/resolve", operation_id="resolveDifference", status_code=200, sync_to_thread=True)
    def resolve_difference(
        self, commands: NamedDependency[Commands], difference_id: FromPath[UUID], data: JSONBody[Explanation]
    ) -> Response[DifferenceAnswer]:
        """Explains a difference; after the last one its account may trade again. A persisting difference recurs."""
        command = commands.existing(data)

        def decide(reading: StoredReading) -> list[NewEvent]:
            _must_be_open(reading, difference_id)
            event = DifferenceResolved(difference_id=difference_id, reason=_stated(data.reason))
            now = command.system.clock()
            return [NewEvent(event, command.event_id(), now, command.actor, difference_id, difference_id)]

        def answer(reading: StoredReading) -> DifferenceAnswer:
            return DifferenceAnswer.model_validate(reading.rows.get(DifferenceView, difference_id))

        return command.record(decide, answer)


def order_answer(reading: StoredReading, order_id: UUID) -> ExecutedAnswer:
    """The order and its fills. Raises Problem 404."""
    order = reading.rows.get(OrderView, order_id)
    if order is None:
        raise Problem(404, "unknown-order", f"there is no order {order_id}")
    fills = sorted(reading.rows.naming(TradeView, order_id, "order_id"), key=lambda trade: trade.position)
    return ExecutedAnswer.model_validate({"order": order, "trades": fills})


def _stated(reason: str) -> str:
    """Raises Problem 422 for a blank reason."""
    if not reason.strip():
        raise Problem(422, "no-reason", "the reason is blank: state the evidence")
    return reason


def _must_be_open(reading: StoredReading, difference_id: UUID) -> None:
    view = reading.rows.get(DifferenceView, difference_id)
    if view is None:
        raise Problem(404, "unknown-difference", f"there is no difference {difference_id}")
    if view.status == "resolved":
        raise Problem(409, "already-resolved", f"difference {difference_id} is already explained: {view.reason}")
