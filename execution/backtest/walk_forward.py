"""Walk-forward analysis: parameters are chosen on one range of bars and tested on a later, unseen one."""

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fold:
    """A training range and the later test range, with a gap between them. Bars are numbered from 0."""

    train: range
    test: range


def folds(bars: int, count: int, *, purge: int = 0, embargo: int = 0, anchored: bool = False) -> list[Fold]:
    """Return `count` folds whose tests follow each other up to the last bar, each about as long as the first training range.

    The gap between training and test is `purge` bars (the horizon of a signal, within which training would know the test)
    plus `embargo` bars (against serial correlation). Training starts at bar 0 if `anchored`; else all training ranges are
    equally long.

    Raises:
        ValueError: there are too few bars for one bar in each range.
    """
    gap = purge + embargo
    if count < 1 or purge < 0 or embargo < 0:
        raise ValueError("walk-forward needs at least 1 fold and gaps of at least 0 bars")
    length = (bars - gap) // (count + 1)
    if length < 1:
        raise ValueError(f"{bars} bars are too few for {count} folds with a gap of {gap} bars")
    return list(_folds(bars, count, length, gap, anchored))


def _folds(bars: int, count: int, length: int, gap: int, anchored: bool) -> Iterator[Fold]:
    first = bars - count * length - gap  # training gets the remainder of the division
    for number in range(count):
        end = first + number * length
        start = 0 if anchored else end - first
        tested = end + gap
        yield Fold(range(start, end), range(tested, tested + length))
