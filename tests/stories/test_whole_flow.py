"""The whole flow: simulated candles, bots, review, orders, fills, and a log that replays to the same state."""

from collections.abc import Iterable
from decimal import Decimal
from typing import Final
from uuid import UUID

import pytest

from api.runtime.first_run import ACCOUNT, ensure_portfolio
from api.runtime.market_loop import WARMUP_BARS, MarketClock, MarketLoop
from execution.exchanges.paper.exchange import PaperExchange
from execution.orders.connections import balances_of
from execution.orders.trade_service import TradeService
from ledger.events import (
    OrderRequested,
    SignalApproved,
    SignalEmitted,
    SignalExpired,
    SignalRejected,
    TradeExecuted,
)
from ledger.log.envelope import Envelope
from ledger.log.event_log import verified
from ledger.projections import PROJECTIONS
from ledger.projections.book import Book, MemoryBook
from ledger.projections.holdings import Holding
from ledger.projections.invariants import broken_invariants
from ledger.projections.orders import OrderView
from ledger.rows import MemoryRows, Rows, all_rows, row_text, state_hash
from ledger.values import ZERO, Instrument
from signals.market.simulated import simulated_feed
from tests.support.events import SteppingClock, fold_log

BTC: Final = Instrument("BTC-USD")
CANDLES: Final = 400
KINDS: Final = tuple(kind for projection in PROJECTIONS for kind in projection.rows)


class Flow:
    """Three bots on simulated minute candles, with a manual clock."""

    def __init__(self, seed: int, book: Book | None = None) -> None:
        self.seconds = 0.0
        self.looks = 0
        self.book = book or MemoryBook(SteppingClock())
        feed = simulated_feed(seed, Decimal(60), lambda: self.seconds, (BTC,))
        feed.start(WARMUP_BARS, None)
        self.portfolio_id: UUID = ensure_portfolio(self.book, f"flow {seed}", BTC, "1m", feed.now())
        clock = MarketClock(feed)
        paper = PaperExchange((BTC,), balances_of(self.book, self.portfolio_id), clock)
        trader = TradeService(self.book, self.portfolio_id, {"paper": paper}, clock)
        self.loop = MarketLoop(self.book, self.portfolio_id, feed, clock, paper, trader, self._look)

    def play(self, candles: int = CANDLES) -> None:
        while self.loop.candles < candles:
            self.seconds += 20
            self.loop.tick()

    def envelopes(self) -> list[Envelope]:
        return list(self.book.log.read(self.portfolio_id))

    def _look(self) -> float:
        self.looks += 2
        return self.looks


def hash_of(rows: Rows) -> str:
    return state_hash(row_text(row) for row in all_rows(rows, KINDS))


def replayed(envelopes: Iterable[Envelope]) -> str:
    return hash_of(fold_log(envelopes, MemoryRows()))


@pytest.fixture(scope="module")
def flow() -> Flow:
    """A flow after `CANDLES` candles."""
    flow = Flow(7)
    flow.play()
    return flow


def of(flow: Flow, *kinds: type) -> list[Envelope]:
    return [envelope for envelope in flow.envelopes() if isinstance(envelope.event, kinds)]


def test_trades_are_traced_to_signals_of_bots(flow: Flow) -> None:
    """At least three trades, on both sides."""
    trades = [one.event for one in of(flow, TradeExecuted) if isinstance(one.event, TradeExecuted)]
    signals = {one.event_id for one in of(flow, SignalEmitted)}
    orders = {one.event_id: one.event for one in of(flow, OrderRequested) if isinstance(one.event, OrderRequested)}

    assert len(trades) >= 3
    assert {trade.side for trade in trades} == {"buy", "sell"}
    for trade in trades:
        assert trade.triggered_by is not None
        assert trade.triggered_by.startswith("bot:")
        assert trade.order_id is not None
        assert orders[trade.order_id].signal_id in signals


def test_every_signal_has_one_verdict(flow: Flow) -> None:
    """Approvals and rejections both occur, and each rejection names its rule."""
    verdicts = of(flow, SignalApproved, SignalRejected, SignalExpired)
    judged = [one.event.signal_id for one in verdicts]  # type: ignore[attr-defined]

    assert sorted(judged) == sorted(one.event_id for one in of(flow, SignalEmitted))
    assert {one.type for one in verdicts} >= {"SignalApproved", "SignalRejected"}
    for one in verdicts:
        if isinstance(one.event, SignalRejected):
            assert any(not rule.passed for rule in one.event.rules)


def test_each_order_is_requested_before_it_is_submitted_before_it_fills(flow: Flow) -> None:
    """In log position and in market time."""
    for order_id in {one.event_id for one in of(flow, OrderRequested)}:
        about = [
            one
            for one in flow.envelopes()
            if order_id in (one.event_id, getattr(one.event, "order_id", None)) and one.type != "TradeExecuted"
        ]
        assert [one.type for one in about[:3]] == ["OrderRequested", "OrderSubmitted", "OrderAccepted"]
        assert [one.occurred_at for one in about] == sorted(one.occurred_at for one in about)


def test_replay_gives_the_same_state_and_invariants_hold(flow: Flow) -> None:
    with flow.book.reading(flow.portfolio_id) as reading:
        assert reading.stopped is None
        assert list(broken_invariants(reading.rows)) == []
        assert replayed(verified(flow.portfolio_id, flow.envelopes())) == hash_of(reading.rows)


def test_replay_differs_when_a_trade_is_missing(flow: Flow) -> None:
    last = of(flow, TradeExecuted)[-1]
    with flow.book.reading(flow.portfolio_id) as reading:
        assert replayed(one for one in flow.envelopes() if one is not last) != hash_of(reading.rows)


def test_cash_and_profit_agree_with_trades_added_by_hand(flow: Flow) -> None:
    with flow.book.reading(flow.portfolio_id) as reading:
        holding = reading.rows.get(Holding, "BTC")
        orders = list(reading.rows.history(OrderView))
    assert holding is not None
    cash = Decimal(10_000)
    held = ZERO
    for one in of(flow, TradeExecuted):
        trade = one.event
        assert isinstance(trade, TradeExecuted)
        sign = 1 if trade.side == "buy" else -1
        cash -= sign * trade.quantity * trade.price + sum((fee.amount for fee in trade.fees), ZERO)
        held += sign * trade.quantity

    assert balances_of(flow.book, flow.portfolio_id)(ACCOUNT, "USD") == cash >= 0
    assert holding.quantity == held >= 0
    assert holding.realized_pnl - holding.cost_basis == cash - 10_000
    assert all(order.status == "closed" for order in orders if order.expires_at < flow.loop._clock())


def test_flow_is_reproducible_from_its_seed() -> None:
    """Equal seeds give equal events at equal market times; another seed gives others."""
    stories = []
    for seed in (7, 7, 8):
        flow = Flow(seed)
        flow.play(60)
        stories.append([(one.event_id, one.payload, one.occurred_at) for one in flow.envelopes()])

    assert stories[0] == stories[1] != stories[2]
