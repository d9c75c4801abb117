"""Lots, and matches of disposals with lots. Pure functions; FIFO is the order of the keys.

A lot has a total cost C and a quantity Q, never a rounded unit cost. Its first x units cost floor18(C*x/Q), all Q units
exactly C, and the cost of a match is the difference of two such values. The proceeds of a disposal are divided among
its matches by the same rule. So matched + open = bought to the last digit, in any order of disposals. A short lot is
the mirror image: opened by a sale, with its proceeds in place of the cost, and closed by buying.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import ClassVar
from uuid import UUID

from ledger.rows import PastRow, Row, replaced
from ledger.values import SMALLEST, ZERO, round18, share18


@dataclass(frozen=True, slots=True)
class Leg(PastRow):
    """One movement of an asset other than cash: `quantity` in (+) or out (-), at `value` in base currency.

    `value` and `fee` are those of `AssetMove`. `kind` is its reason (`LegKind`); "split" is the adjustment of an account
    by a split. The key is the order in which lots open and close.
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


@dataclass(frozen=True, slots=True)
class Split(PastRow):
    """Every `denominator` open units became `numerator` units."""

    table: ClassVar[str] = "splits"
    key: ClassVar[tuple[str, ...]] = ("asset", "occurred_at", "position")
    asset: str
    occurred_at: datetime
    position: int
    event_id: UUID
    numerator: int
    denominator: int

    def ratio_of(self, quantity: Decimal) -> Decimal:
        """Return `quantity` in units after the split, rounded half to even at 18 places."""
        return round18(quantity * self.numerator / self.denominator)


@dataclass(frozen=True, slots=True)
class Lot(Row):
    """`quantity` units acquired at once for a total `cost`; `closed_quantity` of them are closed.

    A split resets `quantity` and `cost` to those of the open units, in new units. For a short lot `quantity` is the
    quantity owed and `cost` the proceeds of its sale. `cost` is 0 while `cost_known` is false.
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
class Match(PastRow):
    """`quantity` units of a lot closed by a disposal: cost basis, proceeds and realised P&L.

    `kind` is that of the closing leg; the proceeds of a withdrawal are its cost basis, so its P&L is 0. `cost_basis` and
    `realized_pnl` are 0 and meaningless unless `cost_known`. A `short` match was opened by a sale.
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


@dataclass(frozen=True, slots=True)
class UnmatchedDisposal(PastRow):
    """`quantity` units disposed of without a lot. The `proceeds` are not part of realised P&L.

    `quantity` is in units after later splits.
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


@dataclass(frozen=True, slots=True)
class Booking:
    """The result of booking one leg: changed and new lots, new matches, and the unmatched rest."""

    lots: tuple[Lot, ...]
    matches: tuple[Match, ...] = ()
    unmatched: UnmatchedDisposal | None = None


def book_leg(leg: Leg, open_lots: Iterable[Lot], *, allow_short: bool = False) -> Booking:
    """Book `leg` against `open_lots` in the order given (FIFO: the order of their keys).

    Lots of the opposite direction are closed first. The rest of an acquisition opens a lot; the rest of a disposal opens
    a short lot if it is a trade and shorts are allowed, and is unmatched otherwise. So all open lots of an asset are
    either long or short.
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
    unmatched = UnmatchedDisposal(
        leg.asset, leg.occurred_at, leg.position, leg.leg, leg.event_id, moved - matched, leg.kind, value
    )
    return Booking(lots, matches, unmatched)


def split_lot(lot: Lot, split: Split) -> Lot:
    """Return the open rest of `lot` in units after the split, at unchanged cost. Never 0 units: they carry the cost."""
    quantity = max(split.ratio_of(lot.open_quantity), SMALLEST)
    return replaced(lot, quantity=quantity, cost=lot.open_cost, closed_quantity=ZERO)


def split_unmatched(unmatched: UnmatchedDisposal, split: Split) -> UnmatchedDisposal:
    """Return the unmatched disposal in units after the split. Never 0 units: they carry the proceeds."""
    return replaced(unmatched, quantity=max(split.ratio_of(unmatched.quantity), SMALLEST))


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
    """Close lots with `leg`; return the changed lots, the matches, and the matched quantity."""
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
    """Return the share of `total` for `quantity` units after the first `start` of `whole`."""
    return share18(total, start + quantity, whole) - share18(total, start, whole)
