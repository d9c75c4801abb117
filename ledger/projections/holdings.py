"""Holdings: positions, lots and realised P&L in one fold, so they cannot disagree.

One position per asset, whoever triggered the trades. Arrival order never changes the result: a leg that is older than
one already folded has its asset's lots folded again, in the order of occurrence.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import ClassVar

from ledger.envelope import Envelope
from ledger.events import Event, PortfolioOpened, TradeExecuted
from ledger.legs import moves_of
from ledger.lots import Booking, Leg, Lot, Match, UnmatchedDisposal, book_leg
from ledger.projections.portfolio import base_currency_of
from ledger.rows import Change, Gone, MemoryRows, Row, Rows, key_of, replaced
from ledger.values import ZERO


@dataclass(frozen=True, slots=True)
class Holding(Row):
    """A position: what is held, what the open lots cost, what closing others brought (all in base currency).

    `fees` are those inside costs and proceeds; `unmatched_*` tell of disposals that no lot covered.
    `last_*` is the key of the newest leg folded.
    """

    table: ClassVar[str] = "holdings"
    key: ClassVar[tuple[str, ...]] = ("asset",)
    asset: str
    quantity: Decimal
    cost_basis: Decimal
    realized_pnl: Decimal
    fees: Decimal
    unmatched_quantity: Decimal
    unmatched_proceeds: Decimal
    last_occurred_at: datetime
    last_position: int
    last_leg: int


class HoldingsProjection:
    name = "holdings"
    version = 1
    rows: tuple[type[Row], ...] = (Leg, Lot, Match, UnmatchedDisposal, Holding)

    def fold(self, rows: Rows, envelope: Envelope) -> list[Change]:
        event = envelope.event
        if isinstance(event, PortfolioOpened):
            return []
        changes: list[Change] = []
        for leg in legs_of(event, envelope, base_currency_of(rows)):
            # Two legs of one event always move different assets, so neither needs to see what the other changed.
            changes += _fold_leg(rows, leg)
        return changes


def legs_of(event: Event, envelope: Envelope, base_currency: str) -> list[Leg]:
    """The event's legs that open or close lots: everything but cash. Raises UnvaluedLeg."""
    trade = event if isinstance(event, TradeExecuted) else None
    return [
        Leg(
            asset=str(move.asset),
            occurred_at=envelope.occurred_at,
            position=envelope.position,
            leg=number,
            event_id=envelope.event_id,
            account=move.account,
            instrument=str(trade.instrument) if trade else f"{move.asset}-{base_currency}",
            quantity=move.quantity,
            value=move.value,
            fee=move.fee,
            triggered_by=trade.triggered_by if trade else None,
        )
        for number, move in enumerate(moves_of(event, base_currency))
        if move.asset != base_currency and move.quantity
    ]


def _fold_leg(rows: Rows, leg: Leg) -> list[Change]:
    holding = rows.get(Holding, leg.asset)
    if holding is None:
        holding = empty_holding(leg)
    elif key_of(leg)[1:] < (holding.last_occurred_at, holding.last_position, holding.last_leg):
        return _fold_again(rows, leg)
    booking = book_leg(leg, rows.where(Lot, leg.asset))
    return [leg, *_changes(booking), after_booking(holding, leg, booking)]


def empty_holding(leg: Leg) -> Holding:
    """A holding of the leg's asset before its first leg."""
    return Holding(leg.asset, ZERO, ZERO, ZERO, ZERO, ZERO, ZERO, leg.occurred_at, leg.position, leg.leg)


def after_booking(holding: Holding, leg: Leg, booking: Booking) -> Holding:
    """The holding after `booking` of `leg`."""
    cost_out = sum((match.cost_basis for match in booking.matches), ZERO)
    unmatched = booking.unmatched
    return replaced(
        holding,
        quantity=holding.quantity + leg.quantity,
        cost_basis=holding.cost_basis - cost_out + (leg.value if leg.quantity > 0 else ZERO),
        realized_pnl=holding.realized_pnl + sum((match.realized_pnl for match in booking.matches), ZERO),
        fees=holding.fees + leg.fee,
        unmatched_quantity=holding.unmatched_quantity + (unmatched.quantity if unmatched else ZERO),
        unmatched_proceeds=holding.unmatched_proceeds + (unmatched.proceeds if unmatched else ZERO),
        last_occurred_at=leg.occurred_at,
        last_position=leg.position,
        last_leg=leg.leg,
    )


def _changes(booking: Booking) -> Iterable[Change]:
    yield from booking.lots
    yield from booking.matches
    if booking.unmatched:
        yield booking.unmatched


def _fold_again(rows: Rows, late: Leg) -> list[Change]:
    """Every row of the asset as it is when all its legs, `late` among them, are folded in order of occurrence."""
    fresh = MemoryRows()
    legs = sorted([*rows.history(Leg, late.asset), late], key=key_of)
    for leg in legs:
        fresh.apply(_fold_leg(fresh, leg))
    before: dict[tuple[type[Row], tuple[object, ...]], Row] = {}
    after: dict[tuple[type[Row], tuple[object, ...]], Row] = {}
    for kind in HoldingsProjection.rows:
        before |= {(kind, key_of(row)): row for row in rows.history(kind, late.asset)}
        after |= {(kind, key_of(row)): row for row in fresh.history(kind, late.asset)}
    gone = [Gone(kind, key) for kind, key in before.keys() - after.keys()]
    return gone + [row for name, row in after.items() if before.get(name) != row]
