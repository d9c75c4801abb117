"""When a stop or target is reached, the quantity that an exit covers, and trailing stops. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal, Protocol

from execution.exchanges.paper.prices import Bar, Offer, TopOfBook, tick_of, worse
from ledger.projections.exits import ExitView
from ledger.values import ZERO, Side


class Levels(Protocol):
    """The exit prices of a position: a stop below, a target above, or one of them."""

    @property
    def stop(self) -> Decimal | None: ...
    @property
    def target(self) -> Decimal | None: ...


@dataclass(frozen=True, slots=True)
class Touch:
    """The market reached the stop or the target; `offer` is the price it offered there."""

    level: Literal["stop", "target"]
    offer: Offer


def touched(levels: Levels, bar: Bar, half_spread: Decimal) -> Touch | None:
    """The level that the candle reached, of those set before it opened.

    If a candle reached both, the stop counts: their order within the candle is not known. A stop fills at its price less
    the spread, or at the open if the candle opened beyond it. A target needs a high at least one tick above it, and fills
    at its own price even if the candle opened at a better one.
    """
    if levels.stop is not None and bar.low <= levels.stop:
        return Touch("stop", Offer(worse(Side.SELL, min(bar.open, levels.stop), half_spread), taker=True))
    if levels.target is not None and bar.high >= levels.target + tick_of(levels.target):
        return Touch("target", Offer(levels.target, taker=False))
    return None


def touched_by_quote(levels: Levels, quote: TopOfBook) -> Touch | None:
    """The level that the current bid reached; a sale would get the bid."""
    if levels.stop is not None and quote.bid <= levels.stop:
        return Touch("stop", Offer(quote.bid, taker=True))
    if levels.target is not None and quote.bid >= levels.target:
        return Touch("target", Offer(quote.bid, taker=True))
    return None


def trailed(exit: ExitView, high: Decimal) -> Decimal | None:
    """The stop after the price was at `high`: never lower than before; None without a stop."""
    if exit.stop is None or exit.trail is None:
        return exit.stop
    tick = tick_of(high)
    behind = high * (1 - exit.trail) // tick * tick
    return max(exit.stop, behind)


def guarded(exits: Sequence[ExitView], held: Decimal) -> dict[ExitView, Decimal]:
    """The part of an account's holding that each exit covers, newest exit first: sales take the oldest units.

    An exit for the whole holding takes nothing from the others.
    """
    left, found = max(held, ZERO), {}
    for exit in sorted(exits, key=lambda one: one.position, reverse=True):
        found[exit] = max(held, ZERO) if exit.quantity is None else min(exit.quantity, left)
        left -= ZERO if exit.quantity is None else found[exit]
    return found


def levels_of(exits: Iterable[Levels]) -> tuple[Decimal | None, Decimal | None]:
    """The highest stop and the lowest target: a candle that reaches neither reaches no exit."""
    found = [(exit.stop, exit.target) for exit in exits]
    stops = [stop for stop, _ in found if stop is not None]
    targets = [target for _, target in found if target is not None]
    return max(stops, default=None), min(targets, default=None)
