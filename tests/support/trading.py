"""A portfolio for tests of trading, with a clock moved by hand, a scripted venue, and a hook around every effect.

`Watched*` call a hook before and after each effect (a recording, a call to the venue). A hook can note the effects,
interrupt the program, let another service run in between, or halt trading.
"""

import threading
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final, Literal
from uuid import UUID

from execution.exchanges.exchange import (
    Accepted,
    Exchange,
    Fill,
    FoundOrder,
    InstrumentRules,
    NotPlaced,
    OrderTicket,
    Refused,
)
from execution.exchanges.exchange import Unknown as UnknownOutcome
from execution.orders.trade_service import TradeService
from execution.review.review import ManualTicket
from execution.review.state import DecisionState
from ledger.events import (
    AccountOpened,
    CashDeposited,
    Event,
    LimitSet,
    MarkRecorded,
    PortfolioOpened,
    SignalEmitted,
    TradeExecuted,
    TradingHalted,
)
from ledger.events.fields import Fee
from ledger.locks import Leadership, NotLeader
from ledger.log.envelope import Envelope, NewEvent
from ledger.log.event_log import EventLog
from ledger.projections.book import Book, Reading
from ledger.projections.invariants import broken_invariants
from ledger.projections.orders import OrderView
from ledger.values import ZERO, Asset, Instrument, Side, derived_id

BTC: Final = Instrument("BTC-USD")
NOON: Final = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
ACCOUNT: Final = "main"
RULES: Final = InstrumentRules(
    tick=Decimal("0.01"),
    lot=Decimal("0.00000001"),
    minimum_size=Decimal("0.00001"),
    minimum_value=Decimal(1),
    taker_fee=Decimal("0.006"),
)


class HandClock:
    """A clock that is moved by hand."""

    def __init__(self, now: datetime = NOON) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def move(self, **by: float) -> None:
        self.now += timedelta(**by)


class Room:
    """A portfolio in a book, with an account at `venue` that holds `cash`; without confirmation and cooldown."""

    def __init__(self, book: Book, name: str, venue: str = "scripted", cash: Decimal = Decimal(10_000)) -> None:
        self.book = book
        self.portfolio_id = derived_id("room", name)
        self.clock = HandClock()
        self._told = 0
        self.tell(PortfolioOpened(name=name, base_currency=Asset("USD")))
        self.tell(AccountOpened(account=ACCOUNT, venue=venue, mode="paper"))
        if cash:
            self.tell(CashDeposited(account=ACCOUNT, asset=Asset("USD"), amount=cash))
        self.limit("confirmation_minutes", "0")
        self.limit("cooldown_minutes", "0")

    def tell(self, event: Event, event_id: UUID | None = None, at: datetime | None = None) -> UUID:
        """Store the event; return its id."""
        self._told += 1
        chosen = event_id or derived_id("told", self.portfolio_id, self._told)
        self.book.record(self.portfolio_id, [NewEvent(event, chosen, at or self.clock(), "owner", chosen)])
        return chosen

    def signal(
        self,
        score: str = "0.5",
        *,
        bot: str = "one",
        asof: datetime | None = None,
        price: str = "100",
        confidence: str = "1",
        horizon_s: int | None = None,
        instrument: Instrument = BTC,
        stop: str | None = None,
        target: str | None = None,
    ) -> UUID:
        """Store a signal with `score` at `asof` (default: now); return its id."""
        when = asof or self.clock()
        signal = SignalEmitted(
            bot_id=bot,
            bot_version="1",
            parameters_hash="none",
            instrument=instrument,
            asof=when,
            price=Decimal(price),
            score=Decimal(score),
            confidence=Decimal(confidence),
            horizon_s=horizon_s,
            stop_loss=None if stop is None else Decimal(stop),
            take_profit=None if target is None else Decimal(target),
        )
        return self.tell(signal, derived_id("signal", self.portfolio_id, bot, instrument, when), when)

    def mark(self, price: str = "100", instrument: Instrument = BTC) -> None:
        self.tell(MarkRecorded(instrument=instrument, price=Decimal(price), source="test"))

    def limit(self, name: str, value: str) -> None:
        self.tell(LimitSet(limit=name, value=Decimal(value)))

    def halt(self, reason: str = "enough") -> None:
        self.tell(TradingHalted(reason=reason))

    def hold(self, quantity: str, price: str = "100", instrument: Instrument = BTC) -> None:
        """Add this quantity to the holding, without a change of cash."""
        self.tell(CashDeposited(account=ACCOUNT, asset=Asset("USD"), amount=Decimal(quantity) * Decimal(price)))
        trade = TradeExecuted(
            account=ACCOUNT,
            venue="elsewhere",
            venue_trade_id=f"held-{self._told}",
            instrument=instrument,
            side=Side.BUY,
            quantity=Decimal(quantity),
            price=Decimal(price),
            quote_rate=Decimal(1),
            triggered_by="import",
        )
        self.tell(trade, at=self.clock() - timedelta(days=1))

    def envelopes(self, *kinds: type[Event]) -> list[Envelope]:
        """The log's events, of these types or of all."""
        found = self.book.log.read(self.portfolio_id)
        return [one for one in found if not kinds or isinstance(one.event, kinds)]

    def of(self, kind: type[Event]) -> list[Event]:
        return [envelope.event for envelope in self.envelopes(kind)]

    def reading(self) -> AbstractContextManager[Reading]:
        return self.book.reading(self.portfolio_id)

    def orders(self) -> list[OrderView]:
        with self.reading() as reading:
            return sorted(reading.rows.history(OrderView), key=lambda order: order.position)

    def state(self, reading: Reading) -> DecisionState:
        return DecisionState.of(reading, self.clock())

    def broken_invariants(self) -> list[tuple[str, str, str]]:
        with self.reading() as reading:
            return list(broken_invariants(reading.rows))

    def service(
        self,
        *exchanges: Exchange,
        book: Book | None = None,
        sender: str = "one",
        kind: type[TradeService] = TradeService,
        leadership: Leadership | None = None,
    ) -> TradeService:
        named = {exchange.venue: exchange for exchange in exchanges}
        return kind(book or self.book, self.portfolio_id, named, self.clock, sender, leadership)

    def request(self, service: TradeService, ticket: ManualTicket, number: int = 1, book: Book | None = None) -> UUID:
        """Request the ticket's order as the owner, with the id for `number`."""
        chosen = book or self.book
        return service.request(
            ticket,
            self.manual_id(number),
            lambda events, position: chosen.record(self.portfolio_id, events, position),
        )

    def manual_id(self, number: int = 1) -> UUID:
        return derived_id("manual", self.portfolio_id, number)


def market(
    side: Side = Side.BUY, quote: str | None = None, base: str | None = None, limit: str | None = None
) -> ManualTicket:
    """A ticket for BTC-USD: 50 USD without a size, a limit order with a limit."""
    if quote is None and base is None:
        quote = "50"
    return ManualTicket(
        instrument=BTC,
        side=side,
        kind="market" if limit is None else "limit",
        base_size=None if base is None else Decimal(base),
        quote_size=None if quote is None else Decimal(quote),
        limit_price=None if limit is None else Decimal(limit),
        account=None,
    )


# --- the scripted venue -----------------------------------------------------------------------------------------------

State = Literal["open", "filled", "expired", "cancelled", "unknown", "not_placed"]


@dataclass(frozen=True, slots=True)
class Script:
    """The venue's behaviour for one order.

    `submit`: its reply; after a lost reply the order exists or not. `states`: the result of each call of `find`, the last
    one repeated. `told`: the fills that each call of `fills` reports, by number, the last one repeated. Fill number n is of
    (n + 1) / 10 BTC at 100.
    """

    submit: Literal["accepted", "refused", "lost", "lost_before"] = "accepted"
    states: tuple[State, ...] = ("open", "filled")
    told: tuple[tuple[int, ...], ...] = ((0,), (0, 1))


@dataclass
class ScriptedExchange:
    """A venue that plays `scripts`, one for each order in the order of arrival (the last one for all others)."""

    scripts: Sequence[Script] = (Script(),)
    venue: str = "scripted"
    submitted: list[str] = field(default_factory=list)
    placed: dict[str, Script] = field(default_factory=dict)
    _calls: dict[tuple[str, str], int] = field(default_factory=dict)

    def rules(self, instrument: Instrument) -> InstrumentRules | None:
        return RULES if instrument == BTC else None

    def submit(self, ticket: OrderTicket) -> Accepted | Refused | UnknownOutcome:
        script = self.scripts[min(len(self.submitted), len(self.scripts) - 1)]
        self.submitted.append(ticket.client_order_id)
        match script.submit:
            case "refused":
                return Refused("funds", "not enough")
            case "lost_before":
                return UnknownOutcome("timeout", "no answer")
            case "lost":
                self.placed[ticket.client_order_id] = script
                return UnknownOutcome("timeout", "no answer")
            case "accepted":
                self.placed[ticket.client_order_id] = script
                return Accepted(f"V-{ticket.client_order_id}")

    def find(self, client_order_id: str) -> FoundOrder | NotPlaced | UnknownOutcome:
        script = self.placed.get(client_order_id)
        if script is None:
            return NotPlaced("two sources know nothing of it")
        state = script.states[self._call("find", client_order_id, len(script.states))]
        match state:
            case "unknown":
                return UnknownOutcome("down", "try later")
            case "not_placed":
                return NotPlaced("two sources know nothing of it")
            case _:
                filled = (
                    ZERO if state == "open" else sum((one.quantity for one in self.executed(client_order_id)), ZERO)
                )
                return FoundOrder(f"V-{client_order_id}", state, filled)

    def cancel(self, client_order_id: str) -> FoundOrder | NotPlaced | UnknownOutcome:
        return self.find(client_order_id)

    def fills(self, client_order_id: str) -> list[Fill]:
        script = self.placed.get(client_order_id)
        if script is None:
            return []
        numbers = script.told[self._call("fills", client_order_id, len(script.told))]
        return [self._fill(client_order_id, number) for number in numbers]

    def booked(self, client_order_id: str, venue_trade_ids: Collection[str]) -> None:
        pass

    def forget(self, client_order_id: str) -> None:
        pass

    def executed(self, client_order_id: str) -> list[Fill]:
        """Every fill that the order ever gets."""
        numbers = {number for told in self.placed[client_order_id].told for number in told}
        return [self._fill(client_order_id, number) for number in sorted(numbers)]

    def _fill(self, client_order_id: str, number: int) -> Fill:
        fee = Fee(asset=Asset("USD"), amount=Decimal("0.01"))
        at = NOON + timedelta(seconds=number)
        quantity = Decimal(number + 1) / 10
        return Fill(f"{client_order_id}-{number}", client_order_id, quantity, Decimal(100), (fee,), at)

    def _call(self, what: str, client_order_id: str, known: int) -> int:
        number = self._calls.get((what, client_order_id), 0)
        self._calls[what, client_order_id] = number + 1
        return min(number, known - 1)


# --- eyes on every effect ---------------------------------------------------------------------------------------------

Hook = Callable[[str, str], None]
"""Called with "before" or "after" and the effect: the types of the events recorded, or the call to the venue."""


class Killed(BaseException):
    """The program was interrupted here."""


@dataclass
class KillAt:
    """Interrupts the program at these numbers of effects (before and after count separately)."""

    numbers: Collection[int] = ()
    seen: int = 0

    def __call__(self, side: str, effect: str) -> None:
        if effect == "read":
            return
        self.seen += 1
        if self.seen in self.numbers:
            raise Killed(f"{side} {effect}")


class WatchedBook:
    """The book, with a hook around each recording and before each reading."""

    def __init__(self, book: Book, hook: Hook) -> None:
        self.log: EventLog = book.log
        self._book = book
        self._hook = hook

    def record(
        self, portfolio_id: UUID, events: Sequence[NewEvent], expected_position: int | None = None
    ) -> list[Envelope]:
        effect = " + ".join(new.event.type for new in events)
        self._hook("before", effect)
        envelopes = self._book.record(portfolio_id, events, expected_position)
        self._hook("after", effect)
        return envelopes

    def reading(self, portfolio_id: UUID) -> AbstractContextManager[Reading]:
        self._hook("before", "read")
        return self._book.reading(portfolio_id)


class WatchedExchange:
    """The exchange, with a hook around each call with an effect."""

    def __init__(self, exchange: Exchange, hook: Hook) -> None:
        self.venue = exchange.venue
        self._exchange = exchange
        self._hook = hook

    def rules(self, instrument: Instrument) -> InstrumentRules | None:
        return self._exchange.rules(instrument)

    def submit(self, ticket: OrderTicket) -> Accepted | Refused | UnknownOutcome:
        self._hook("before", "submit")
        answer = self._exchange.submit(ticket)
        self._hook("after", "submit")
        return answer

    def find(self, client_order_id: str) -> FoundOrder | NotPlaced | UnknownOutcome:
        self._hook("before", "find")
        answer = self._exchange.find(client_order_id)
        self._hook("after", "find")
        return answer

    def cancel(self, client_order_id: str) -> FoundOrder | NotPlaced | UnknownOutcome:
        self._hook("before", "cancel")
        answer = self._exchange.cancel(client_order_id)
        self._hook("after", "cancel")
        return answer

    def fills(self, client_order_id: str) -> list[Fill]:
        self._hook("before", "fills")
        answer = self._exchange.fills(client_order_id)
        self._hook("after", "fills")
        return answer

    def booked(self, client_order_id: str, venue_trade_ids: Collection[str]) -> None:
        self._hook("before", "booked")
        self._exchange.booked(client_order_id, venue_trade_ids)
        self._hook("after", "booked")

    def forget(self, client_order_id: str) -> None:
        self._hook("before", "forget")
        self._exchange.forget(client_order_id)
        self._hook("after", "forget")


class MemoryLeaders:
    """Claims to the portfolios of one book in memory."""

    def __init__(self) -> None:
        self._gate = threading.RLock()
        self._epochs: defaultdict[UUID, int] = defaultdict(int)

    def take_over(self, book: Book, portfolio_id: UUID) -> Leadership:
        """Lead from now on."""
        with self._gate:
            self._epochs[portfolio_id] += 1
            return _MemoryLeadership(book, portfolio_id, self._gate, self._epochs)


class _MemoryLeadership:
    def __init__(self, book: Book, portfolio_id: UUID, gate: threading.RLock, epochs: dict[UUID, int]) -> None:
        self._book, self._portfolio_id, self._gate, self._epochs = book, portfolio_id, gate, epochs
        self._epoch = epochs[portfolio_id]

    def record(self, events: Sequence[NewEvent], expected_position: int | None = None) -> object:
        with self._gate:
            self.confirm()
            return self._book.record(self._portfolio_id, events, expected_position)

    def confirm(self) -> None:
        with self._gate:
            if self._epochs[self._portfolio_id] != self._epoch:
                raise NotLeader(f"another trader has taken over portfolio {self._portfolio_id}")
