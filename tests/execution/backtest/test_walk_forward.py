"""Walk-forward folds: no test bar is near the bars that its parameters were chosen on."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execution.backtest.walk_forward import folds

gaps = st.integers(0, 30)


@given(st.integers(1, 2000), st.integers(1, 12), gaps, gaps, st.booleans())
def test_tests_follow_training_and_each_other(bars: int, count: int, purge: int, embargo: int, anchored: bool) -> None:
    """Each test starts the gap after its training, tests are adjacent, and the last one ends with the last bar."""
    if bars < count + 1 + purge + embargo:
        with pytest.raises(ValueError, match="too few"):
            folds(bars, count, purge=purge, embargo=embargo, anchored=anchored)
        return
    found = folds(bars, count, purge=purge, embargo=embargo, anchored=anchored)
    assert len(found) == count
    assert found[-1].test.stop == bars
    for fold in found:
        assert len(fold.train) >= len(fold.test) >= 1
        assert fold.test.start - fold.train.stop == purge + embargo
        assert fold.train.start >= 0
        assert not anchored or fold.train.start == 0
    for before, after in itertools.pairwise(found):
        assert before.test.stop == after.test.start
        assert anchored or len(before.train) == len(after.train)


@pytest.mark.parametrize(("count", "purge", "embargo"), [(0, 0, 0), (1, -1, 0), (1, 0, -1)])
def test_folds_with_invalid_arguments_are_refused(count: int, purge: int, embargo: int) -> None:
    """No fold and negative gaps raise ValueError."""
    with pytest.raises(ValueError, match="at least 1 fold"):
        folds(100, count, purge=purge, embargo=embargo)
