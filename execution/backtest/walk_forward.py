"""Walk-forward: what is chosen on one stretch of bars is tried on a later one that the choice has never seen."""

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fold:
    """Bars are numbered from 0; `train` comes before `test`, with a gap between them."""

    train: range
    test: range


def folds(bars: int, count: int, *, purge: int = 0, embargo: int = 0, anchored: bool = False) -> list[Fold]:
    """`count` folds whose tests follow each other to the last bar; each is about as long as the first training stretch.

    Between training and test lie `purge` bars (an opinion reaches so far: what was learnt there would know the test) and
    `embargo` more (what is alike close by). A training stretch begins at bar 0 when `anchored`; else all are equally long.
    Raises ValueError when there are too few bars for one in each stretch.
    """
    gap = purge + embargo
    if count < 1 or purge < 0 or embargo < 0:
        raise ValueError("walk-forward needs at least 1 fold, and gaps of 0 bars or more")
    length = (bars - gap) // (count + 1)
    if length < 1:
        raise ValueError(f"{bars} bars are too few for {count} folds with a gap of {gap}")
    return list(_folds(bars, count, length, gap, anchored))


def _folds(bars: int, count: int, length: int, gap: int, anchored: bool) -> Iterator[Fold]:
    first = bars - count * length - gap  # the remainder of the division lengthens the training
    for number in range(count):
        end = first + number * length
        start = 0 if anchored else end - first
        tested = end + gap
        yield Fold(range(start, end), range(tested, tested + length))
