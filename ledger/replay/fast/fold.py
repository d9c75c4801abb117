"""The fast fold of value events: integers in units of 10^-18 and lines of text, no row objects.

Given the events of each asset in order of occurrence, it produces exactly the rows of `ledger/projections/holdings.py`
and `trades.py`. Splits and short selling raise `Unsupported`: such portfolios are folded event by event.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Final, NamedTuple

from ledger.booking.legs import MOVING, AssetMove, UnvaluedLeg, moves_of
from ledger.booking.lots import Leg, Lot, Match, UnmatchedDisposal
from ledger.events import CashDeposited, CashWithdrawn, TradeExecuted
from ledger.log.envelope import BadEvent, Envelope, UnknownEvent
from ledger.projections.holdings import Holding, legs_of
from ledger.projections.portfolio import Balance
from ledger.projections.trades import TradesProjection, TradeView
from ledger.replay.fast.decode import PlainTrade
from ledger.replay.fast.lines import (
    NULL,
    datetime_of,
    decimal_of,
    escaped,
    line_of,
    microseconds_of,
    rounded,
    time_of,
    units_of,
)
from ledger.rows import MemoryRows, Row, replaced
from ledger.values import DECIMAL_PLACES

FOLDED: Final = MOVING
"""The events that are folded here."""
ORDERED: Final = tuple(kind for kind in FOLDED if kind not in (CashDeposited, CashWithdrawn))
"""The folded events whose order of occurrence matters: cash is a sum."""
LINES: Final[tuple[type[Row], ...]] = (Leg, Lot, Match, UnmatchedDisposal, TradeView)
"""The kinds of row written while folding; the others are few and written at the end."""


class Unsupported(Exception):
    """The fast fold does not support an event or setting; fold event by event."""


class _Leg(NamedTuple):
    """A `Leg` with numbers in units and texts escaped."""

    asset: str
    occurred_at: int
    time: str
    position: int
    leg: int
    event_id: str
    account: str
    instrument: str
    quantity: int
    value: int
    fee: int
    kind: str
    cost_known: bool
    source: str


class _Lot:
    """An open lot. `carried` is the cost of its closed units; `line` is its line up to the cost."""

    __slots__ = ("carried", "closed", "cost", "leg", "line", "quantity")

    def __init__(self, leg: _Leg, line: str) -> None:
        self.leg, self.line = leg, line
        self.quantity, self.cost = leg.quantity, leg.value
        self.closed = self.carried = 0

    def whole_line(self) -> str:
        return f"{self.line}\t{decimal_of(self.closed)}\tf\t{'t' if self.leg.cost_known else 'f'}\t{self.leg.source}"


class _Position:
    """The position in one asset with its open lots, oldest first."""

    __slots__ = (
        "accounts", "contributed", "cost_basis", "expenses", "fees", "income", "last", "lots", "quantity", "realized",
        "unknown_proceeds", "unknown_quantity", "unmatched_proceeds", "unmatched_quantity",
    )  # fmt: skip

    def __init__(self) -> None:
        self.lots: deque[_Lot] = deque()
        self.accounts: dict[str, int] = {}
        self.quantity = self.cost_basis = self.realized = self.fees = 0
        self.unmatched_quantity = self.unmatched_proceeds = self.unknown_quantity = self.unknown_proceeds = 0
        self.contributed = self.income = self.expenses = 0
        self.last = (0, 0, 0)


class _Cash:
    """The cash balance of one account."""

    __slots__ = ("deposited", "expenses", "income", "quantity")

    def __init__(self) -> None:
        self.quantity = self.deposited = self.income = self.expenses = 0

    def add(self, quantity: int, kind: str) -> None:
        self.quantity += quantity
        if kind in ("deposit", "withdrawal"):
            self.deposited += quantity
        elif kind == "income":
            self.income += quantity
        elif kind == "expense":
            self.expenses -= quantity


class FastFold:
    """Folds one portfolio. `lines` holds the new lines by kind; the caller empties them."""

    def __init__(self, base_currency: str) -> None:
        self.trades = 0
        self.lines: dict[type[Row], list[str]] = {kind: [] for kind in LINES}
        self._base_currency = base_currency
        self._positions: dict[str, _Position] = {}
        self._cash: dict[str, _Cash] = {}

    def add_trade(self, trade: PlainTrade, *, undone: bool = False) -> bool:
        """Fold the trade; return False, without effect, if `add_event` must fold it.

        A trade `undone` by a reversal gets a row but has no other effect.
        """
        if trade.quote != self._base_currency or trade.quote_rate != "1":
            return False
        gross = rounded(trade.quantity * trade.price)
        moved, worth, fee = trade.quantity, gross, trade.fee
        if trade.fee_asset == trade.quote:
            worth += fee if trade.is_buy else -fee
        else:
            moved -= fee if trade.is_buy else -fee
            fee = rounded(fee * trade.price)
        if worth and not undone:
            self._pay(trade.account, -worth if trade.is_buy else worth, "trade")
        source = trade.triggered_by or NULL
        leg = _Leg(
            trade.base, trade.occurred_at, trade.time, trade.position, 1, trade.event_id, trade.account,
            f"{trade.base}-{trade.quote}", moved if trade.is_buy else -moved, worth, fee, "trade", True, source,
        )  # fmt: skip
        if not undone:
            self._add_leg(leg)
        self.trades += 1
        self.lines[TradeView].append(
            f"{trade.event_id}\t{trade.position}\t{trade.time}\t{trade.account}\t{trade.venue}\t{trade.venue_trade_id}"
            f"\t{leg.instrument}\t{'buy' if trade.is_buy else 'sell'}\t{trade.quantity_text}\t{trade.price_text}"
            f"\t{decimal_of(gross)}\t{decimal_of(fee)}\t{trade.order_id or NULL}\t{source}\t{'t' if undone else 'f'}"
        )
        return True

    def add_event(self, envelope: Envelope, *, undone: bool = False) -> None:
        """Fold any event in `FOLDED`. Raises Unsupported for others and for invalid events."""
        try:
            event = envelope.event
            moves = moves_of(event, self._base_currency)
        except (BadEvent, UnknownEvent, UnvaluedLeg) as error:
            raise Unsupported(str(error)) from error
        if not isinstance(event, FOLDED):
            raise Unsupported(f"{envelope.type} at position {envelope.position}")
        if not undone:
            self._add_moves(envelope, moves)
        if isinstance(event, TradeExecuted):
            self.trades += 1
            rows = TradesProjection().fold(MemoryRows(), envelope)
            views = [row for row in rows if isinstance(row, TradeView)]
            self.lines[TradeView] += [line_of(replaced(view, reversed=undone)) for view in views]

    def open_lots(self) -> list[str]:
        """The lines of the open lots."""
        return [lot.whole_line() for position in self._positions.values() for lot in position.lots]

    def current_rows(self) -> Iterator[Row]:
        """The holdings and balances."""
        zero = _decimal(0)
        for asset, position in self._positions.items():
            yield _holding(asset, position)
            for account, quantity in position.accounts.items():
                if quantity:
                    yield Balance(asset, account, _decimal(quantity), zero, zero, zero)
        for account, cash in self._cash.items():
            amounts = (cash.quantity, cash.deposited, cash.income, cash.expenses)
            if any(amounts):
                yield Balance(self._base_currency, account, *map(_decimal, amounts))

    def broken_invariants(self) -> Iterator[tuple[str, str, str]]:
        """Check the invariants of `ledger/projections/invariants.py` that do not need closed rows, under the same names."""
        left = sum(cash.deposited + cash.income - cash.expenses for cash in self._cash.values())
        right = sum(cash.quantity for cash in self._cash.values())
        for asset, position in self._positions.items():
            open_cost = sum(lot.cost - lot.carried for lot in position.lots)
            open_quantity = sum(lot.quantity - lot.closed for lot in position.lots)
            left += position.contributed + position.income - position.expenses
            left += position.realized + position.unmatched_proceeds + position.unknown_proceeds
            right += open_cost
            yield from _unequal(
                f"open lots - unmatched = position of {asset}",
                open_quantity - position.unmatched_quantity,
                position.quantity,
            )
            yield from _unequal(
                f"balances of all accounts = position of {asset}", sum(position.accounts.values()), position.quantity
            )
            yield from _unequal(f"cost of open lots of {asset}", open_cost, position.cost_basis)
        yield from _unequal(
            "deposits - withdrawals + income + realised P&L - expenses = cash + cost of open lots", left, right
        )

    def _add_moves(self, envelope: Envelope, moves: Sequence[AssetMove]) -> None:
        for move in moves:
            if move.asset == self._base_currency and move.quantity:
                self._pay(move.account, units_of(move.quantity), move.kind)
        for leg in legs_of(envelope, moves, self._base_currency):
            self._add_leg(_units(leg))

    def _pay(self, account: str, quantity: int, kind: str) -> None:
        cash = self._cash.get(account)
        if cash is None:
            cash = self._cash[account] = _Cash()
        cash.add(quantity, kind)

    def _add_leg(self, leg: _Leg) -> None:
        position = self._positions.get(leg.asset)
        place = (leg.occurred_at, leg.position, leg.leg)
        if position is None:
            position = self._positions[leg.asset] = _Position()
        elif place <= position.last:
            raise Unsupported(f"position {leg.position} occurred before an event already folded")
        position.last = place
        position.quantity += leg.quantity
        position.fees += leg.fee
        position.accounts[leg.account] = position.accounts.get(leg.account, 0) + leg.quantity
        head = f"{leg.asset}\t{leg.time}\t{leg.position}\t{leg.leg}\t{leg.event_id}\t"
        amounts = f"{decimal_of(leg.quantity)}\t{decimal_of(leg.value)}"
        known = "t" if leg.cost_known else "f"
        self.lines[Leg].append(
            f"{head}{leg.account}\t{leg.instrument}\t{amounts}\t{decimal_of(leg.fee)}\t{leg.kind}\t{known}\t{leg.source}"
        )
        if leg.kind == "transfer":
            return
        if leg.quantity > 0:
            position.cost_basis += leg.value
            if not leg.cost_known:
                position.unknown_quantity += leg.quantity
            position.lots.append(_Lot(leg, head + amounts))
            worth = leg.value
        else:
            cost = self._close(position, leg, head)
            worth = -cost if leg.kind == "withdrawal" else -leg.value
        if leg.kind != "trade":
            _add_by_reason(position, leg.kind, worth)

    def _close(self, position: _Position, leg: _Leg, head: str) -> int:
        """Match a disposal with the oldest lots and return its cost; the rest is unmatched."""
        disposed, value = -leg.quantity, leg.value
        matched = shared = cost_in_all = 0
        lots, matches = position.lots, self.lines[Match]
        while matched < disposed and lots:
            lot = lots[0]
            opening = lot.leg
            quantity = min(lot.quantity - lot.closed, disposed - matched)
            matched += quantity
            lot.closed += quantity
            share = value if matched == disposed else value * matched // disposed
            carried = lot.cost if lot.closed == lot.quantity else lot.cost * lot.closed // lot.quantity
            proceeds, cost = share - shared, carried - lot.carried
            shared, lot.carried = share, carried
            cost_in_all += cost
            if leg.kind == "withdrawal":
                proceeds = cost
            gain, known = proceeds - cost, "t"
            if not opening.cost_known:
                position.unknown_quantity -= quantity
                position.unknown_proceeds += proceeds
                gain, known = 0, "f"
            position.realized += gain
            matches.append(
                f"{leg.asset}\t{leg.time}\t{leg.position}\t{leg.leg}\t{opening.position}\t{opening.leg}\t{opening.time}"
                f"\t{opening.event_id}\t{leg.event_id}\t{decimal_of(quantity)}\t{decimal_of(proceeds)}\t{decimal_of(cost)}"
                f"\t{decimal_of(gain)}\t{leg.kind}\tf\t{known}\t{opening.source}\t{leg.source}"
            )
            if lot.closed == lot.quantity:
                lots.popleft()
                self.lines[Lot].append(lot.whole_line())
        position.cost_basis -= cost_in_all
        if matched < disposed:
            position.unmatched_quantity += disposed - matched
            position.unmatched_proceeds += value - shared
            self.lines[UnmatchedDisposal].append(
                f"{head}{decimal_of(disposed - matched)}\t{leg.kind}\t{decimal_of(value - shared)}"
            )
        return cost_in_all


def _add_by_reason(position: _Position, kind: str, worth: int) -> None:
    """Add value that moved without a trade to the total of its reason."""
    if kind in ("deposit", "opening", "withdrawal"):
        position.contributed += worth
    elif kind == "income":
        position.income += worth
    elif kind == "expense":
        position.expenses -= worth


def _units(leg: Leg) -> _Leg:
    if not leg.cost_known and leg.value:
        raise Unsupported("a value with an unknown cost")
    occurred_at = microseconds_of(leg.occurred_at)
    return _Leg(
        leg.asset,
        occurred_at,
        time_of(occurred_at),
        leg.position,
        leg.leg,
        str(leg.event_id),
        escaped(leg.account),
        leg.instrument,
        units_of(leg.quantity),
        units_of(leg.value),
        units_of(leg.fee),
        leg.kind,
        leg.cost_known,
        NULL if leg.triggered_by is None else escaped(leg.triggered_by),
    )


def _unequal(name: str, left: int, right: int) -> Iterator[tuple[str, str, str]]:
    if left != right:
        yield name, decimal_of(left), decimal_of(right)


def _holding(asset: str, position: _Position) -> Holding:
    occurred_at, last_position, last_leg = position.last
    return Holding(
        asset=asset,
        quantity=_decimal(position.quantity),
        cost_basis=_decimal(position.cost_basis),
        realized_pnl=_decimal(position.realized),
        fees=_decimal(position.fees),
        unmatched_quantity=_decimal(position.unmatched_quantity),
        unmatched_proceeds=_decimal(position.unmatched_proceeds),
        unknown_cost_quantity=_decimal(position.unknown_quantity),
        unknown_cost_proceeds=_decimal(position.unknown_proceeds),
        contributed=_decimal(position.contributed),
        income=_decimal(position.income),
        expenses=_decimal(position.expenses),
        last_occurred_at=datetime_of(occurred_at),
        last_position=last_position,
        last_leg=last_leg,
    )


def _decimal(units: int) -> Decimal:
    return Decimal(units).scaleb(-DECIMAL_PLACES)
