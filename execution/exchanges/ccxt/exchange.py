"""The LiveExchange port for one account at a venue, through ccxt and the declared facts of the venue.

An order is one request. Its outcome is accepted with the venue's order id, refused when the error is a listed one and
every look-up finds nothing, and unknown otherwise. `NotPlaced` requires proof.
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
"""An order counts as not placed only this long after the venue must have dropped it."""
MEASURE_EVERY: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class ApiKey:
    """An API key of the account at the venue. Its repr is hidden."""

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
    """One account at one venue. Not thread-safe: the trade service serialises its calls. Creating it needs no network.

    `endpoint` on this machine replaces the venue below the client; `sandbox` uses the venue's test address; `prepare`
    receives the client before its first use. Raises BadEndpoint, and ValueError for a venue without sandbox.
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
        """Return whether the key may withdraw; None if the venue does not report it. Raises VenueUnavailable."""
        call = None if self._sandbox else self.facts.withdraws  # test addresses do not report it
        return None if call is None else self._read("the key's permissions", lambda: call(self._client))

    def rules(self, instrument: Instrument) -> InstrumentRules | None:
        symbol, supported = symbol_of(instrument), self.facts.supported
        return self._read(
            "markets",
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
            return Unknown("not_remembered", f"order {client_order_id} was not registered: it cannot be looked up")
        if sent.venue_order_id is not None:
            return self._by_venue_id(sent, sent.venue_order_id)
        looked_up_at = self._clock()
        orders, failures = self._look_up(sent)
        if len(orders) > 1:
            ids = ", ".join(order.venue_order_id for order in orders)
            return Unknown("several_orders", f"the venue has {len(orders)} orders under one client order id: {ids}")
        if orders:
            return _found(sent, orders[0])
        if failures:
            return Unknown("look_up_failed", "; ".join(failures))
        return self._not_placed_or_unknown(sent, looked_up_at)

    def fills(self, client_order_id: str) -> list[Fill]:
        sent = self._sent.get(client_order_id)
        if sent is None or sent.venue_order_id is None or not sent.filled:
            return []  # `find` has not found the order, or nothing is filled
        ticket, venue_order_id = sent.ticket, sent.venue_order_id
        if self.facts.order_trades:
            symbol = symbol_of(ticket.instrument)
            call = partial(self._client.fetch_order_trades, venue_order_id, symbol, None, self.facts.page)
            trades = self._trades("fills", call)
        else:
            trades = self.own_trades(ticket.instrument, sent.sent_at - SINCE_MARGIN)
        own = {trade.venue_trade_id: trade for trade in trades if trade.venue_order_id == venue_order_id}
        return [_fill(trade, client_order_id) for trade in _in_order(own.values())]

    def booked(self, client_order_id: str, venue_trade_ids: Collection[str]) -> None:
        """Do nothing: the venue keeps its fills."""

    def forget(self, client_order_id: str) -> None:
        self._sent.pop(client_order_id, None)

    def cancel(self, client_order_id: str) -> FoundOrder | NotPlaced | Unknown:
        found = self.find(client_order_id)
        if not isinstance(found, FoundOrder) or found.state != "open":
            return found
        symbol = symbol_of(self._sent[client_order_id].ticket.instrument)
        # Whatever the reply, the order may have filled meanwhile: only a look-up shows its state.
        failed = self._attempt(lambda: self._client.cancel_order(found.venue_order_id, symbol))
        after = self.find(client_order_id)
        if isinstance(failed, Failed) and isinstance(after, FoundOrder) and after.state == "open":
            return Unknown(type(failed.error).__name__, f"not cancelled yet: {one_line(failed.error)}")
        return after

    def open_orders(self) -> list[VenueOrder]:
        return self._read_list("open orders", partial(self.facts.open_orders, self._client), self.facts.open_orders_at)

    def own_trades(self, instrument: Instrument, since: datetime) -> list[VenueTrade]:
        symbol, found = symbol_of(instrument), dict[str, VenueTrade]()
        start: int | None = milliseconds(since)
        parameters: dict[str, object] = {}
        while True:
            call = partial(self._client.fetch_my_trades, symbol, start, self.facts.page, dict(parameters))
            page = self._trades("trades", call)
            new = _in_order(trade for trade in page if trade.venue_trade_id not in found)
            found.update({trade.venue_trade_id: trade for trade in new})
            if len(page) < self.facts.page:
                return _in_order(found.values())
            if not new:
                raise VenueUnavailable(f"cannot read trades of {self.venue}: more trades at one time than fit a page")
            if self.facts.trade_cursor is not None:
                start, parameters = None, {self.facts.trade_cursor: new[-1].venue_trade_id}
            else:
                parameters = {"until": milliseconds(new[0].occurred_at) + 1}

    def balances(self) -> dict[Asset, Balance]:
        return self._read_list("balances", lambda: _balances(self._client.fetch_balance()), self.facts.balances_at)

    # --- reading ------------------------------------------------------------------------------------------------------

    def _load(self) -> None:
        """Load the markets and, every hour, the difference to the venue's clock if it has one."""
        if self._measured_at is None or self._clock() - self._measured_at >= MEASURE_EVERY:
            if self._client.has.get("fetchTime"):
                self._client.load_time_difference()
            self._measured_at = self._clock()
        if not self._client.markets:
            self._client.load_markets()

    def _attempt(self, call: Callable[[], T]) -> T | Failed:
        """Return the result of a read or its failure. Sends nothing during a back-off that the venue asked for."""
        until = self._wire.quiet_until
        if until is not None and self._clock() < until:
            return Failed(ccxt.RateLimitExceeded(f"the venue allows no requests until {time_text(until)}"))
        loading = attempt(self._load)
        return loading if isinstance(loading, Failed) else attempt(call)

    def _read(self, subject: str, call: Callable[[], T]) -> T:
        """Return the result of a read. Raises VenueUnavailable."""
        result = self._attempt(call)
        if isinstance(result, Failed):
            reason = f"{type(result.error).__name__}: {one_line(result.error)}"
            raise VenueUnavailable(f"cannot read {subject} of {self.venue}: {reason}") from result.error
        return result

    def _read_list(self, subject: str, call: Callable[[], T], at: ListAt) -> T:
        """Return the result of reading a list. Raises VenueUnavailable, also when the reply contains no list."""

        def listed() -> T:
            result = call()
            count_rows(self._client, at)
            return result

        return self._read(subject, listed)

    def _trades(self, subject: str, call: Callable[[], object]) -> list[VenueTrade]:
        return self._read_list(
            subject, lambda: [self.facts.trade(row) for row in rows_of(call())], self.facts.trades_at
        )

    def _by_venue_id(self, sent: _Sent, venue_order_id: str) -> FoundOrder | Unknown:
        """Look up the order by the venue's own id."""
        result = self._attempt(partial(self.facts.by_venue_id, self._client, venue_order_id, _query(sent)))
        if isinstance(result, Failed):
            return Unknown(type(result.error).__name__, one_line(result.error))
        return _found(sent, result)

    def _look_up(self, sent: _Sent) -> tuple[list[VenueOrder], list[str]]:
        """Return the orders with the client order id, each once, and the failures of sources."""
        found: dict[str, VenueOrder] = {}
        failures: list[str] = []
        for name, source in self.facts.sources.items():
            result = self._attempt(partial(source, self._client, _query(sent)))
            if isinstance(result, Failed):
                failures.append(f"{name}: {type(result.error).__name__}: {one_line(result.error)}")
                continue
            if any(order.client_order_id != sent.ticket.client_order_id for order in result):
                failures.append(f"{name}: returned an order with another client order id")
                continue
            found.update({order.venue_order_id: order for order in result})
            if found and self.facts.id_scope == "lifetime":
                break  # there is no other
        return list(found.values()), failures

    # --- placing ------------------------------------------------------------------------------------------------------

    def _why_not_sent(self, ticket: OrderTicket) -> Refused | None:
        """Return a refusal if the order must not or cannot be sent."""
        if self._clock() >= ticket.expires_at:
            return Refused("expired", "not sent: the order has expired")
        markets = self._attempt(lambda: self._client.markets)
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
        """Return the outcome of a failed attempt, after looking the order up."""
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

    def _not_placed_or_unknown(self, sent: _Sent, looked_up_at: datetime) -> NotPlaced | Unknown:
        """Return `NotPlaced` if the request can no longer be carried out, since no source has the order."""
        if self.facts.validity is None:
            return Unknown("no_validity", f"not found, but {self.venue} sets no time limit for requests")
        over_at = sent.sent_at + self.facts.validity + LATE_MARGIN
        if looked_up_at < over_at:
            return Unknown("may_still_arrive", f"not found, but it may arrive until {time_text(over_at)}")
        names = ", ".join(self.facts.sources)
        return NotPlaced(f"not in {names} of {self.venue} after {time_text(over_at)}, the latest time it could arrive")


def _client(facts: VenueFacts, api_key: ApiKey, clock: Clock, *, sandbox: bool) -> Client:
    """Return the venue's client: numbers as text, our clock, no retries."""
    if sandbox and not facts.sandbox:
        raise ValueError(f"{facts.venue} has no test address")
    client = getattr(ccxt, facts.venue)({"apiKey": api_key.key, "secret": api_key.secret, **facts.settings})
    client.number = str  # the default converts amounts to float
    client.has = {**client.has, **facts.has}
    client.options["maxRetriesOnFailure"] = 0
    client.enableLastJsonResponse = True  # lets `count_rows` verify empty lists
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
        # From the client's own fee table, in floats: an estimate for review, never booked.
        taker_fee=Decimal(str(taker)) if isinstance(taker, str | float | int) else HIGHEST_FEE,
        supported=supported,
    )


HIGHEST_FEE: Final = Decimal("0.012")
"""Estimate for review where the client has no fee: the highest entry tier of the declared venues."""


def _query(sent: _Sent) -> OrderQuery:
    return OrderQuery(sent.ticket.client_order_id, symbol_of(sent.ticket.instrument), sent.sent_at)


def _found(sent: _Sent, order: VenueOrder) -> FoundOrder:
    sent.venue_order_id, sent.filled = order.venue_order_id, order.filled
    return FoundOrder(order.venue_order_id, order.state, order.filled)


def _fill(trade: VenueTrade, client_order_id: str) -> Fill:
    return Fill(trade.venue_trade_id, client_order_id, trade.quantity, trade.price, trade.fees, trade.occurred_at)


def _in_order(trades: Iterable[VenueTrade]) -> list[VenueTrade]:
    """Sort by time, then by id."""
    return sorted(trades, key=lambda trade: (trade.occurred_at, len(trade.venue_trade_id), trade.venue_trade_id))


def _balances(answer: Row) -> dict[Asset, Balance]:
    totals = section(answer, "total")
    locked = {asset: number_or_none(section(answer, "used"), asset) or ZERO for asset in totals}
    total_of = {asset: number_or_none(totals, asset) or ZERO for asset in totals}
    return {Asset(asset): Balance(total - locked[asset], locked[asset]) for asset, total in total_of.items() if total}
