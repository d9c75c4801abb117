"""The simulated market: repeatable, resumable at any candle, plausible, and labelled SIMULATED."""

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
"""Candles by seed, from a candle number on."""


def resumes(make: Market, seed: int, first: int) -> bool:
    """`True` when the candles from number `first` on are the same for a start there."""
    whole = list(islice(make(seed, 0), 3 * BLOCK))
    later = [candle for candle in whole if candle.opened_at >= BEGINS_AT + first * MINUTE]
    return list(islice(make(seed, first), len(later))) == later


@given(seeds, st.integers(0, 2 * BLOCK))
@settings(max_examples=25, deadline=None)
def test_simulated_candles_are_the_same_from_any_start(seed: int, first: int) -> None:
    assert resumes(lambda of, at: simulated_candles(of, BTC, MINUTE, at), seed, first)


def test_resume_check_finds_a_market_that_depends_on_its_start() -> None:
    def walk(seed: int, first: int) -> Iterator[Candle]:
        dice, price = Random(seed), Decimal(100)
        for number in count(first):
            price += Decimal(dice.randint(-9, 9)) / 100
            yield Candle(BTC, MINUTE, BEGINS_AT + number * MINUTE, price, price, price, price, Decimal(1))

    assert resumes(walk, 1, 0)
    assert not resumes(walk, 1, 100)


@given(seeds)
@settings(max_examples=20, deadline=None)
def test_simulated_candles_follow_from_the_seed(seed: int) -> None:
    assert market(seed, 50) == market(seed, 50)
    assert market(seed, 50) != market(seed + 1, 50)


def test_simulated_instruments_are_uncorrelated() -> None:
    """Minute returns under one seed; those of an instrument with itself are fully correlated."""
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
def test_simulated_candles_are_contiguous_and_rounded(seed: int) -> None:
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
def test_simulated_prices_stay_within_half_and_double(instrument: Instrument, first_price: int) -> None:
    """Of the first price, also years later."""
    assert market(7, 1, instrument)[0].open == first_price
    for years in (1, 5, 20):
        candle = market(7, 1, instrument, first=years * 525_600)[0]
        assert first_price < 2 * candle.close < 4 * first_price
        assert candle.opened_at >= BEGINS_AT + timedelta(days=365 * years)


def test_simulated_market_has_gaps() -> None:
    """About one candle in five hundred is missing."""
    candles = market(7, 10_000)
    slots = (candles[-1].closed_at - BEGINS_AT) // MINUTE
    missing = slots - len(candles)
    assert 5 < missing < 60


def test_simulated_regimes_differ_in_range() -> None:
    """The mean range of a candle differs between quiet and turbulent blocks."""
    candles = market(7, 20 * BLOCK)
    reach = [float((candle.high - candle.low) / candle.close) for candle in candles]
    blocks = [float(np.mean(reach[at : at + BLOCK])) for at in range(0, len(reach), BLOCK)]
    assert max(blocks) > 2 * min(blocks)


def test_simulated_volume_grows_with_range() -> None:
    """Range and volume are correlated; shuffled volumes are not."""
    candles = market(7, 5000)
    reach = np.array([float((candle.high - candle.low) / candle.close) for candle in candles])
    volume = np.array([float(candle.volume) for candle in candles])
    shuffled = np.random.default_rng(1).permutation(volume)
    assert np.corrcoef(reach, volume)[0, 1] > 0.3
    assert abs(np.corrcoef(reach, shuffled)[0, 1]) < 0.1


@pytest.mark.parametrize("kind", bot_kinds())
@pytest.mark.parametrize("seed", [7, 8])
def test_every_bot_changes_sides_within_300_simulated_candles(kind: str, seed: int) -> None:
    """From clear buy to clear sell or back, at least four times."""
    candles = market(seed, 518 + 300)
    card = BotView("b", kind, "1", BTC, "1m", "{}", "running", "", BEGINS_AT, None, None, None, False)
    scores = [
        evaluate(card, candles[:end], POLICY, candles[end - 1].closed_at).score or Decimal(0)
        for end in range(518, len(candles))
    ]
    sides = [score > 0 for score in scores if abs(score) >= Decimal("0.15")]
    assert sum(one != other for one, other in pairwise(sides)) >= 4


class Driven:
    """A simulated feed with real seconds set by the test."""

    def __init__(self, seed: int = 7) -> None:
        self.real = 0.0
        self.feed = simulated_feed(seed, Decimal(300), lambda: self.real)

    def after(self, real_seconds: float) -> list[Candle]:
        self.real += real_seconds
        return self.feed.poll()


def test_simulated_feed_is_labelled_simulated() -> None:
    """Label and mark source contain the seed."""
    feed = Driven(seed=12).feed
    assert feed.label == "SIMULATED market, seed 12, at 300x"
    assert feed.mark_source == "simulated:seed=12"
    assert feed.simulated
    assert feed.quotes() == []
    assert feed.interval_s == pytest.approx(0.2)


def test_simulated_feed_warms_up_every_instrument() -> None:
    """After a start nothing is released, and market time is the end of the history."""
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
def test_simulated_feed_continues_after_a_restart(minutes: int, seconds: int) -> None:
    """Candles before the moment are history; those after it are released next."""
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
