"""The trade service: the log in, orders out. It decides from the stored rows, stores the intent, and only then calls a venue.

Every step can be cut off anywhere and run again: what it finds in the rows tells it what to do next, and the ids of
all it records derive from their causes, so that nothing is concluded twice.
"""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import partial
from typing import Final
from uuid import UUID

from execution.exchanges.exchange import (
    Accepted,
    Exchange,
    Fill,
    FoundOrder,
    InstrumentRules,
    LiveExchange,
    NotPlaced,
    Refused,
    Unknown,
    VenueUnavailable,
)
from execution.orders.connections import Connections
from execution.orders.order_events import (
    Settled,
    WrongOrder,
    asked_for,
    cancel_request,
    closed,
    fill_id,
    manual_intent,
    order_event,
    order_in,
    outcome_of,
    settled,
    ticket_of,
    trade_of,
    unvalued,
    unwanted,
)
from execution.orders.reconcile import Reconciler
from execution.orders.verdicts import approved_by, rejected_by, verdict_events
from execution.review.review import Approval, ManualTicket, Rejection, TradeRejected, review_manual, review_signal
from execution.review.state import DecisionState
from ledger.events import Event, OrderAccepted, OrderSubmitted, OutcomeUnknown
from ledger.locks import Alone, HaltLock, Leadership, LocalHaltLock, StillHeld
from ledger.log.envelope import NewEvent, canonical_json
from ledger.log.event_log import Conflict
from ledger.projections.book import Book, Record, decide_and_record
from ledger.projections.orders import OrderView
from ledger.projections.signals import SignalView
from ledger.projections.trades import TradeView
from ledger.rows import replaced
from ledger.values import Clock, Instrument

SUBMIT_TIMEOUT: Final = timedelta(seconds=30)
"""An attempt begins within this time after it is stored, or not at all; before it has passed, nothing proves that an
order will not arrive."""

SEND_WITHIN: Final = timedelta(minutes=10)
"""An intent that has waited longer (the program was not running, say) is dropped: the market has moved on."""

CANCEL_WAITS_S: Final = 1.0
"""So long a cancelling waits for what is being sent, to ask the venue itself."""


class TradeService:
    """One portfolio's process manager. Its methods may be called from several threads. What may send runs one after the other;
    a person's wish to end something is stored at once.

    It stores and sends as long as `leadership` holds, and raises NotLeader from then on. `sender` names it in the
    attempts that it stores. Services of one portfolio that run at the same time must have different names: then only
    one of them stores an attempt, and only that one sends. `exchanges` are by the name of the venue, `live` ones by the
    name of their account: nothing is sent to those before ledger and venue have been compared. `halt_lock` keeps sends
    and halts apart.
    """

    def __init__(
        self,
        book: Book,
        portfolio_id: UUID,
        exchanges: Mapping[str, Exchange],
        clock: Clock,
        sender: str = "trade-service",
        leadership: Leadership | None = None,
        live: Mapping[str, LiveExchange] = {},
        halt_lock: HaltLock | None = None,
    ) -> None:
        self._book, self._portfolio_id, self._clock = book, portfolio_id, clock
        self._leadership: Leadership = leadership or Alone(book, portfolio_id)
        self._halt_lock: HaltLock = halt_lock or LocalHaltLock()
        self._venues = Connections(exchanges, live, clock)
        self._reconciler = Reconciler(book, portfolio_id, self._leadership, clock, live)
        self._metadata = canonical_json({"sender": sender})
        self._gate = threading.RLock()
        self._moved = threading.Condition(self._gate)

    def step(self) -> None:
        """Every order has gone as far as it can now, every waiting signal has its verdict, new orders are sent."""
        with self._gate:
            self._leadership.confirm()
            self._reconciler.look()
            self._advance_orders()
            if self._judge_signals():
                self._advance_orders()

    @contextmanager
    def exclusively(self) -> Iterator[None]:
        """Nothing of this service runs while the context is open: for telling a venue about the market."""
        with self._gate:
            yield

    def preview(self, ticket: ManualTicket) -> Approval | Rejection:
        """What review says to the order now. Nothing is stored."""
        with self._state() as state:
            return self._review(ticket, state)

    def request(self, ticket: ManualTicket, order_id: UUID, record: Record, actor: str = "owner") -> UUID:
        """The order is stored as intent and sent; returns its id. Raises TradeRejected, and then nothing is stored.

        A repeat with the same id and ticket stores nothing; raises Conflict when the id belongs to another order.
        """

        def intent(state: DecisionState) -> list[NewEvent]:
            known = state.rows.get(OrderView, order_id)
            if known is not None:
                if not asked_for(known, ticket):
                    raise Conflict(f"order {order_id} is already stored with other content")
                return []
            verdict = self._review(ticket, state)
            if isinstance(verdict, Rejection):
                raise TradeRejected(verdict)
            return [manual_intent(ticket, verdict, order_id, state, actor)]

        with self._gate:
            self.decide(intent, record)
            self._advance_orders()
            return order_id

    def approve(self, signal_id: UUID, person: str, record: Record) -> None:
        """The order that a person was asked about is stored and sent. Raises WrongSignal, and TradeRejected where review
        says no now: then nothing is stored, and the signal waits on."""
        with self._gate:
            self.decide(
                lambda state: approved_by(person, signal_id, state, self._rules_for_signal(signal_id, state)), record
            )
            self._advance_orders()

    def reject(self, signal_id: UUID, person: str, reason: str, record: Record) -> None:
        """A person says no to a signal that they were asked about. Raises WrongSignal."""
        self.decide(lambda state: rejected_by(person, signal_id, reason, state), record)

    def cancel(self, order_id: UUID, reason: str, event_id: UUID, record: Record, actor: str = "owner") -> None:
        """The wish is stored and the venue asked. Raises WrongOrder for an order that has ended, or that is none.

        A send under way keeps the wish from nobody; where it takes long, the venue is asked after it.
        """

        def wish(state: DecisionState) -> list[NewEvent]:
            order = order_in(state, order_id)
            if not order.live:
                raise WrongOrder(f"order {order_id} has ended: {order.reason}")
            return [cancel_request(order, reason, event_id, state, actor)]

        self.decide(wish, record)
        self._venues.hurry(order_id)
        if self._gate.acquire(timeout=CANCEL_WAITS_S):
            try:
                self._venues.hurry(order_id)  # a step that had read the rows before the wish has asked without it
                self._advance_orders()
            finally:
                self._gate.release()

    def resolve(
        self, order_id: UUID, outcome: Settled, reason: str, event_id: UUID, record: Record, actor: str = "owner"
    ) -> None:
        """A person has said what became of an order of unknown outcome: it is closed. Raises WrongOrder for any other.

        Fills that come all the same are booked all the same.
        """

        def word(state: DecisionState) -> list[NewEvent]:
            order = order_in(state, order_id)
            if order.status != "unknown":
                raise WrongOrder(f"the outcome of order {order_id} is not unknown: it is {order.status}")
            return settled(order, outcome, reason, event_id, state, actor)

        self.decide(word, record)

    def wait_for(self, order_id: UUID, seconds: float) -> None:
        """Returns when the order has ended, or after `seconds` at the latest."""
        with self._gate:
            self._moved.wait_for(lambda: self._ended(order_id), timeout=seconds)

    def _ended(self, order_id: UUID) -> bool:
        with self._state() as state:
            order = state.rows.get(OrderView, order_id)
            return order is not None and not order.live

    # --- review -------------------------------------------------------------------------------------------------------

    def _judge_signals(self) -> bool:
        """Every waiting signal has its verdict, oldest first; whether there was any."""
        with self._state() as state:
            waiting = [] if state.stopped else sorted(state.rows.where(SignalView), key=lambda signal: signal.position)
        for signal in waiting:
            self.decide(partial(self._verdict, signal))
        return bool(waiting)

    def _verdict(self, seen: SignalView, state: DecisionState) -> list[NewEvent]:
        signal = state.rows.get(SignalView, seen.signal_id)
        if state.stopped or signal is None or not signal.live:
            return []
        try:
            venue_rules = self._rules_for_signal(seen.signal_id, state)
        except VenueUnavailable:
            return []  # the signal waits, and expires where the venue stays away
        return verdict_events(signal, review_signal(signal, state, venue_rules), state)

    def venue_rules(self, account: str, instrument: Instrument) -> InstrumentRules | None:
        """What the account's venue demands of the product's orders, where it trades it. Raises VenueUnavailable."""
        with self._state() as state:
            exchange = self._exchange_of(state, account)
        return exchange.rules(instrument) if exchange else None

    def _rules_for_signal(self, signal_id: UUID, state: DecisionState) -> InstrumentRules | None:
        """What the venue says of the signal's product, where there is one."""
        signal, exchange = state.rows.get(SignalView, signal_id), self._exchange_of(state)
        return exchange.rules(Instrument(signal.instrument)) if exchange and signal else None

    def _review(self, ticket: ManualTicket, state: DecisionState) -> Approval | Rejection:
        exchange = self._exchange_of(state, ticket.account)
        return review_manual(ticket, state, exchange.rules(ticket.instrument) if exchange else None)

    # --- orders -------------------------------------------------------------------------------------------------------

    def _advance_orders(self) -> None:
        with self._state() as state:
            # Behind stopped views the rows may be older than what was done already: nothing follows from them.
            orders = [] if state.stopped else sorted(state.rows.where(OrderView), key=lambda order: order.position)
        known = [order for order in orders if self._venues.know(order)]  # others wait until theirs is connected
        self._collect([one for one in known if one.status == "accepted" and self._venues.due(one)])
        for order in known:
            if order.status == "requested":
                self._send(order)
            elif order.status in ("submitted", "unknown") and self._venues.due(order):
                self._ask_about(order)
        self._moved.notify_all()

    def _send(self, order: OrderView) -> None:
        """The order has been sent once, the attempt stored before; or it is closed as not sent."""
        if not self._reconciler.compared(order.account):
            return
        stored = self.decide(partial(self._attempt, order))
        if not stored or not isinstance(stored[0].event, OrderSubmitted):
            return
        attempted = replaced(order, status="submitted")
        with self._halt_lock.sending(self._portfolio_id) as held:
            # What is seen of a halt here is still so when the venue is called, if halts have been kept waiting until then.
            with self._state() as state:
                changed, unwished = _changed(attempted, state), unwanted(order, state)
            answer = None if changed or unwished else self._submitted(order, stored[0].event.deadline, held)
        if changed:
            return
        if answer is None:
            self._store(attempted, lambda row: closed(row, "not_sent"))
            return
        self._store(attempted, lambda row: outcome_of(row, answer))
        if isinstance(answer, Accepted):
            self._collect([replaced(order, status="accepted")])

    def _submitted(self, order: OrderView, deadline: datetime, held: StillHeld) -> Accepted | Refused | Unknown | None:
        """The venue's answer; None when nothing was sent, for this program stood still too long in front of it."""
        self._venues.sends(order)
        self._leadership.confirm()
        if not held() or self._clock() >= deadline:
            return None
        return self._venues.at(order).submit(ticket_of(order))

    def _attempt(self, order: OrderView, state: DecisionState) -> list[NewEvent]:
        if _changed(order, state):
            return []
        if unwanted(order, state) or state.now >= order.expires_at or state.now - order.requested_at > SEND_WITHIN:
            return [order_event(order, closed(order, "not_sent"), state.now)]
        attempt = OrderSubmitted(order_id=order.order_id, attempt=1, deadline=state.now + SUBMIT_TIMEOUT)
        return [order_event(order, attempt, state.now, self._metadata)]

    def _ask_about(self, order: OrderView) -> None:
        """A stored attempt without a known outcome is looked up, never sent again."""
        match self._venues.at(order).find(order.client_order_id):
            case FoundOrder() as found:
                accepted = OrderAccepted(order_id=order.order_id, venue_order_id=found.venue_order_id)
                if self._store(order, lambda _: accepted):
                    self._collect([replaced(order, status="accepted")])
            case NotPlaced():
                if self._clock() >= (order.submitted_at or order.requested_at) + SUBMIT_TIMEOUT:
                    self._store(order, lambda row: closed(row, "not_placed"))
            case Unknown() as found if order.status == "submitted":
                unknown = OutcomeUnknown(order_id=order.order_id, code=found.code, text=found.text)
                self._store(order, lambda _: unknown)
            case Unknown():
                pass  # still unknown: the log says so already

    def _collect(self, orders: Sequence[OrderView]) -> None:
        """Every fill that the venues tell of these orders is a trade in the log, once; orders that have ended are closed.

        What became of an order is asked before its fills: whatever had filled by then is told now. All fills go into the
        log together, so that a candle's fills are either all there or can all be had again.
        """
        found = {order.order_id: self._venue_state(order) for order in orders}
        told = [(order, fill) for order in orders for fill in self._fills(order)]
        if told:
            self._book_fills(told)
        for order in orders:
            self._close_if_ended(order, found[order.order_id])

    def _venue_state(self, order: OrderView) -> FoundOrder | NotPlaced | Unknown:
        """What the venue says of an accepted order; one that is not wanted any more, or whose time is over, it is asked to cancel."""
        exchange = self._venues.at(order)
        over = order.cancel_requested_at is not None or self._clock() >= order.expires_at
        return (exchange.cancel if over else exchange.find)(order.client_order_id)

    def _fills(self, order: OrderView) -> list[Fill]:
        try:
            told = self._venues.at(order).fills(order.client_order_id)
        except VenueUnavailable:
            return []  # it is not closed before all that it filled has been told
        return [fill for fill in told if fill.client_order_id == order.client_order_id]

    def _book_fills(self, told: Sequence[tuple[OrderView, Fill]]) -> None:
        with self._state() as state:
            missing = {fill_id(*one): one for one in told if state.rows.get(TradeView, fill_id(*one)) is None}
            trades = [trade_of(order, fill, state.rows) for order, fill in missing.values()]
        if trades:
            self._leadership.record([*trades, *unvalued(trades, self._clock())])
        with self._state() as state:
            booked = [one for one in told if state.rows.get(TradeView, fill_id(*one)) is not None]
        for order in {order.order_id: order for order, _ in booked}.values():
            ids = {fill.venue_trade_id for other, fill in booked if other.order_id == order.order_id}
            self._venues.at(order).booked(order.client_order_id, ids)

    def _close_if_ended(self, order: OrderView, found: FoundOrder | NotPlaced | Unknown) -> None:
        """The order is closed when it has ended at the venue and all that it filled is in the log."""

        def end(row: OrderView) -> Event | None:
            match found:
                case NotPlaced():
                    return closed(row, "cancelled")
                case FoundOrder() if found.state != "open" and row.filled_quantity >= found.filled:
                    expired = found.state == "cancelled" and row.cancel_requested_at is None
                    return closed(row, "expired" if expired and self._clock() >= row.expires_at else found.state)
                case _:
                    return None

        if self._store(order, end):
            self._venues.at(order).forget(order.client_order_id)

    # --- storing ------------------------------------------------------------------------------------------------------

    def decide(self, decide: Callable[[DecisionState], list[NewEvent]], record: Record | None = None) -> list[NewEvent]:
        """Store the events that `decide` derives from the state, while this service leads; return them.

        Decides again when the log has moved meanwhile. Raises NotLeader, and what `decide_and_record` raises.
        """
        return decide_and_record(
            self._book,
            self._portfolio_id,
            lambda reading: decide(DecisionState.of(reading, self._clock())),
            record or self._leadership.record,
        )

    @contextmanager
    def _state(self) -> Iterator[DecisionState]:
        with self._book.reading(self._portfolio_id) as reading:
            yield DecisionState.of(reading, self._clock())

    def _store(self, order: OrderView, event_of: Callable[[OrderView], Event | None]) -> bool:
        """Whether an event was stored: none is when `event_of` has none, or the order has moved on from `order`'s status."""

        def next_event(state: DecisionState) -> list[NewEvent]:
            row = state.rows.get(OrderView, order.order_id)
            event = None if row is None or _changed(order, state) else event_of(row)
            return [] if event is None else [order_event(order, event, state.now)]

        return bool(self.decide(next_event))

    def _exchange_of(self, state: DecisionState, account: str | None = None) -> Exchange | None:
        view = state.account(account) if account is not None else state.first_account()
        return self._venues.of(view) if view else None


def _changed(order: OrderView, state: DecisionState) -> bool:
    """Whether the order may have moved on since it was in the status that `order` shows."""
    row = state.rows.get(OrderView, order.order_id)
    return state.stopped is not None or row is None or row.status != order.status
