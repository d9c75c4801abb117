"""Holdings: balances, positions, lots and realised P&L in one fold, so they cannot disagree.

One position per asset, whoever triggered the trades. Arrival order never changes the result: what is older than
something already folded, and what is taken back, has its asset folded again in the order of occurrence.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import ClassVar
from uuid import UUID

from ledger.envelope import Envelope
from ledger.events import Event, SplitRecorded, TradeExecuted, TradeReversed
from ledger.legs import MOVING, AssetMove, UnvaluedLeg, moves_of
from ledger.lots import Booking, Leg, Lot, Match, Split, UnmatchedDisposal, book_leg, split_lot
from ledger.projections.cash import Balance, cash_changes
from ledger.projections.portfolio import PortfolioView, portfolio_of
from ledger.projections.reversals import newly_reversed
from ledger.rows import Change, Gone, MemoryRows, Overlay, Row, Rows, key_of, replaced
from ledger.values import ZERO


@dataclass(frozen=True, slots=True)
class Holding(Row):
    """A position: what is held, what the open lots cost, what closing others brought (all in base currency).

    `quantity` and `cost_basis` are below 0 for a short position. `fees` are those inside costs and proceeds;
    `unmatched_*` tell of disposals that no lot covered, `unknown_cost_proceeds` of those whose lots have no known cost:
    neither is part of `realized_pnl`. `unknown_cost_quantity` is held at such a cost. `contributed` is the cost of what
    came in from outside less the cost of what went out, `income` the worth of what came in as income, `expenses` that
    of fees paid outside trades. `last_*` is the key of the newest leg folded.
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
    unknown_cost_quantity: Decimal
    unknown_cost_proceeds: Decimal
    contributed: Decimal
    income: Decimal
    expenses: Decimal
    last_occurred_at: datetime
    last_position: int
    last_leg: int


class HoldingsProjection:
    name = "holdings"
    version = 2
    events: tuple[type[Event], ...] = (*MOVING, SplitRecorded, TradeReversed)
    rows: tuple[type[Row], ...] = (Leg, Split, Lot, Match, UnmatchedDisposal, Holding, Balance)

    def fold(self, rows: Rows, envelope: Envelope) -> list[Change]:
        event, portfolio = envelope.event, portfolio_of(rows)
        if isinstance(event, TradeReversed):
            return _fold_reversal(rows, portfolio, envelope)
        if isinstance(event, SplitRecorded):
            return _fold_item(rows, portfolio, split_of(envelope, event, portfolio.base_currency))
        moves = moves_of(event, portfolio.base_currency)
        changes = cash_changes(rows, _cash(moves, portfolio))
        legs = legs_of(envelope, moves, portfolio.base_currency)
        if len({leg.asset for leg in legs}) == len(legs):
            return changes + [change for leg in legs for change in _fold_item(rows, portfolio, leg)]
        # A later leg of the same asset has to see what the earlier one changed.
        seen = Overlay(rows)
        for leg in legs:
            seen.apply(_fold_item(seen, portfolio, leg))
        return changes + seen.changes()


Item = Leg | Split
"""What changes the lots of one asset."""


def legs_of(envelope: Envelope, moves: Sequence[AssetMove], base_currency: str) -> list[Leg]:
    """The moves of the envelope's event that are not cash, as legs numbered by their place among the moves."""
    event = envelope.event
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
            kind=move.kind,
            cost_known=move.cost_known,
            triggered_by=trade.triggered_by if trade else None,
        )
        for number, move in enumerate(moves)
        if move.asset != base_currency and move.quantity
    ]


def split_of(envelope: Envelope, event: SplitRecorded, base_currency: str) -> Split:
    """The split as a row. Raises UnvaluedLeg for the base currency, by which all else is measured."""
    if event.asset == base_currency:
        raise UnvaluedLeg(f"{event.asset} is the base currency: it cannot split")
    return Split(
        str(event.asset),
        envelope.occurred_at,
        envelope.position,
        envelope.event_id,
        event.numerator,
        event.denominator,
    )


def _cash(moves: Sequence[AssetMove], portfolio: PortfolioView) -> list[AssetMove]:
    return [move for move in moves if move.asset == portfolio.base_currency and move.quantity]


def _fold_item(rows: Rows, portfolio: PortfolioView, item: Item) -> list[Change]:
    holding = rows.get(Holding, item.asset)
    if holding is None:
        holding = empty_holding(item)
    elif _place(item) < (holding.last_occurred_at, holding.last_position, holding.last_leg):
        return _fold_again(rows, portfolio, item.asset, late=item)
    if isinstance(item, Split):
        return _split(rows, portfolio, holding, item)
    booking = book_leg(item, rows.where(Lot, item.asset), allow_short=portfolio.allow_short)
    return [item, *_changes(booking), _moved(rows, item), after_booking(holding, item, booking)]


def _place(item: Item) -> tuple[datetime, int, int]:
    return (item.occurred_at, item.position, item.leg if isinstance(item, Leg) else 0)


def empty_holding(item: Item) -> Holding:
    """A holding of the asset before its first leg or split."""
    occurred_at, position, leg = _place(item)
    nothing = (ZERO, ZERO, ZERO, ZERO, ZERO, ZERO, ZERO, ZERO, ZERO, ZERO, ZERO)
    return Holding(item.asset, *nothing, occurred_at, position, leg)


def after_booking(holding: Holding, leg: Leg, booking: Booking) -> Holding:
    """The holding after `booking` of `leg`."""
    opened = [lot for lot in booking.lots if lot.event_id == leg.event_id and lot.leg == leg.leg]
    cost_in = sum((-lot.cost if lot.short else lot.cost for lot in opened), ZERO)
    cost_out = sum((-match.proceeds if match.short else match.cost_basis for match in booking.matches), ZERO)
    unknown = [match for match in booking.matches if not match.cost_known]
    unknown_in = sum((lot.quantity for lot in opened if not lot.cost_known), ZERO)
    unknown_out = sum((match.quantity for match in unknown if not match.short), ZERO)
    unmatched = booking.unmatched
    worth = leg.value if leg.quantity > 0 else -leg.value
    if leg.kind == "withdrawal":
        worth = -sum((match.cost_basis for match in booking.matches), ZERO)
    return replaced(
        holding,
        quantity=holding.quantity + leg.quantity,
        cost_basis=holding.cost_basis - cost_out + cost_in,
        realized_pnl=holding.realized_pnl + sum((match.realized_pnl for match in booking.matches), ZERO),
        fees=holding.fees + leg.fee,
        unmatched_quantity=holding.unmatched_quantity + (unmatched.quantity if unmatched else ZERO),
        unmatched_proceeds=holding.unmatched_proceeds + (unmatched.proceeds if unmatched else ZERO),
        unknown_cost_quantity=holding.unknown_cost_quantity + unknown_in - unknown_out,
        unknown_cost_proceeds=holding.unknown_cost_proceeds + sum((match.proceeds for match in unknown), ZERO),
        contributed=holding.contributed + (worth if leg.kind in ("deposit", "opening", "withdrawal") else ZERO),
        income=holding.income + (worth if leg.kind == "income" else ZERO),
        expenses=holding.expenses - (worth if leg.kind == "expense" else ZERO),
        last_occurred_at=leg.occurred_at,
        last_position=leg.position,
        last_leg=leg.leg,
    )


def _moved(rows: Rows, leg: Leg) -> Balance:
    """The balance of the leg's account after it."""
    before = rows.get(Balance, leg.asset, leg.account) or Balance(leg.asset, leg.account, ZERO, ZERO, ZERO, ZERO)
    return replaced(before, quantity=before.quantity + leg.quantity)


def _changes(booking: Booking) -> Iterator[Change]:
    yield from booking.lots
    yield from booking.matches
    if booking.unmatched:
        yield booking.unmatched


def _split(rows: Rows, portfolio: PortfolioView, holding: Holding, split: Split) -> list[Change]:
    """Open lots at their new numbers; each account gets its share, the last one what rounding leaves of the whole."""
    before = list(rows.where(Lot, split.asset))
    lots = [split_lot(lot, split) for lot in before]
    legs: list[Leg] = []
    left = _owned(lots) - _owned(before)
    balances = list(rows.where(Balance, split.asset))
    for number, balance in enumerate(balances):
        last = number == len(balances) - 1
        gained = left if last else split.ratio_of(balance.quantity) - balance.quantity
        left -= gained
        if gained:
            legs.append(_split_leg(portfolio, split, number, balance.account, gained))
    quantity = holding.quantity + sum((leg.quantity for leg in legs), ZERO)
    after = replaced(
        holding,
        quantity=quantity,
        unknown_cost_quantity=sum((lot.quantity for lot in lots if not lot.cost_known), ZERO),
        last_occurred_at=split.occurred_at,
        last_position=split.position,
        last_leg=0,
    )
    return [split, *lots, *legs, *(_moved(rows, leg) for leg in legs), after]


def _owned(lots: Iterable[Lot]) -> Decimal:
    return sum((-lot.open_quantity if lot.short else lot.open_quantity for lot in lots), ZERO)


def _split_leg(portfolio: PortfolioView, split: Split, number: int, account: str, gained: Decimal) -> Leg:
    return Leg(
        asset=split.asset,
        occurred_at=split.occurred_at,
        position=split.position,
        leg=number,
        event_id=split.event_id,
        account=account,
        instrument=f"{split.asset}-{portfolio.base_currency}",
        quantity=gained,
        value=ZERO,
        fee=ZERO,
        kind="split",
        cost_known=True,
        triggered_by=None,
    )


def _fold_reversal(rows: Rows, portfolio: PortfolioView, envelope: Envelope) -> list[Change]:
    """Cash goes back, and each asset that moved is folded again without what is reversed."""
    target = newly_reversed(rows, envelope)
    if target is None:
        return []
    if isinstance(target.event, SplitRecorded):
        return _fold_again(rows, portfolio, str(target.event.asset), without=target.event_id)
    moves = moves_of(target.event, portfolio.base_currency)
    changes = cash_changes(rows, _cash(moves, portfolio), undone=True)
    for asset in sorted({leg.asset for leg in legs_of(target, moves, portfolio.base_currency)}):
        changes += _fold_again(rows, portfolio, asset, without=target.event_id)
    return changes


def _fold_again(
    rows: Rows, portfolio: PortfolioView, asset: str, *, late: Item | None = None, without: UUID | None = None
) -> list[Change]:
    """What differs from the asset's rows when all its legs and splits are folded in order of occurrence.

    `late` is one more of them; those of the event `without` are left out.
    """
    items: list[Item] = [leg for leg in rows.history(Leg, asset) if leg.kind != "split"]
    items += rows.history(Split, asset)
    items = [item for item in items if item.event_id != without] + ([late] if late else [])
    fresh = MemoryRows()
    for item in sorted(items, key=_place):
        fresh.apply(_fold_item(fresh, portfolio, item))
    before: dict[tuple[type[Row], tuple[object, ...]], Row] = {}
    after: dict[tuple[type[Row], tuple[object, ...]], Row] = {}
    for kind in HoldingsProjection.rows:
        before |= {(kind, key_of(row)): row for row in rows.history(kind, asset)}
        after |= {(kind, key_of(row)): row for row in fresh.history(kind, asset)}
    gone = [Gone(kind, key) for kind, key in before.keys() - after.keys()]
    return gone + [row for name, row in after.items() if before.get(name) != row]
