"""A venue through ccxt, as it is, with one account: the LiveExchange port over the declared facts of the venue.

An order is one request on the wire. What comes back is accepted with the venue's order id, refused when the error is
on the list and every look-up finds nothing, and unknown otherwise. Not placed is said only with proof.
"""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Final, TypeVar

import ccxt

from execution.exchanges.ccxt.calling import Failed, attempt
from execution.exchanges.ccxt.outcomes import meaning_of, one_line
from execution.exchanges.ccxt.parsing import (
    Row,
    milliseconds,
    number,
    number_or_none,
    row_of,
    rows_of,
    section,
    symbol_of,
    text,
)
from execution.exchanges.ccxt.terms import plain, quote_amount, terms_of, unsendable_terms
from execution.exchanges.ccxt.transport import Wire
from execution.exchanges.ccxt.venue_facts import SINCE_MARGIN, Client, ListAt, OrderQuery, VenueFacts, count_rows
from execution.exchanges.exchange import (
    Accepted,
    Balance,
    Fill,
    FoundOrder,
    InstrumentRules,
    NotPlaced,
    OrderTicket,
    Refused,
    SupportedTerms,
    Unknown,
    VenueOrder,
    VenueTrade,
    VenueUnavailable,
)
from ledger.values import ZERO, Asset, Clock, Instrument, time_text

T = TypeVar("T")

LATE_MARGIN: Final = timedelta(seconds=10)
"""Nothing is held to be not placed before so long after the venue must have dropped it."""
MEASURE_EVERY: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key of the account at the venue. It shows nothing of itself."""

    key: str
    secret: str

    def __repr__(self) -> str:
        return "ApiKey(…)"


@dataclass(slots=True)
class _Sent:
    """An order that was or may have been sent."""

    ticket: OrderTicket
    sent_at: datetime
    venue_order_id: str | None = None
    filled: Decimal = ZERO


class CcxtExchange:
    """One account at one venue. Not thread-safe: the trade service serialises its calls. No network when it is made.

    `endpoint` (on this machine) stands in for the venue below the client; `sandbox` takes the venue's own test address;
    `prepare` receives the client before its first use. Raises BadEndpoint, and ValueError for a venue without sandbox.
    """

    def __init__(
        self,
        facts: VenueFacts,
        account: str,
        api_key: ApiKey,
        clock: Clock,
        *,
        endpoint: str | None = None,
        sandbox: bool = False,
        prepare: Callable[[Client], None] = lambda client: None,
    ) -> None:
        self.venue, self.account, self.facts = facts.venue, account, facts
        self._clock = clock
        self._measured_at: datetime | None = None
        self._sent: dict[str, _Sent] = {}
        self._sandbox = sandbox
        self._wire = Wire(facts.hosts, clock, endpoint)
        self._client = _client(facts, api_key, clock, sandbox=sandbox)
        self._client.session.mount("https://", self._wire)
        self._client.session.mount("http://", self._wire)
        prepare(self._client)

    def can_withdraw(self) -> bool | None:
        """Whether the key may withdraw; None where the venue does not tell. Raises VenueUnavailable."""
        ask = None if self._sandbox else self.facts.withdraws  # test addresses do not tell
        return None if ask is None else self._read("what the key may do", lambda: ask(self._client))

    def rules(self, instrument: Instrument) -> InstrumentRules | None:
        symbol, supported = symbol_of(instrument), self.facts.supported
        return self._read(
            "its markets",
            lambda: _rules(self._client.markets[symbol], supported) if symbol in self._client.markets else None,
        )

    def submit(self, ticket: OrderTicket) -> Accepted | Refused | Unknown:
        if ticket.client_order_id in self._sent:
            return Unknown("sent_before", f"order {ticket.client_order_id} was sent before: it is not sent again")
        not_sent = self._why_not_sent(ticket)
        if not_sent is not None:
            return not_sent
        sent = self._sent[ticket.client_order_id] = _Sent(ticket, self._clock())
        before = self._wire.sent
        with self._wire.one_request():
            answer = attempt(lambda: text(row_of(self._place(ticket)), "id"))
        if isinstance(answer, str):
            sent.venue_order_id = answer
            return Accepted(answer)
        code, why = type(answer.error).__name__, one_line(answer.error)
        if self._wire.sent == before:
            del self._sent[ticket.client_order_id]
            return Refused(code, f"not sent: {why}")
        return self._meaning(sent, answer.error, code, why)

    def remember(self, ticket: OrderTicket, sent_at: datetime, venue_order_id: str | None = None) -> None:
        self._sent[ticket.client_order_id] = _Sent(ticket, sent_at, venue_order_id)

    def find(self, client_order_id: str) -> FoundOrder | NotPlaced | Unknown:
        sent = self._sent.get(client_order_id)
        if sent is None:
            return Unknown("not_remembered", f"nobody said what order {client_order_id} is: it cannot be asked about")
        if sent.venue_order_id is not None:
            return self._by_venue_id(sent, sent.venue_order_id)
        asked_at = self._clock()
        orders, failures = self._look_up(sent)
        if len(orders) > 1:
            ids = ", ".join(order.venue_order_id for order in orders)
            return Unknown("several_orders", f"the venue has {len(orders)} orders under one client order id: {ids}")
        if orders:
            return _found(sent, orders[0])
        if failures:
            return Unknown("look_up_failed", "; ".join(failures))
        return self._proof(sent, asked_at)

    def fills(self, client_order_id: str) -> list[Fill]:
        sent = self._sent.get(client_order_id)
        if sent is None or sent.venue_order_id is None or not sent.filled:
            return []  # until `find` has seen the order and something filled, there is nothing to read
        ticket, number_there = sent.ticket, sent.venue_order_id
        if self.facts.order_trades:
            ask = partial(
                self._client.fetch_order_trades, number_there, symbol_of(ticket.instrument), None, self.facts.page
            )
            trades = self._trades("its fills", ask)
        else:
            trades = self.own_trades(ticket.instrument, sent.sent_at - SINCE_MARGIN)
        told = {trade.venue_trade_id: trade for trade in trades if trade.venue_order_id == number_there}
        return [_fill(trade, client_order_id) for trade in _in_order(told.values())]

    def booked(self, client_order_id: str, venue_trade_ids: Collection[str]) -> None:
        """Nothing changes: the venue keeps its fills."""

    def forget(self, client_order_id: str) -> None:
        self._sent.pop(client_order_id, None)

    def cancel(self, client_order_id: str) -> FoundOrder | NotPlaced | Unknown:
        found = self.find(client_order_id)
        if not isinstance(found, FoundOrder) or found.state != "open":
            return found
        symbol = symbol_of(self._sent[client_order_id].ticket.instrument)
        # Whatever the answer: it may have filled meanwhile, so only the order itself tells what became of it.
        failed = self._ask(lambda: self._client.cancel_order(found.venue_order_id, symbol))
        after = self.find(client_order_id)
        if isinstance(failed, Failed) and isinstance(after, FoundOrder) and after.state == "open":
            return Unknown(type(failed.error).__name__, f"not cancelled yet: {one_line(failed.error)}")
        return after

    def open_orders(self) -> list[VenueOrder]:
        return self._read_list(
            "its open orders", partial(self.facts.open_orders, self._client), self.facts.open_orders_at
        )

    def own_trades(self, instrument: Instrument, since: datetime) -> list[VenueTrade]:
        symbol, told = symbol_of(instrument), dict[str, VenueTrade]()
        start: int | None = milliseconds(since)
        parameters: dict[str, object] = {}
        while True:
            ask = partial(self._client.fetch_my_trades, symbol, start, self.facts.page, dict(parameters))
            page = self._trades("its trades", ask)
            new = _in_order(trade for trade in page if trade.venue_trade_id not in told)
            told.update({trade.venue_trade_id: trade for trade in new})
            if len(page) < self.facts.page:
                return _in_order(told.values())
            if not new:
                raise VenueUnavailable(f"{self.venue} does not tell its trades: one moment has more than fit a page")
            if self.facts.trade_cursor is not None:
                start, parameters = None, {self.facts.trade_cursor: new[-1].venue_trade_id}
            else:
                parameters = {"until": milliseconds(new[0].occurred_at) + 1}

    def balances(self) -> dict[Asset, Balance]:
        return self._read_list("its balances", lambda: _balances(self._client.fetch_balance()), self.facts.balances_at)

    # --- asking -------------------------------------------------------------------------------------------------------

    def _load(self) -> None:
        """Markets are known; on venues that tell the time, the client reckons in it, measured anew every hour."""
        if self._measured_at is None or self._clock() - self._measured_at >= MEASURE_EVERY:
            if self._client.has.get("fetchTime"):
                self._client.load_time_difference()
            self._measured_at = self._clock()
        if not self._client.markets:
            self._client.load_markets()

    @property
    def clock_ahead(self) -> timedelta:
        """How far our clock was ahead of the venue's when it was last measured; zero where the venue tells no time."""
        return timedelta(milliseconds=int(self._client.options.get("timeDifference") or 0))

    def _ask(self, ask: Callable[[], T]) -> T | Failed:
        """What a read returns, or why not; nothing is asked while the venue wants quiet."""
        until = self._wire.quiet_until
        if until is not None and self._clock() < until:
            return Failed(ccxt.RateLimitExceeded(f"the venue asked for quiet until {time_text(until)}"))
        loading = attempt(self._load)
        return loading if isinstance(loading, Failed) else attempt(ask)

    def _read(self, what: str, ask: Callable[[], T]) -> T:
        """What a read returns. Raises VenueUnavailable."""
        told = self._ask(ask)
        if isinstance(told, Failed):
            named = f"{type(told.error).__name__}: {one_line(told.error)}"
            raise VenueUnavailable(f"{self.venue} does not tell {what}: {named}") from told.error
        return told

    def _read_list(self, what: str, ask: Callable[[], T], at: ListAt) -> T:
        """What a read of a list returns. Raises VenueUnavailable also when the venue's answer held none."""

        def listed() -> T:
            answer = ask()
            count_rows(self._client, at)
            return answer

        return self._read(what, listed)

    def _trades(self, what: str, ask: Callable[[], object]) -> list[VenueTrade]:
        return self._read_list(what, lambda: [self.facts.trade(row) for row in rows_of(ask())], self.facts.trades_at)

    def _by_venue_id(self, sent: _Sent, venue_order_id: str) -> FoundOrder | Unknown:
        """The order that the venue accepted under that id of its own."""
        ask = partial(self.facts.by_venue_id, self._client, venue_order_id, self._asked(sent))
        told = self._ask(ask)
        if isinstance(told, Failed):
            return Unknown(type(told.error).__name__, one_line(told.error))
        return _found(sent, told)

    def _look_up(self, sent: _Sent) -> tuple[list[VenueOrder], list[str]]:
        """The orders under the client order id, each once, and why sources could not be asked."""
        found: dict[str, VenueOrder] = {}
        failures: list[str] = []
        for name, source in self.facts.sources.items():
            told = self._ask(partial(source, self._client, self._asked(sent)))
            if isinstance(told, Failed):
                failures.append(f"{name}: {type(told.error).__name__}: {one_line(told.error)}")
                continue
            if any(order.client_order_id != sent.ticket.client_order_id for order in told):
                failures.append(f"{name}: told an order of another client order id")
                continue
            found.update({order.venue_order_id: order for order in told})
            if found and self.facts.id_scope == "lifetime":
                break  # there is no other
        return list(found.values()), failures

    def _asked(self, sent: _Sent) -> OrderQuery:
        return OrderQuery(sent.ticket.client_order_id, symbol_of(sent.ticket.instrument), sent.sent_at)

    # --- placing ------------------------------------------------------------------------------------------------------

    def _why_not_sent(self, ticket: OrderTicket) -> Refused | None:
        """Why the order must not or cannot be sent, found out before anything is."""
        if self._clock() >= ticket.expires_at:
            return Refused("expired", "not sent: the order has expired")
        markets = self._ask(lambda: self._client.markets)
        if isinstance(markets, Failed):
            return Refused(type(markets.error).__name__, f"not sent: {one_line(markets.error)}")
        market = markets.get(symbol_of(ticket.instrument))
        if market is None:
            return Refused("unknown_market", f"not sent: {self.venue} does not trade {ticket.instrument}")
        why = unsendable_terms(ticket, self.facts, row_of(market))
        return None if why is None else Refused("bad_terms", f"not sent: {why}")

    def _place(self, ticket: OrderTicket) -> object:
        parameters = {
            **self.facts.order_parameters(self._clock()),
            self.facts.client_id_parameter: ticket.client_order_id,
        }
        client, symbol, side = self._client, symbol_of(ticket.instrument), ticket.side.value
        quote = plain(quote_amount(ticket, self.facts))
        if quote is None:
            price, kind = plain(ticket.limit_price), "limit" if ticket.kind == "limit" else "market"
            parameters |= terms_of(ticket)
            return client.create_order(symbol, kind, side, plain(ticket.base_size), price, parameters)
        if self.facts.quote_buys == "amount":
            return client.create_order(symbol, "market", side, quote, None, parameters)
        by_cost = {"buy": "create_market_buy_order_with_cost", "sell": "create_market_sell_order_with_cost"}[side]
        return getattr(client, by_cost)(symbol, quote, parameters)

    def _meaning(self, sent: _Sent, error: Exception, code: str, why: str) -> Accepted | Refused | Unknown:
        """What the failed attempt means, after every look-up."""
        meaning = meaning_of(error, self._wire.status)
        if meaning == "unknown":
            return Unknown(code, why)
        orders, failures = self._look_up(sent)
        if len(orders) == 1:
            sent.venue_order_id = orders[0].venue_order_id
            return Accepted(orders[0].venue_order_id)
        if orders or failures or meaning == "duplicate":
            return Unknown(code, "; ".join([why, *failures]))
        return Refused(code, why)

    def _proof(self, sent: _Sent, asked_at: datetime) -> NotPlaced | Unknown:
        """Every source said that there is nothing: that is proof once the request cannot be carried out any more."""
        if self.facts.validity is None:
            return Unknown("no_validity", f"nothing found, but {self.venue} never says that a request is too late")
        over_at = sent.sent_at + self.facts.validity + LATE_MARGIN
        if asked_at < over_at:
            return Unknown("may_still_arrive", f"nothing found, but it may arrive until {time_text(over_at)}")
        names = ", ".join(self.facts.sources)
        return NotPlaced(f"nothing in {names} of {self.venue} after {time_text(over_at)}, when it could arrive no more")


def _client(facts: VenueFacts, api_key: ApiKey, clock: Clock, *, sandbox: bool) -> Client:
    """The venue's client: numbers are texts, its time is ours, and it repeats nothing by itself."""
    if sandbox and not facts.sandbox:
        raise ValueError(f"{facts.venue} has no test address")
    client = getattr(ccxt, facts.venue)({"apiKey": api_key.key, "secret": api_key.secret, **facts.settings})
    client.number = str  # or every amount would pass through a float
    client.has = {**client.has, **facts.has}
    client.options["maxRetriesOnFailure"] = 0
    client.enableLastJsonResponse = True  # to see whether an empty list was one
    client.milliseconds = lambda: milliseconds(clock())
    if sandbox:
        client.set_sandbox_mode(True)
    return client


def _rules(market: Row, supported: SupportedTerms) -> InstrumentRules:
    precision, limits = section(market, "precision"), section(market, "limits")
    lot = number(precision, "amount")
    taker = market.get("taker")
    return InstrumentRules(
        tick=number(precision, "price"),
        lot=lot,
        minimum_size=number_or_none(section(limits, "amount"), "min") or lot,
        minimum_value=number_or_none(section(limits, "cost"), "min") or ZERO,
        # The client keeps its own table of fees in floats; this is what a review reckons with, never what is booked.
        taker_fee=Decimal(str(taker)) if isinstance(taker, str | float | int) else HIGHEST_FEE,
        supported=supported,
    )


HIGHEST_FEE: Final = Decimal("0.012")
"""What review reckons with where the client knows no fee: the highest entry tier of the venues declared here."""


def _found(sent: _Sent, order: VenueOrder) -> FoundOrder:
    sent.venue_order_id, sent.filled = order.venue_order_id, order.filled
    return FoundOrder(order.venue_order_id, order.state, order.filled)


def _fill(trade: VenueTrade, client_order_id: str) -> Fill:
    return Fill(trade.venue_trade_id, client_order_id, trade.quantity, trade.price, trade.fees, trade.occurred_at)


def _in_order(trades: Iterable[VenueTrade]) -> list[VenueTrade]:
    """Oldest first; those of one moment as their ids go up."""
    return sorted(trades, key=lambda trade: (trade.occurred_at, len(trade.venue_trade_id), trade.venue_trade_id))


def _balances(answer: Row) -> dict[Asset, Balance]:
    totals = section(answer, "total")
    held = {asset: number_or_none(section(answer, "used"), asset) or ZERO for asset in totals}
    told = {asset: number_or_none(totals, asset) or ZERO for asset in totals}
    return {Asset(asset): Balance(total - held[asset], held[asset]) for asset, total in told.items() if total}
