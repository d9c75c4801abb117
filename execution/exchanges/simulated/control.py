"""The control routes of a simulated venue: plan faults, set prices and balances, fill orders, and read its state."""

from collections import Counter
from collections.abc import Callable, Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from execution.exchanges.simulated.faults import Faults, On, VenueClock, planned_fault
from execution.exchanges.simulated.matching import Execution, FeesIn, Matching, Order
from execution.exchanges.simulated.shape import Answer, Json, Request, reply
from ledger.values import Amount, Asset, Instrument, Money, Price, Quantity, decimal_text, time_text


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class PlannedFault(_Body):
    """POST /control/faults. `times` null: until faults are cleared; `on` null: the requests that fit the fault."""

    name: str
    times: Annotated[int, Field(ge=1)] | None = 1
    seconds: Money = Decimal(0)
    on: On | None = None


class Filled(_Body):
    """POST /control/fills: fills the last order with that client id."""

    client_order_id: str
    quantity: Quantity
    price: Price


class Changed(_Body):
    """POST /control/settings: changes how orders fill; omitted settings stay unchanged."""

    share: Amount | None = None
    splits: Annotated[int, Field(ge=1, le=100)] | None = None
    rest: Literal["expires", "waits"] | None = None
    fees_in: FeesIn | None = None
    fee_rate: Money | None = None


class Advanced(_Body):
    """POST /control/clock: advances the venue's clock by seconds."""

    advance: Amount


class Control:
    """Handles /control/…; an invalid request gets status 400 with an error text and changes nothing."""

    def __init__(self, matching: Matching, faults: Faults, clock: VenueClock, requests: Counter[str]) -> None:
        self._matching, self._faults, self._clock, self._requests = matching, faults, clock, requests

    def answer(self, request: Request) -> Answer:
        act = ROUTES.get((request.method, request.path.removeprefix("/control/")))
        if act is None:
            return reply({"error": f"unknown route {request.method} {request.path[:80]}"}, 404)
        try:
            return reply(act(self, request))
        except ValidationError as error:
            first = error.errors()[0]
            return reply({"error": f"{'.'.join(map(str, first['loc']))}: {first['msg']}"}, 400)
        except ValueError as error:
            return reply({"error": str(error)}, 400)

    def plan_fault(self, request: Request) -> Json:
        fault = PlannedFault.model_validate_json(request.body)
        self._faults.plan(planned_fault(fault.name, fault.seconds, fault.times, fault.on))
        return self.faults(request)

    def clear_faults(self, request: Request) -> Json:
        self._faults.clear()
        return self.faults(request)

    def faults(self, _: Request) -> Json:
        planned = self._faults.planned
        return [
            {"name": one.name, "times": one.times, "seconds": decimal_text(one.seconds), "on": one.on}
            for one in planned
        ]

    def set_prices(self, request: Request) -> Json:
        prices = TypeAdapter(dict[Instrument, Price]).validate_json(request.body)
        unknown = prices.keys() - self._matching.markets.keys()
        if unknown:
            raise ValueError(f"{', '.join(sorted(unknown))} is not traded here")
        for instrument, price in prices.items():
            self._matching.set_price(instrument, price)
        return {instrument: decimal_text(price) for instrument, price in self._matching.prices.items()}

    def set_balances(self, request: Request) -> Json:
        for asset, total in TypeAdapter(dict[Asset, Amount]).validate_json(request.body).items():
            self._matching.deposit(asset, total)
        return self.balances(request)

    def balances(self, _: Request) -> Json:
        return {asset: decimal_text(total) for asset, total in self._matching.totals.items()}

    def fill(self, request: Request) -> Json:
        fill = Filled.model_validate_json(request.body)
        orders = self._matching.by_client_id(fill.client_order_id)
        if not orders:
            raise ValueError(f"unknown order {fill.client_order_id[:80]}")
        self._matching.fill(orders[-1], fill.quantity, fill.price)
        return _order(orders[-1])

    def change(self, request: Request) -> Json:
        changed = Changed.model_validate_json(request.body)
        for name in changed.model_fields_set:
            if (value := getattr(changed, name)) is not None:
                setattr(self._matching.settings, name, value)
        return {name: str(getattr(self._matching.settings, name)) for name in Changed.model_fields}

    def advance(self, request: Request) -> Json:
        seconds = Advanced.model_validate_json(request.body).advance
        self._clock.advanced += timedelta(milliseconds=int(seconds * 1000))
        return {"now": time_text(self._clock())}

    def orders(self, request: Request) -> Json:
        client_id = request.parameters().get("client_order_id")
        return [_order(one) for one in self._matching.orders if client_id in (None, one.terms.client_order_id)]

    def trades(self, _: Request) -> Json:
        return [_execution(one) for one in self._matching.executions]

    def requests(self, _: Request) -> Json:
        return dict(self._requests)


_Act = Callable[[Control, Request], Json]
ROUTES: Final[Mapping[tuple[str, str], _Act]] = {
    ("GET", "faults"): Control.faults,
    ("POST", "faults"): Control.plan_fault,
    ("DELETE", "faults"): Control.clear_faults,
    ("POST", "prices"): Control.set_prices,
    ("GET", "balances"): Control.balances,
    ("POST", "balances"): Control.set_balances,
    ("POST", "fills"): Control.fill,
    ("POST", "settings"): Control.change,
    ("POST", "clock"): Control.advance,
    ("GET", "orders"): Control.orders,
    ("GET", "trades"): Control.trades,
    ("GET", "requests"): Control.requests,
}


def _order(order: Order) -> Mapping[str, object]:
    return {
        "number": order.number,
        "client_order_id": order.terms.client_order_id,
        "instrument": order.terms.instrument,
        "side": order.terms.side,
        "state": order.state,
        "filled": decimal_text(order.filled),
        "value": decimal_text(order.value),
        "placed_at": time_text(order.placed_at),
    }


def _execution(one: Execution) -> Mapping[str, object]:
    return {
        "trade_id": one.trade_id,
        "client_order_id": one.order.terms.client_order_id,
        "instrument": one.order.terms.instrument,
        "quantity": decimal_text(one.quantity),
        "price": decimal_text(one.price),
        "fee": decimal_text(one.fee),
        "fee_asset": one.fee_asset,
        "at": time_text(one.at),
    }
