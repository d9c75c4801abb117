"""Booking of lots and matches: no unit or cent is lost or invented, and the oldest lot closes first."""

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
    """Return a leg at `position`, `position` minutes after noon."""
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
    """Acquisitions and disposals in order, with values of either sign (a rebate may exceed the price)."""
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
def test_book_leg_loses_no_unit_and_no_cent(history: list[Leg]) -> None:
    """After every leg matched + open = bought and matched + unmatched = sold, in quantity and money, exactly."""
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
def test_matches_are_positive_and_within_the_lot(history: list[Leg]) -> None:
    """No match is empty, no lot closes more than its quantity, and realised P&L is proceeds less cost."""
    state = Folded()
    for one in history:
        state.book(one)

    assert all(match.quantity > 0 for match in state.matches)
    assert all(match.realized_pnl == match.proceeds - match.cost_basis for match in state.matches)
    assert all(ZERO <= lot.closed_quantity <= lot.quantity for lot in state.lots.values())
    assert all(lot.open_cost == ZERO for lot in state.lots.values() if not lot.live)


@given(history=histories())
def test_disposals_are_unmatched_only_beyond_open_lots(history: list[Leg]) -> None:
    """Nothing is unmatched while a lot is open."""
    state = Folded()
    for one in history:
        state.book(one)
        if state.unmatched and state.unmatched[-1].position == one.position:
            assert not any(lot.live for lot in state.lots.values())


@given(history=histories())
def test_oldest_lot_closes_first(history: list[Leg]) -> None:
    """No lot is closed while an older one is open."""
    assert oldest_first(history, book_leg)


def test_fifo_check_finds_lifo() -> None:
    """The check above fails when the newest lot closes first."""
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
def test_partial_sales_sum_to_the_cost_of_the_lot(parts: list[int], cost: Decimal) -> None:
    """In any partition the costs add up to that of the lot, and each is within one unit of its exact share."""
    whole = Decimal(sum(parts)).scaleb(-18)
    state = Folded()
    state.book(leg(1, whole, cost))
    for position, part in enumerate(parts, start=2):
        state.book(leg(position, -Decimal(part).scaleb(-18), ZERO))

    assert sums([match.cost_basis for match in state.matches]) == cost
    for match in state.matches:
        assert abs(match.cost_basis - cost * match.quantity / whole) <= Decimal("1e-18")


def test_sum_check_finds_individually_rounded_shares(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sums break when each share is rounded individually instead of as a difference."""
    lot = Folded()
    lot.book(leg(1, Decimal(3), Decimal(100)))
    monkeypatch.setattr(
        lots, "_between", lambda total, start, quantity, whole: (total * quantity / whole).quantize(Decimal("1e-18"))
    )
    for position in (2, 3, 4):
        lot.book(leg(position, Decimal(-1), Decimal(50)))

    assert sums([match.cost_basis for match in lot.matches]) != 100
