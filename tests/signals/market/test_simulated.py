"""The simulated market: repeatable, resumable anywhere, plausible, and labelled as what it is."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count, islice, pairwise
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.projections.bots import BotView
from ledger.projections.policy import SignalPolicy
from ledger.values import Instrument
from signals.market.candle import Candle, in_order
from signals.market.simulated import BEGINS_AT, BLOCK, simulated_candles, simulated_feed
from signals.registry import bot_kinds
from signals.runner import evaluate

BTC, ETH = Instrument("BTC-USD"), Instrument("ETH-USD")
MINUTE = timedelta(minutes=1)
POLICY = SignalPolicy((Decimal("0.05"), Decimal("0.15"), Decimal("0.30")), timedelta(minutes=10))
seeds = st.integers(0, 10**18)


def market(seed: int = 7, size: int = 2000, instrument: Instrument = BTC, first: int = 0) -> list[Candle]:
    return list(islice(simulated_candles(seed, instrument, MINUTE, first), size))


Market = Callable[[int, int], Iterator[Candle]]
"""Candles by seed, from a number on."""


def resumes(make: Market, seed: int, first: int) -> bool:
    """Whether the candles from number `first` on are the same when one starts there."""
    whole = list(islice(make(seed, 0), 3 * BLOCK))
    later = [candle for candle in whole if candle.opened_at >= BEGINS_AT + first * MINUTE]
    return list(islice(make(seed, first), len(later))) == later


@given(seeds, st.integers(0, 2 * BLOCK))
@settings(max_examples=25, deadline=None)
def test_starting_anywhere_yields_the_same_candles(seed: int, first: int) -> None:
    """The candles from number n on are the same whether one starts at 0 or at n."""
    assert resumes(lambda of, at: simulated_candles(of, BTC, MINUTE, at), seed, first)


def test_a_market_that_cannot_be_resumed_is_told_apart() -> None:
    """The test above finds a market that walks on from wherever it was started."""

    def walk(seed: int, first: int) -> Iterator[Candle]:
        dice, price = Random(seed), Decimal(100)
        for number in count(first):
            price += Decimal(dice.randint(-9, 9)) / 100
            yield Candle(BTC, MINUTE, BEGINS_AT + number * MINUTE, price, price, price, price, Decimal(1))

    assert resumes(walk, 1, 0)
    assert not resumes(walk, 1, 100)


@given(seeds)
@settings(max_examples=20, deadline=None)
def test_a_seed_is_a_market(seed: int) -> None:
    """The same seed gives the same candles, another seed gives others."""
    assert market(seed, 50) == market(seed, 50)
    assert market(seed, 50) != market(seed + 1, 50)


def test_instruments_move_on_their_own() -> None:
    """Under one seed the minute returns of two instruments are hardly related; those of one and the same are fully."""
    moves = {}
    for instrument in (BTC, ETH):
        candles = market(7, 2000, instrument)
        moves[instrument] = {each.opened_at: float(each.close / each.open) for each in candles}
    both = sorted(moves[BTC].keys() & moves[ETH].keys())
    btc, eth = ([moves[instrument][at] for at in both] for instrument in (BTC, ETH))
    assert abs(np.corrcoef(btc, eth)[0, 1]) < 0.2
    assert np.corrcoef(btc, btc)[0, 1] > 0.9


@given(seeds)
@settings(max_examples=15, deadline=None)
def test_candles_are_whole(seed: int) -> None:
    """In order, each opening where the one before closed, prices to the cent, volumes to 8 places, from 2025 on."""
    candles = in_order(market(seed, 1000))
    assert candles[0].opened_at - BEGINS_AT < 10 * MINUTE
    assert datetime(2025, 1, 1, tzinfo=UTC) == BEGINS_AT
    for before, candle in pairwise(candles):
        if candle.opened_at == before.closed_at:
            assert candle.open == before.close
    for candle in candles:
        assert all(price.as_tuple().exponent == -2 for price in (candle.open, candle.high, candle.low, candle.close))
        assert candle.volume.as_tuple().exponent == -8
        assert candle.volume > 0


@pytest.mark.parametrize(("instrument", "first_price"), [(BTC, 60_000), (ETH, 3_000)])
def test_prices_stay_in_their_neighbourhood(instrument: Instrument, first_price: int) -> None:
    """A market starts at its usual price and, years later, is still between half and double of it."""
    assert market(7, 1, instrument)[0].open == first_price
    for years in (1, 5, 20):
        candle = market(7, 1, instrument, first=years * 525_600)[0]
        assert first_price < 2 * candle.close < 4 * first_price
        assert candle.opened_at >= BEGINS_AT + timedelta(days=365 * years)


def test_there_are_gaps_now_and_then() -> None:
    """About one candle in five hundred is missing."""
    candles = market(7, 10_000)
    slots = (candles[-1].closed_at - BEGINS_AT) // MINUTE
    missing = slots - len(candles)
    assert 5 < missing < 60


def test_regimes_follow_each_other() -> None:
    """Quiet and turbulent blocks differ several times in how far a candle reaches."""
    candles = market(7, 20 * BLOCK)
    reach = [float((candle.high - candle.low) / candle.close) for candle in candles]
    blocks = [float(np.mean(reach[at : at + BLOCK])) for at in range(0, len(reach), BLOCK)]
    assert max(blocks) > 2 * min(blocks)


def test_volume_grows_with_movement() -> None:
    """The reach of a candle and its volume go together; shuffled volumes would not."""
    candles = market(7, 5000)
    reach = np.array([float((candle.high - candle.low) / candle.close) for candle in candles])
    volume = np.array([float(candle.volume) for candle in candles])
    shuffled = np.random.default_rng(1).permutation(volume)
    assert np.corrcoef(reach, volume)[0, 1] > 0.3
    assert abs(np.corrcoef(reach, shuffled)[0, 1]) < 0.1


@pytest.mark.parametrize("kind", bot_kinds())
@pytest.mark.parametrize("seed", [7, 8])
def test_every_bot_changes_its_mind_within_a_few_hundred_candles(kind: str, seed: int) -> None:
    """In 300 candles a built-in bot turns from clear buy to clear sell or back at least four times."""
    candles = market(seed, 518 + 300)
    card = BotView("b", kind, "1", BTC, "1m", "{}", "running", "", BEGINS_AT, None, None, None, False)
    scores = [
        evaluate(card, candles[:end], POLICY, candles[end - 1].closed_at).score or Decimal(0)
        for end in range(518, len(candles))
    ]
    sides = [score > 0 for score in scores if abs(score) >= Decimal("0.15")]
    assert sum(one != other for one, other in pairwise(sides)) >= 4


class Driven:
    """A simulated feed whose real seconds are moved by hand."""

    def __init__(self, seed: int = 7) -> None:
        self.real = 0.0
        self.feed = simulated_feed(seed, Decimal(300), lambda: self.real)

    def after(self, real_seconds: float) -> list[Candle]:
        self.real += real_seconds
        return self.feed.poll()


def test_the_label_says_simulated() -> None:
    """People and recorded marks are told that the market is simulated, and by which seed."""
    feed = Driven(seed=12).feed
    assert feed.label == "SIMULATED market, seed 12, at 300x"
    assert feed.mark_source == "simulated:seed=12"
    assert feed.simulated
    assert feed.quotes() == []
    assert feed.interval_s == pytest.approx(0.2)


def test_the_warm_up_is_complete_for_every_instrument() -> None:
    """After a start every instrument has its warm-up as history, nothing is released, and market time is its end."""
    driven = Driven()
    driven.feed.start(600, None)
    for instrument in (BTC, ETH):
        history = driven.feed.history(instrument, 10_000)
        assert len(history) >= 600
        assert history == market(7, len(history), instrument)
    assert driven.after(0) == []
    assert driven.feed.now() == max(driven.feed.history(each, 1)[0].closed_at for each in (BTC, ETH))


@given(st.integers(0, 2000), st.integers(0, 700))
@settings(max_examples=20, deadline=None)
def test_a_restarted_feed_goes_on_where_it_stopped(minutes: int, seconds: int) -> None:
    """Resuming after a moment releases next exactly what the market has after it, with what lies before as history."""
    stopped_at = BEGINS_AT + timedelta(minutes=minutes, seconds=seconds)
    driven = Driven()
    driven.feed.start(100, stopped_at)
    for instrument in (BTC, ETH):
        before = [candle for candle in market(7, 2100, instrument) if candle.closed_at <= stopped_at]
        assert driven.feed.history(instrument, 100) == before[-100:]
    released = driven.after(4)  # 20 market minutes
    expected = [candle for each in (BTC, ETH) for candle in market(7, 2100, each)]
    due_until = stopped_at + timedelta(minutes=20)
    expected = [candle for candle in expected if stopped_at < candle.closed_at <= due_until]
    assert released == sorted(expected, key=lambda candle: (candle.closed_at, candle.instrument))
    assert not driven.feed.finished
