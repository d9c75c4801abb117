"""Lots and matches: what was bought, what it cost, and which sale closed it. Pure; FIFO is the order of the keys.

A lot keeps its total cost C and quantity Q, never a rounded unit cost. The first x units carry floor18(C*x/Q), all of
them exactly C, and a match takes the difference of two such numbers; the proceeds of a sale are shared over its matches
by the same rule. So matched + open = bought to the last digit, whatever the path.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import ClassVar
from uuid import UUID

from ledger.rows import Row, replaced
from ledger.values import ZERO, share18


@dataclass(frozen=True, slots=True)
class Leg(Row):
    """One movement of an asset that is not cash: `quantity` in (+) or out (-), worth `value` in base currency.

    For what came in `value` is its cost, for what went out its proceeds, fees inside. `fee` is the part of it that
    was fees. The key is the order in which lots open and close.
    """

    table: ClassVar[str] = "legs"
    key: ClassVar[tuple[str, ...]] = ("asset", "occurred_at", "position", "leg")
    asset: str
    occurred_at: datetime
    position: int
    leg: int
    event_id: UUID
    account: str
    instrument: str
    quantity: Decimal
    value: Decimal
    fee: Decimal
    triggered_by: str | None

    @property
    def live(self) -> bool:
        return False


@dataclass(frozen=True, slots=True)
class Lot(Row):
    """What one acquisition brought: `quantity` units for `cost` in all, of which `closed_quantity` units are gone again."""

    table: ClassVar[str] = "lots"
    key: ClassVar[tuple[str, ...]] = ("asset", "opened_at", "position", "leg")
    asset: str
    opened_at: datetime
    position: int
    leg: int
    event_id: UUID
    quantity: Decimal
    cost: Decimal
    closed_quantity: Decimal
    triggered_by: str | None

    @property
    def live(self) -> bool:
        return self.closed_quantity < self.quantity

    @property
    def open_quantity(self) -> Decimal:
        return self.quantity - self.closed_quantity

    @property
    def open_cost(self) -> Decimal:
        return self.cost - share18(self.cost, self.closed_quantity, self.quantity)


@dataclass(frozen=True, slots=True)
class Match(Row):
    """`quantity` units of a lot closed by a disposal: what they cost, what they brought, and the difference."""

    table: ClassVar[str] = "matches"
    key: ClassVar[tuple[str, ...]] = (
        "asset",
        "closed_at",
        "closing_position",
        "closing_leg",
        "opening_position",
        "opening_leg",
    )
    asset: str
    closed_at: datetime
    closing_position: int
    closing_leg: int
    opening_position: int
    opening_leg: int
    opened_at: datetime
    opening_event_id: UUID
    closing_event_id: UUID
    quantity: Decimal
    proceeds: Decimal
    cost_basis: Decimal
    realized_pnl: Decimal
    opened_by: str | None
    closed_by: str | None

    @property
    def live(self) -> bool:
        return False


@dataclass(frozen=True, slots=True)
class UnmatchedDisposal(Row):
    """`quantity` units that went out although no lot held them: no gain is invented, `proceeds` stay out of realised P&L."""

    table: ClassVar[str] = "unmatched_disposals"
    key: ClassVar[tuple[str, ...]] = ("asset", "occurred_at", "position", "leg")
    asset: str
    occurred_at: datetime
    position: int
    leg: int
    event_id: UUID
    quantity: Decimal
    proceeds: Decimal

    @property
    def live(self) -> bool:
        return False


@dataclass(frozen=True, slots=True)
class Booking:
    """What one leg did: lots as they are now, matches made, and what found no lot."""

    lots: tuple[Lot, ...]
    matches: tuple[Match, ...] = ()
    unmatched: UnmatchedDisposal | None = None


def book_leg(leg: Leg, open_lots: Iterable[Lot]) -> Booking:
    """The booking of `leg` against `open_lots`, taken in the order given (FIFO: the order of their keys)."""
    if leg.quantity > 0:
        return Booking((_opened(leg),))
    return _closed(leg, iter(open_lots))


def _opened(leg: Leg) -> Lot:
    return Lot(
        asset=leg.asset,
        opened_at=leg.occurred_at,
        position=leg.position,
        leg=leg.leg,
        event_id=leg.event_id,
        quantity=leg.quantity,
        cost=leg.value,
        closed_quantity=ZERO,
        triggered_by=leg.triggered_by,
    )


def _closed(leg: Leg, open_lots: Iterator[Lot]) -> Booking:
    disposed = -leg.quantity
    matched = ZERO
    lots: list[Lot] = []
    matches: list[Match] = []
    while matched < disposed and (lot := next(open_lots, None)) is not None:
        quantity = min(lot.open_quantity, disposed - matched)
        lots.append(replaced(lot, closed_quantity=lot.closed_quantity + quantity))
        matches.append(_match(leg, lot, matched, quantity))
        matched += quantity
    if matched == disposed:
        return Booking(tuple(lots), tuple(matches))
    proceeds = leg.value - share18(leg.value, matched, disposed)
    unmatched = UnmatchedDisposal(
        leg.asset, leg.occurred_at, leg.position, leg.leg, leg.event_id, disposed - matched, proceeds
    )
    return Booking(tuple(lots), tuple(matches), unmatched)


def _match(leg: Leg, lot: Lot, already_matched: Decimal, quantity: Decimal) -> Match:
    proceeds = _between(leg.value, already_matched, quantity, -leg.quantity)
    cost_basis = _between(lot.cost, lot.closed_quantity, quantity, lot.quantity)
    return Match(
        asset=leg.asset,
        closed_at=leg.occurred_at,
        closing_position=leg.position,
        closing_leg=leg.leg,
        opening_position=lot.position,
        opening_leg=lot.leg,
        opened_at=lot.opened_at,
        opening_event_id=lot.event_id,
        closing_event_id=leg.event_id,
        quantity=quantity,
        proceeds=proceeds,
        cost_basis=cost_basis,
        realized_pnl=proceeds - cost_basis,
        opened_by=lot.triggered_by,
        closed_by=leg.triggered_by,
    )


def _between(total: Decimal, start: Decimal, quantity: Decimal, whole: Decimal) -> Decimal:
    """What the units after the first `start` carry of `total`, for `quantity` units."""
    return share18(total, start + quantity, whole) - share18(total, start, whole)
