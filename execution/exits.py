"""Exits: the stop-loss and take-profit that a signal named guard what was bought on it. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Literal
from uuid import UUID

from execution.exchanges.paper_prices import Bar, Offer, tick_of, worse
from ledger.events import SignalEmitted, TradeExecuted
from ledger.values import ZERO, Side


@dataclass(frozen=True, slots=True)
class Guard:
    """`quantity` (base units) that the order `order_id` bought, and the prices that end it: `stop` and `target`, or none."""

    order_id: UUID | None
    account: str
    quantity: Decimal
    stop: Decimal | None
    target: Decimal | None

    @property
    def source(self) -> str:
        """Who triggered the guard's exit, as orders and trades name it."""
        return f"exit:{self.order_id}"


@dataclass(frozen=True, slots=True)
class Touch:
    """The candle went through the guard's stop or target; `offer` is what the market gave there."""

    level: Literal["stop", "target"]
    offer: Offer


def touched(guard: Guard, bar: Bar, half_spread: Decimal) -> Touch | None:
    """What the candle did to the guard, which stood when it opened.

    Where a candle reached both, the stop came first: nothing tells in which order it met them. A stop is met at its
    price, or at the open where the candle opened beyond it, and pays the spread; a target needs the price to go through
    it by a tick, and gives its own price even where the candle opened at a better one.
    """
    if guard.stop is not None and bar.low <= guard.stop:
        return Touch("stop", Offer(worse(Side.SELL, min(bar.open, guard.stop), half_spread), taker=True))
    if guard.target is not None and bar.high >= guard.target + tick_of(guard.target):
        return Touch("target", Offer(guard.target, taker=False))
    return None


def guards_after(guards: Sequence[Guard], trade: TradeExecuted, signal: SignalEmitted | None) -> tuple[Guard, ...]:
    """The guards after the trade; `signal` is the one behind its order, if there is one.

    What was bought stands last, beside what its order bought before. A sale takes from its own guard where it is that
    one's exit, and else from the oldest first, as FIFO does.
    """
    return _bought(guards, trade, signal) if trade.side is Side.BUY else _sold(guards, trade)


def levels_of(guards: Iterable[Guard]) -> tuple[Decimal | None, Decimal | None]:
    """The highest stop and the lowest target: a candle that reaches neither touches no guard."""
    stops = [guard.stop for guard in guards if guard.stop is not None]
    targets = [guard.target for guard in guards if guard.target is not None]
    return max(stops, default=None), min(targets, default=None)


def _bought(guards: Sequence[Guard], trade: TradeExecuted, signal: SignalEmitted | None) -> tuple[Guard, ...]:
    fees = sum((fee.amount for fee in trade.fees if fee.asset == trade.instrument.base), ZERO)
    quantity = trade.quantity - fees
    if guards and trade.order_id is not None and guards[-1].order_id == trade.order_id:
        return (*guards[:-1], replace(guards[-1], quantity=guards[-1].quantity + quantity))
    stop, target = (signal.stop_loss, signal.take_profit) if signal else (None, None)
    return (*guards, Guard(trade.order_id, trade.account, quantity, stop, target))


def _sold(guards: Sequence[Guard], trade: TradeExecuted) -> tuple[Guard, ...]:
    left = trade.quantity
    taken: dict[int, Decimal] = {}
    own_first = sorted(enumerate(guards), key=lambda one: one[1].source != trade.triggered_by)
    for number, guard in own_first:
        if guard.account == trade.account:
            taken[number] = min(guard.quantity, left)
            left -= taken[number]
    kept = (replace(guard, quantity=guard.quantity - taken.get(number, ZERO)) for number, guard in enumerate(guards))
    return tuple(guard for guard in kept if guard.quantity)
