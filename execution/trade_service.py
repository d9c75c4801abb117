"""The trade service: the log in, orders out. It decides from the stored rows, stores the intent, and only then calls a venue.

Every step can be cut off anywhere and run again: what it finds in the rows tells it what to do next, and the ids of
all it records derive from their causes, so that nothing is concluded twice.
"""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from decimal import Decimal
from typing import Final
from uuid import UUID

from execution.desk import Desk
from execution.exchange import Accepted, Exchange, Fill, FoundOrder, NotPlaced, OrderTicket, Refused, Unknown
from execution.review import Approval, Expiry, ManualTicket, Rejection, review_manual, review_signal
from ledger.book import Book, Reading
from ledger.envelope import NewEvent
from ledger.events import (
    Event,
    OrderAccepted,
    OrderClosed,
    OrderRefused,
    OrderRequested,
    OrderSubmitted,
    OutcomeUnknown,
    RuleChecked,
    SignalApproved,
    SignalExpired,
    SignalRejected,
    TradeExecuted,
)
from ledger.log import Conflict
from ledger.projections.orders import OrderView
from ledger.projections.signals import SignalView
from ledger.projections.trades import TradeView
from ledger.values import Clock, Instrument, Side, derived_id

SUBMIT_TIMEOUT: Final = timedelta(seconds=30)
ACTOR: Final = "trade-service"
SAME_CURRENCY: Final = Decimal(1)
"""The quote rate of a pair quoted in the portfolio's base currency; review lets no other pair through."""

Record = Callable[[Sequence[NewEvent], int], object]
"""Stores events if the log stands at the given position, together with whatever the caller wants stored with them."""


class TradeRejected(Exception):
    """Review said no to an order that a person asked for; `rules` holds every answer, `failed` the first no."""

    def __init__(self, rejection: Rejection) -> None:
        super().__init__(rejection.failed.reason)
        self.rules: tuple[RuleChecked, ...] = rejection.rules
        self.failed = rejection.failed


class TradeService:
    """One portfolio's process manager. Its methods may be called from several threads; they run one after the other."""

    def __init__(self, book: Book, portfolio_id: UUID, exchanges: Mapping[str, Exchange], clock: Clock) -> None:
        self._book = book
        self._portfolio_id = portfolio_id
        self._exchanges = exchanges
        self._clock = clock
        self._gate = threading.RLock()
        self._moved = threading.Condition(self._gate)

    def step(self) -> None:
        """Every waiting signal has its verdict, every order has gone as far as it can now."""
        with self._gate:
            self._judge_signals()
            self._advance_orders()
            self._moved.notify_all()

    @contextmanager
    def exclusively(self) -> Iterator[None]:
        """Nothing of this service runs while the context is open: for telling a venue about the market."""
        with self._gate:
            yield

    def preview(self, ticket: ManualTicket) -> Approval | Rejection:
        """What review says to the order now. Nothing is stored."""
        with self._desk() as desk:
            return self._review(ticket, desk)

    def request(self, ticket: ManualTicket, order_id: UUID, record: Record, lifetime: timedelta) -> UUID:
        """The order is stored as intent and sent; returns its id. Raises TradeRejected, and then nothing is stored."""
        with self._gate:
            while True:
                with self._desk() as desk:
                    verdict = self._review(ticket, desk)
                if isinstance(verdict, Rejection):
                    raise TradeRejected(verdict)
                order = _manual_order(ticket, verdict, order_id, desk, lifetime)
                intent = NewEvent(order, order_id, desk.now, "owner", order_id)
                try:
                    record([intent], desk.position)
                except Conflict as conflict:
                    if "expected position" not in str(conflict):
                        raise
                    continue  # something was stored in between: look again
                self._advance_orders()
                return order_id

    def wait_for(self, order_id: UUID, seconds: float) -> None:
        """Returns when the order has ended, or after `seconds` at the latest."""
        with self._gate:
            self._moved.wait_for(lambda: self._ended(order_id), timeout=seconds)

    def _ended(self, order_id: UUID) -> bool:
        with self._book.reading(self._portfolio_id) as reading:
            order = reading.rows.get(OrderView, order_id)
            return order is not None and not order.live

    # --- review -------------------------------------------------------------------------------------------------------

    def _judge_signals(self) -> None:
        with self._desk() as desk:
            waiting = sorted(desk.rows.where(SignalView), key=lambda signal: signal.position)
        for signal in waiting:
            while not self._judged(signal):
                pass  # the log moved while we were deciding: decide again from what it says now

    def _judged(self, signal: SignalView) -> bool:
        with self._desk() as desk:
            exchange = self._exchange_of(desk)
            venue_rules = exchange.rules(Instrument(signal.instrument)) if exchange else None
            events = _verdict_events(signal, review_signal(signal, desk, venue_rules), desk)
        try:
            self._book.record(self._portfolio_id, events, desk.position)
        except Conflict as conflict:
            if "expected position" not in str(conflict):
                raise
            return desk.stopped is not None  # behind a stopped view there is nothing to decide from
        return True

    def _review(self, ticket: ManualTicket, desk: Desk) -> Approval | Rejection:
        exchange = self._exchange_of(desk, ticket.account)
        return review_manual(ticket, desk, exchange.rules(ticket.instrument) if exchange else None)

    # --- orders -------------------------------------------------------------------------------------------------------

    def _advance_orders(self) -> None:
        with self._desk() as desk:
            orders = sorted(desk.rows.where(OrderView), key=lambda order: order.position)
        for order in orders:
            self._advance(order)

    def _advance(self, order: OrderView) -> None:
        exchange = self._exchanges.get(order.venue)
        if exchange is None:
            return  # an order of a venue that is not connected waits until it is
        if order.status == "requested":
            self._send(order, exchange)
        elif order.status in ("submitted", "unknown"):
            self._ask_about(order, exchange)
        elif order.status == "accepted":
            self._collect(order, exchange)

    def _send(self, order: OrderView, exchange: Exchange) -> None:
        with self._desk() as desk:
            if desk.halted or desk.now >= order.expires_at:
                self._store(
                    order, OrderClosed(order_id=order.order_id, reason="not_sent", filled=order.filled_quantity)
                )
                return
        deadline = self._clock() + SUBMIT_TIMEOUT
        self._store(order, OrderSubmitted(order_id=order.order_id, attempt=1, deadline=deadline))
        answer = exchange.submit(ticket_of(order))
        self._store(order, _outcome(order, answer))
        if isinstance(answer, Accepted):
            self._collect(order, exchange)

    def _ask_about(self, order: OrderView, exchange: Exchange) -> None:
        """A stored attempt without a known outcome is looked up, never sent again."""
        found = exchange.find(order.client_order_id)
        match found:
            case FoundOrder():
                self._store(order, OrderAccepted(order_id=order.order_id, venue_order_id=found.venue_order_id))
                self._collect(order, exchange)
            case NotPlaced():
                self._store(
                    order, OrderClosed(order_id=order.order_id, reason="not_placed", filled=order.filled_quantity)
                )
            case Unknown() if order.status == "submitted":
                self._store(order, OutcomeUnknown(order_id=order.order_id, code=found.code, text=found.text))
            case Unknown():
                pass  # still unknown: the log says so already

    def _collect(self, order: OrderView, exchange: Exchange) -> None:
        """Every fill the venue tells of is a trade in the log, once; an order that has ended there is closed here."""
        for fill in exchange.fills(order.client_order_id):
            self._book_fill(order, fill)
        found = exchange.find(order.client_order_id)
        if isinstance(found, FoundOrder) and found.state != "open":
            reason = found.state
            self._store(order, OrderClosed(order_id=order.order_id, reason=reason, filled=found.filled))
            exchange.forget(order.client_order_id)
        elif isinstance(found, NotPlaced):
            self._store(order, OrderClosed(order_id=order.order_id, reason="cancelled", filled=order.filled_quantity))

    def _book_fill(self, order: OrderView, fill: Fill) -> None:
        trade_id = fill_id(order, fill)
        with self._book.reading(self._portfolio_id) as reading:
            if reading.rows.get(TradeView, trade_id) is not None:
                return
        trade = TradeExecuted(
            account=order.account,
            venue=order.venue,
            venue_trade_id=fill.venue_trade_id,
            instrument=Instrument(order.instrument),
            side=Side(order.side),
            quantity=fill.quantity,
            price=fill.price,
            fees=fill.fees,
            quote_rate=SAME_CURRENCY,
            order_id=order.order_id,
            triggered_by=order.triggered_by,
        )
        story, cause = order.signal_id or order.order_id, order.order_id
        self._book.record(self._portfolio_id, [NewEvent(trade, trade_id, fill.occurred_at, ACTOR, story, cause)])

    def _store(self, order: OrderView, event: Event) -> None:
        event_id = derived_id(order.order_id, event.type)
        story = order.signal_id or order.order_id
        new = NewEvent(event, event_id, self._clock(), ACTOR, story, order.order_id)
        self._book.record(self._portfolio_id, [new])

    @contextmanager
    def _desk(self) -> Iterator[Desk]:
        with self._book.reading(self._portfolio_id) as reading:
            yield Desk(reading.rows, reading.position, self._clock(), _stopped(reading))

    def _exchange_of(self, desk: Desk, account: str | None = None) -> Exchange | None:
        view = desk.account(account) if account is not None else desk.first_account()
        return self._exchanges.get(view.venue) if view else None


def fill_id(order: OrderView, fill: Fill) -> UUID:
    """The event id of a fill: one for each (venue, account, instrument, venue trade id), whoever reports it."""
    return derived_id("fill", order.venue, order.account, order.instrument, fill.venue_trade_id)


def client_order_id(order_id: UUID, attempt: int = 1) -> str:
    """32 lower-case hex characters, valid at every venue, always the same for the same intent and attempt."""
    return derived_id("client-order", order_id, attempt).hex


def ticket_of(order: OrderView) -> OrderTicket:
    """The order as it is sent."""
    return OrderTicket(
        client_order_id=order.client_order_id,
        account=order.account,
        instrument=Instrument(order.instrument),
        side=Side(order.side),
        kind="limit" if order.kind == "limit" else "market",
        base_size=order.base_size,
        quote_size=order.quote_size,
        limit_price=order.limit_price,
        expires_at=order.expires_at,
    )


def _outcome(order: OrderView, answer: Accepted | Refused | Unknown) -> Event:
    match answer:
        case Accepted():
            return OrderAccepted(order_id=order.order_id, venue_order_id=answer.venue_order_id)
        case Refused():
            return OrderRefused(order_id=order.order_id, code=answer.code, text=answer.text)
        case Unknown():
            return OutcomeUnknown(order_id=order.order_id, code=answer.code, text=answer.text)


def _verdict_events(signal: SignalView, verdict: Approval | Rejection | Expiry, desk: Desk) -> list[NewEvent]:
    """The verdict and, when it is an approval, the order it asks for: stored together or not at all."""
    verdict_id, order_id = derived_id(signal.signal_id, "verdict"), derived_id(signal.signal_id, "order")

    def new(event: Event, event_id: UUID, cause: UUID) -> NewEvent:
        return NewEvent(event, event_id, desk.now, "review", signal.signal_id, cause)

    match verdict:
        case Rejection():
            return [new(SignalRejected(signal_id=signal.signal_id, rules=verdict.rules), verdict_id, signal.signal_id)]
        case Expiry():
            return [new(SignalExpired(signal_id=signal.signal_id, rules=verdict.rules), verdict_id, signal.signal_id)]
        case Approval():
            approved = SignalApproved(
                signal_id=signal.signal_id, side=verdict.side, quote_size=verdict.size.value, rules=verdict.rules
            )
            order = _signal_order(signal, verdict, order_id, desk)
            return [new(approved, verdict_id, signal.signal_id), new(order, order_id, verdict_id)]


def _signal_order(signal: SignalView, approval: Approval, order_id: UUID, desk: Desk) -> OrderRequested:
    return OrderRequested(
        client_order_id=client_order_id(order_id),
        account=approval.account.account,
        venue=approval.account.venue,
        instrument=Instrument(signal.instrument),
        side=approval.side,
        kind="market",
        base_size=approval.size.base_size,
        quote_size=approval.size.value if approval.size.base_size is None else None,
        signal_id=signal.signal_id,
        triggered_by=f"bot:{signal.bot_id}",
        expires_at=desk.now + timedelta(minutes=int(desk.limit("order_lifetime_minutes"))),
    )


def _manual_order(
    ticket: ManualTicket, approval: Approval, order_id: UUID, desk: Desk, lifetime: timedelta
) -> OrderRequested:
    return OrderRequested(
        client_order_id=client_order_id(order_id),
        account=approval.account.account,
        venue=approval.account.venue,
        instrument=ticket.instrument,
        side=ticket.side,
        kind=ticket.kind,
        base_size=ticket.base_size,
        quote_size=ticket.quote_size,
        limit_price=ticket.limit_price,
        triggered_by="manual",
        expires_at=desk.now + lifetime,
        rules=approval.rules,
    )


def _stopped(reading: Reading) -> str | None:
    stopped = reading.stopped
    return None if stopped is None else f"views stopped at position {stopped.position}: {stopped.reason}"
