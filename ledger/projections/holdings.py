"""Holdings: balances, positions, lots and realised P&L in one fold, so that they cannot disagree.

One position per asset, whatever triggered the trades. Arrival order does not change the result: after a late event or a
reversal, the movements of the asset are folded again in order of occurrence.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import ClassVar, Final
from uuid import UUID

from ledger.booking.legs import MOVING, AssetMove, UnvaluedLeg, moves_of
from ledger.booking.lots import Booking, Leg, Lot, Match, Split, UnmatchedDisposal, book_leg, split_lot, split_unmatched
from ledger.events import Event, SplitRecorded, TradeExecuted, TradeReversed
from ledger.log.envelope import Envelope
from ledger.projections.portfolio import Balance, PortfolioView, cash_changes, portfolio_of
from ledger.projections.reversals import newly_reversed
from ledger.rows import Change, Deleted, MemoryRows, Overlay, Row, Rows, key_of, replaced
from ledger.values import ZERO


@dataclass(frozen=True, slots=True)
class Holding(Row):
    """The position in one asset. All amounts are in base currency.

    `quantity` and the `cost_basis` of open lots are below 0 for a short position. `fees` are included in costs and
    proceeds. `unmatched_*` sum the disposals without a lot, `unknown_cost_proceeds` those of lots with unknown cost;
    neither is part of `realized_pnl`. `unknown_cost_quantity` is the open quantity of unknown cost. `contributed` is the
    cost of deposits less that of withdrawals, `income` the value of income, `expenses` the value of fees outside trades.
    `last_*` is the place of the newest leg folded.
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
        # A later leg of the same asset has to see the changes of the earlier one.
        pending = Overlay(rows)
        for leg in legs:
            pending.apply(_fold_item(pending, portfolio, leg))
        return changes + pending.changes()


Item = Leg | Split
"""A row that changes the lots of one asset."""

Place = tuple[datetime, int, int]
"""Time of occurrence, log position, number of the leg."""

BEGINNING: Final = (datetime.min.replace(tzinfo=UTC), 0, 0)


def legs_of(envelope: Envelope, moves: Sequence[AssetMove], base_currency: str) -> list[Leg]:
    """Return the movements of assets other than cash as legs, numbered by their index in `moves`."""
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
    """Return the split as a row. Raises UnvaluedLeg for the base currency."""
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
    elif _place(item) < _last(holding):
        return _fold_again(rows, portfolio, item.asset, _place(item), late=item)
    if isinstance(item, Split):
        return _split(rows, portfolio, holding, item)
    booking = book_leg(item, rows.where(Lot, item.asset), allow_short=portfolio.allow_short)
    return [item, *_changes(booking), _moved(rows, item), after_booking(holding, item, booking)]


def _place(item: Item) -> Place:
    """Return the item's place in the order of occurrence. The legs of a split share the place of the split."""
    return (item.occurred_at, item.position, item.leg if isinstance(item, Leg) and item.kind != "split" else 0)


def _last(holding: Holding) -> Place:
    return (holding.last_occurred_at, holding.last_position, holding.last_leg)


def empty_holding(item: Item) -> Holding:
    """Return the holding of an asset before its first leg or split."""
    occurred_at, position, leg = _place(item)
    nothing = (ZERO, ZERO, ZERO, ZERO, ZERO, ZERO, ZERO, ZERO, ZERO, ZERO, ZERO)
    return Holding(item.asset, *nothing, occurred_at, position, leg)


def after_booking(holding: Holding, leg: Leg, booking: Booking, sign: int = 1) -> Holding:
    """Return the holding after `booking` of `leg`; with `sign` -1 the one before, except for `last_*`."""
    opened = [lot for lot in booking.lots if lot.event_id == leg.event_id and lot.leg == leg.leg]
    cost_in = sum((-lot.cost if lot.short else lot.cost for lot in opened), ZERO)
    cost_out = sum((-match.proceeds if match.short else match.cost_basis for match in booking.matches), ZERO)
    unknown = [match for match in booking.matches if not match.cost_known]
    unknown_in = sum((lot.quantity for lot in opened if not lot.cost_known), ZERO)
    unknown_out = sum((match.quantity for match in unknown if not match.short), ZERO)
    unmatched = booking.unmatched
    change = leg.value if leg.quantity > 0 else -leg.value
    if leg.kind == "withdrawal":
        change = -sum((match.cost_basis for match in booking.matches), ZERO)
    added = {
        "quantity": leg.quantity,
        "cost_basis": cost_in - cost_out,
        "realized_pnl": sum((match.realized_pnl for match in booking.matches), ZERO),
        "fees": leg.fee,
        "unmatched_quantity": unmatched.quantity if unmatched else ZERO,
        "unmatched_proceeds": unmatched.proceeds if unmatched else ZERO,
        "unknown_cost_quantity": unknown_in - unknown_out,
        "unknown_cost_proceeds": sum((match.proceeds for match in unknown), ZERO),
        "contributed": change if leg.kind in ("deposit", "opening", "withdrawal") else ZERO,
        "income": change if leg.kind == "income" else ZERO,
        "expenses": -change if leg.kind == "expense" else ZERO,
    }
    sums = {name: getattr(holding, name) + sign * value for name, value in added.items()}
    place = _place(leg) if sign == 1 else _last(holding)
    return replaced(holding, **sums, **dict(zip(("last_occurred_at", "last_position", "last_leg"), place, strict=True)))


def _moved(rows: Rows, leg: Leg) -> Change:
    """Return the balance of the leg's account after it; delete an empty one."""
    before = rows.get(Balance, leg.asset, leg.account) or Balance(leg.asset, leg.account, ZERO, ZERO, ZERO, ZERO)
    after = replaced(before, quantity=before.quantity + leg.quantity)
    return after if after.quantity else Deleted(Balance, key_of(after))


def _changes(booking: Booking) -> Iterator[Change]:
    yield from booking.lots
    yield from booking.matches
    if booking.unmatched:
        yield booking.unmatched


def _split(rows: Rows, portfolio: PortfolioView, holding: Holding, split: Split) -> list[Change]:
    """Convert open lots, unmatched disposals and account balances to units after the split.

    The last account gets the rounding difference; if all are empty, the account of the last leg.
    """
    before = list(rows.where(Lot, split.asset))
    lots = [split_lot(lot, split) for lot in before]
    legs: list[Leg] = []
    unmatched_before = list(rows.history(UnmatchedDisposal, split.asset))
    unmatched = [split_unmatched(one, split) for one in unmatched_before]
    rest = _owned(lots) - _owned(before) + _total(unmatched_before) - _total(unmatched)
    quantities = {balance.account: balance.quantity for balance in rows.where(Balance, split.asset)}
    if not quantities and (last_leg := rows.before(Leg, split.asset, *_place(split))) is not None:
        quantities = {last_leg.account: ZERO}
    for number, (account, quantity) in enumerate(quantities.items()):
        is_last = number == len(quantities) - 1
        change = rest if is_last else split.ratio_of(quantity) - quantity
        rest -= change
        if change:
            legs.append(_split_leg(portfolio, split, number, account, change))
    after = replaced(
        holding,
        quantity=holding.quantity + sum((leg.quantity for leg in legs), ZERO),
        unmatched_quantity=_total(unmatched),
        unknown_cost_quantity=sum((lot.quantity for lot in lots if not lot.cost_known), ZERO),
        last_occurred_at=split.occurred_at,
        last_position=split.position,
        last_leg=0,
    )
    return [split, *lots, *unmatched, *legs, *(_moved(rows, leg) for leg in legs), after]


def _total(disposals: Iterable[UnmatchedDisposal]) -> Decimal:
    return sum((one.quantity for one in disposals), ZERO)


def _owned(lots: Iterable[Lot]) -> Decimal:
    return sum((-lot.open_quantity if lot.short else lot.open_quantity for lot in lots), ZERO)


def _split_leg(portfolio: PortfolioView, split: Split, number: int, account: str, change: Decimal) -> Leg:
    return Leg(
        asset=split.asset,
        occurred_at=split.occurred_at,
        position=split.position,
        leg=number,
        event_id=split.event_id,
        account=account,
        instrument=f"{split.asset}-{portfolio.base_currency}",
        quantity=change,
        value=ZERO,
        fee=ZERO,
        kind="split",
        cost_known=True,
        triggered_by=None,
    )


def _fold_reversal(rows: Rows, portfolio: PortfolioView, envelope: Envelope) -> list[Change]:
    """Undo the movements of cash, and fold every other moved asset again without the reversed event."""
    target = newly_reversed(rows, envelope)
    if target is None:
        return []
    place = (target.occurred_at, target.position, 0)
    if isinstance(target.event, SplitRecorded):
        return _fold_again(rows, portfolio, str(target.event.asset), place, without=target.event_id)
    moves = moves_of(target.event, portfolio.base_currency)
    changes = cash_changes(rows, _cash(moves, portfolio), undone=True)
    for asset in sorted({leg.asset for leg in legs_of(target, moves, portfolio.base_currency)}):
        changes += _fold_again(rows, portfolio, asset, place, without=target.event_id)
    return changes


def _fold_again(
    rows: Rows,
    portfolio: PortfolioView,
    asset: str,
    start: Place,
    *,
    late: Item | None = None,
    without: UUID | None = None,
) -> list[Change]:
    """Fold the asset's legs and splits from `start` again, in order of occurrence, and return the changed rows.

    Adds the item `late` and leaves out those of the event `without`. A split at or after `start` cannot be undone, and
    a late split also changes disposals before it: in both cases everything is folded again from the beginning.
    """
    if isinstance(late, Split) or any(rows.since(Split, asset, *start[:2])):
        start = BEGINNING
    later: list[Item] = [leg for leg in rows.since(Leg, asset, *start) if leg.kind != "split"]
    later += rows.since(Split, asset, *start[:2])
    items = [item for item in [*later, *([late] if late else [])] if item.event_id != without]
    fresh, old = MemoryRows(), _rows_touched_since(rows, asset, start)
    fresh.apply(_undone(rows, asset, start, old))
    for item in sorted(items, key=_place):
        fresh.apply(_fold_item(fresh, portfolio, item))
    before = {(type(row), key_of(row)): row for row in old}
    after = {(kind, key_of(row)): row for kind in HoldingsProjection.rows for row in fresh.history(kind, asset)}
    deleted = [Deleted(kind, key) for kind, key in before.keys() - after.keys()]
    return deleted + [row for name, row in after.items() if before.get(name) != row]


def _rows_touched_since(rows: Rows, asset: str, start: Place) -> list[Row]:
    """Return every row of the asset that legs and splits from `start` on created or changed."""
    matches = list(rows.since(Match, asset, *start))
    touched = {(one.opened_at, one.opening_position, one.opening_leg) for one in matches}
    lots = {key_of(lot): lot for lot in (*rows.where(Lot, asset), *rows.since(Lot, asset, *start))}
    lots |= {(asset, *key): lot for key in touched if (lot := rows.get(Lot, asset, *key)) is not None}
    return [
        *rows.since(Leg, asset, *start),
        *rows.since(Split, asset, *start[:2]),
        *lots.values(),
        *matches,
        *rows.since(UnmatchedDisposal, asset, *start),
        *rows.where(Holding, asset),
        *rows.where(Balance, asset),
    ]


def _undone(rows: Rows, asset: str, start: Place, touched: Sequence[Row]) -> list[Row]:
    """Return the asset's lots, holding and balances as they were before `start`; none at the beginning."""
    last, holding = _last_before(rows, asset, start), rows.get(Holding, asset)
    if last is None or holding is None:
        return []
    lots = {key_of(row)[1:]: row for row in touched if isinstance(row, Lot)}
    balances = {row.account: row for row in touched if isinstance(row, Balance)}
    bookings = _bookings_of(touched)
    for leg in (row for row in touched if isinstance(row, Leg)):
        holding = after_booking(holding, leg, bookings.get(_place(leg), Booking(())), -1)
        balance = balances.get(leg.account) or Balance(asset, leg.account, ZERO, ZERO, ZERO, ZERO)
        balances[leg.account] = replaced(balance, quantity=balance.quantity - leg.quantity)
    for match in (row for row in touched if isinstance(row, Match)):
        key = (match.opened_at, match.opening_position, match.opening_leg)
        lots[key] = replaced(lots[key], closed_quantity=lots[key].closed_quantity - match.quantity)
    holding = replaced(holding, last_occurred_at=last[0], last_position=last[1], last_leg=last[2])
    earlier = [lot for key, lot in lots.items() if key < start]
    return [holding, *earlier, *(balance for balance in balances.values() if balance.quantity)]


def _bookings_of(created: Sequence[Row]) -> dict[Place, Booking]:
    """Reconstruct the booking of each leg from the rows it created."""
    found: dict[Place, Booking] = {}
    for row in created:
        match row:
            case Lot():
                known = found.get(place := (row.opened_at, row.position, row.leg), Booking(()))
                found[place] = Booking((row,), known.matches, known.unmatched)
            case Match():
                known = found.get(place := (row.closed_at, row.closing_position, row.closing_leg), Booking(()))
                found[place] = Booking(known.lots, (*known.matches, row), known.unmatched)
            case UnmatchedDisposal():
                known = found.get(place := (row.occurred_at, row.position, row.leg), Booking(()))
                found[place] = Booking(known.lots, known.matches, row)
    return found


def _last_before(rows: Rows, asset: str, start: Place) -> Place | None:
    """Return the place of the newest leg or split before `start`."""
    found = (rows.before(Leg, asset, *start), rows.before(Split, asset, *start[:2]))
    return max((_place(item) for item in found if item is not None), default=None)
