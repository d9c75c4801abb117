"""Lots and matches: what was bought, what it cost, and which sale closed it. Pure; FIFO is the order of the keys.

A lot keeps its total cost C and quantity Q, never a rounded unit cost. The first x units carry floor18(C*x/Q), all of
them exactly C, and a match takes the difference of two such numbers; the proceeds of a sale are shared over its matches
by the same rule. So matched + open = bought to the last digit, whatever the path. A short lot is the same thing turned
round: what its sale brought stands where a lot has its cost, and buying closes it.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import ClassVar
from uuid import UUID

from ledger.rows import Row, replaced
from ledger.values import SMALLEST, ZERO, round18, share18


@dataclass(frozen=True, slots=True)
class Leg(Row):
    """One movement of an asset that is not cash: `quantity` in (+) or out (-), worth `value` in base currency.

    For what came in `value` is its cost, for what went out its proceeds, fees inside; 0 for what moves at its cost or
    at one that is not known. `fee` is the part of it that was fees, `kind` why it moved (`ledger/booking/legs.py`; "split" is
    what a split added to or took from an account). The key is the order in which lots open and close.
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
    kind: str
    cost_known: bool
    triggered_by: str | None

    @property
    def live(self) -> bool:
        return False


@dataclass(frozen=True, slots=True)
class Split(Row):
    """Every `denominator` units that were open became `numerator` units."""

    table: ClassVar[str] = "splits"
    key: ClassVar[tuple[str, ...]] = ("asset", "occurred_at", "position")
    asset: str
    occurred_at: datetime
    position: int
    event_id: UUID
    numerator: int
    denominator: int

    @property
    def live(self) -> bool:
        return False

    def ratio_of(self, quantity: Decimal) -> Decimal:
        """What became of `quantity`, rounded half to even at 18 places."""
        return round18(quantity * self.numerator / self.denominator)


@dataclass(frozen=True, slots=True)
class Lot(Row):
    """What one acquisition brought: `quantity` units for `cost` in all, of which `closed_quantity` units are gone again.

    After a split `quantity` and `cost` are those of the units that were open, at their new number. Of a short lot
    `quantity` is what is owed and `cost` what selling it brought. `cost` is 0 while `cost_known` is false.
    """

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
    short: bool
    cost_known: bool
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
    """`quantity` units of a lot closed by a disposal: what they cost, what they brought, and the difference.

    `kind` is why the closing leg moved; a withdrawal brings what the units cost, so nothing is gained. Where the cost is
    not known, `cost_basis` and `realized_pnl` are 0 and mean nothing. A `short` match was opened by a sale.
    """

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
    kind: str
    short: bool
    cost_known: bool
    opened_by: str | None
    closed_by: str | None

    @property
    def live(self) -> bool:
        return False


@dataclass(frozen=True, slots=True)
class UnmatchedDisposal(Row):
    """`quantity` units that went out although no lot held them: no gain is invented, `proceeds` stay out of realised P&L.

    Units are counted as they are after later splits.
    """

    table: ClassVar[str] = "unmatched_disposals"
    key: ClassVar[tuple[str, ...]] = ("asset", "occurred_at", "position", "leg")
    asset: str
    occurred_at: datetime
    position: int
    leg: int
    event_id: UUID
    quantity: Decimal
    kind: str
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


def book_leg(leg: Leg, open_lots: Iterable[Lot], *, allow_short: bool = False) -> Booking:
    """The booking of `leg` against `open_lots`, taken in the order given (FIFO: the order of their keys).

    Lots of the other direction are closed first. What is left of an acquisition opens a lot; what is left of a trade's
    disposal opens a short lot if that is allowed, and is unmatched otherwise. So the open lots of an asset never face
    both ways, and the first tells for all.
    """
    if leg.kind == "transfer":
        return Booking(())
    lots, matches, matched = _closed(leg, iter(open_lots))
    moved = abs(leg.quantity)
    if matched == moved:
        return Booking(lots, matches)
    value = leg.value - share18(leg.value, matched, moved)
    short = leg.quantity < 0
    if not short or (allow_short and leg.kind == "trade"):
        return Booking((*lots, _opened(leg, moved - matched, value, short=short)), matches)
    missing = UnmatchedDisposal(
        leg.asset, leg.occurred_at, leg.position, leg.leg, leg.event_id, moved - matched, leg.kind, value
    )
    return Booking(lots, matches, missing)


def split_lot(lot: Lot, split: Split) -> Lot:
    """The open rest of `lot` at its new number of units (never none: its cost must stay somewhere), for what it cost."""
    quantity = max(split.ratio_of(lot.open_quantity), SMALLEST)
    return replaced(lot, quantity=quantity, cost=lot.open_cost, closed_quantity=ZERO)


def split_missing(missing: UnmatchedDisposal, split: Split) -> UnmatchedDisposal:
    """What no lot held, at its new number of units (never none, for its proceeds stay)."""
    return replaced(missing, quantity=max(split.ratio_of(missing.quantity), SMALLEST))


def _opened(leg: Leg, quantity: Decimal, value: Decimal, *, short: bool) -> Lot:
    return Lot(
        asset=leg.asset,
        opened_at=leg.occurred_at,
        position=leg.position,
        leg=leg.leg,
        event_id=leg.event_id,
        quantity=quantity,
        cost=value,
        closed_quantity=ZERO,
        short=short,
        cost_known=leg.cost_known,
        triggered_by=leg.triggered_by,
    )


def _closed(leg: Leg, open_lots: Iterator[Lot]) -> tuple[tuple[Lot, ...], tuple[Match, ...], Decimal]:
    """The lots after `leg` closed what it could of them, the matches, and how much of the leg they cover."""
    moved = abs(leg.quantity)
    matched = ZERO
    lots: list[Lot] = []
    matches: list[Match] = []
    while matched < moved and (lot := next(open_lots, None)) is not None and lot.short == (leg.quantity > 0):
        quantity = min(lot.open_quantity, moved - matched)
        lots.append(replaced(lot, closed_quantity=lot.closed_quantity + quantity))
        matches.append(_match(leg, lot, matched, quantity))
        matched += quantity
    return tuple(lots), tuple(matches), matched


def _match(leg: Leg, lot: Lot, already_matched: Decimal, quantity: Decimal) -> Match:
    by_leg = _between(leg.value, already_matched, quantity, abs(leg.quantity))
    by_lot = _between(lot.cost, lot.closed_quantity, quantity, lot.quantity)
    proceeds, cost_basis = (by_lot, by_leg) if lot.short else (by_leg, by_lot)
    if leg.kind == "withdrawal":
        proceeds = cost_basis
    cost_known = lot.cost_known and leg.cost_known
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
        realized_pnl=proceeds - cost_basis if cost_known else ZERO,
        kind=leg.kind,
        short=lot.short,
        cost_known=cost_known,
        opened_by=lot.triggered_by,
        closed_by=leg.triggered_by,
    )


def _between(total: Decimal, start: Decimal, quantity: Decimal, whole: Decimal) -> Decimal:
    """What the units after the first `start` carry of `total`, for `quantity` units."""
    return share18(total, start + quantity, whole) - share18(total, start, whole)
