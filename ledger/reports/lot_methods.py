"""What the matches would be under another method: the same legs booked by the same rule, other lots first.

FIFO is the book. These are views: nothing is stored, and no figure of the book changes.
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
    """Which open lot a disposal closes first: the oldest, the newest, the dearest, or one named for it."""

    FIFO = "fifo"
    LIFO = "lifo"
    HIFO = "hifo"
    SPECIFIC = "specific"


@dataclass(frozen=True, slots=True)
class NamedLot:
    """So much of the lot that this event opened."""

    event_id: UUID
    quantity: Decimal


Choices = Mapping[UUID, Sequence[NamedLot]]
"""The lots that are to cover a disposal, by its event id. What they do not cover is matched first in, first out."""
NO_CHOICES: Final[Choices] = {}


BESIDE: Final = ("transfer", "fee")
"""The kinds of leg for which no lots can be named: they stand beside what the event is about."""


class BadChoice(DaybookError):
    """A lot named for a disposal cannot cover it; the text names both, by their events unless they are renamed."""

    def __init__(self, sentence: str, *events: UUID) -> None:
        super().__init__(sentence.format(*events))
        self._sentence = sentence
        self._events = events

    def renamed(self, names: Mapping[UUID, str]) -> "BadChoice":
        """The same with the names by which its reader knows the events."""
        made = BadChoice("")
        made.args = (self._sentence.format(*(names.get(event, str(event)) for event in self._events)),)
        return made


@dataclass(frozen=True, slots=True)
class Matched:
    """Open lots, matches and unmatched disposals, in order of time; the matches of a disposal as they were made."""

    open_lots: tuple[Lot, ...]
    matches: tuple[Match, ...]
    unmatched: tuple[UnmatchedDisposal, ...]


def matched_by(rows: Rows, asset: str, method: Method, choices: Choices | None = None) -> Matched:
    """The asset's lots and matches by `method`; by FIFO they are the book's own. Raises BadChoice."""
    if method is not Method.FIFO or choices:
        return what_if(items_of(rows, asset), method, choices, allow_short=portfolio_of(rows).allow_short)
    matches = sorted(rows.history(Match, asset), key=_as_matched)
    return Matched(tuple(rows.where(Lot, asset)), tuple(matches), tuple(rows.history(UnmatchedDisposal, asset)))


def items_of(rows: Rows, asset: str) -> list[Item]:
    """What changed the asset's lots, in the order of the book. What a split did to accounts changed no lot."""
    legs: list[Item] = [leg for leg in rows.history(Leg, asset) if leg.kind != "split"]
    return sorted([*legs, *rows.history(Split, asset)], key=_place)


def what_if(
    items: Iterable[Item], method: Method, choices: Choices | None = None, *, allow_short: bool = False
) -> Matched:
    """The legs and splits of one asset, in the order of the book, booked by `method`. Raises BadChoice.

    Lots named in `choices` are closed first; what they do not cover goes by the method, SPECIFIC by FIFO. HIFO takes the
    lot with the highest cost for a unit, compared as exact fractions, the older of equals first.
    """
    shelf = Shelf(method)
    matches: list[Match] = []
    unmatched: list[UnmatchedDisposal] = []
    for item, booking in bookings(items, shelf, choices or {}, allow_short=allow_short):
        if isinstance(item, Split):
            unmatched = [split_unmatched(one, item) for one in unmatched]
        matches += booking.matches
        unmatched += [booking.unmatched] if booking.unmatched else []
    return Matched(shelf.lots(), tuple(matches), tuple(unmatched))


def bookings_of(rows: Rows, asset: str) -> Iterator[tuple[Item, Booking]]:
    """What each leg and split of the asset did in the book, one after the other; a split gives the lots as it left them."""
    allow_short = portfolio_of(rows).allow_short
    return bookings(items_of(rows, asset), Shelf(Method.FIFO), allow_short=allow_short)


def bookings(
    items: Iterable[Item], shelf: "Shelf", choices: Choices = NO_CHOICES, *, allow_short: bool = False
) -> Iterator[tuple[Item, Booking]]:
    """Book legs and splits as they come against the lots on the shelf, which it keeps current. Raises BadChoice."""
    for item in items:
        if isinstance(item, Split):
            yield item, Booking(shelf.split(item))
            continue
        chosen = choices.get(item.event_id, ()) if item.kind not in BESIDE else ()
        for part, lots in _parts(item, chosen, shelf):
            booking = book_leg(part, lots, allow_short=allow_short)
            shelf.put(booking.lots)
            yield item, booking


def term_of(match: Match, holding_period_days: int) -> Term:
    """Long when the units were held for more than so many days of 24 hours, to the microsecond; else short.

    What was sold before it was bought was never held: a match of a short lot is short.
    """
    held = match.closed_at - match.opened_at
    return "long" if held > timedelta(days=holding_period_days) and not match.short else "short"


def acquisition_known(match: Match, opening: Container[tuple[int, int]]) -> bool:
    """Whether it is known when the matched units were acquired: coins of unknown cost only came in then.

    `opening` holds (position, leg) of the opening lots, which state when they were acquired.
    """
    closing = (match.closing_position, match.closing_leg)
    return match.cost_known or (closing if match.short else (match.opening_position, match.opening_leg)) in opening


def opening_lots(legs: Iterable[Leg]) -> set[tuple[int, int]]:
    """(position, leg) of the legs that state when they were acquired."""
    return {(leg.position, leg.leg) for leg in legs if leg.kind == "opening"}


def too_much(event_id: UUID) -> BadChoice:
    """The refusal of lots named for what disposed of less, or of nothing."""
    return BadChoice("the lots named for {} must be for more than 0 and for no more than it disposed of", event_id)


def _as_matched(match: Match) -> tuple[datetime, int, int, datetime, int, int]:
    """Its place in the order in which the book matched: that of the disposals, and of the lots within each."""
    closing = (match.closed_at, match.closing_position, match.closing_leg)
    return (*closing, match.opened_at, match.opening_position, match.opening_leg)


def _place(item: Item) -> tuple[datetime, int, int]:
    return (item.occurred_at, item.position, item.leg if isinstance(item, Leg) else 0)


def _parts(leg: Leg, named: Sequence[NamedLot], shelf: "Shelf") -> Iterator[tuple[Leg, Iterable[Lot]]]:
    """The leg in pieces: one for each named lot, then what is left, each with the lots it may close, in their order.

    The pieces share the leg's value as matches share it, so that no digit is lost.
    """
    covered = ZERO
    for one in named:
        if leg.quantity >= 0 or one.quantity <= 0 or covered + one.quantity > -leg.quantity:
            raise too_much(leg.event_id)
        yield _piece(leg, covered, one.quantity), [shelf.named(leg, one)]
        covered += one.quantity
    if not covered:
        yield leg, shelf.in_order()
    elif covered < -leg.quantity:
        yield _piece(leg, covered, -leg.quantity - covered), shelf.in_order()


def _piece(leg: Leg, start: Decimal, quantity: Decimal) -> Leg:
    whole = -leg.quantity
    value = share18(leg.value, start + quantity, whole) - share18(leg.value, start, whole)
    return replaced(leg, quantity=-quantity, value=value, fee=leg.fee if not start else ZERO)


class Shelf:
    """The open lots of an asset in the order in which a method closes them."""

    def __init__(self, method: Method) -> None:
        self._method = method
        self._lots: dict[Key, Lot] = {}
        self._order: list[tuple[Fraction, Key]] = []

    def put(self, lots: Iterable[Lot]) -> None:
        """These lots are now as they stand here."""
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
        """Every lot is at its new number of units, for what it cost; so its place is another one."""
        lots = tuple(split_lot(lot, split) for lot in self.lots())
        self._lots.clear()
        self._order.clear()
        self.put(lots)
        return lots

    def in_order(self) -> Iterator[Lot]:
        """The lots, the next one to close first."""
        places = reversed(self._order) if self._method is Method.LIFO else self._order
        return (self._lots[key] for _, key in places)

    def lots(self) -> tuple[Lot, ...]:
        """The lots in order of their keys."""
        return tuple(self._lots[key] for key in sorted(self._lots))

    def named(self, leg: Leg, name: NamedLot) -> Lot:
        """The lot named for the leg. Raises BadChoice when less of it is open."""
        for lot in self.lots():
            if lot.event_id == name.event_id:
                if lot.open_quantity < name.quantity:
                    has = f"has {decimal_text(lot.open_quantity)} left, not {decimal_text(name.quantity)}"
                    raise BadChoice("the lot {} named for {} " + has, name.event_id, leg.event_id)
                return lot
        raise BadChoice("the lot {} named for {} is not open at that time", name.event_id, leg.event_id)

    def _place(self, lot: Lot) -> tuple[Fraction, Key]:
        """What a unit cost, highest first, decides under HIFO alone; the whole lot states it, which no rounding moves."""
        dearness = Fraction(lot.cost) / Fraction(lot.quantity) if self._method is Method.HIFO else Fraction(0)
        return -dearness, key_of(lot)
