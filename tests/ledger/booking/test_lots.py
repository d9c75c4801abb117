"""Lots and matches, one leg at a time: nothing is lost, nothing invented, the oldest goes first."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.booking import lots
from ledger.booking.lots import Booking, Leg, Lot, Match, UnmatchedDisposal, book_leg
from ledger.rows import key_of
from ledger.values import ZERO

NOON = datetime(2024, 1, 1, 12, tzinfo=UTC)


def leg(position: int, quantity: Decimal, value: Decimal) -> Leg:
    """The leg of the event at `position`, `position` minutes after noon."""
    time = NOON + timedelta(minutes=position)
    return Leg("BTC", time, position, 0, UUID(int=position), "a", "BTC-USD", quantity, value, ZERO, "trade", True, None)


def amounts(lowest: int) -> st.SearchStrategy[Decimal]:
    return st.builds(
        lambda units, places: Decimal(units).scaleb(-places),
        st.integers(lowest, 10**20),
        st.sampled_from((0, 2, 8, 18)),
    )


@st.composite
def histories(draw: st.DrawFn) -> list[Leg]:
    """Legs in order: acquisitions and disposals, values of either sign (a rebate may outweigh a price)."""
    found: list[Leg] = []
    for position in range(1, draw(st.integers(1, 12)) + 1):
        quantity = draw(amounts(1))
        value = draw(st.one_of(amounts(0), amounts(1).map(lambda amount: -amount)))
        found.append(leg(position, draw(st.sampled_from((quantity, -quantity))), value))
    return found


class Folded:
    """The lots, matches and unmatched disposals after some legs."""

    def __init__(self) -> None:
        self.lots: dict[tuple[object, ...], Lot] = {}
        self.matches: list[Match] = []
        self.unmatched: list[UnmatchedDisposal] = []

    def book(self, one: Leg, booked: Callable[..., Booking] = book_leg) -> None:
        booking = booked(one, [self.lots[key] for key in sorted(self.lots) if self.lots[key].live])
        self.lots |= {key_of(lot): lot for lot in booking.lots}
        self.matches += booking.matches
        self.unmatched += [booking.unmatched] if booking.unmatched else []


def sums(values: list[Decimal]) -> Decimal:
    return sum(values, ZERO)


@given(history=histories())
def test_no_unit_and_no_cent_is_lost(history: list[Leg]) -> None:
    """After every leg matched + open = bought and matched + unmatched = sold, in quantity and money, to the digit."""
    state = Folded()
    for count, one in enumerate(history, start=1):
        state.book(one)
        bought = [past for past in history[:count] if past.quantity > 0]
        sold = [past for past in history[:count] if past.quantity < 0]
        every_lot = list(state.lots.values())

        matched = sums([match.quantity for match in state.matches])
        assert matched + sums([lot.open_quantity for lot in every_lot]) == sums([past.quantity for past in bought])
        assert matched + sums([rest.quantity for rest in state.unmatched]) == -sums([past.quantity for past in sold])

        cost = sums([match.cost_basis for match in state.matches]) + sums([lot.open_cost for lot in every_lot])
        proceeds = sums([match.proceeds for match in state.matches]) + sums([rest.proceeds for rest in state.unmatched])
        assert cost == sums([past.value for past in bought])
        assert proceeds == sums([past.value for past in sold])


@given(history=histories())
def test_a_match_is_never_empty_and_never_too_much(history: list[Leg]) -> None:
    """Every match takes something, no lot gives more than it has, and realised P&L is proceeds less cost."""
    state = Folded()
    for one in history:
        state.book(one)

    assert all(match.quantity > 0 for match in state.matches)
    assert all(match.realized_pnl == match.proceeds - match.cost_basis for match in state.matches)
    assert all(ZERO <= lot.closed_quantity <= lot.quantity for lot in state.lots.values())
    assert all(lot.open_cost == ZERO for lot in state.lots.values() if not lot.live)


@given(history=histories())
def test_nothing_is_unmatched_while_a_lot_is_open(history: list[Leg]) -> None:
    """A disposal is unmatched only for what it exceeds all open lots."""
    state = Folded()
    for one in history:
        state.book(one)
        if state.unmatched and state.unmatched[-1].position == one.position:
            assert not any(lot.live for lot in state.lots.values())


@given(history=histories())
def test_the_oldest_lot_goes_first(history: list[Leg]) -> None:
    """No lot is touched while an older one is open."""
    assert oldest_first(history, book_leg)


def test_last_in_first_out_is_found() -> None:
    """The law above fails when the newest lot goes first."""
    history = [leg(1, Decimal(1), Decimal(10)), leg(2, Decimal(1), Decimal(20)), leg(3, Decimal(-1), Decimal(30))]

    assert oldest_first(history, book_leg)
    assert not oldest_first(history, lambda one, open_lots: book_leg(one, open_lots[::-1]))


def oldest_first(history: list[Leg], booked: Callable[..., Booking]) -> bool:
    state = Folded()
    for one in history:
        state.book(one, booked)
        begun = [lot.closed_quantity > 0 for lot in (state.lots[key] for key in sorted(state.lots))]
        whole = [not lot.live for lot in (state.lots[key] for key in sorted(state.lots))]
        if any(later and not earlier for earlier, later in zip(whole, begun[1:], strict=False)):
            return False
    return True


@given(parts=st.lists(st.integers(1, 10**20), min_size=1, max_size=8), cost=amounts(0))
def test_selling_in_parts_costs_what_selling_at_once_costs(parts: list[int], cost: Decimal) -> None:
    """However a lot is sold off, the parts cost what the lot cost, and each is within a unit of its exact share."""
    whole = Decimal(sum(parts)).scaleb(-18)
    state = Folded()
    state.book(leg(1, whole, cost))
    for position, part in enumerate(parts, start=2):
        state.book(leg(position, -Decimal(part).scaleb(-18), ZERO))

    assert sums([match.cost_basis for match in state.matches]) == cost
    for match in state.matches:
        assert abs(match.cost_basis - cost * match.quantity / whole) <= Decimal("1e-18")


def test_shares_rounded_one_by_one_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sums above break when each share is rounded for itself instead of as a difference."""
    lot = Folded()
    lot.book(leg(1, Decimal(3), Decimal(100)))
    monkeypatch.setattr(
        lots, "_between", lambda total, start, quantity, whole: (total * quantity / whole).quantize(Decimal("1e-18"))
    )
    for position in (2, 3, 4):
        lot.book(leg(position, Decimal(-1), Decimal(50)))

    assert sums([match.cost_basis for match in lot.matches]) != 100
