"""Streaming indicators: bar by bar they say what the whole series says."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signals import indicators as ours
from signals.streaming import AtrStream, EmaStream, MacdStream, RsiStream, SmaStream
from tests.support.bar_series import rough, walk

Pair = tuple[Callable[[], Any], Callable[[Any], Any], tuple[str, ...]]

PAIRS: dict[str, Pair] = {
    "rsi": (RsiStream, lambda b: ours.rsi(b["close"]), ("close",)),
    "sma": (SmaStream, lambda b: ours.sma(b["close"]), ("close",)),
    "ema": (EmaStream, lambda b: ours.ema(b["close"]), ("close",)),
    "macd": (MacdStream, lambda b: ours.macd(b["close"]), ("close",)),
    "atr": (AtrStream, lambda b: ours.atr(b["high"], b["low"], b["close"]), ("high", "low", "close")),
}


def differences(pair: Pair, bars: Any) -> list[int]:
    """The bars at which the stream (updated, and peeked just before) and the whole series differ in any bit."""
    make, whole, names = pair
    handle, answer = make(), whole(bars)
    assert answer is not None
    columns = np.atleast_2d(np.asarray(answer)).T
    found = []
    for at, bar in enumerate(zip(*(bars[name].tolist() for name in names), strict=True)):
        peeked, told = handle.peek(*bar), handle.update(*bar)
        expected = columns[at]
        given_ = np.full(expected.size, np.nan) if told is None else np.atleast_1d(told)
        if peeked != told or not np.array_equal(given_, expected, equal_nan=True):
            found.append(at)
    return found


@pytest.mark.parametrize("name", PAIRS)
@given(seed=st.integers(0, 2**32), size=st.integers(60, 400))
@settings(deadline=None, max_examples=30)
def test_the_stream_is_the_whole_series_bit_for_bit(name: str, seed: int, size: int) -> None:
    """Each update, and each peek before it, is what the batch indicator says at that bar; None until it is warm."""
    assert differences(PAIRS[name], walk(seed, size)) == []
    if name != "rsi":  # whose rule for standing prices looks at a window, see below
        assert differences(PAIRS[name], rough(seed, size)) == []


def test_the_bit_comparison_can_fail() -> None:
    """A stream with another length, and one with another order of columns, differ."""
    bars = walk(1, 100)
    assert differences((lambda: SmaStream(11), PAIRS["sma"][1], ("close",)), bars)
    assert differences((MacdStream, lambda b: (ours.macd(b["close"]) or ())[::-1], ("close",)), bars)


@given(st.integers(0, 2**32), st.integers(2, 60))
@settings(deadline=None)
def test_a_window_that_stands_still_is_neutral(seed: int, window: int) -> None:
    """After a move RSI is 50 from the bar on at which the last `window` closes are equal, as the window itself says."""
    window += 15
    closes = [*walk(seed, 40)["close"].tolist(), *[123.0] * (window + 5), 124.0]
    handle = RsiStream(14, window)
    told = []
    for close in closes:
        peeked = handle.peek(close)
        told.append(handle.update(close))
        assert peeked == told[-1]
    neutral = [at for at, value in enumerate(told) if value == 50.0]
    assert neutral == list(range(40 + window - 1, 40 + window + 5))
    assert all(ours.last(ours.rsi(np.array(closes[at + 1 - window : at + 1]))) == 50 for at in neutral)


@given(st.integers(0, 2**32))
@settings(deadline=None, max_examples=20)
def test_the_stream_is_the_window_to_nine_places(seed: int) -> None:
    """On a living market the stream agrees with each full window within 1e-9."""
    close = walk(seed, 700)["close"]
    handle = RsiStream()
    for at, told in enumerate([handle.update(value) for value in close.tolist()]):
        if at >= 517 and at % 20 == 0:
            assert told == pytest.approx(ours.last(ours.rsi(close[at - 517 : at + 1])), abs=1e-9)


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("warm", [3, 100])
def test_a_number_that_is_not_finite_changes_nothing(name: str, bad: float, warm: int) -> None:
    """NaN and infinity are refused, before and after the stream is warm, and the next answers are as without them."""
    make, _, names = PAIRS[name]
    handle, other = make(), make()
    for at, bar in enumerate(zip(*(walk(2, 120)[column].tolist() for column in names), strict=True)):
        if at == warm:
            for ask in (handle.update, handle.peek):
                with pytest.raises(ValueError, match="not finite"):
                    ask(*bar[:-1], bad)
        assert handle.update(*bar) == other.update(*bar)
