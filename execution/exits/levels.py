"""Exits: where a stop or a target is reached, how much of it is guarded, and how a stop trails. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal, Protocol

from execution.exchanges.paper.prices import Bar, Offer, TopOfBook, tick_of, worse
from ledger.projections.exits import ExitView
from ledger.values import ZERO, Side


class Levels(Protocol):
    """The prices that end something: a stop below, a target above, or one of them."""

    @property
    def stop(self) -> Decimal | None: ...
    @property
    def target(self) -> Decimal | None: ...


@dataclass(frozen=True, slots=True)
class Touch:
    """The market reached the stop or the target; `offer` is what it gave there."""

    level: Literal["stop", "target"]
    offer: Offer


def touched(levels: Levels, bar: Bar, half_spread: Decimal) -> Touch | None:
    """What the candle did to levels that stood when it opened.

    Where a candle reached both, the stop came first: nothing tells in which order it met them. A stop is met at its
    price, or at the open where the candle opened beyond it, and pays the spread; a target needs the price to go through
    it by a tick, and gives its own price even where the candle opened at a better one.
    """
    if levels.stop is not None and bar.low <= levels.stop:
        return Touch("stop", Offer(worse(Side.SELL, min(bar.open, levels.stop), half_spread), taker=True))
    if levels.target is not None and bar.high >= levels.target + tick_of(levels.target):
        return Touch("target", Offer(levels.target, taker=False))
    return None


def touched_by_quote(levels: Levels, quote: TopOfBook) -> Touch | None:
    """The same of what is bid now: that is what a sale would get."""
    if levels.stop is not None and quote.bid <= levels.stop:
        return Touch("stop", Offer(quote.bid, taker=True))
    if levels.target is not None and quote.bid >= levels.target:
        return Touch("target", Offer(quote.bid, taker=True))
    return None


def trailed(exit: ExitView, high: Decimal) -> Decimal | None:
    """Where the stop stands once the price has been at `high`: never lower than before. None where there is none."""
    if exit.stop is None or exit.trail is None:
        return exit.stop
    tick = tick_of(high)
    behind = high * (1 - exit.trail) // tick * tick
    return max(exit.stop, behind)


def guarded(exits: Sequence[ExitView], held: Decimal) -> dict[ExitView, Decimal]:
    """How much of what one account holds each exit guards: the newest first, for sales take the oldest units.

    An exit that guards all that is held takes nothing from the others.
    """
    left, found = max(held, ZERO), {}
    for exit in sorted(exits, key=lambda one: one.position, reverse=True):
        found[exit] = max(held, ZERO) if exit.quantity is None else min(exit.quantity, left)
        left -= ZERO if exit.quantity is None else found[exit]
    return found


def levels_of(exits: Iterable[Levels]) -> tuple[Decimal | None, Decimal | None]:
    """The highest stop and the lowest target: a candle that reaches neither touches none."""
    found = [(exit.stop, exit.target) for exit in exits]
    stops = [stop for stop, _ in found if stop is not None]
    targets = [target for _, target in found if target is not None]
    return max(stops, default=None), min(targets, default=None)
