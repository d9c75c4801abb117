"""Events of exits: stops and targets of positions, from arming to the sale."""

from typing import Literal
from uuid import UUID

from ledger.events.fields import Event, Name, Text
from ledger.values import Amount, Instrument, Price, Quantity


class ExitArmed(Event):
    """Sell `quantity` (base units; None: the account's whole position) when the price reaches `stop` or `target`.

    `order_id` is the buy order it protects, `bought` the filled quantity taken into account so far; manual exits have
    no order. With a `trail` (a fraction of the price) the stop follows the highest price at that distance. Recorded
    again when an exit order ended with a remainder to sell.
    """

    type = "ExitArmed"
    exit_id: UUID
    account: Name
    instrument: Instrument
    order_id: UUID | None = None
    quantity: Quantity | None = None
    bought: Amount
    stop: Price | None = None
    target: Price | None = None
    trail: Quantity | None = None


class ExitChanged(Event):
    """New levels and size of the exit: set by a person, by the trailing stop, or by a change of the position."""

    type = "ExitChanged"
    exit_id: UUID
    quantity: Quantity | None = None
    bought: Amount
    stop: Price | None = None
    target: Price | None = None
    trail: Quantity | None = None


class ExitTriggered(Event):
    """The price reached the level; `order_id` is the only sell order of this arming. `price` is the observed price."""

    type = "ExitTriggered"
    exit_id: UUID
    level: Literal["stop", "target"]
    price: Price
    order_id: UUID


class ExitDisarmed(Event):
    """The exit no longer applies."""

    type = "ExitDisarmed"
    exit_id: UUID
    reason: Text
