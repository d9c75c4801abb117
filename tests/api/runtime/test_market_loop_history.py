"""Bots that need much history: the loop requests it, and released candles do not change."""

from datetime import timedelta
from decimal import Decimal
from itertools import islice
from uuid import UUID

import pytest

from api.runtime.first_run import registered
from api.runtime.market_loop import WARMUP_BARS
from ledger.events import SignalEmitted
from ledger.projections.book import MemoryBook
from ledger.projections.bots import BotView
from ledger.values import Instrument, derived_id
from signals.market.candle import FeedUnavailable, in_order
from signals.market.playback import KEPT, PlayedFeed
from signals.market.simulated import BEGINS_AT, simulated_candles, simulated_feed
from tests.support.events import SteppingClock
from tests.support.programs import WARMUP, Program, open_portfolio
from tests.support.trading import BTC
from tests.support.venues.kraken_market import NOON, Kraken, Live, kraken_server  # noqa: F401 - a fixture

ETH = Instrument("ETH-USD")
MINUTE = timedelta(minutes=1)
LONG = '{"length":20,"smoothing":"wilder"}'
"""A bot of this kind, rsi, needs 740 candles."""


def program(opens_after: int, length: int) -> tuple[Program, UUID]:
    """A program whose portfolio was opened after this many candles of a tape, with one bot that needs a long history."""
    candles = tuple(islice(simulated_candles(3, BTC, MINUTE), length))
    book, portfolio_id = MemoryBook(SteppingClock()), derived_id("reach")
    open_portfolio(book, portfolio_id, candles[opens_after - WARMUP :], [registered("far", "rsi", BTC, "1m", LONG)])
    return Program(book, portfolio_id, candles), portfolio_id


def test_loop_fetches_history_for_a_bot_that_needs_more_than_the_warm_up() -> None:
    """With 760 candles before the start a bot that needs 740 has a signal at once, from exactly these."""
    running, portfolio_id = program(760, 800)

    running.play(1)

    evaluation = running.loop.evaluations["far"]
    assert (evaluation.outcome, evaluation.bars_needed) == ("signal", 740)
    assert evaluation.bars_needed > WARMUP_BARS
    running.play(39)
    with running.book.reading(portfolio_id) as reading:
        assert [bot.status for bot in reading.rows.where(BotView)] == ["running"]
    assert any(isinstance(one.event, SignalEmitted) for one in running.book.log.read(portfolio_id))


def test_loop_reports_the_history_that_a_bot_lacks() -> None:
    """A bot without enough history reports the number of bars, and has its first signal as soon as there are enough."""
    running, _ = program(700, 800)
    for there in range(701, 740):
        running.play(1)
        evaluation = running.loop.evaluations["far"]
        assert (evaluation.outcome, evaluation.reason) == ("not_warm", f"{there} of 740 candles are available")
    running.play(1)
    assert running.loop.evaluations["far"].outcome == "signal"


def played() -> tuple[PlayedFeed, list[float]]:
    """A simulated market that has run for a while, and the real seconds that move it."""
    seconds = [0.0]
    feed = simulated_feed(7, Decimal(60), lambda: seconds[0])
    feed.start(100, BEGINS_AT + 9_000 * MINUTE)
    return feed, seconds


def test_reach_back_extends_history_only() -> None:
    """History has no gap or repeat; the other instrument and all releases stay the same."""
    feed, seconds = played()
    plain, _ = played()
    plain._elapsed = feed._elapsed
    for step in range(40):
        seconds[0] += step
        assert feed.poll() == plain.poll()
        if step == 20:
            feed.reach_back(ETH, 2_000)
    last = plain.history(ETH, 1)[0]
    everything = [one for one in islice(simulated_candles(7, ETH, MINUTE), 12_000) if one.closed_at <= last.closed_at]
    assert feed.history(ETH, 2_000) == everything[-2_000:]
    assert feed.history(BTC, 9_999) == plain.history(BTC, 9_999)


def test_reach_back_keeps_its_length() -> None:
    """Fetched history stays available, however long the feed runs."""
    feed, seconds = played()
    feed.reach_back(BTC, KEPT + 500)
    for _ in range(120):
        seconds[0] += 50
        feed.poll()
    assert len(feed.history(BTC, KEPT + 500)) == KEPT + 500


def test_reach_back_pages_backwards_at_an_exchange(kraken: tuple[Kraken, int]) -> None:
    """History grows into the past, page by page; a failed read leaves it unchanged."""
    live = Live(kraken)
    live.venue.page = 300
    live.feed.start(50, None)
    before = live.feed.history(BTC, 1000)
    live.venue.failures = [503] * 3
    with pytest.raises(FeedUnavailable):
        live.feed.reach_back(BTC, 600)
    assert live.feed.history(BTC, 1000) == before

    live.feed.reach_back(BTC, 600)

    history = live.feed.history(BTC, 600)
    assert [one.closed_at for one in history] == [NOON - number * MINUTE for number in range(599, -1, -1)]
    assert in_order(live.feed.history(BTC, 1000)) == live.feed.history(BTC, 1000)
    assert [one.closed_at for one in live.after(60)] == [NOON + MINUTE]
