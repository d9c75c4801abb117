"""Events of exits: the stops and targets that guard what is held, from being armed to having sold it."""

from typing import Literal
from uuid import UUID

from ledger.events.fields import Event, Name, Text
from ledger.values import Amount, Instrument, Price, Quantity


class ExitArmed(Event):
    """`quantity` (base units; None: all that the account holds) is sold when the price reaches `stop` or `target`.

    `order_id` is the purchase that it guards, `bought` how much of that has been taken into account; a person's exit has
    none. With a `trail` (a fraction of the price) the stop follows the highest price at that distance. Recorded again
    when an exit order ended with something left to sell.
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
    """The exit stands so from now on: a person moved it, its stop trailed, or its size followed what is held."""

    type = "ExitChanged"
    exit_id: UUID
    quantity: Quantity | None = None
    bought: Amount
    stop: Price | None = None
    target: Price | None = None
    trail: Quantity | None = None


class ExitTriggered(Event):
    """The price reached the level: `order_id` is the one order that sells for this arming. `price` is what was seen."""

    type = "ExitTriggered"
    exit_id: UUID
    level: Literal["stop", "target"]
    price: Price
    order_id: UUID


class ExitDisarmed(Event):
    """The exit guards nothing more."""

    type = "ExitDisarmed"
    exit_id: UUID
    reason: Text
