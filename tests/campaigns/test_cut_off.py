"""Interrupted anywhere: the program is killed before and after every effect, and the next one finishes the story."""

from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execution.exchanges.exchange import Exchange
from execution.exchanges.paper.exchange import PaperExchange
from execution.orders.connections import balances_of, restore_paper_orders
from execution.orders.order_events import ticket_of
from execution.orders.trade_service import SUBMIT_TIMEOUT, TradeService
from execution.review.review import TradeRejected
from ledger.events import (
    OrderAccepted,
    OrderClosed,
    OrderRefused,
    OrderRequested,
    OrderSubmitted,
    OutcomeUnknown,
    SignalApproved,
    SignalExpired,
    SignalRejected,
    TradeExecuted,
)
from ledger.postgres.book import PostgresBook
from ledger.projections.book import Book, MemoryBook
from ledger.projections.orders import OrderView
from ledger.values import ZERO, Side
from tests.support.events import SteppingClock
from tests.support.trading import (
    BTC,
    NOON,
    KillAt,
    Killed,
    Room,
    Script,
    ScriptedExchange,
    WatchedBook,
    WatchedExchange,
    market,
)
from tests.support.venues.paper_market import bar

VERDICTS = (SignalApproved, SignalRejected, SignalExpired)
SCRIPTS = {
    "two fills": Script(),
    "refused": Script(submit="refused"),
    "reply lost": Script(submit="lost"),
    "reply lost, venue silent for a while": Script(submit="lost", states=("unknown", "unknown", "open", "filled")),
    "never arrived": Script(submit="lost_before"),
    "expired half filled": Script(states=("open", "open", "expired"), told=((), (0,))),
    "nothing filled": Script(states=("open", "cancelled"), told=((),)),
    "told twice and late": Script(states=("open", "filled"), told=((1,), (1, 1), (1, 0, 1))),
}


class Story:
    """A signal and a manual order, from the opinion to the last fill, on a venue that survives the program."""

    def __init__(self, book: Book, name: str, script: Script, kind: type[TradeService] = TradeService) -> None:
        self.room = Room(book, name)
        self.room.mark()
        self.venue: ScriptedExchange = ScriptedExchange((script,))
        self._kind = kind
        self._rejections: list[str] = []

    def play(self, hook: KillAt) -> None:
        """The whole story; after every interruption a new program continues from the stored state."""
        book = WatchedBook(self.room.book, hook)
        exchange = WatchedExchange(self.venue, hook)
        for phase in (self._signal, self._steps, self._manual, self._steps):
            done = False
            while not done:
                try:
                    phase(self.room.service(exchange, book=book, kind=self._kind), book)
                    done = True
                except Killed:
                    pass

    def _signal(self, service: TradeService, book: Book) -> None:
        self.room.signal(asof=self.room.clock())
        service.step()

    def _manual(self, service: TradeService, book: Book) -> None:
        try:
            self.room.request(service, market(quote="60"), book=book)
        except TradeRejected as rejected:
            self._rejections.append(f"the story expects a yes: {rejected}")

    def _steps(self, service: TradeService, book: Book) -> None:
        for _ in range(6):
            service.step()
            self.room.clock.move(seconds=SUBMIT_TIMEOUT.total_seconds())

    def faults(self) -> list[str]:
        """The faults at the end."""
        return [
            *self._rejections,
            *self._of_signals(),
            *self._of_orders(),
            *map(str, self.room.broken_invariants()),
        ]

    def _of_signals(self) -> Iterator[str]:
        verdicts = len(self.room.envelopes(*VERDICTS))
        if verdicts != 1:
            yield f"{verdicts} verdicts on one signal"

    def _of_orders(self) -> Iterator[str]:
        orders = self.room.orders()
        if len(orders) != 2:
            yield f"{len(orders)} orders from one approval and one request"
        for order in orders:
            if order.live:
                yield f"an order hangs as {order.status}"
            if self.venue.submitted.count(order.client_order_id) > 1:
                yield "an order was sent twice"
            yield from self._of_fills(order)
            yield from disorder(self.room, order)

    def _of_fills(self, order: OrderView) -> Iterator[str]:
        placed = order.client_order_id in self.venue.placed
        executed = self.venue.executed(order.client_order_id) if placed else []
        trades = [one for one in self.room.of(TradeExecuted) if getattr(one, "order_id", None) == order.order_id]
        told = sorted(fill.venue_trade_id for fill in executed)
        if sorted(getattr(trade, "venue_trade_id", "") for trade in trades) != told:
            yield f"{len(trades)} trades for {len(executed)} fills"
        closed = [one for one in self.room.of(OrderClosed) if getattr(one, "order_id", None) == order.order_id]
        total = sum((fill.quantity for fill in executed), ZERO)
        if closed and getattr(closed[0], "filled", None) != total:
            yield "the closing event does not tell what was filled"


LIFE = (OrderRequested, OrderSubmitted, OutcomeUnknown, OrderAccepted, OrderRefused, OrderClosed)


def disorder(room: Room, order: OrderView) -> Iterator[str]:
    """Faults in the sequence of an order's events: each type at most once, in order, one end."""
    about = [
        LIFE.index(type(one.event))
        for one in room.envelopes(*LIFE)
        if order.order_id in (one.event_id, getattr(one.event, "order_id", None))
    ]
    if about != sorted(set(about)):
        yield f"the life of an order went {[LIFE[number].__name__ for number in about]}"
    if sum(LIFE[number] in (OrderRefused, OrderClosed) for number in about) > 1:
        yield "an order ended twice"


def effects_of(make: Callable[[str], Story]) -> int:
    """The number of points at which the program can be interrupted."""
    hook = KillAt()
    make("counting").play(hook)
    return hook.seen


SELDOM: Final = [pytest.param(17, marks=pytest.mark.campaign), pytest.param(1, marks=pytest.mark.nightly)]
"""On the stored book, which is slower, the usual tests cut a story off at every so manieth effect."""


def finished_once(book: Book, name: str, every: int = 1) -> None:
    """Killed before or after every n-th effect, the story ends correctly."""

    def make(where: str) -> Story:
        return Story(book, f"{name}, {where}", SCRIPTS[name])

    effects = effects_of(make)
    assert effects >= 12
    for number in range(1 + list(SCRIPTS).index(name) % every, effects + 1, every):
        story = make(str(number))
        story.play(KillAt({number}))
        assert story.faults() == [], f"cut off at effect {number} of {effects}"


@pytest.mark.parametrize("name", SCRIPTS)
def test_interrupted_story_is_finished_once(name: str, memory_book: MemoryBook) -> None:
    """Killed before or after any effect: one verdict, at most one send, every fill booked once."""
    finished_once(memory_book, name)


@pytest.mark.parametrize("every", SELDOM)
def test_stored_interrupted_story_is_finished_once(postgres_book: PostgresBook, every: int) -> None:
    """The same on the stored book."""
    for name in SCRIPTS:
        finished_once(postgres_book, name, every)


@given(st.sampled_from(sorted(SCRIPTS)), st.lists(st.integers(1, 30), min_size=1, max_size=5))
def test_story_interrupted_during_recovery_is_finished_once(name: str, distances: list[int]) -> None:
    """After any number of kills, also during recovery, the story ends as without them."""
    story = Story(MemoryBook(SteppingClock()), "again", SCRIPTS[name])
    cuts = {sum(distances[: count + 1]) for count in range(len(distances))}

    story.play(KillAt(cuts))

    assert story.faults() == []


class SendsAgain(TradeService):
    """Planted: sends an order of unknown outcome again."""

    def _look_up(self, order: OrderView) -> None:
        self._venues.at(order).submit(ticket_of(order))
        super()._look_up(order)


class SkipsLookUp(TradeService):
    """Planted: never looks up an order of unknown outcome."""

    def _look_up(self, order: OrderView) -> None:
        pass


class ClosesTooSoon(TradeService):
    """Planted: reads the order's state after its fills, and closes it before all are there."""

    def _close_if_ended(self, order: OrderView, found: object) -> None:
        again = self._venues.at(order).find(order.client_order_id)
        if getattr(again, "state", "open") != "open":
            filled = order.filled_quantity
            self._store(order, lambda _: OrderClosed(order_id=order.order_id, reason="filled", filled=filled))


@pytest.mark.parametrize("planted", [SendsAgain, SkipsLookUp, ClosesTooSoon])
def test_wrong_recovery_is_detected(planted: type[TradeService]) -> None:
    """A planted mistake in recovery breaks the story at some interruption."""

    def make(where: str) -> Story:
        return Story(MemoryBook(SteppingClock()), where, SCRIPTS["told twice and late"], planted)

    found = []
    for number in range(1, effects_of(make) + 1):
        story = make(str(number))
        story.play(KillAt({number}))
        found += story.faults()

    assert found


# --- the paper venue, which dies with the program ---------------------------------------------------------------------


class PaperStory:
    """A signal, two manual orders and five candles on a paper venue that is restored after every interruption."""

    def __init__(self, book: Book, name: str) -> None:
        self.room = Room(book, name, venue="paper")
        self.room.mark()
        self.room.hold("1")
        self._hook: KillAt = KillAt()

    def play(self, hook: KillAt) -> None:
        self._hook = hook
        exchange = self.program()
        for phase in (self._orders, *(self._candle(number) for number in range(1, 6))):
            done = False
            while not done:
                try:
                    phase(exchange)
                    done = True
                except Killed:
                    exchange = self.program()

    def program(self) -> PaperExchange:
        """The paper venue of a program that has just started."""
        paper = PaperExchange((BTC,), balances_of(self.room.book, self.room.portfolio_id), self.room.clock)
        restore_paper_orders(self.room.book, self.room.portfolio_id, paper)
        return paper

    def _service(self, paper: Exchange) -> tuple[TradeService, Book]:
        book = WatchedBook(self.room.book, self._hook)
        return self.room.service(WatchedExchange(paper, self._hook), book=book), book

    def _orders(self, paper: PaperExchange) -> None:
        service, book = self._service(paper)
        self.room.signal(asof=NOON)
        for number, ticket in enumerate((None, market(base="0.5", limit="99"), market(Side.SELL, base="0.4"))):
            service.step()
            if any(order.status == "submitted" for order in self.room.orders()):
                self.room.clock.now = NOON + SUBMIT_TIMEOUT  # before that nothing proves that it will not arrive
                service.step()
            if ticket is not None:
                self.room.request(service, ticket, number, book=book)

    def _candle(self, number: int) -> Callable[[PaperExchange], None]:
        def phase(paper: PaperExchange) -> None:
            candle = bar(number, low="97", volume="4")
            self.room.clock.now = candle.closed_at
            paper.on_bar(candle)
            service, _ = self._service(paper)
            service.step()
            service.step()

        return phase

    def faults(self) -> Iterator[str]:
        yield from map(str, self.room.broken_invariants())
        if len(self.room.envelopes(*VERDICTS)) != 1 or len(self.room.orders()) != 3:
            yield "not one verdict and three orders"
        per_candle: dict[object, Decimal] = {}
        for envelope in self.room.envelopes(TradeExecuted):
            if isinstance(envelope.event, TradeExecuted) and envelope.event.venue == "paper":
                at = envelope.occurred_at
                per_candle[at] = per_candle.get(at, ZERO) + envelope.event.quantity
        if any(total > Decimal("0.4") for total in per_candle.values()):
            yield f"more than a tenth of a candle was filled: {per_candle}"
        for order in self.room.orders():
            yield from disorder(self.room, order)

    def totals(self) -> list[tuple[str, Decimal, Decimal]]:
        """The end of each order."""
        return [(order.reason, order.filled_quantity, order.filled_value) for order in self.room.orders()]


def paper_goes_on(book: Book, every: int = 1) -> None:
    """Killed before or after every n-th effect, the story ends with the totals of an undisturbed run."""
    hook = KillAt()
    clean = PaperStory(book, "clean")
    clean.play(hook)
    assert list(clean.faults()) == []
    assert [reason for reason, _, _ in clean.totals()] == ["filled"] * 3

    for number in range(1, hook.seen + 1, every):
        story = PaperStory(book, f"cut {number}")
        story.play(KillAt({number}))
        assert list(story.faults()) == [], f"cut off at effect {number} of {hook.seen}"
        for ended, expected in zip(story.totals(), clean.totals(), strict=True):
            assert ended[0] in ("not_placed", "") or ended[:2] == expected[:2], f"at {number}: {ended}, not {expected}"


def test_interrupted_paper_orders_continue_with_their_rest(memory_book: MemoryBook) -> None:
    """Killed before or after any effect, restored orders end with the same totals, or were never placed."""
    paper_goes_on(memory_book)


@pytest.mark.parametrize("every", SELDOM)
def test_stored_interrupted_paper_orders_continue_with_their_rest(postgres_book: PostgresBook, every: int) -> None:
    """The same on the stored book."""
    paper_goes_on(postgres_book, every)


@pytest.mark.parametrize("forgotten", ["what was filled", "which candles were told"])
def test_wrong_restoration_of_the_paper_venue_is_detected(forgotten: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: an order restored without its fills, or open to a past candle."""
    honest = PaperExchange.restore

    def forgetful(self: PaperExchange, *known: Any) -> None:
        ticket, placed_at, filled, value, fills, told_until = known
        if forgotten == "what was filled":
            honest(self, ticket, placed_at, ZERO, ZERO, fills, told_until)
        else:
            honest(self, ticket, placed_at, filled, value, fills, None)

    monkeypatch.setattr(PaperExchange, "restore", forgetful)
    with pytest.raises(AssertionError):
        paper_goes_on(MemoryBook(SteppingClock()))
