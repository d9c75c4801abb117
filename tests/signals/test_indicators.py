"""Indicators: equal to the libraries, except for the rules of `signals.indicators`."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
import talib
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from talipp import indicators as talipp
from talipp.ohlcv import OHLCV

from signals import indicators as ours
from signals.research import indicator_frame

Array = NDArray[np.float64]
Bars = dict[str, Array]


def walk(seed: int, size: int) -> Bars:
    """Bars of a random walk around 100."""
    dice = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(dice.normal(0, 0.01, size)))
    spread = np.abs(dice.normal(0, 0.005, (2, size)))
    return {
        "high": close * (1 + spread[0]),
        "low": close * (1 - spread[1]),
        "close": close,
        "volume": dice.lognormal(0, 1, size),
    }


def standing(price: float, size: int) -> Bars:
    """Bars of a market that does not move."""
    return {name: np.full(size, price) for name in ("high", "low", "close", "volume")}


walks = st.builds(walk, st.integers(0, 2**32), st.integers(60, 400))

# Every array of every indicator, with the index of its first value.
ALL: dict[str, tuple[int, Callable[[Bars], Array | None]]] = {
    "rsi": (14, lambda b: ours.rsi(b["close"])),
    "rsi simple": (14, lambda b: ours.rsi(b["close"], smoothing="simple")),
    "sma": (9, lambda b: ours.sma(b["close"], 10)),
    "ema": (9, lambda b: ours.ema(b["close"], 10)),
    "macd line": (33, lambda b: (m := ours.macd(b["close"])) and m.line),
    "macd histogram": (33, lambda b: (m := ours.macd(b["close"])) and m.histogram),
    "macd signal": (33, lambda b: (m := ours.macd(b["close"])) and m.signal),
    "bbands middle": (4, lambda b: (m := ours.bbands(b["close"])) and m.middle),
    "bbands upper": (4, lambda b: (m := ours.bbands(b["close"])) and m.upper),
    "atr": (14, lambda b: ours.atr(b["high"], b["low"], b["close"])),
    "adx": (27, lambda b: (m := ours.adx(b["high"], b["low"], b["close"])) and m.adx),
    "stoch k": (17, lambda b: (m := ours.stoch(b["high"], b["low"], b["close"])) and m.k),
    "stoch d": (17, lambda b: (m := ours.stoch(b["high"], b["low"], b["close"])) and m.d),
    "willr": (13, lambda b: ours.willr(b["high"], b["low"], b["close"])),
    "cci": (13, lambda b: ours.cci(b["high"], b["low"], b["close"])),
    "mfi": (14, lambda b: ours.mfi(b["high"], b["low"], b["close"], b["volume"])),
    "mom": (10, lambda b: ours.mom(b["close"])),
    "roc": (10, lambda b: ours.roc(b["close"])),
    "obv": (0, lambda b: ours.obv(b["close"], b["volume"])),
    "wma": (9, lambda b: ours.wma(b["close"], 10)),
    "vwap": (9, lambda b: ours.vwap(b["high"], b["low"], b["close"], b["volume"], 10)),
    "donchian upper": (19, lambda b: (m := ours.donchian(b["high"], b["low"])) and m.upper),
    "donchian lower": (19, lambda b: (m := ours.donchian(b["high"], b["low"])) and m.lower),
    "%B": (4, lambda b: (m := ours.bbands(b["close"])) and m.percent),
    "plus": (27, lambda b: (m := ours.adx(b["high"], b["low"], b["close"])) and m.plus),
}


def same(one: Array | None, other: object) -> bool:
    """`True` when two arrays are equal bit for bit, NaN included."""
    return one is not None and np.array_equal(one, np.asarray(other, dtype=np.float64), equal_nan=True)


@given(walks, st.integers(2, 30))
@settings(deadline=None)
def test_indicators_equal_pandas_ta_bit_for_bit(bars: Bars, length: int) -> None:
    """RSI, SMA and MACD, with TA-Lib as engine of pandas-ta-classic."""
    frame = pd.DataFrame(bars)
    assert same(ours.rsi(bars["close"], length), indicator_frame("rsi", frame, length=length))
    assert same(ours.sma(bars["close"], length), indicator_frame("sma", frame, length=length))
    columns = indicator_frame("macd", frame)
    found = ours.macd(bars["close"])
    assert found is not None
    assert list(columns.columns) == ["MACD_12_26_9", "MACDh_12_26_9", "MACDs_12_26_9"]
    for index, array in enumerate(found):
        assert same(array, columns.iloc[:, index])


def test_bit_comparison_finds_the_last_bit_and_the_order() -> None:
    """A price changed in its last bit, and MACD columns in another order."""
    bars = walk(1, 100)
    nudged = bars["close"].copy()
    nudged[50] = np.nextafter(nudged[50], np.inf)
    assert not same(ours.rsi(bars["close"]), talib.RSI(nudged, 14))
    found = ours.macd(bars["close"])
    assert found is not None
    assert not same(found.signal, found.histogram)


def ohlcv(bars: Bars) -> list[OHLCV]:
    columns = (bars[name].tolist() for name in ("high", "low", "close", "volume"))
    return [OHLCV(close, high, low, close, volume) for high, low, close, volume in zip(*columns, strict=True)]


SECOND_OPINIONS: dict[str, Callable[[Bars], float]] = {
    "rsi": lambda b: talipp.RSI(14, b["close"].tolist())[-1],
    "sma": lambda b: talipp.SMA(10, b["close"].tolist())[-1],
    "ema": lambda b: talipp.EMA(10, b["close"].tolist())[-1],
    "bbands middle": lambda b: talipp.BB(5, 2.0, b["close"].tolist())[-1].cb,
    "bbands upper": lambda b: talipp.BB(5, 2.0, b["close"].tolist())[-1].ub,
    "stoch k": lambda b: talipp.SMA(3, [v.k for v in talipp.Stoch(14, 3, ohlcv(b)) if v is not None])[-1],
    "cci": lambda b: talipp.CCI(14, ohlcv(b))[-1],
    "willr": lambda b: talipp.Williams(14, ohlcv(b))[-1],
    "roc": lambda b: talipp.ROC(10, b["close"].tolist())[-1],
    "obv": lambda b: talipp.OBV(ohlcv(b))[-1],
    "macd line": lambda b: talipp.MACD(12, 26, 9, b["close"].tolist())[-1].macd,
    "atr": lambda b: talipp.ATR(14, ohlcv(b))[-1],
    "adx": lambda b: talipp.ADX(14, 14, ohlcv(b))[-1].adx,
    "wma": lambda b: talipp.WMA(10, b["close"].tolist())[-1],
    "donchian upper": lambda b: talipp.DonchianChannels(20, ohlcv(b))[-1].ub,
    "donchian lower": lambda b: talipp.DonchianChannels(20, ohlcv(b))[-1].lb,
    "macd signal": lambda b: talipp.MACD(12, 26, 9, b["close"].tolist())[-1].signal,
    "mom": lambda b: b["close"][-1] * (1 - 1 / (1 + talipp.ROC(10, b["close"].tolist())[-1] / 100)),
    # Its VWAP never forgets: over the last ten bars alone it is the rolling one.
    "vwap": lambda b: talipp.VWAP(ohlcv({name: values[-10:] for name, values in b.items()}))[-1],
}


@pytest.mark.parametrize("name", SECOND_OPINIONS)
def test_indicators_equal_talipp(name: str) -> None:
    """Within 1e-9 after 1,200 bars; talipp shares no code with TA-Lib."""
    for seed in range(5):
        bars = walk(seed, 1200)
        assert ours.last(ALL[name][1](bars)) == pytest.approx(SECOND_OPINIONS[name](bars), rel=1e-9, abs=1e-9)


@given(walks, st.integers(2, 30))
@settings(deadline=None)
def test_simple_rsi_equals_the_textbook_formula(bars: Bars, length: int) -> None:
    """100 * gains / (gains + losses) over the last `length` changes."""
    changes = np.diff(bars["close"])[-length:].tolist()
    gains, losses = sum(c for c in changes if c > 0), -sum(c for c in changes if c < 0)
    assert ours.last(ours.rsi(bars["close"], length, "simple")) == pytest.approx(100 * gains / (gains + losses))


@pytest.mark.parametrize("name", ALL)
def test_indicators_begin_at_the_documented_index(name: str) -> None:
    """And are None for a shorter series."""
    first, indicator = ALL[name]
    bars = walk(3, 100)
    cut = {key: values[: first + 1] for key, values in bars.items()}
    short = {key: values[:first] for key, values in bars.items()}
    whole, warm = indicator(bars), indicator(cut)
    assert whole is not None
    assert warm is not None
    assert indicator(short) is None
    assert np.isfinite(warm[-1])
    assert np.isnan(whole[:first]).all()
    assert np.isfinite(whole[first:]).all()


@pytest.mark.parametrize("name", ALL)
def test_indicators_do_not_depend_on_later_bars(name: str) -> None:
    """Bit for bit, also after a constant start."""
    bars = {key: np.concatenate((np.full(40, values[0]), values)) for key, values in walk(4, 60).items()}
    assert leaks(ALL[name][1], bars) == []


def test_causality_check_finds_look_ahead() -> None:
    """An indicator that reads the next bar, and one that scales by the whole range."""
    bars = walk(4, 60)
    assert leaks(lambda b: np.append(b["close"][1:], b["close"][-1]), bars)
    assert leaks(lambda b: b["close"] / b["close"].max(), bars)


def leaks(indicator: Callable[[Bars], Array | None], bars: Bars) -> list[int]:
    """The bars whose value changes when the bars after them are cut off."""
    whole = indicator(bars)
    assert whole is not None
    found = []
    for end in range(1, whole.size + 1):
        then = indicator({key: values[:end] for key, values in bars.items()})
        known = np.nan if then is None else then[-1]
        if not np.array_equal(known, whole[end - 1], equal_nan=True):
            found.append(end - 1)
    return found


NEUTRAL: dict[str, float] = {"rsi": 50, "rsi simple": 50, "stoch k": 50, "stoch d": 50}
NEUTRAL |= {"willr": -50, "cci": 0, "adx": 0, "mfi": 50, "macd line": 0, "macd histogram": 0, "mom": 0, "roc": 0}


@given(st.floats(1e-6, 1e9), st.integers(40, 300))
@settings(deadline=None)
def test_indicators_are_neutral_at_a_constant_price(price: float, size: int) -> None:
    """And the bands are the price itself."""
    bars = standing(price, size)
    for name, neutral in NEUTRAL.items():
        rounding = 1e-12 * price if name.startswith("macd") else 0  # averages of equal prices, in price
        assert ours.last(ALL[name][1](bars)) == pytest.approx(neutral, rel=0, abs=rounding), name
    bands = ours.bbands(bars["close"])
    assert bands is not None
    assert [ours.last(array) for array in bands] == [price, price, price, 0.0, 0.5]


def test_talib_is_not_neutral_at_a_constant_price() -> None:
    """It would be extremely oversold: the rule above is needed."""
    bars = standing(100.0, 60)
    high, low, close = bars["high"], bars["low"], bars["close"]
    assert talib.RSI(close, 14)[-1] == 0
    assert talib.STOCHF(high, low, close, 14, 1)[0][-1] == 0
    assert talib.WILLR(high, low, close, 14)[-1] == 0
    assert talib.MFI(high, low, close, bars["volume"], 14)[-1] == 0


@given(walks, st.floats(1, 1e6))
@settings(deadline=None)
def test_windowed_indicators_are_neutral_after_a_constant_window(bars: Bars, price: float) -> None:
    """For indicators that depend on the last bars only."""
    moved = {key: np.concatenate((values, np.full(20, price))) for key, values in bars.items()}
    for name in ("rsi simple", "stoch k", "stoch d", "willr", "cci", "mfi"):
        assert ours.last(ALL[name][1](moved)) == pytest.approx(NEUTRAL[name], abs=1e-9), name
    bands = ours.bbands(moved["close"])
    assert bands is not None
    assert [ours.last(array) for array in bands] == [price, price, price, 0.0, 0.5]


def test_vwap_without_volume_is_the_mean_price() -> None:
    """A single trade decides it."""
    bars = walk(7, 50)
    bars["volume"][10:40] = 0
    typical = (bars["high"] + bars["low"] + bars["close"]) / 3
    found = ours.vwap(bars["high"], bars["low"], bars["close"], bars["volume"], 10)
    assert found is not None
    assert found[25] == pytest.approx(typical[16:26].mean())
    assert found[40] == pytest.approx(typical[40])


def test_rsi_remembers_a_move_within_its_window() -> None:
    """One rise before 599 constant bars still gives 100."""
    close = np.concatenate(([100.0], np.full(600, 101.0)))
    assert ours.last(ours.rsi(close)) == 100
    assert ours.last(ours.rsi(close[1:])) == 50


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_indicators_refuse_numbers_that_are_not_finite(name: str, bad: float) -> None:
    bars = walk(5, 60)
    for values in bars.values():
        values[30] = bad
    with pytest.raises(ValueError, match="not finite, at index 30"):
        ALL[name][1](bars)


def test_indicators_refuse_series_of_different_lengths() -> None:
    bars = walk(5, 60)
    with pytest.raises(ValueError, match="as long as the others"):
        ours.atr(bars["high"], bars["low"][1:], bars["close"])


@given(st.integers(0, 2**32))
@settings(deadline=None)
def test_warm_up_bars_are_enough(seed: int) -> None:
    """Older history changes the result by less than 1e-9; with 60 bars it shows."""
    close = walk(seed, 1500)["close"]
    rsi = ours.last(ours.rsi(close))
    assert ours.wilder_bars(14) == 518
    assert ours.ema_bars(26) == 500
    assert ours.last(ours.rsi(close[-518:])) == pytest.approx(rsi, abs=1e-9)
    assert ours.last(ours.rsi(close[-60:])) != pytest.approx(rsi, abs=1e-9)
    whole, cut = ours.macd(close), ours.macd(close[-500:])
    assert whole is not None
    assert cut is not None
    assert cut.histogram[-1] == pytest.approx(whole.histogram[-1], abs=1e-9)
