"""Matches by other lot methods: the same legs and booking, with lots in another order.

The stored book is FIFO. These are views: nothing is stored, and no figure of the book changes.
"""

from bisect import bisect_left
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from typing import Final, Literal
from uuid import UUID

from ledger.booking.lots import Booking, Leg, Lot, Match, Split, UnmatchedDisposal, book_leg, split_lot, split_unmatched
from ledger.errors import DaybookError
from ledger.projections.holdings import Item
from ledger.projections.portfolio import portfolio_of
from ledger.rows import Key, Rows, key_of, replaced
from ledger.values import ZERO, decimal_text, share18

HOLDING_PERIOD_DAYS: Final = 365
Term = Literal["long", "short"]


class Method(StrEnum):
    """The open lot that a disposal closes first: the oldest, newest, most expensive, or chosen one."""

    FIFO = "fifo"
    LIFO = "lifo"
    HIFO = "hifo"
    SPECIFIC = "specific"


@dataclass(frozen=True, slots=True)
class ChosenLot:
    """A quantity of the lot opened by an event."""

    event_id: UUID
    quantity: Decimal


Choices = Mapping[UUID, Sequence[ChosenLot]]
"""Lots chosen for disposals, by event id. The rest of a disposal is matched by FIFO."""
NO_CHOICES: Final[Choices] = {}


SECONDARY: Final = ("transfer", "fee")
"""Kinds of legs for which no lots can be chosen: they accompany the main leg of an event."""


class BadChoice(DaybookError):
    """A lot chosen for a disposal cannot cover it. The text contains both event ids, or names (see `renamed`)."""

    def __init__(self, sentence: str, *events: UUID) -> None:
        super().__init__(sentence.format(*events))
        self._sentence = sentence
        self._events = events

    def renamed(self, names: Mapping[UUID, str]) -> "BadChoice":
        """Return the error with names in place of event ids."""
        made = BadChoice("")
        made.args = (self._sentence.format(*(names.get(event, str(event)) for event in self._events)),)
        return made


@dataclass(frozen=True, slots=True)
class Matched:
    """Open lots, matches and unmatched disposals, in order of time; matches of one disposal in order of booking."""

    open_lots: tuple[Lot, ...]
    matches: tuple[Match, ...]
    unmatched: tuple[UnmatchedDisposal, ...]


def matched_by(rows: Rows, asset: str, method: Method, choices: Choices | None = None) -> Matched:
    """Return the asset's lots and matches by `method`; for FIFO, those of the book. Raises BadChoice."""
    if method is not Method.FIFO or choices:
        return match_items(items_of(rows, asset), method, choices, allow_short=portfolio_of(rows).allow_short)
    matches = sorted(rows.history(Match, asset), key=_as_matched)
    return Matched(tuple(rows.where(Lot, asset)), tuple(matches), tuple(rows.history(UnmatchedDisposal, asset)))


def items_of(rows: Rows, asset: str) -> list[Item]:
    """Return the legs and splits that changed the asset's lots, in the order of the book."""
    legs: list[Item] = [leg for leg in rows.history(Leg, asset) if leg.kind != "split"]
    return sorted([*legs, *rows.history(Split, asset)], key=_place)


def match_items(
    items: Iterable[Item], method: Method, choices: Choices | None = None, *, allow_short: bool = False
) -> Matched:
    """Book the legs and splits of one asset, in the order of the book, by `method`. Raises BadChoice.

    Lots in `choices` are closed first, then lots by the method (SPECIFIC: FIFO). HIFO takes the lot with the highest cost
    per unit, compared as exact fractions; of equal ones the oldest.
    """
    queue = LotQueue(method)
    matches: list[Match] = []
    unmatched: list[UnmatchedDisposal] = []
    for item, booking in bookings(items, queue, choices or {}, allow_short=allow_short):
        if isinstance(item, Split):
            unmatched = [split_unmatched(one, item) for one in unmatched]
        matches += booking.matches
        unmatched += [booking.unmatched] if booking.unmatched else []
    return Matched(queue.lots(), tuple(matches), tuple(unmatched))


def bookings_of(rows: Rows, asset: str) -> Iterator[tuple[Item, Booking]]:
    """Yield each leg and split of the asset with its booking; that of a split contains the lots after it."""
    allow_short = portfolio_of(rows).allow_short
    return bookings(items_of(rows, asset), LotQueue(Method.FIFO), allow_short=allow_short)


def bookings(
    items: Iterable[Item], queue: "LotQueue", choices: Choices = NO_CHOICES, *, allow_short: bool = False
) -> Iterator[tuple[Item, Booking]]:
    """Book legs and splits one by one against the lots in `queue`, and update it. Raises BadChoice."""
    for item in items:
        if isinstance(item, Split):
            yield item, Booking(queue.split(item))
            continue
        chosen = choices.get(item.event_id, ()) if item.kind not in SECONDARY else ()
        for piece, lots in _pieces(item, chosen, queue):
            booking = book_leg(piece, lots, allow_short=allow_short)
            queue.put(booking.lots)
            yield item, booking


def term_of(match: Match, holding_period_days: int) -> Term:
    """Return "long" if the units were held for more than this number of 24-hour days, exactly; else "short".

    Matches of short lots are always "short".
    """
    held = match.closed_at - match.opened_at
    return "long" if held > timedelta(days=holding_period_days) and not match.short else "short"


def acquisition_known(match: Match, opening: Container[tuple[int, int]]) -> bool:
    """Return True if the time of acquisition is known. Deposits of unknown cost were acquired at some earlier time.

    `opening` contains (position, leg) of the opening lots, which state their time of acquisition.
    """
    closing = (match.closing_position, match.closing_leg)
    return match.cost_known or (closing if match.short else (match.opening_position, match.opening_leg)) in opening


def opening_lots(legs: Iterable[Leg]) -> set[tuple[int, int]]:
    """Return (position, leg) of the legs that state their time of acquisition."""
    return {(leg.position, leg.leg) for leg in legs if leg.kind == "opening"}


def too_much(event_id: UUID) -> BadChoice:
    """Return the error for lots chosen for more than the disposal, or for none."""
    return BadChoice("the lots chosen for {} must be more than 0 and at most the quantity disposed of", event_id)


def _as_matched(match: Match) -> tuple[datetime, int, int, datetime, int, int]:
    """Sort key for the order of booking: by disposal, then by lot."""
    closing = (match.closed_at, match.closing_position, match.closing_leg)
    return (*closing, match.opened_at, match.opening_position, match.opening_leg)


def _place(item: Item) -> tuple[datetime, int, int]:
    return (item.occurred_at, item.position, item.leg if isinstance(item, Leg) else 0)


def _pieces(leg: Leg, chosen: Sequence[ChosenLot], queue: "LotQueue") -> Iterator[tuple[Leg, Iterable[Lot]]]:
    """Split the leg into a piece per chosen lot and the rest, each with the lots it may close, in order.

    The value is shared exactly, as among matches.
    """
    covered = ZERO
    for one in chosen:
        if leg.quantity >= 0 or one.quantity <= 0 or covered + one.quantity > -leg.quantity:
            raise too_much(leg.event_id)
        yield _piece(leg, covered, one.quantity), [queue.chosen(leg, one)]
        covered += one.quantity
    if not covered:
        yield leg, queue.in_order()
    elif covered < -leg.quantity:
        yield _piece(leg, covered, -leg.quantity - covered), queue.in_order()


def _piece(leg: Leg, start: Decimal, quantity: Decimal) -> Leg:
    whole = -leg.quantity
    value = share18(leg.value, start + quantity, whole) - share18(leg.value, start, whole)
    return replaced(leg, quantity=-quantity, value=value, fee=leg.fee if not start else ZERO)


class LotQueue:
    """Open lots of an asset in the order in which a method closes them."""

    def __init__(self, method: Method) -> None:
        self._method = method
        self._lots: dict[Key, Lot] = {}
        self._order: list[tuple[Fraction | int, Key]] = []

    def put(self, lots: Iterable[Lot]) -> None:
        """Replace lots by these, removing closed ones."""
        for lot in lots:
            place = self._place(lot)
            index = bisect_left(self._order, place)
            known = index < len(self._order) and self._order[index] == place
            if lot.live:
                self._lots[place[1]] = lot
                if not known:
                    self._order.insert(index, place)
            elif known:
                del self._order[index], self._lots[place[1]]

    def split(self, split: Split) -> tuple[Lot, ...]:
        """Split all lots, which reorders them, and return them."""
        lots = tuple(split_lot(lot, split) for lot in self.lots())
        self._lots.clear()
        self._order.clear()
        self.put(lots)
        return lots

    def in_order(self) -> Iterator[Lot]:
        """Return the lots, next to close first."""
        places = reversed(self._order) if self._method is Method.LIFO else self._order
        return (self._lots[key] for _, key in places)

    def lots(self) -> tuple[Lot, ...]:
        """Return the lots in order of their keys."""
        return tuple(self._lots[key] for key in sorted(self._lots))

    def chosen(self, leg: Leg, choice: ChosenLot) -> Lot:
        """Return the lot chosen for the leg. Raises BadChoice if it is not open, or too small."""
        for lot in self.lots():
            if lot.event_id == choice.event_id:
                if lot.open_quantity < choice.quantity:
                    size = f"has {decimal_text(lot.open_quantity)} left, not {decimal_text(choice.quantity)}"
                    raise BadChoice("lot {}, chosen for {}, " + size, choice.event_id, leg.event_id)
                return lot
        raise BadChoice("lot {}, chosen for {}, is not open at that time", choice.event_id, leg.event_id)

    def _place(self, lot: Lot) -> tuple[Fraction | int, Key]:
        """Sort key: cost per unit for HIFO, highest first, then key. The whole lot gives an exact cost per unit."""
        unit_cost = Fraction(lot.cost) / Fraction(lot.quantity) if self._method is Method.HIFO else 0
        return -unit_cost, key_of(lot)
