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
from tests.support.bar_series import BTC, HOUR, rough, walk, window_at


@given(st.integers(1, 60), st.integers(1, 60))
def test_a_window_cut_from_an_array_is_the_window_of_its_candles(n: int, end: int) -> None:
    """Cut from the bars of candles, a window equals the one made of the candles; too few are refused."""
    candles = list(islice(simulated_candles(1, BTC, HOUR), 60))
    bars = bars_of(candles)
    if n > end:
        with pytest.raises(ValueError, match=f"there is no window of {n} bars before bar {end} of 60"):
            Window.slice(BTC, HOUR, bars, end, n)
        return
    one, other = Window.slice(BTC, HOUR, bars, end, n), Window.of(candles[:end], n)
    assert (one.instrument, one.timeframe, one.asof) == (other.instrument, other.timeframe, other.asof)
    assert one.bars.tobytes() == other.bars.tobytes()


def test_nothing_is_hidden_behind_a_window() -> None:
    """What lies behind a cut window's memory is the window and no more, it cannot be unlocked, and stays as it was."""
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
def test_longer_bars_are_the_closed_ones_wholly_inside(seed: int, every: int, n: int, end: int) -> None:
    """Counted by hand: periods since a Monday at midnight UTC that begin and end inside the window, gaps and all."""
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


def test_days_begin_at_midnight_and_weeks_on_monday() -> None:
    """Of three weeks of hours there are the whole days in UTC, and the weeks that begin on a Monday."""
    window = window_at(walk(1, 24 * 21), 24 * 21, 24 * 21)
    days, weeks = window.every(timedelta(days=1)), window.every(timedelta(weeks=1))
    assert [at.hour for at in days.opened_at.tolist()] == [0] * 21
    assert [at.isoweekday() for at in weeks.opened_at.tolist()] == [1, 1]


@pytest.mark.parametrize("timeframe", [timedelta(minutes=30), timedelta(minutes=90), timedelta(0)])
def test_bars_that_cannot_be_made_of_these_are_refused(timeframe: timedelta) -> None:
    """A timeframe that is shorter, or no multiple, is refused by name."""
    with pytest.raises(ValueError, match=r"cannot be made of bars of 1:00:00"):
        window_at(walk(1, 10), 10, 10).every(timeframe)


def test_an_empty_window_has_no_longer_bars() -> None:
    """Where no whole period lies inside there are none, of the same kind."""
    nothing: NDArray[np.void] = window_at(walk(1, 10), 10, 3).every(timedelta(days=2)).bars
    assert (len(nothing), nothing.dtype) == (0, BAR)


@given(st.floats(1e-7, 1e15))
def test_a_level_is_the_price_to_twelve_digits(number: float) -> None:
    """A price is the float to 12 significant digits, in no more than 18 places, exactly writable."""
    price = price_of(number)
    assert float(price) == pytest.approx(number, rel=1e-11)
    assert price == price.quantize(Decimal("1e-18"))
    assert price_of(0.0) == 0


@pytest.mark.parametrize(
    ("entry", "target", "stop", "told"),
    [(100, 110, 95, True), (100, 90, 105, True), (100, 110, 105, False), (100, 100, 95, False), (1, 5, -1, False)],
)
def test_levels_lie_on_either_side_of_the_entry(entry: int, target: int, stop: int, told: bool) -> None:
    """Target and stop on one side, or at the entry, or below nothing, are no levels."""
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
def test_a_horizon_has_its_category(horizon: timedelta, category: str | None) -> None:
    """Each category begins where the one before it ends."""
    assert category_of(horizon) == category
