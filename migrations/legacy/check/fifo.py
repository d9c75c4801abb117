"""The ledger's own first-in-first-out over trades as they go by: the same legs, lots and matches, and no more memory than lots."""

from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from ledger.booking.legs import moves_of, total_fees
from ledger.booking.lots import Lot, book_leg
from ledger.events import TradeExecuted
from ledger.log.envelope import Envelope, decode
from ledger.projections.holdings import legs_of
from ledger.rows import key_of
from ledger.values import ZERO, Asset, round18
from migrations.legacy.check.formulas import Measure

NOBODY = UUID(int=0)


@dataclass(frozen=True, slots=True)
class Stored:
    """A TradeExecuted as it is (or will be) stored."""

    event_id: UUID
    at: datetime
    version: int
    payload: str


class Fifo:
    """One product's trades, in the order of their occurrence."""

    def __init__(self, base: Asset, *, fees: bool = True) -> None:
        self._base = base
        self._fees = fees
        # A plain dictionary is slow to find its first entry once many before it are gone.
        self._lots: OrderedDict[object, Lot] = OrderedDict()
        self._count = 0
        self._last = ZERO
        self.realized = self.paid_fees = self.unmatched = self.unmatched_proceeds = ZERO

    def add(self, stored: Stored, trade: TradeExecuted) -> Decimal:
        """Books the next trade, which is what `stored` says; returns how much of it found no lot."""
        self._count += 1
        envelope = _envelope(stored, trade, self._count)
        self.paid_fees += total_fees(trade)
        if not self._fees:
            trade = trade.model_copy(update={"fees": ()})
        self._last = trade.price
        missing = ZERO
        for leg in legs_of(envelope, moves_of(trade, self._base), self._base):
            # The booking is complete before the lots change; what is replaced keeps its place.
            booking = book_leg(leg, self._lots.values())
            for lot in booking.lots:
                if lot.live:
                    self._lots[key_of(lot)] = lot
                else:
                    self._lots.pop(key_of(lot), None)
            self.realized += sum((match.realized_pnl for match in booking.matches), ZERO)
            if booking.unmatched is not None:
                missing += booking.unmatched.quantity
                self.unmatched_proceeds += booking.unmatched.proceeds
        self.unmatched += missing
        return missing

    def figure(self, measure: Measure) -> Decimal:
        """What the ledger says; open lots are valued at the price of the last trade."""
        unrealized = round18(self.open_quantity * self._last) - self.open_cost
        match measure:
            case "realized":
                return self.realized
            case "unrealized":
                return unrealized
            case "open_cost":
                return self.open_cost
            case "total":
                return self.realized + unrealized

    @property
    def open_quantity(self) -> Decimal:
        return sum((lot.open_quantity for lot in self._lots.values()), ZERO)

    @property
    def open_cost(self) -> Decimal:
        return sum((lot.open_cost for lot in self._lots.values()), ZERO)


def trade_in(stored: Stored) -> TradeExecuted:
    """The trade that the text says."""
    event = decode(TradeExecuted.type, stored.version, stored.payload)
    assert isinstance(event, TradeExecuted), "only trades are booked here"
    return event


def _envelope(stored: Stored, trade: TradeExecuted, position: int) -> Envelope:
    """The trade as the ledger's own functions want it; nothing of it is read again."""
    envelope = Envelope(
        portfolio_id=NOBODY,
        position=position,
        event_id=stored.event_id,
        type=TradeExecuted.type,
        version=stored.version,
        occurred_at=stored.at,
        recorded_at=stored.at,
        actor="",
        correlation_id=stored.event_id,
        causation_id=None,
        payload=stored.payload,
        metadata="{}",
        hash=b"",
    )
    envelope.__dict__["event"] = trade
    return envelope
