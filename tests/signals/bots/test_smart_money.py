"""Smart-money findings: hand-made bars, a second computation of the definitions, and no look-ahead."""

from collections.abc import Callable, Sequence
from dataclasses import astuple, replace
from datetime import timedelta
from itertools import islice
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ledger.values import Instrument
from signals.bot import BAR, bars_of
from signals.bots.smart_money import Finding, Kind, Settings, findings, last_range, open_zones, premium
from signals.market.simulated import simulated_candles
from tests.support.bots.bar_series import rough, walk

Row = tuple[float, float, float, float]


def bars_of_rows(rows: Sequence[Row]) -> NDArray[np.void]:
    """Bars of open, high, low and close."""
    bars = np.zeros(len(rows), dtype=BAR)
    for name, column in zip(("open", "high", "low", "close"), zip(*rows, strict=True), strict=True):
        bars[name] = column
    bars["opened_at"] = np.datetime64("2025-01-01", "us") + np.arange(len(rows)) * np.timedelta64(1, "h")
    return bars


def of_kind(kinds: str, rows: Sequence[Row], chosen: Settings | None = None) -> list[tuple[Any, ...]]:
    """The findings of these kinds, as (kind, side, bottom, top, formed_at, known_at)."""
    return [astuple(one) for one in findings(bars_of_rows(rows), chosen) if one.kind in kinds.split()]


# A high at bar 3 and a low at bar 5; bar 8 closes beyond the high, bar 9 far below the low.
ZIGZAG: list[Row] = [
    (10.0, 11.0, 9.5, 10.5),
    (10.5, 12.0, 10.0, 11.5),
    (11.5, 13.0, 11.0, 12.5),
    (12.5, 14.0, 12.0, 12.2),
    (12.2, 13.0, 11.0, 11.2),
    (11.2, 12.0, 10.2, 11.8),
    (11.8, 12.5, 10.8, 12.4),
    (12.4, 13.9, 12.0, 13.8),
    (13.8, 15.0, 13.0, 14.5),
    (14.5, 14.6, 9.0, 9.2),
]


def test_swing_is_known_k_bars_later() -> None:
    """The high at bar 3 and the low at bar 5 are known at 5 and 7; a bar later with k = 3, and with k = 4 there are none."""
    assert of_kind("swing", ZIGZAG) == [("swing", 1, 14.0, 14.0, 3, 5), ("swing", -1, 10.2, 10.2, 5, 7)]
    assert of_kind("swing", ZIGZAG, Settings(swing=3)) == [
        ("swing", 1, 14.0, 14.0, 3, 6),
        ("swing", -1, 10.2, 10.2, 5, 8),
    ]
    assert of_kind("swing", ZIGZAG, Settings(swing=4)) == []


def test_structure_reports_a_break_then_a_change_of_character() -> None:
    """Bar 8 closes above 14: a break of structure; bar 9 closes below 10.2: a change of character."""
    assert of_kind("bos choch", ZIGZAG) == [("bos", 1, 14.0, 14.0, 3, 8), ("choch", -1, 10.2, 10.2, 5, 9)]


def test_structure_breaks_by_wick_only_when_set() -> None:
    """A high of 14.2 that closes at 13.8 breaks 14 by wick, not by close; a close at 14 only where equal is enough."""
    rows = [*ZIGZAG[:8], (13.8, 14.2, 13.0, 13.8)]
    assert of_kind("bos", rows) == []
    assert of_kind("bos", rows, Settings(break_by="wick")) == [("bos", 1, 14.0, 14.0, 3, 8)]
    touching = [*ZIGZAG[:8], (13.8, 14.0, 13.0, 14.0)]
    assert of_kind("bos", touching) == []
    assert of_kind("bos", touching, Settings(strict=False)) == [("bos", 1, 14.0, 14.0, 3, 8)]


def test_order_block_is_the_last_opposite_candle_before_the_move() -> None:
    """The move began at the low of bar 5; the falling candle before it is bar 4. Closed through, it is a breaker."""
    assert of_kind("order_block", ZIGZAG) == [("order_block", 1, 11.0, 13.0, 4, 8)]
    assert of_kind("order_block", ZIGZAG, Settings(zone="body")) == [("order_block", 1, 11.2, 12.2, 4, 8)]
    assert of_kind("breaker", ZIGZAG) == [("breaker", -1, 11.0, 13.0, 4, 9)]
    assert [one.kind for one in open_zones(findings(bars_of_rows(ZIGZAG[:9])))] == ["gap", "order_block"]
    assert "order_block" not in [one.kind for one in open_zones(findings(bars_of_rows(ZIGZAG)))]


def test_gap_is_mitigated_then_filled() -> None:
    """A low of 12 above the high of 11 two bars before is a gap; 11.5 mitigates it, 10.9 fills it; each once."""
    rows: list[Row] = [
        (10.0, 11.0, 9.0, 10.5),
        (10.5, 13.0, 10.0, 12.8),
        (12.8, 14.0, 12.0, 13.5),
        (13.5, 13.6, 12.5, 13.0),
        (13.0, 13.5, 11.5, 13.0),
        (13.0, 13.5, 11.4, 13.0),
        (13.0, 13.5, 10.9, 13.0),
        (13.0, 13.5, 10.8, 13.0),
    ]
    gap = (1, 11.0, 12.0, 1)
    assert of_kind("gap gap_mitigated gap_filled", rows) == [
        ("gap", *gap, 2),
        ("gap_mitigated", *gap, 4),
        ("gap_filled", *gap, 6),
    ]
    assert [one.kind for one in open_zones(findings(bars_of_rows(rows[:6])))] == ["gap"]
    assert open_zones(findings(bars_of_rows(rows))) == []


@pytest.mark.parametrize(("last", "swept"), [((11.0, 14.5, 10.5, 13.0), True), ((11.0, 14.5, 10.5, 14.2), False)])
def test_liquidity_at_equal_highs_is_swept_by_a_wick(last: Row, swept: bool) -> None:
    """Two swing highs at 14 are liquidity; a wick to 14.5 that closes back below sweeps them, a close beyond does not."""
    rows: list[Row] = [
        *((10.0, high, 9.5, 10.0) for high in (11.0, 12.0, 14.0, 12.5, 11.5, 12.0, 14.0, 12.6, 11.6)),
        last,
    ]
    chosen = Settings(range_length=2)
    assert of_kind("liquidity", rows, chosen) == [("liquidity", 1, 14.0, 14.0, 2, 8)]
    assert of_kind("sweep", rows, chosen) == ([("sweep", -1, 14.0, 14.0, 2, 9)] if swept else [])


def test_premium_is_measured_in_the_last_range() -> None:
    """Between the low of 10.2 and the high of 14 the middle is 12.1; before both are known there is no range."""
    found = findings(bars_of_rows(ZIGZAG))
    assert last_range(found) == (10.2, 14.0)
    assert premium(found, 12.1) == pytest.approx(0.5)
    assert premium(found, 14.0) == 1
    assert premium(findings(bars_of_rows(ZIGZAG[:7])), 12.1) is None


def mirrored(rows: Sequence[Row]) -> list[Row]:
    return [(24 - opened, 24 - low, 24 - high, 24 - close) for opened, high, low, close in rows]


@given(st.integers(0, 2**32), st.sampled_from([Settings(), Settings(swing=3, break_by="wick", zone="body")]))
@settings(deadline=None, max_examples=30)
def test_findings_of_a_mirrored_market_are_mirrored(seed: int, chosen: Settings) -> None:
    """Other sides, same times; except for a bar that breaks both ways."""
    dice = np.random.default_rng(seed)
    rows: list[Row] = []
    for close in (12 + np.cumsum(dice.integers(-2, 3, 80)) / 4).tolist():
        opened, above, below = (dice.integers((-2, 0, 0), 3) / 4).tolist()
        rows.append((close + opened, max(0, opened) + close + above, min(0, opened) + close - below, close))
    found = findings(bars_of_rows(rows), chosen)
    ours = sorted((one.kind, one.side, one.bottom, one.top, one.formed_at, one.known_at) for one in found)
    theirs = findings(bars_of_rows(mirrored(rows)), chosen)
    back = sorted((one.kind, -one.side, 24 - one.top, 24 - one.bottom, one.formed_at, one.known_at) for one in theirs)
    if not breaks_both_ways(found):
        assert ours == back


def breaks_both_ways(found: Sequence[Finding]) -> bool:
    at = [one.known_at for one in found if one.kind in ("bos", "choch")]
    return len(at) != len(set(at))


@given(st.integers(0, 2**32), st.integers(1, 5))
@settings(deadline=None, max_examples=30)
def test_swings_and_gaps_equal_a_second_computation(seed: int, k: int) -> None:
    """From the whole series, moved to the time at which they are known."""
    bars = rough(seed, 200)
    high, low = bars["high"].tolist(), bars["low"].tolist()
    expected = set()
    for at in range(k, len(bars) - k):
        if high[at] > max(high[at - k : at]) and high[at] >= max(high[at + 1 : at + k + 1]):
            expected.add(("swing", 1, high[at], at, at + k))
        if low[at] < min(low[at - k : at]) and low[at] <= min(low[at + 1 : at + k + 1]):
            expected.add(("swing", -1, low[at], at, at + k))
    for at in range(1, len(bars) - 1):
        if low[at + 1] > high[at - 1]:
            expected.add(("gap", 1, high[at - 1], at, at + 1))
        elif high[at + 1] < low[at - 1]:
            expected.add(("gap", -1, high[at + 1], at, at + 1))
    found = findings(bars, Settings(swing=k))
    assert {
        (one.kind, one.side, one.bottom, one.formed_at, one.known_at) for one in found if one.kind in ("swing", "gap")
    } == expected


# --- nothing is known before its time ---------------------------------------------------------------------------------

Detector = Callable[[NDArray[np.void]], Sequence[Finding]]


def early(detector: Detector, bars: NDArray[np.void]) -> list[int]:
    """The lengths of prefixes whose findings differ from those that the full run dates up to there."""
    whole = detector(bars)
    return [
        end
        for end in range(len(bars) + 1)
        if list(detector(bars[:end])) != [one for one in whole if one.known_at < end]
    ]


@pytest.mark.parametrize("chosen", [Settings(), Settings(swing=1, break_by="wick", strict=False, zone="body")])
def test_findings_of_every_prefix_equal_the_full_run(chosen: Settings) -> None:
    """At each of some 600 bars of three markets, those known by then."""
    candles = list(islice(simulated_candles(3, Instrument("BTC-USD"), timedelta(minutes=1)), 200))
    seen = set()
    for bars in (walk(1, 200), rough(2, 200), bars_of(candles)):
        assert early(lambda part: findings(part, chosen), bars) == []
        seen |= {one.kind for one in findings(bars, chosen)}
    assert seen == set(get_args(Kind))  # each kind was there to be early


def test_prefix_check_finds_look_ahead() -> None:
    """Swings known where they are formed, and gaps without those that will be filled."""

    def swings_at_once(bars: NDArray[np.void]) -> list[Finding]:
        swings = [one for one in findings(bars) if one.kind == "swing"]
        return [replace(one, known_at=one.formed_at) for one in swings]

    def gaps_that_last(bars: NDArray[np.void]) -> list[Finding]:
        return [one for one in open_zones(findings(bars)) if one.kind == "gap"]

    for cheat in (swings_at_once, gaps_that_last):
        assert early(cheat, walk(1, 150))


def test_settings_refuse_a_swing_of_no_bars() -> None:
    with pytest.raises(ValueError, match="at least 1 bar"):
        Settings(swing=0)
