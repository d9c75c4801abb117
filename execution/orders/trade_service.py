"""The trade service: judges signals and sends orders. It decides from stored rows, stores the intent, then calls the venue.

Every step can be interrupted anywhere and run again: the next action follows from the rows, and every event id derives from
its cause, so that nothing is stored twice.
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
    approved_by,
    cancel_request,
    closed,
    fill_id,
    from_ticket,
    judged,
    manual_intent,
    order_event,
    order_in,
    outcome_of,
    rejected_by,
    settled,
    ticket_of,
    trade_of,
    unvalued,
    unwanted,
)
from execution.orders.reconcile import Reconciler
from execution.review.review import Approval, ManualTicket, Rejection, TradeRejected, review_manual
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
"""An attempt starts within this time after it is stored, or never. Until then an order that the venue does not know may
still arrive."""

SEND_WITHIN: Final = timedelta(minutes=10)
"""Orders requested longer ago, for example while the program was not running, are not sent: the market has moved on."""

CANCEL_WAITS_S: Final = 1.0
"""A cancellation waits this long for a send in progress, then leaves the venue to the next step."""


class TradeService:
    """The process manager of one portfolio. Thread-safe: sends run one after another, cancellations and rejections are
    stored at once.

    Stores and sends only while `leadership` holds; raises NotLeader from then on. `sender` names the service in stored
    attempts: services of one portfolio that run at the same time need different names, so that only one of them stores
    an attempt and sends. `exchanges` are keyed by venue, `live` ones by account; a live account sends nothing before it has
    been reconciled. `halt_lock` keeps sends and halts apart.
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
        """Reconcile, advance all orders, judge the waiting signals and send the new orders."""
        with self._gate:
            self._leadership.confirm()
            self._reconciler.look()
            self._advance_orders()
            if self._judge_signals():
                self._advance_orders()

    @contextmanager
    def exclusively(self) -> Iterator[None]:
        """Keep this service idle while the context is open, for passing market data to a venue."""
        with self._gate:
            yield

    def preview(self, ticket: ManualTicket) -> Approval | Rejection:
        """Review an order without storing anything."""
        with self._state() as state:
            return self._review(ticket, state)

    def request(self, ticket: ManualTicket, order_id: UUID, record: Record, actor: str = "owner") -> UUID:
        """Review, store and send an order; return its id. Repeating the same id and ticket stores nothing.

        Raises:
            TradeRejected: a rule failed; nothing is stored.
            Conflict: the id belongs to another order.
        """

        def intent(state: DecisionState) -> list[NewEvent]:
            known = state.rows.get(OrderView, order_id)
            if known is not None:
                if not from_ticket(known, ticket):
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
        """Approve a signal: store and send its order.

        Raises:
            WrongSignal: the signal is not awaiting approval.
            TradeRejected: review rejects it now; nothing is stored and the signal keeps waiting.
        """
        with self._gate:
            self.decide(lambda state: approved_by(person, signal_id, state, partial(self._rules, state=state)), record)
            self._advance_orders()

    def reject(self, signal_id: UUID, person: str, reason: str, record: Record) -> None:
        """Reject a signal that awaits approval. Raises WrongSignal."""
        self.decide(lambda state: rejected_by(person, signal_id, reason, state), record)

    def cancel(self, order_id: UUID, reason: str, event_id: UUID, record: Record, actor: str = "owner") -> None:
        """Store a cancellation and pass it to the venue, after a send in progress. Raises WrongOrder for an unknown or ended
        order."""

        def request(state: DecisionState) -> list[NewEvent]:
            order = order_in(state, order_id)
            if not order.live:
                raise WrongOrder(f"order {order_id} has ended: {order.reason}")
            return [cancel_request(order, reason, event_id, state, actor)]

        self.decide(request, record)
        self._venues.hurry(order_id)
        if self._gate.acquire(timeout=CANCEL_WAITS_S):
            try:
                self._venues.hurry(order_id)  # a step that read the rows before the request has used up the look-up
                self._advance_orders()
            finally:
                self._gate.release()

    def resolve(
        self, order_id: UUID, outcome: Settled, reason: str, event_id: UUID, record: Record, actor: str = "owner"
    ) -> None:
        """Close an order of unknown outcome with the outcome that a person found out. Raises WrongOrder for any other order.

        Fills reported later are still booked.
        """

        def resolution(state: DecisionState) -> list[NewEvent]:
            order = order_in(state, order_id)
            if order.status != "unknown":
                raise WrongOrder(f"the outcome of order {order_id} is not unknown (status: {order.status})")
            return settled(order, outcome, reason, event_id, state, actor)

        self.decide(resolution, record)

    def wait_for(self, order_id: UUID, seconds: float) -> None:
        """Block until the order has ended, for at most `seconds`."""
        with self._gate:
            self._moved.wait_for(lambda: self._ended(order_id), timeout=seconds)

    def _ended(self, order_id: UUID) -> bool:
        with self._state() as state:
            order = state.rows.get(OrderView, order_id)
            return order is not None and not order.live

    # --- review -------------------------------------------------------------------------------------------------------

    def _judge_signals(self) -> bool:
        """Judge every waiting signal, oldest first. Returns whether there was any."""
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
            return judged(signal, state, self._rules(Instrument(signal.instrument), state))
        except VenueUnavailable:
            return []  # the signal waits, and expires if the venue stays unreachable

    def venue_rules(self, account: str, instrument: Instrument) -> InstrumentRules | None:
        """The venue's rules for an instrument, or None if it does not trade it. Raises VenueUnavailable."""
        with self._state() as state:
            return self._rules(instrument, state, account)

    def _rules(
        self, instrument: Instrument, state: DecisionState, account: str | None = None
    ) -> InstrumentRules | None:
        view = state.account(account) if account is not None else state.first_account()
        exchange = self._venues.of(view) if view else None
        return exchange.rules(instrument) if exchange else None

    def _review(self, ticket: ManualTicket, state: DecisionState) -> Approval | Rejection:
        return review_manual(ticket, state, self._rules(ticket.instrument, state, ticket.account))

    # --- orders -------------------------------------------------------------------------------------------------------

    def _advance_orders(self) -> None:
        with self._state() as state:
            # Stopped views may be older than actions already taken: no action follows from them.
            orders = [] if state.stopped else sorted(state.rows.where(OrderView), key=lambda order: order.position)
        known = [
            order for order in orders if self._venues.know(order)
        ]  # other orders wait until their venue is connected
        self._collect([one for one in known if one.status == "accepted" and self._venues.due(one)])
        for order in known:
            if order.status == "requested":
                self._send(order)
            elif order.status in ("submitted", "unknown") and self._venues.due(order):
                self._look_up(order)
        self._moved.notify_all()

    def _send(self, order: OrderView) -> None:
        """Store an attempt and send the order once, or close it as not sent."""
        if not self._reconciler.compared(order.account):
            return
        stored = self.decide(partial(self._attempt, order))
        if not stored or not isinstance(stored[0].event, OrderSubmitted):
            return
        attempted = replaced(order, status="submitted")
        with self._halt_lock.sending(self._portfolio_id) as held:
            # No halt can be stored between this check and the call to the venue, as long as the lock is held.
            with self._state() as state:
                changed, stopped = _changed(attempted, state), unwanted(order, state)
            answer = None if changed or stopped else self._submitted(order, stored[0].event.deadline, held)
        if changed:
            return
        if answer is None:
            self._store(attempted, lambda row: closed(row, "not_sent"))
            return
        self._store(attempted, lambda row: outcome_of(row, answer))
        if isinstance(answer, Accepted):
            self._collect([replaced(order, status="accepted")])

    def _submitted(self, order: OrderView, deadline: datetime, held: StillHeld) -> Accepted | Refused | Unknown | None:
        """The venue's reply; None if nothing was sent because the lock or the deadline expired first."""
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

    def _look_up(self, order: OrderView) -> None:
        """Look up an attempt of unknown outcome at the venue; it is never sent again."""
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
                pass  # still unknown, which is stored already

    def _collect(self, orders: Sequence[OrderView]) -> None:
        """Store the orders' new fills as trades, and close the orders that have ended.

        An order's state is read before its fills, so that these include all that had filled by then. All fills are stored
        together, so that a candle's fills are stored completely or can be read again.
        """
        found = {order.order_id: self._venue_state(order) for order in orders}
        filled = [(order, fill) for order in orders for fill in self._fills(order)]
        if filled:
            self._book_fills(filled)
        for order in orders:
            self._close_if_ended(order, found[order.order_id])

    def _venue_state(self, order: OrderView) -> FoundOrder | NotPlaced | Unknown:
        """The venue's state of an accepted order, which is cancelled there if requested or expired."""
        exchange = self._venues.at(order)
        ends = order.cancel_requested_at is not None or self._clock() >= order.expires_at
        return (exchange.cancel if ends else exchange.find)(order.client_order_id)

    def _fills(self, order: OrderView) -> list[Fill]:
        try:
            fills = self._venues.at(order).fills(order.client_order_id)
        except VenueUnavailable:
            return []  # the order stays open until all of its fills are stored
        return [fill for fill in fills if fill.client_order_id == order.client_order_id]

    def _book_fills(self, filled: Sequence[tuple[OrderView, Fill]]) -> None:
        with self._state() as state:
            missing = {fill_id(*one): one for one in filled if state.rows.get(TradeView, fill_id(*one)) is None}
            trades = [trade_of(order, fill, state.rows) for order, fill in missing.values()]
        if trades:
            self._leadership.record([*trades, *unvalued(trades, self._clock())])
        with self._state() as state:
            booked = [one for one in filled if state.rows.get(TradeView, fill_id(*one)) is not None]
        for order in {order.order_id: order for order, _ in booked}.values():
            ids = {fill.venue_trade_id for other, fill in booked if other.order_id == order.order_id}
            self._venues.at(order).booked(order.client_order_id, ids)

    def _close_if_ended(self, order: OrderView, found: FoundOrder | NotPlaced | Unknown) -> None:
        """Close the order once it has ended at the venue and all of its fills are stored."""

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
        """Store the events that `decide` derives from the state, and return them; decides again if the log has moved.

        Raises NotLeader, and as `decide_and_record` does.
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
        """Store the next event of the order if its status is still that of `order`. Returns whether one was stored."""

        def next_event(state: DecisionState) -> list[NewEvent]:
            row = state.rows.get(OrderView, order.order_id)
            event = None if row is None or _changed(order, state) else event_of(row)
            return [] if event is None else [order_event(order, event, state.now)]

        return bool(self.decide(next_event))


def _changed(order: OrderView, state: DecisionState) -> bool:
    """`True` if the order's status may differ from that of `order`."""
    row = state.rows.get(OrderView, order.order_id)
    return state.stopped is not None or row is None or row.status != order.status
