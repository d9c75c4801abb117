"""Fills reported twice, late, split over many reports and in any order give one ledger state."""

import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from typing import Final
from uuid import UUID

import pytest

from execution.exchanges.exchange import Accepted, Fill, FoundOrder, InstrumentRules, NotPlaced, OrderTicket
from execution.orders import order_events
from execution.orders.trade_service import TradeService
from execution.review.review import ManualTicket
from ledger.events import OrderClosed, TradeExecuted
from ledger.events.fields import Fee
from ledger.log.envelope import NewEvent
from ledger.projections import PROJECTIONS
from ledger.projections.book import MemoryBook
from ledger.projections.invariants import broken_invariants
from ledger.rows import all_rows, row_text, state_hash
from ledger.values import ZERO, Asset, Instrument, Side, derived_id
from tests.support.events import SteppingClock
from tests.support.trading import BTC, NOON, RULES, HandClock, Room

ETH: Final = Instrument("ETH-USD")
KINDS: Final = tuple(kind for projection in PROJECTIONS for kind in projection.rows)


def fill(client_order_id: str, number: int, quantity: str, price: str, minute: int, fee: str = "USD") -> Fill:
    """A fill whose id counts from 1 in its market, as at venues where two markets share ids."""
    paid = Fee(asset=Asset(fee), amount=Decimal(quantity) / 1000)
    at = NOON + timedelta(minutes=minute)
    return Fill(str(number), client_order_id, Decimal(quantity), Decimal(price), (paid,), at)


@dataclass
class ReportingVenue:
    """A venue that accepted every order and reports the fills it is given."""

    executed: dict[str, tuple[Fill, ...]] = field(default_factory=dict)
    telling: Sequence[Fill] = ()
    ended: bool = False
    venue: str = "scripted"

    def rules(self, instrument: Instrument) -> InstrumentRules | None:
        return RULES

    def submit(self, ticket: OrderTicket) -> Accepted:
        return Accepted(f"V-{ticket.client_order_id}")

    def find(self, client_order_id: str) -> FoundOrder | NotPlaced:
        filled = sum((one.quantity for one in self.executed[client_order_id]), ZERO) if self.ended else ZERO
        return FoundOrder(f"V-{client_order_id}", "filled" if self.ended else "open", filled)

    cancel = find

    def fills(self, client_order_id: str) -> list[Fill]:
        return [one for one in self.telling if one.client_order_id == client_order_id]

    def booked(self, client_order_id: str, venue_trade_ids: Collection[str]) -> None:
        pass

    def forget(self, client_order_id: str) -> None:
        pass


@dataclass(frozen=True)
class Opened:
    """Three accepted orders as the log holds them, and all fills that they ever get."""

    portfolio_id: UUID
    log: list[NewEvent]
    executed: dict[str, tuple[Fill, ...]]


def opened() -> Opened:
    """A buy and a sale of one coin and a buy of another, none filled yet."""
    room = Room(MemoryBook(SteppingClock()), "any order")
    room.mark()
    room.mark("10", ETH)
    room.hold("3", "90")
    teller = ReportingVenue({}, ())
    service, asked = room.service(teller), list[str]()
    wanted = ((BTC, Side.BUY, "2", "100"), (BTC, Side.SELL, "1.5", "100"), (ETH, Side.BUY, "9", "10"))
    for number, (instrument, side, size, price) in enumerate(wanted):
        asked.append(order_events.client_order_id(room.manual_id(number)))
        teller.executed = dict.fromkeys(asked, ())
        ticket = ManualTicket(instrument, side, "limit", Decimal(size), None, Decimal(price), None)
        room.request(service, ticket, number)
    buy, sell, other = asked
    executed = {
        buy: tuple(fill(buy, n, "0.4", str(100 - n), 2 * n, "BTC") for n in range(1, 6)),
        sell: tuple(fill(sell, 5 + n, "0.375", str(101 + n), 2 * n + 1) for n in range(1, 5)),
        other: tuple(fill(other, n, "3", str(10 + n), 3 * n) for n in range(1, 4)),
    }
    log = [
        NewEvent(one.event, one.event_id, one.occurred_at, one.actor, one.correlation_id, one.causation_id)
        for one in room.envelopes()
    ]
    return Opened(room.portfolio_id, log, executed)


def state_after(story: Opened, seed: int) -> tuple[str, MemoryBook]:
    """The state hash after the fills were reported in random portions, and the book."""
    dice, book = random.Random(seed), MemoryBook(SteppingClock())
    book.record(story.portfolio_id, story.log)
    teller = ReportingVenue(story.executed)
    service = TradeService(book, story.portfolio_id, {teller.venue: teller}, HandClock())
    everything = [one for fills in story.executed.values() for one in fills]
    told = [one for one in everything for _ in range(dice.randrange(1, 4))]
    dice.shuffle(told)
    while told:
        count = dice.randrange(1, 7)
        teller.telling, told = told[:count], told[count:]
        teller.ended = teller.ended or dice.random() < 0.2  # an order may end before all its fills are told
        service.step()
    teller.telling, teller.ended = dice.sample(everything, len(everything)), True
    service.step()
    with book.reading(story.portfolio_id) as reading:
        assert reading.stopped is None
        return state_hash(map(row_text, all_rows(reading.rows, KINDS))), book


@pytest.mark.parametrize("count", [150, pytest.param(10_000, marks=pytest.mark.nightly)])
def test_fills_in_any_order_give_one_state(count: int) -> None:
    """Each fill is one trade, each order ends once, and all derived rows are the same."""
    story = opened()
    first, book = state_after(story, 0)

    assert {state_after(story, seed)[0] for seed in range(1, count)} == {first}
    types = [one.type for one in book.log.read(story.portfolio_id)]
    assert types.count(TradeExecuted.type) == 12 + 1
    assert types.count(OrderClosed.type) == 3
    with book.reading(story.portfolio_id) as reading:
        assert list(broken_invariants(reading.rows)) == []


def test_fill_id_without_its_market_is_detected(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: with the venue's id alone, fills of one market hide those of another."""

    def marketless(venue: str, account: str, instrument: str, venue_trade_id: str) -> UUID:
        return derived_id("fill", venue, account, venue_trade_id)

    monkeypatch.setattr(order_events, "trade_event_id", marketless)
    story = opened()

    assert len({state_after(story, seed)[0] for seed in range(8)}) > 1
