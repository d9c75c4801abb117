"""The fold of value events in columns: whole numbers of the 18th decimal place, lines of text, no object for a row.

Told the events of each asset in the order in which they occurred, it gives the very rows that `ledger/projections/holdings.py` and
`trades.py` give for them in any order, to the last digit. It knows trades, cash, and what came in at a known cost, in
portfolios without short selling; of all else it says so (`Unusual`), and the plain fold takes the portfolio.
"""

from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final

from ledger.column_rows import NULL, decimal_of, escaped, line_of, rounded, time_of, units_of
from ledger.column_trades import PlainTrade
from ledger.envelope import BadEvent, Envelope, UnknownEvent
from ledger.events import CashDeposited, CashWithdrawn, TradeExecuted
from ledger.legs import UnvaluedLeg, moves_of
from ledger.lots import Leg, Lot, Match, UnmatchedDisposal
from ledger.projections.cash import Balance
from ledger.projections.holdings import Holding, legs_of
from ledger.projections.trades import TradesProjection, TradeView
from ledger.rows import MemoryRows, Row
from ledger.values import DECIMAL_PLACES

FOLDED: Final = (CashDeposited, CashWithdrawn, TradeExecuted)
"""The events that are folded here."""
LINES: Final[tuple[type[Row], ...]] = (Leg, Lot, Match, UnmatchedDisposal, TradeView)
"""The kinds of row that are written while folding; the others are few and come at the end."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Unusual(Exception):
    """Something this fold does not know; the plain one does."""


class _Lot:
    """An open lot. `carried` is what its closed units carry of its cost; `head` is the line up to the quantity."""

    __slots__ = (
        "carried",
        "closed",
        "cost",
        "event_id",
        "head",
        "leg",
        "opened_at",
        "position",
        "quantity",
        "source",
        "texts",
    )

    def __init__(
        self,
        head: str,
        opened_at: str,
        position: int,
        leg: int,
        event_id: str,
        quantity: int,
        cost: int,
        texts: str,
        source: str,
    ) -> None:
        self.head, self.opened_at, self.position, self.leg, self.event_id = head, opened_at, position, leg, event_id
        self.quantity, self.cost, self.texts, self.source = quantity, cost, texts, source
        self.closed = self.carried = 0


class _Position:
    """What the holding of an asset says, and its open lots, the oldest first."""

    __slots__ = (
        "accounts", "cost_basis", "fees", "last", "lots", "quantity", "realized", "unmatched_proceeds", "unmatched_quantity",
    )  # fmt: skip

    def __init__(self) -> None:
        self.lots: deque[_Lot] = deque()
        self.accounts: dict[str, int] = {}
        self.quantity = self.cost_basis = self.realized = self.fees = 0
        self.unmatched_quantity = self.unmatched_proceeds = 0
        self.last = (0, 0, 0)


class ColumnFold:
    """Folds one portfolio. `lines` holds, by kind, what was written since it was last taken away."""

    def __init__(self, base_currency: str) -> None:
        self.trades = 0
        self.lines: dict[type[Row], list[str]] = {kind: [] for kind in LINES}
        self._base_currency = base_currency
        self._positions: dict[str, _Position] = {}
        self._cash: dict[str, list[int]] = {}

    def add_trade(self, trade: PlainTrade) -> bool:
        """The trade is folded, or nothing is done and False says that its event has to be looked at."""
        if trade.quote != self._base_currency or trade.quote_rate != "1":
            return False
        gross = rounded(trade.quantity * trade.price)
        moved, worth, fee = trade.quantity, gross, trade.fee
        if trade.fee_asset == trade.quote:
            worth += fee if trade.is_buy else -fee
        else:
            moved -= fee if trade.is_buy else -fee
            fee = rounded(fee * trade.price)
        if worth:
            self._pay(trade.account, -worth if trade.is_buy else worth)
        source = trade.triggered_by or NULL
        fee_text = decimal_of(fee)
        self._add_leg(
            trade.base, trade.occurred_at, trade.time, trade.position, 1, trade.event_id, trade.account,
            f"{trade.base}-{trade.quote}", moved if trade.is_buy else -moved, worth, fee, fee_text, "trade", source,
        )  # fmt: skip
        self.trades += 1
        self.lines[TradeView].append(
            f"{trade.event_id}\t{trade.position}\t{trade.time}\t{trade.account}\t{trade.venue}\t{trade.venue_trade_id}"
            f"\t{trade.base}-{trade.quote}\t{'buy' if trade.is_buy else 'sell'}\t{trade.quantity_text}\t{trade.price_text}"
            f"\t{decimal_of(gross)}\t{fee_text}\t{trade.order_id or NULL}\t{source}\tf"
        )
        return True

    def add_event(self, envelope: Envelope) -> None:
        """Any event among `FOLDED`. Raises Unusual for others, and for one that no fold can use."""
        try:
            event = envelope.event
            moves = moves_of(event, self._base_currency)
        except (BadEvent, UnknownEvent, UnvaluedLeg) as error:
            raise Unusual(str(error)) from error
        if not isinstance(event, FOLDED):
            raise Unusual(f"{envelope.type} at position {envelope.position}")
        occurred_at = _microseconds(envelope.occurred_at)
        for move in moves:
            if move.asset == self._base_currency and move.quantity:
                from_outside = move.kind in ("deposit", "withdrawal")
                self._pay(move.account, units_of(move.quantity), from_outside=from_outside)
        for leg in legs_of(envelope, moves, self._base_currency):
            source = NULL if leg.triggered_by is None else escaped(leg.triggered_by)
            fee = units_of(leg.fee)
            self._add_leg(
                leg.asset, occurred_at, time_of(occurred_at), leg.position, leg.leg, str(leg.event_id), escaped(leg.account),
                leg.instrument, units_of(leg.quantity), units_of(leg.value), fee, decimal_of(fee), leg.kind, source,
            )  # fmt: skip
        if isinstance(event, TradeExecuted):
            self.trades += 1
            rows = TradesProjection().fold(MemoryRows(), envelope)
            self.lines[TradeView] += [line_of(row) for row in rows if isinstance(row, Row)]

    def finish(self) -> Iterator[Row]:
        """The holdings and balances; the lines of lots that are still open are written."""
        for asset, position in self._positions.items():
            for lot in position.lots:
                self.lines[Lot].append(f"{lot.head}{lot.texts}\t{decimal_of(lot.closed)}\tf\tt\t{lot.source}")
            yield _holding(asset, position)
            for account, quantity in position.accounts.items():
                yield Balance(asset, account, _decimal(quantity), *(_decimal(0),) * 3)
        for account, (quantity, deposited) in self._cash.items():
            if quantity or deposited:
                yield Balance(
                    self._base_currency, account, _decimal(quantity), _decimal(deposited), *(_decimal(0),) * 2
                )

    def broken_identities(self) -> Iterator[tuple[str, str, str]]:
        """Those identities of `ledger/identities.py` that need no row of the past, as it names them."""
        cost = gains = 0
        for asset, position in self._positions.items():
            open_cost = sum(lot.cost - lot.carried for lot in position.lots)
            open_quantity = sum(lot.quantity - lot.closed for lot in position.lots)
            cost, gains = cost + open_cost, gains + position.realized + position.unmatched_proceeds
            for name, left, right in (
                ("open lots - unmatched = position", open_quantity - position.unmatched_quantity, position.quantity),
                ("balances of all accounts = position", sum(position.accounts.values()), position.quantity),
                ("cost of open lots", open_cost, position.cost_basis),
            ):
                if left != right:
                    yield f"{name} of {asset}", decimal_of(left), decimal_of(right)
        cash = sum(quantity for quantity, _ in self._cash.values())
        left, right = sum(deposited for _, deposited in self._cash.values()) + gains, cash + cost
        if left != right:
            name = "deposits - withdrawals + income + realised P&L - expenses = cash + cost of open lots"
            yield name, decimal_of(left), decimal_of(right)

    def _pay(self, account: str, quantity: int, *, from_outside: bool = False) -> None:
        cash = self._cash.get(account)
        if cash is None:
            cash = self._cash[account] = [0, 0]
        cash[0] += quantity
        if from_outside:
            cash[1] += quantity

    def _add_leg(
        self, asset: str, occurred_at: int, time: str, position: int, leg: int, event_id: str, account: str, instrument: str,
        quantity: int, value: int, fee: int, fee_text: str, kind: str, source: str,
    ) -> None:  # fmt: skip
        holding = self._positions.get(asset)
        if holding is None:
            holding = self._positions[asset] = _Position()
        elif (occurred_at, position, leg) <= holding.last:
            raise Unusual(f"position {position} occurred before what was folded already")
        holding.last = (occurred_at, position, leg)
        holding.quantity += quantity
        holding.fees += fee
        holding.accounts[account] = holding.accounts.get(account, 0) + quantity
        head = f"{asset}\t{time}\t{position}\t{leg}\t{event_id}\t"
        texts = f"{decimal_of(quantity)}\t{decimal_of(value)}"
        self.lines[Leg].append(f"{head}{account}\t{instrument}\t{texts}\t{fee_text}\t{kind}\tt\t{source}")
        if quantity > 0:
            holding.cost_basis += value
            holding.lots.append(_Lot(head, time, position, leg, event_id, quantity, value, texts, source))
        else:
            self._close(asset, holding, time, position, leg, event_id, -quantity, value, kind, source, head)

    def _close(
        self, asset: str, holding: _Position, time: str, position: int, leg: int, event_id: str, disposed: int, value: int,
        kind: str, source: str, head: str,
    ) -> None:  # fmt: skip
        """Matches `disposed` units worth `value` with the oldest lots; what finds none is unmatched."""
        matched = shared = 0
        lots, matches = holding.lots, self.lines[Match]
        while matched < disposed and lots:
            lot = lots[0]
            quantity = min(lot.quantity - lot.closed, disposed - matched)
            matched += quantity
            lot.closed += quantity
            share = value if matched == disposed else value * matched // disposed
            carried = lot.cost if lot.closed == lot.quantity else lot.cost * lot.closed // lot.quantity
            proceeds, cost = share - shared, carried - lot.carried
            shared, lot.carried = share, carried
            holding.cost_basis -= cost
            holding.realized += proceeds - cost
            matches.append(
                f"{asset}\t{time}\t{position}\t{leg}\t{lot.position}\t{lot.leg}\t{lot.opened_at}\t{lot.event_id}\t{event_id}"
                f"\t{decimal_of(quantity)}\t{decimal_of(proceeds)}\t{decimal_of(cost)}\t{decimal_of(proceeds - cost)}"
                f"\t{kind}\tf\tt\t{lot.source}\t{source}"
            )
            if lot.closed == lot.quantity:
                lots.popleft()
                self.lines[Lot].append(f"{lot.head}{lot.texts}\t{lot.texts.partition(_TAB)[0]}\tf\tt\t{lot.source}")
        if matched < disposed:
            holding.unmatched_quantity += disposed - matched
            holding.unmatched_proceeds += value - shared
            self.lines[UnmatchedDisposal].append(
                f"{head}{decimal_of(disposed - matched)}\t{kind}\t{decimal_of(value - shared)}"
            )


_TAB: Final = "\t"


def _holding(asset: str, position: _Position) -> Holding:
    occurred_at, last_position, last_leg = position.last
    zero = _decimal(0)
    return Holding(
        asset=asset,
        quantity=_decimal(position.quantity),
        cost_basis=_decimal(position.cost_basis),
        realized_pnl=_decimal(position.realized),
        fees=_decimal(position.fees),
        unmatched_quantity=_decimal(position.unmatched_quantity),
        unmatched_proceeds=_decimal(position.unmatched_proceeds),
        unknown_cost_quantity=zero,
        unknown_cost_proceeds=zero,
        contributed=zero,
        income=zero,
        expenses=zero,
        last_occurred_at=_EPOCH + timedelta(microseconds=occurred_at),
        last_position=last_position,
        last_leg=last_leg,
    )


def _decimal(units: int) -> Decimal:
    return Decimal(units).scaleb(-DECIMAL_PLACES)


def _microseconds(time: datetime) -> int:
    return (time - _EPOCH) // timedelta(microseconds=1)
