"""From a bot's signal to an order at a venue: `python -m bench.orders [--signals N]`, and part of `make bench`.

The venue is `daybook venue` in another process: real HTTP and signatures, no network. The client's rate limit is off.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from functools import partial
from itertools import count
from pathlib import Path
from statistics import quantiles
from typing import Final
from uuid import UUID

import ccxt
from sqlalchemy import Engine

from bench.database import fresh_database
from bench.figures import Figure, print_figures, rate
from bench.raw_limits import measure_raw_limits
from execution.exchanges.ccxt.exchange import ApiKey, CcxtExchange
from execution.exchanges.ccxt.venues import facts_of
from execution.exchanges.exchange import Accepted, OrderTicket, Refused, Unknown
from execution.orders.trade_service import TradeService
from execution.review.review import ManualTicket
from ledger.events import (
    AccountOpened,
    CashDeposited,
    Event,
    LimitSet,
    MarkRecorded,
    OpeningLotRecorded,
    PortfolioOpened,
    SignalEmitted,
)
from ledger.log.envelope import NewEvent
from ledger.postgres.book import PostgresBook
from ledger.postgres.halt_lock import PostgresHaltLock
from ledger.postgres.leadership import PostgresLeadership
from ledger.projections.orders import OrderView
from ledger.values import ZERO, Asset, Instrument, Side, derived_id, system_clock

ACCOUNT: Final = "main"
BTC: Final = Instrument("BTC-USDT")
PRICE: Final = Decimal(60000)


def main() -> None:
    """Print the cost of orders."""
    parser = argparse.ArgumentParser(description="Measure the path from a signal to an order.")
    parser.add_argument("--signals", type=int, default=200, help="number of signals, and of manual orders")
    signals = parser.parse_args().signals
    with fresh_database() as (url, engine):
        commits = measure_raw_limits(url, 1_000).commits
        print_figures([commits, *measure_orders(engine, signals, commits)])


def measure_orders(engine: Engine, signals: int, commits: Figure) -> list[Figure]:
    """Measure latencies from the stored signal, and orders per second."""
    with _venue(engine) as trader:
        latencies = [trader.trade_signal() for _ in range(signals)]
        started, answered, booked = zip(*latencies, strict=True)
        waited = quantiles(trader.venue_s, n=100)
        return [
            *_percentiles("signal stored to order sent", started),
            *_percentiles("signal stored to acceptance by the venue", answered),
            *_percentiles("signal stored to fill booked and order closed", booked),
            Figure("share of venue and client in placing the order, p50", waited[49] * 1000, "ms"),
            rate(
                "consecutive manual orders, from request to closed",
                "orders/s",
                signals,
                partial(trader.trade_manually, signals),
                commits,
            ),
            Figure("durable commits per order", trader.commits / signals, "commits"),
            Figure("processor time of this process per order", trader.worked_s * 1000 / signals, "ms"),
        ]


def _percentiles(name: str, seconds: tuple[float, ...]) -> list[Figure]:
    percentiles = quantiles(seconds, n=100)
    return [Figure(f"{name}, p{one}", percentiles[one - 1] * 1000, "ms") for one in (50, 99)]


class _Timed(CcxtExchange):
    """Records when an order is sent and answered."""

    sent_at: float = 0
    answered_at: float = 0

    def submit(self, ticket: OrderTicket) -> Accepted | Refused | Unknown:
        self.sent_at = time.perf_counter()
        answer = super().submit(ticket)
        self.answered_at = time.perf_counter()
        return answer


@dataclass(slots=True)
class _Trader:
    """A portfolio at the venue with its trade service, wired as in the program."""

    portfolio_id: UUID
    book: PostgresBook
    leadership: PostgresLeadership
    exchange: _Timed
    service: TradeService
    numbers: Iterator[int] = field(default_factory=count)
    venue_s: list[float] = field(default_factory=list)
    commits: int = 0
    worked_s: float = 0

    def record(self, events: list[Event]) -> None:
        now = system_clock()
        ids = [derived_id("bench", self.portfolio_id, next(self.numbers)) for _ in events]
        new = [NewEvent(one, event_id, now, "bench", event_id) for one, event_id in zip(events, ids, strict=True)]
        self.book.record(self.portfolio_id, new)

    def trade_signal(self) -> tuple[float, float, float]:
        """Store a signal; return the seconds until its order was sent, accepted, and closed."""
        self.record([_signal(system_clock())])
        started = time.perf_counter()
        self.service.step()
        ended = time.perf_counter()
        self.assert_closed()
        self.venue_s.append(self.exchange.answered_at - self.exchange.sent_at)
        return self.exchange.sent_at - started, self.exchange.answered_at - started, ended - started

    def trade_manually(self, orders: int) -> None:
        before, worked = self.book.log.head(self.portfolio_id).position, time.process_time()
        for _ in range(orders):
            ticket = ManualTicket(BTC, Side.BUY, "market", None, Decimal(60), None, ACCOUNT)
            self.service.request(ticket, derived_id("manual", next(self.numbers)), self.leadership.record)
        self.commits = self.book.log.head(self.portfolio_id).position - before  # one event each
        self.worked_s = time.process_time() - worked
        self.assert_closed()

    def assert_closed(self) -> None:
        with self.book.reading(self.portfolio_id) as reading:
            found = list(reading.rows.where(OrderView))
        if found or not self.exchange.answered_at:
            raise SystemExit(f"an order was not closed: {found[:1]}")


@contextmanager
def _venue(engine: Engine) -> Iterator[_Trader]:
    daybook = Path(sys.executable).with_name("daybook")
    with subprocess.Popen([daybook, "venue", "binance", "--json"], stdout=subprocess.PIPE, text=True) as venue:
        assert venue.stdout is not None
        about = json.loads(venue.stdout.readline())
        try:
            yield _opened(engine, about["url"], ApiKey(about["key"], about["secret"]))
        finally:
            venue.terminate()


def _opened(engine: Engine, url: str, key: ApiKey) -> _Trader:
    def unpaced(client: ccxt.Exchange) -> None:
        client.enableRateLimit = False

    portfolio_id, book = derived_id("bench", "orders"), PostgresBook(engine, system_clock)
    exchange = _Timed(facts_of("binance"), ACCOUNT, key, system_clock, endpoint=url, prepare=unpaced)
    leadership = PostgresLeadership(book, engine, portfolio_id, "bench", system_clock)
    service = TradeService(
        book, portfolio_id, {}, system_clock, "bench", leadership, {ACCOUNT: exchange}, PostgresHaltLock(engine)
    )
    trader = _Trader(portfolio_id, book, leadership, exchange, service)
    trader.record([PortfolioOpened(name="orders", base_currency=Asset("USDT"))])
    events: list[Event] = [AccountOpened(account=ACCOUNT, venue="binance", mode="paper")]
    for asset, held in exchange.balances().items():
        if asset == "USDT":
            events.append(CashDeposited(account=ACCOUNT, asset=asset, amount=held.free))
        else:
            events.append(OpeningLotRecorded(account=ACCOUNT, asset=asset, quantity=held.free))
    events += [MarkRecorded(instrument=BTC, price=PRICE, source="bench")]
    events += [LimitSet(limit=limit, value=ZERO) for limit in ("confirmation_minutes", "cooldown_minutes")]
    events += [LimitSet(limit=limit, value=Decimal(10**6)) for limit in ("trades_per_day", "bot_trades_per_day")]
    trader.record(events)
    service.step()  # compares ledger and venue, loads the markets
    return trader


def _signal(now: datetime) -> Event:
    return SignalEmitted(
        bot_id="bench",
        bot_version="1",
        parameters_hash="none",
        instrument=BTC,
        asof=now,
        price=PRICE,
        score=Decimal("0.5"),
        confidence=Decimal(1),
    )


if __name__ == "__main__":
    main()
