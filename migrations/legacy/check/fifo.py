"""FIFO over a stream of one product's trades, with the ledger's own legs and booking."""

from decimal import Decimal

from ledger.booking.legs import moves_of, total_fees
from ledger.events import TradeExecuted
from ledger.log.envelope import Envelope
from ledger.projections.holdings import legs_of
from ledger.reports.lot_methods import LotQueue, Method, bookings
from ledger.values import ZERO, Asset, round18
from migrations.legacy.check.formulas import Measure


class Fifo:
    """The FIFO book of one product, fed with its trades in order of time. Keeps open lots and running totals only."""

    def __init__(self, base: Asset, *, fees: bool = True) -> None:
        self._base = base
        self._fees = fees
        self._queue = LotQueue(Method.FIFO)
        self._last_price = ZERO
        self.realized = self.paid_fees = self.unmatched_proceeds = ZERO

    def add(self, envelope: Envelope) -> Decimal:
        """Book the next trade and return its unmatched quantity."""
        trade = envelope.event
        assert isinstance(trade, TradeExecuted), "only trades are booked here"
        self.paid_fees += total_fees(trade)
        self._last_price = trade.price
        moves = moves_of(trade if self._fees else trade.model_copy(update={"fees": ()}), self._base)
        missing = ZERO
        for _, booking in bookings(legs_of(envelope, moves, self._base), self._queue):
            self.realized += sum((match.realized_pnl for match in booking.matches), ZERO)
            if booking.unmatched is not None:
                missing += booking.unmatched.quantity
                self.unmatched_proceeds += booking.unmatched.proceeds
        return missing

    def figure(self, measure: Measure) -> Decimal:
        """Return the ledger's figure, with open lots at the price of the last trade."""
        unrealized = round18(self.open_quantity * self._last_price) - self.open_cost
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
        return sum((lot.open_quantity for lot in self._queue.lots()), ZERO)

    @property
    def open_cost(self) -> Decimal:
        return sum((lot.open_cost for lot in self._queue.lots()), ZERO)
