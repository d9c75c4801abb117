"""The trade service: intent before action, one send, every fill once, under concurrency and interruption."""

import threading
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from decimal import Decimal
from functools import partial
from typing import Any

import pytest

from execution.orders import trade_service
from execution.orders.order_events import client_order_id, ticket_of
from execution.orders.trade_service import SEND_WITHIN, SUBMIT_TIMEOUT, TradeService
from execution.review import FOR_EVERY_ORDER
from execution.review.review import TradeRejected
from ledger.events import (
    EVENTS,
    CancelRequested,
    Event,
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
    TradingResumed,
)
from ledger.log.envelope import NewEvent
from ledger.log.event_log import Conflict, PositionConflict
from ledger.projections import PROJECTIONS
from ledger.projections.book import TRIES, Book, MemoryBook
from ledger.projections.orders import OrderView
from ledger.rows import Row
from ledger.values import Side, derived_id
from tests.support.events import SteppingClock
from tests.support.trading import BTC, Hook, Room, Script, ScriptedExchange, State, WatchedBook, WatchedExchange, market
from tests.support.waiting import until

VERDICTS = (SignalApproved, SignalRejected, SignalExpired)


def memory() -> MemoryBook:
    return MemoryBook(SteppingClock())


def watched(room: Room, venue: ScriptedExchange, hook: Hook, **options: Any) -> tuple[TradeService, WatchedBook]:
    """A service whose every effect the hook sees, and its book."""
    book = WatchedBook(room.book, hook)
    return room.service(WatchedExchange(venue, hook), book=book, **options), book


# --- the order of effects ---------------------------------------------------------------------------------------------


def effects_of_a_signal(kind: type[TradeService]) -> list[str]:
    """The effects of the service for one signal, in order."""
    room, seen = Room(memory(), "effects"), list[str]()
    service, _ = watched(room, ScriptedExchange(), lambda side, what: seen.append(f"{side} {what}"), kind=kind)
    room.signal()
    for _ in range(4):
        service.step()
    return [effect for effect in seen if effect not in ("before read", "after read")]


def intent_before_act(effects: list[str]) -> bool:
    """`True` if intent and attempt were stored before the one call that sends."""
    wanted = ("after SignalApproved + OrderRequested", "after OrderSubmitted", "before submit")
    places = [effects.index(one) for one in wanted]
    return places == sorted(places) and effects.count("before submit") == 1


class SendsFirst(TradeService):
    """Planted: sends, and stores the attempt afterwards."""

    def _send(self, order: OrderView) -> None:
        self._venues.at(order).submit(ticket_of(order))
        self.decide(lambda state: self._attempt(order, state))


def test_intent_and_attempt_are_stored_before_the_send() -> None:
    """Verdict and intent together, then the attempt, then one call to the venue."""
    assert intent_before_act(effects_of_a_signal(TradeService))
    assert not intent_before_act(effects_of_a_signal(SendsFirst))


def test_order_state_is_read_before_its_fills() -> None:
    """So that no fill is lost between the two requests."""
    effects = effects_of_a_signal(TradeService)

    assert effects.index("before find") < effects.index("before fills") < effects.index("before TradeExecuted")
    assert effects[-2:] == ["before forget", "after forget"]


# --- outcomes ---------------------------------------------------------------------------------------------------------


def life_of(room: Room) -> list[str]:
    """The types of the events of the portfolio's orders."""
    kinds = (OrderRequested, OrderSubmitted, OutcomeUnknown, OrderAccepted, OrderRefused, TradeExecuted, OrderClosed)
    return [envelope.type for envelope in room.envelopes(*kinds)]


def played(script: Script, steps: int = 6, book: Book | None = None) -> tuple[Room, ScriptedExchange]:
    """A signal and `steps` steps of half a minute on a venue with this script."""
    room, venue = Room(book or memory(), "played"), ScriptedExchange((script,))
    service = room.service(venue)
    room.signal()
    for _ in range(steps):
        service.step()
        room.clock.move(seconds=SUBMIT_TIMEOUT.total_seconds())
    return room, venue


def test_refused_order_ends(book: Book) -> None:
    """It is stored as refused, and never sent or looked up again."""
    room, venue = played(Script(submit="refused"), book=book)

    assert life_of(room) == ["OrderRequested", "OrderSubmitted", "OrderRefused"]
    assert len(venue.submitted) == 1


def test_order_with_a_lost_reply_is_looked_up_and_adopted(book: Book) -> None:
    """Until the venue knows it; its fills are booked."""
    room, venue = played(Script(submit="lost", states=("unknown", "open", "filled"), told=((0,), (0, 1))), book=book)

    assert life_of(room) == [
        *("OrderRequested", "OrderSubmitted", "OutcomeUnknown", "OrderAccepted"),
        *("TradeExecuted", "TradeExecuted", "OrderClosed"),
    ]
    assert len(venue.submitted) == 1


def test_order_that_never_arrived_is_closed_after_its_deadline() -> None:
    """A missing order proves nothing before the attempt's deadline."""
    room, _ = played(Script(submit="lost_before"), steps=1)
    venue = ScriptedExchange()
    service = room.service(venue)

    room.clock.move(seconds=-1)
    service.step()
    assert room.orders()[0].status == "unknown"

    room.clock.move(seconds=1)
    service.step()
    assert (room.orders()[0].status, room.orders()[0].reason) == ("closed", "not_placed")
    assert venue.submitted == []


@pytest.mark.parametrize("state", ["expired", "cancelled"])
def test_partially_filled_order_is_closed_with_its_fills(state: State) -> None:
    """With the venue's reason and the sum of its booked fills."""
    room, _ = played(Script(states=("open", state), told=((0,),)))

    (closed,) = room.of(OrderClosed)
    assert isinstance(closed, OrderClosed)
    assert (closed.reason, closed.filled) == (state, Decimal("0.1"))


@pytest.mark.parametrize(
    "told",
    [((0,), (0, 1)), ((1,), (0,)), ((), (), (1, 0, 1)), ((0, 0), (1, 1, 0)), ((), (1,), (1,), (0,))],
    ids=["in parts", "backwards", "late", "twice", "one by one"],
)
def test_fills_are_booked_once(told: tuple[tuple[int, ...], ...], book: Book) -> None:
    """Reported twice, late or out of order, a fill is one trade; the order stays open until all are stored."""
    room, _ = played(Script(states=("open", "filled"), told=told), book=book)

    trades = [one.venue_trade_id[-1] for one in room.of(TradeExecuted) if isinstance(one, TradeExecuted)]
    assert sorted(trades) == ["0", "1"]
    (order,) = room.orders()
    assert (order.status, order.filled_quantity) == ("closed", Decimal("0.3"))
    assert life_of(room)[-1] == "OrderClosed"
    assert room.broken_invariants() == []


def test_fill_ids_by_position_are_detected(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: ids by the order of reports, not the venue's own, book a fill twice."""
    numbers = iter(range(1000))
    monkeypatch.setattr("execution.orders.trade_service.fill_id", lambda order, fill: client_uuid(order, next(numbers)))
    monkeypatch.setattr("execution.orders.order_events.fill_id", lambda order, fill: client_uuid(order, next(numbers)))

    room, _ = played(Script(states=("open", "filled"), told=((0,), (0, 1))))

    assert len(room.of(TradeExecuted)) > 2


def client_uuid(order: OrderView, number: int) -> Any:
    return derived_id(order.order_id, number)


def test_only_the_orders_own_fills_are_booked() -> None:
    """A fill that names another order is ignored."""

    class Mixing(ScriptedExchange):
        def fills(self, client_order_id: str) -> list[Any]:
            return [fill for other in self.submitted for fill in super(Mixing, self).fills(other)]

    room, venue = Room(memory(), "mixed"), Mixing((Script(states=("open",), told=((0,),)),))
    service = room.service(venue)
    for number in (1, 2):
        room.mark()
        room.request(service, market(), number)
    service.step()

    assert [order.fills for order in room.orders()] == [1, 1]


# --- verdicts ---------------------------------------------------------------------------------------------------------


def test_every_signal_gets_one_verdict_in_any_order_of_arrival(book: Book) -> None:
    """Signals of several bots, old ones among them, each have one verdict after one step and after many."""
    room, venue = Room(book, "verdicts"), ScriptedExchange()
    service = room.service(venue)
    told = [room.signal("0.5", bot="a"), room.signal("-0.4", bot="b"), room.signal("0.01", bot="c")]
    told += [room.signal("0.5", bot="a", asof=room.clock() - timedelta(minutes=minutes)) for minutes in (1, 11)]

    for _ in range(3):
        service.step()
        room.service(venue, sender="two").step()

    judged = [one.event.signal_id for one in room.envelopes(*VERDICTS)]  # type: ignore[attr-defined]
    assert sorted(judged) == sorted(told)
    assert [len(room.of(kind)) for kind in VERDICTS] == [1, 3, 1]


def test_order_of_a_signal_names_its_bot() -> None:
    """It also names the signal and the verdict that approved it."""
    room, venue = Room(memory(), "by bot"), ScriptedExchange()
    signal_id = room.signal(bot="clever")
    room.service(venue).step()

    (order,) = room.orders()
    assert (order.triggered_by, order.signal_id) == ("bot:clever", signal_id)
    assert venue.submitted == [order.client_order_id] == [client_order_id(order.order_id)]


# --- manual orders ----------------------------------------------------------------------------------------------------


def test_manual_order_is_reviewed_stored_and_sent(book: Book) -> None:
    """It is stored with its rules and `triggered_by` manual, sent, and filled."""
    room, venue = Room(book, "manual"), ScriptedExchange((Script(states=("filled",), told=((0, 1),)),))
    room.mark()
    service = room.service(venue)

    order_id = room.request(service, market())

    (requested,) = room.of(OrderRequested)
    assert isinstance(requested, OrderRequested)
    assert requested.triggered_by == "manual"
    assert [rule.rule for rule in requested.rules] == [rule.__name__ for rule in FOR_EVERY_ORDER]
    assert all(rule.passed for rule in requested.rules)
    assert [order.order_id for order in room.orders()] == [order_id]
    assert life_of(room)[-1] == "OrderClosed"


def test_rejected_manual_order_stores_nothing(book: Book) -> None:
    """The exception has every rule's answer, and the log is unchanged."""
    room, venue = Room(book, "rejected"), ScriptedExchange()
    room.mark()
    before = room.envelopes()

    with pytest.raises(TradeRejected) as rejected:
        room.request(room.service(venue), market(quote="20000"))

    assert rejected.value.failed.rule == "enough_available"
    assert len(rejected.value.rules) == len(FOR_EVERY_ORDER)
    assert room.envelopes() == before
    assert venue.submitted == []


def test_repeated_request_sends_nothing_and_another_ticket_conflicts(book: Book) -> None:
    """The same id with the same ticket is one order."""
    room, venue = Room(book, "repeat"), ScriptedExchange()
    room.mark()
    service = room.service(venue)
    room.request(service, market())
    room.clock.move(seconds=5)

    room.request(service, market())
    with pytest.raises(Conflict, match="already stored with other content"):
        room.request(service, market(quote="51"))

    assert len(room.orders()) == len(venue.submitted) == 1


def test_preview_stores_nothing() -> None:
    """A preview leaves the log unchanged."""
    room = Room(memory(), "preview")
    room.mark()
    before = room.envelopes()

    verdict = room.service(ScriptedExchange()).preview(market())

    assert all(rule.passed for rule in verdict.rules)
    assert room.envelopes() == before


# --- others at the same time ------------------------------------------------------------------------------------------


class Interrupt:
    """A hook that acts once, before the effect of this number (readings count)."""

    def __init__(self, number: int, act: Callable[[], object], sides: Collection[str] = ("before",)) -> None:
        self.number, self.act, self.sides = number, act, sides
        self.seen = 0

    def __call__(self, side: str, what: str) -> None:
        if side in self.sides:
            self.seen += 1
            if self.seen == self.number:
                self.act()


def raced(book: Book, name: str, number: int) -> list[str]:
    """The faults when a second service steps before the first one's effect of this number."""
    room, venue = Room(book, name), ScriptedExchange()
    other = room.service(venue, sender="two")
    service, own = watched(room, venue, Interrupt(number, other.step))
    room.mark()
    room.signal()
    service.step()
    room.request(service, market(), book=own)
    for _ in range(4):
        service.step()
        other.step()
        room.clock.move(seconds=SUBMIT_TIMEOUT.total_seconds())
    orders = room.orders()
    faults = [f"sent twice: {one}" for one in set(venue.submitted) if venue.submitted.count(one) > 1]
    faults += [f"hangs: {order.status}" for order in orders if order.live]
    if (len(room.envelopes(*VERDICTS)), len(orders), len(room.of(TradeExecuted))) != (1, 2, 4):
        faults.append(f"{life_of(room)}")
    return faults


@pytest.mark.parametrize("step", [5, pytest.param(1, marks=pytest.mark.campaign)])
def test_two_services_at_once_decide_and_send_once(book: Book, step: int) -> None:
    """At every `step`-th point of interference: one verdict, one send of each order, each fill once."""
    for number in range(1, 60, step):
        assert raced(book, f"race {number}", number) == [], f"the other one ran in front of effect {number}"


def sends_side_by_side(book: Book, second: str) -> int:
    """The number of sends when two services have both decided to send, and one pauses before."""
    room, venue = Room(book, f"side by side with {second}"), ScriptedExchange()
    stored, through = threading.Event(), threading.Event()

    def pause_before_sending(side: str, what: str) -> None:
        if (side, what) == ("before", "submit"):
            stored.set()
            assert through.wait(60)

    other, _ = watched(room, venue, pause_before_sending, sender=second)
    thread = threading.Thread(target=other.step)

    def let_the_other_store(side: str, what: str) -> None:
        if (side, what) == ("before", "OrderSubmitted") and not stored.is_set():
            thread.start()
            assert stored.wait(60)

    room.signal()
    watched(room, venue, let_the_other_store, sender="one")[0].step()
    through.set()
    thread.join(60)
    return len(venue.submitted)


def test_one_of_two_services_sends(book: Book) -> None:
    """The attempt names its sender, so the second service to store it does not send."""
    assert sends_side_by_side(book, "two") == 1
    assert sends_side_by_side(book, "one") == 2  # planted: one name for both


class Unsure(TradeService):
    """Planted: stores events at any position of the log."""

    def decide(self, decide: Any, record: Any = None) -> list[NewEvent]:
        return super().decide(decide, record or (lambda events, _: self._book.record(self._portfolio_id, events)))


def test_verdict_is_stored_only_at_the_position_it_was_decided_at(book: Book) -> None:
    """If the log has moved, it is decided again."""

    def said_no(kind: type[TradeService], number: int) -> bool:
        room, venue = Room(book, f"{kind.__name__} {number}"), ScriptedExchange()
        hook = Interrupt(number, room.halt)
        room.signal()
        watched(room, venue, hook, kind=kind)[0].step()
        halted_at = [one.position for one in room.envelopes() if one.type == "TradingHalted"]
        approved_at = [one.position for one in room.envelopes(SignalApproved, OrderSubmitted)]
        return all(at < halted_at[0] for at in approved_at) if halted_at else True

    assert all(said_no(TradeService, number) for number in range(1, 25))
    assert not all(said_no(Unsure, number) for number in range(1, 25))


def test_decide_gives_up_on_a_log_that_always_moves() -> None:
    """After some tries the conflict is raised; a conflict of another kind is raised at once."""
    room, venue = Room(memory(), "moving"), ScriptedExchange()
    room.mark()
    tries = []

    def moving(events: Any, position: int) -> None:
        tries.append(position)
        room.mark()
        room.book.record(room.portfolio_id, events, position)

    service = room.service(venue)
    with pytest.raises(PositionConflict):
        service.request(market(), room.manual_id(), moving)
    assert len(tries) == TRIES

    def clashing(events: Any, position: int) -> None:
        tries.append(position)
        raise Conflict("something else is stored under this id")

    tries.clear()
    with pytest.raises(Conflict, match="something else"):
        service.request(market(), room.manual_id(), clashing)
    assert len(tries) == 1
    assert room.orders() == []


# --- the kill switch --------------------------------------------------------------------------------------------------


def sends_after_a_halt(kind: type[TradeService], number: int, book: Book) -> int:
    """The number of sends that start after a halt before the effect of this number."""
    room, venue = Room(book, f"halt {kind.__name__} {number}"), ScriptedExchange()
    halted: list[int] = []

    def halt() -> None:
        room.halt()
        halted.append(len(venue.submitted))

    service, own = watched(room, venue, Interrupt(number, halt), kind=kind)
    room.mark()
    room.signal()
    room.signal("0.4", bot="two")
    service.step()
    with suppress(TradeRejected):
        room.request(service, market(), book=own)
    for _ in range(3):
        service.step()
    return len(venue.submitted) - halted[0] if halted else 0


class LooksOnce(TradeService):
    """Planted: does not check the halt between the stored attempt and the send."""

    def _send(self, order: OrderView) -> None:
        if self.decide(lambda state: self._attempt(order, state)):
            self._venues.at(order).submit(ticket_of(order))


@pytest.mark.parametrize("step", [5, pytest.param(1, marks=pytest.mark.campaign)])
def test_no_send_starts_after_a_halt(book: Book, step: int) -> None:
    """Halted before every `step`-th effect or reading, no send starts; one that has started may finish."""
    # A halt in front of the send itself commits while the send begins: there is nothing left to look at in between.
    at_the_send = {number for number in range(1, 60) if stops_in_front_of(number) == "submit"}
    assert len(at_the_send) == 2

    for number in set(range(1, 60, step)) - at_the_send:
        assert sends_after_a_halt(TradeService, number, book) == 0
    assert any(sends_after_a_halt(LooksOnce, number, book) for number in set(range(1, 60)) - at_the_send)


def stops_in_front_of(number: int) -> str:
    """The effect of this number in the same run without a halt."""
    room, venue, seen = Room(memory(), "which"), ScriptedExchange(), list[str]()
    service, own = watched(room, venue, lambda side, what: seen.append(what) if side == "before" else None)
    room.mark()
    room.signal()
    room.signal("0.4", bot="two")
    service.step()
    room.request(service, market(), book=own)
    for _ in range(3):
        service.step()
    return seen[number - 1] if number <= len(seen) else ""


def test_halted_intent_is_closed_as_not_sent() -> None:
    """It is not sent after trading resumes, either."""
    room, venue = Room(memory(), "closed"), ScriptedExchange()
    room.signal()
    seen: list[str] = []

    def halt_after_intent(side: str, what: str) -> None:
        seen.append(what)
        if side == "after" and what.endswith("OrderRequested"):
            room.halt()

    service, _ = watched(room, venue, halt_after_intent)
    service.step()
    room.tell(TradingResumed(reason="fine again"))
    service.step()

    assert life_of(room) == ["OrderRequested", "OrderClosed"]
    assert room.orders()[0].reason == "not_sent"


@pytest.mark.parametrize("late", [SEND_WITHIN + timedelta(seconds=1), timedelta(minutes=121)])
def test_old_intent_is_not_sent(late: timedelta) -> None:
    """After a long pause it is closed as not sent: the market has moved on."""
    room, venue = Room(memory(), "late"), ScriptedExchange()
    room.mark()
    nowhere = room.service()
    approved = room.service(venue)
    verdict = approved.preview(market())
    assert verdict.rules
    stop = Interrupt(1, lambda: (_ for _ in ()).throw(KeyboardInterrupt), ("before",))

    def hook(side: str, what: str) -> None:
        if what == "OrderSubmitted":
            stop(side, what)

    service, own = watched(room, venue, hook)
    with pytest.raises(KeyboardInterrupt):
        room.request(service, market(), book=own)
    room.clock.now += late
    nowhere.step()  # without its venue an order waits
    assert room.orders()[0].status == "requested"
    approved.step()

    assert (room.orders()[0].status, room.orders()[0].reason) == ("closed", "not_sent")
    assert venue.submitted == []


class Poisoned:
    """A projection that cannot fold a signal of the bot called poison."""

    name = "poisoned"
    version = 1
    events: tuple[type[Event], ...] = tuple(EVENTS.values())
    rows: tuple[type[Row], ...] = ()

    def fold(self, rows: Any, envelope: Any) -> list[Any]:
        if getattr(envelope.event, "bot_id", "") == "poison":
            raise ValueError("cannot be folded")
        return []


def test_stopped_views_stop_decisions_and_sends() -> None:
    """While the rows lag behind the log, no verdict, order or send follows; a manual order is rejected."""
    book = MemoryBook(SteppingClock(), (*PROJECTIONS, Poisoned()))
    room, venue = Room(book, "stopped"), ScriptedExchange((Script(states=("open",), told=((0,),)),))
    service = room.service(venue)
    room.mark()
    room.request(service, market(limit="90"))
    room.signal()
    room.signal(bot="poison")
    room.signal(bot="later")
    before = room.envelopes()

    service.step()
    service.step()
    with pytest.raises(TradeRejected, match="views stopped"):
        room.request(service, market(), 2)

    assert room.envelopes() == before
    assert len(venue.submitted) == 1


# --- waiting ----------------------------------------------------------------------------------------------------------


def test_wait_for_returns_when_the_order_has_ended() -> None:
    """For an open order it returns after the given time."""
    room, venue = (
        Room(memory(), "waiting"),
        ScriptedExchange((Script(states=("filled",), told=((0,),)), Script(states=("open",)))),
    )
    room.mark()
    service = room.service(venue)

    ended = room.request(service, market(), 1)
    service.wait_for(ended, 3600)
    still_open = room.request(service, market(), 2)
    service.wait_for(still_open, 0)

    assert [order.live for order in room.orders()] == [False, True]


def test_terms_of_a_ticket_reach_the_venue_unchanged() -> None:
    """Side, sizes, kind and limit price."""
    room, seen = Room(memory(), "as asked"), list[Any]()

    class Listening(ScriptedExchange):
        def submit(self, ticket: Any) -> Any:
            seen.append(ticket)
            return super().submit(ticket)

    room.hold("1")
    room.request(room.service(Listening()), market(Side.SELL, base="0.5", limit="101.5"))

    (ticket,) = seen
    assert (ticket.instrument, ticket.side, ticket.kind) == (BTC, Side.SELL, "limit")
    assert (ticket.base_size, ticket.quote_size, ticket.limit_price) == (Decimal("0.5"), None, Decimal("101.5"))


def test_hanging_send_does_not_block_a_cancellation(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cancellation is stored during another order's send; the venue gets it in the next step."""
    monkeypatch.setattr(trade_service, "CANCEL_WAITS_S", 0.01)
    resting, hanging = Script(states=("open", "open", "cancelled"), told=((),)), Script(states=("filled",))
    room, sending, answered = Room(MemoryBook(SteppingClock()), "hangs"), threading.Event(), threading.Event()
    sent: list[str] = []

    def hang(side: str, effect: str) -> None:
        if (side, effect) == ("before", "submit"):
            sent.append(effect)
            if len(sent) == 2:
                sending.set()
                answered.wait()

    service = room.service(WatchedExchange(ScriptedExchange((resting, hanging)), hang))
    room.mark()
    first = room.request(service, market(limit="90", base="0.5"), 1)
    record = partial(room.book.record, room.portfolio_id)
    with ThreadPoolExecutor(2) as pool:
        other = pool.submit(room.request, service, market(), 2)
        sending.wait()
        wish = pool.submit(service.cancel, first, "enough", derived_id("wish"), record)
        try:
            until(wish.done, "the wish to be stored")
            assert (wish.result(), len(room.of(CancelRequested))) == (None, 1)
            assert not other.done()
        finally:
            answered.set()
    room.clock.move(seconds=20)
    service.step()

    assert {order.order_id: order.reason for order in room.orders()}[first] == "cancelled"
