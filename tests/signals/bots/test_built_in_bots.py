"""Signals of the Bollinger, breakout, OBV, multi-timeframe and smart-money bots."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from signals.bot import Bot, Signal
from signals.bots.bollinger import BollingerBot
from signals.bots.breakout import BreakoutBot
from signals.bots.ma_cross import MovingAverageCrossBot, MovingAverageCrossParams
from signals.bots.multi_timeframe import MultiTimeframeBot, MultiTimeframeParams, SlowComponent
from signals.bots.obv import ObvBot, ObvParams
from signals.bots.smc import SmcBot
from signals.bots.weighing import LEAST_CONFIDENCE
from signals.registry import BUILT_IN, BadParameters, parameters_of
from tests.support.bots.bar_series import bars_from, rough, walk, window_at


def flat_bars(close: list[float], volume: float = 1.0) -> NDArray[np.void]:
    """Bars of these closes without wicks."""
    bars = bars_from(np.array(close, dtype=np.float64), np.random.default_rng(1), 0.0)
    bars["volume"] = volume
    return bars


def signal_at(bot: Bot, bars: NDArray[np.void], text: str = "{}") -> Signal:
    """The signal of the bot at the end of these bars."""
    params: Any = parameters_of(bot.kind, text)
    answer = bot.evaluate(window_at(bars, len(bars), bot.needs(params).bars), params)
    assert answer is not None
    return answer


def test_bollinger_bot_fades_a_close_outside_the_bands() -> None:
    """Below the lower band it buys back to the mean, with the stop at the same distance; above, the mirror image."""
    calm = [100.0, 101.0] * 10
    low, high = (
        signal_at(BollingerBot(), flat_bars([*calm, 95.0])),
        signal_at(BollingerBot(), flat_bars([*calm, 106.0])),
    )
    assert low.score > 0.5
    assert high.score < -0.5
    assert low.score == pytest.approx(-high.score)
    mean = (sum(calm[1:]) + 95) / 20
    assert low.take_profit == pytest.approx(Decimal(str(mean)))
    assert low.entry == 95
    assert low.stop_loss == pytest.approx(Decimal(str(2 * 95 - mean)))
    assert (low.horizon, low.category) == (timedelta(hours=20), "intraday")
    inside = signal_at(BollingerBot(), flat_bars([*calm, 100.5]))
    assert abs(inside.score) < 0.1
    assert inside.entry is inside.take_profit is inside.stop_loss is None


@pytest.mark.parametrize(("volume", "score", "confidence"), [(5.0, 0.8, 0.9), (1.0, 0.8, 0.9), (0.5, 0.4, 0.6)])
def test_breakout_bot_halves_a_breakout_without_volume(volume: float, score: float, confidence: float) -> None:
    """At least 0.8 with the mean volume or more; the stop is the middle of the channel."""
    bars = flat_bars([*[100.0, 102.0] * 11, 104.0])
    bars["volume"][-1] = volume
    answer = signal_at(BreakoutBot(), bars)
    assert score <= answer.score <= score * 1.25
    assert answer.confidence == confidence
    assert (answer.entry, answer.stop_loss, answer.take_profit) == (Decimal(104), Decimal(101), Decimal(110))
    inside = flat_bars([*[100.0, 102.0] * 11, 101.5])
    assert signal_at(BreakoutBot(), inside).score == pytest.approx(0.15)
    assert signal_at(BreakoutBot(), inside).entry is None


def test_obv_bot_scores_volume_by_the_direction_of_closes() -> None:
    """1 when all volume came with rises, -1 with falls; None without volume."""
    rising = [100.0 + step for step in range(21)]
    assert signal_at(ObvBot(), flat_bars(rising)).score == 1
    assert signal_at(ObvBot(), flat_bars(rising[::-1])).score == -1
    zigzag = flat_bars([100.0, 101.0] * 11)
    zigzag["volume"] = [1.0, 2.0] * 11
    assert signal_at(ObvBot(), zigzag, '{"length":20}').score == pytest.approx(1 / 3)
    still = flat_bars(rising, volume=0)
    assert ObvBot().evaluate(window_at(still, 21, 21), ObvParams()) is None


def test_multi_timeframe_component_reads_its_own_timeframe() -> None:
    """A component on every fourth bar gives the signal of its bot on the longer bars."""
    bars = walk(5, 200)
    cross = MovingAverageCrossBot()
    component = SlowComponent(kind="ma_cross", weight=2.0, every=4)
    params = MultiTimeframeParams(components=(component,))
    needed = MultiTimeframeBot().needs(params).bars
    assert needed == 21 * 4 + 3
    for end in range(needed, 200, 7):
        longer = window_at(bars, end, end).every(timedelta(hours=4))
        expected = cross.evaluate(longer.last(21), MovingAverageCrossParams())
        answer = MultiTimeframeBot().evaluate(window_at(bars, end, needed), params)
        assert answer is not None
        assert expected is not None
        assert answer.score == expected.score
        assert [part.name for part in answer.parts] == ["ma_cross 4h"]


@given(st.integers(0, 2**32), st.integers(1, 40))
@settings(deadline=None, max_examples=30)
def test_multi_timeframe_component_has_enough_bars(seed: int, every: int) -> None:
    """Wherever the window begins, and with gaps in it."""
    params = MultiTimeframeParams(components=(SlowComponent(kind="bollinger", weight=1.0, every=every),))
    needed = MultiTimeframeBot().needs(params).bars
    bars = rough(seed, needed + 30)
    for end in range(needed, len(bars)):
        assert MultiTimeframeBot().evaluate(window_at(bars, end, needed), params) is not None


def test_smc_bot_buys_a_sweep_below_equal_lows_in_discount() -> None:
    """The stop is the last swing low."""
    dice = np.random.default_rng(1)
    wave = 100 + 3 * np.sin(np.arange(119) * 2 * np.pi / 20)
    bars = bars_from(np.append(wave, 97.6), dice, 0.0)
    bars["low"][-1] = 95.0
    answer = signal_at(SmcBot(), bars, '{"structure":0,"zones":0}')
    parts = {part.name: part.score for part in answer.parts}
    assert parts["sweeps"] == 1
    assert parts["discount"] > 0
    assert answer.score > 0
    assert answer.stop_loss is not None
    assert answer.entry is not None
    assert answer.stop_loss < answer.entry < (answer.take_profit or 0)


@pytest.mark.parametrize(
    ("kind", "text", "sentence"),
    [
        ("smc", '{"structure":0,"zones":0,"sweeps":0,"discount":0}', "at least one of structure, zones, sweeps and"),
        ("multi_timeframe", '{"components":[{"kind":"combined","weight":1}]}', "there is no bot 'combined' to combine"),
        (
            "multi_timeframe",
            '{"components":[{"kind":"multi_timeframe","weight":1}]}',
            "there is no bot 'multi_timeframe'",
        ),
        ("multi_timeframe", '{"components":[{"kind":"rsi","weight":1,"every":0}]}', "components.0.every"),
        (
            "combined",
            '{"components":[{"kind":"multi_timeframe","weight":1,"params":{"components":[{"kind":"x","weight":1}]}}]}',
            "the parameters of multi_timeframe are wrong: components.0.kind: there is no bot 'x'",
        ),
        (
            "combined",
            '{"components":[{"kind":"rsi","weight":1,"params":{"length":"14"}}]}',
            "length must be a",
        ),
    ],
)
def test_component_parameters_name_the_fault(kind: str, text: str, sentence: str) -> None:
    """Bots that would contain each other, and wrong parameters of a component."""
    with pytest.raises(BadParameters, match=sentence):
        parameters_of(kind, text)


@pytest.mark.parametrize("kind", BUILT_IN)
def test_built_in_bots_keep_the_least_confidence(kind: str) -> None:
    """The vectorised mean relies on it."""
    bot = BUILT_IN[kind]
    params = bot.Params()
    needed = bot.needs(params).bars
    for seed in range(3):
        bars = rough(seed, needed + 60)
        for end in range(needed, len(bars), 3):
            answer = bot.evaluate(window_at(bars, end, needed), params)
            assert answer is None or answer.confidence >= LEAST_CONFIDENCE
