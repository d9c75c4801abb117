"""The deflated Sharpe ratio: a published example, pure luck, and edge cases."""

from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from execution.backtest.deflated_sharpe import Track, deflated_sharpe, expected_best, probabilistic_sharpe
from ledger.reports.metrics import kurtosis, skewness


def test_deflated_sharpe_matches_the_published_example() -> None:
    """Bailey and López de Prado (2014): 2.5 a year over 5 years of days, 100 trials of variance 1/2, skew -3, kurtosis 10."""
    rng = np.random.default_rng(1)
    tried = rng.standard_normal(100)
    tried = (tried - tried.mean()) / tried.std(ddof=1) * np.sqrt(0.5 / 250)
    track = Track(2.5 / np.sqrt(250), 1250, -3, 10)
    assert expected_best(tried) == pytest.approx(0.1132, abs=5e-5)
    assert deflated_sharpe(track, tried) == pytest.approx(0.9004, abs=5e-4)


def test_deflated_sharpe_rejects_luck() -> None:
    """Over 200 sweeps of noise, the best of 50 trials is nearly always above 95 %, deflated nearly never."""
    rng = np.random.default_rng(7)
    plain = deflated = 0
    for _ in range(200):
        returns = rng.standard_normal((50, 250)) / 100
        tried = returns.mean(axis=1) / returns.std(axis=1, ddof=1)
        track = Track(tried.max().item(), 250, 0, 3)
        plain += (probabilistic_sharpe(track) or 0) > 0.95
        deflated += (deflated_sharpe(track, tried) or 0) > 0.95
    assert plain > 150
    assert deflated < 20


@given(st.floats(-0.5, 0.5), st.integers(2, 5000), st.floats(-3, 3), st.floats(1, 30))
def test_more_trials_never_increase_the_probability(sharpe: float, periods: int, skew: float, kurt: float) -> None:
    """One trial gives the plain probability; an undefined ratio stays undefined."""
    track = Track(sharpe, periods, skew, kurt)
    alone, among = deflated_sharpe(track, [sharpe]), deflated_sharpe(track, [sharpe, sharpe - 0.1, sharpe - 0.2])
    assert alone == probabilistic_sharpe(track)
    assert (alone is None) == (among is None)
    if alone is not None and among is not None:
        assert 0 <= among <= alone <= 1


def test_probability_is_none_for_too_few_periods() -> None:
    """Also for a shape without a positive error."""
    assert probabilistic_sharpe(Track(0.1, 1, 0, 3)) is None
    assert probabilistic_sharpe(Track(1.0, 100, 3, 1)) is None


def test_skewness_and_kurtosis_are_those_of_the_population() -> None:
    """As numpy computes them; None if all returns are equal."""
    values = np.random.default_rng(3).gamma(2, size=300).round(6)
    told = [Decimal(str(value)) for value in values]
    away = values - values.mean()
    assert float(skewness(told) or 0) == pytest.approx((away**3).mean() / (away**2).mean() ** 1.5, rel=1e-9)
    assert float(kurtosis(told) or 0) == pytest.approx((away**4).mean() / (away**2).mean() ** 2, rel=1e-9)
    assert skewness([Decimal("0.1")] * 3) is None
    assert kurtosis([]) is None
