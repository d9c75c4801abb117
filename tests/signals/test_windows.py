"""Windows cut from arrays, longer timeframes made of them, and the levels of a signal."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from signals.bot import BAR, Window, bars_of
from signals.bots.levels import category_of, levels, price_of
from signals.market.simulated import simulated_candles
from tests.support.bots.bar_series import BTC, HOUR, rough, walk, window_at


@given(st.integers(1, 60), st.integers(1, 60))
def test_window_slice_equals_the_window_of_its_candles(n: int, end: int) -> None:
    """Too few bars are refused."""
    candles = list(islice(simulated_candles(1, BTC, HOUR), 60))
    bars = bars_of(candles)
    if n > end:
        with pytest.raises(ValueError, match=f"there is no window of {n} bars before bar {end} of 60"):
            Window.slice(BTC, HOUR, bars, end, n)
        return
    one, other = Window.slice(BTC, HOUR, bars, end, n), Window.of(candles[:end], n)
    assert (one.instrument, one.timeframe, one.asof) == (other.instrument, other.timeframe, other.asof)
    assert one.bars.tobytes() == other.bars.tobytes()


def test_window_memory_holds_no_other_bars() -> None:
    """It cannot be made writable, and does not change with its source."""
    bars = walk(1, 100)
    window = window_at(bars, 50, 10)
    seen = window.bars.tobytes()
    base: object = window.bars.base
    assert base == seen  # bytes, and no more of them
    with pytest.raises(ValueError, match="cannot set WRITEABLE"):
        window.bars.setflags(write=True)
    bars["close"] = np.nan
    assert window.bars.tobytes() == seen


@given(st.integers(0, 2**32), st.integers(1, 30), st.integers(1, 120), st.integers(0, 80))
@settings(deadline=None, max_examples=60)
def test_window_every_equals_a_second_computation(seed: int, every: int, n: int, end: int) -> None:
    """Periods since a Monday at midnight UTC that lie wholly inside the window, with gaps."""
    bars = rough(seed, 200)
    window = window_at(bars, n + end, n)
    length = every * HOUR
    periods: dict[datetime, list[np.void]] = {}
    for bar in window.bars:
        opened = bar["opened_at"].item().replace(tzinfo=UTC)
        periods.setdefault(opened - (opened - datetime(1970, 1, 5, tzinfo=UTC)) % length, []).append(bar)
    first = window.opened_at.tolist()[0].replace(tzinfo=UTC)
    inside = {start: held for start, held in periods.items() if start >= first and start + length <= window.asof}
    longer = window.every(length)
    assert [at.replace(tzinfo=UTC) for at in longer.opened_at.tolist()] == list(inside)
    assert longer.timeframe == length
    assert longer.asof == (max(inside) + length if inside else window.asof)
    assert longer.asof <= window.asof
    for bar, held in zip(longer.bars, inside.values(), strict=True):
        assert bar["open"] == held[0]["open"]
        assert bar["close"] == held[-1]["close"]
        assert bar["high"] == max(one["high"] for one in held)
        assert bar["low"] == min(one["low"] for one in held)
        assert bar["volume"] == pytest.approx(sum(one["volume"] for one in held))


def test_window_every_begins_days_at_midnight_and_weeks_on_monday() -> None:
    """In UTC."""
    window = window_at(walk(1, 24 * 21), 24 * 21, 24 * 21)
    days, weeks = window.every(timedelta(days=1)), window.every(timedelta(weeks=1))
    assert [at.hour for at in days.opened_at.tolist()] == [0] * 21
    assert [at.isoweekday() for at in weeks.opened_at.tolist()] == [1, 1]


@pytest.mark.parametrize("timeframe", [timedelta(minutes=30), timedelta(minutes=90), timedelta(0)])
def test_window_every_refuses_a_timeframe_that_is_no_multiple(timeframe: timedelta) -> None:
    with pytest.raises(ValueError, match=r"cannot be made of bars of 1:00:00"):
        window_at(walk(1, 10), 10, 10).every(timeframe)


def test_window_every_of_no_whole_period_is_empty() -> None:
    nothing: NDArray[np.void] = window_at(walk(1, 10), 10, 3).every(timedelta(days=2)).bars
    assert (len(nothing), nothing.dtype) == (0, BAR)


@given(st.floats(1e-7, 1e15))
def test_price_of_has_twelve_significant_digits(number: float) -> None:
    """And at most 18 decimal places."""
    price = price_of(number)
    assert float(price) == pytest.approx(number, rel=1e-11)
    assert price == price.quantize(Decimal("1e-18"))
    assert price_of(0.0) == 0


@pytest.mark.parametrize(
    ("entry", "target", "stop", "told"),
    [(100, 110, 95, True), (100, 90, 105, True), (100, 110, 105, False), (100, 100, 95, False), (1, 5, -1, False)],
)
def test_levels_need_target_and_stop_on_opposite_sides(entry: int, target: int, stop: int, told: bool) -> None:
    """Above 0; otherwise there are none."""
    expected = [Decimal(entry), Decimal(target), Decimal(stop)] if told else []
    assert list(levels(entry, target, stop).values()) == expected


@pytest.mark.parametrize(
    ("horizon", "category"),
    [
        (timedelta(seconds=29), None),
        (timedelta(seconds=30), "scalp"),
        (timedelta(minutes=15), "intraday"),
        (timedelta(days=1), "swing"),
        (timedelta(weeks=4), "long_term"),
        (timedelta(days=400), None),
    ],
)
def test_category_of_a_horizon(horizon: timedelta, category: str | None) -> None:
    """Each category begins where the one before it ends."""
    assert category_of(horizon) == category
