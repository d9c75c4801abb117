"""All marks of a portfolio by time, adjusted for splits."""

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final

from ledger.booking.lots import Split
from ledger.values import decimal_text, round18

_MICROSECOND: Final = timedelta(microseconds=1)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_A_DAY: Final = timedelta(days=1) // _MICROSECOND


class MarkHistory:
    """Marks by asset, in base currency. Of marks with the same time, the last one in the log wins.

    A mark at or after the time of a split is a price per unit after the split.
    """

    def __init__(self, splits: Iterable[Split] = ()) -> None:
        self._times: dict[str, array[int]] = {}
        self._prices: dict[str, list[str]] = {}
        self._in_order = True
        self._splits: dict[str, list[Split]] = {}
        for split in sorted(splits, key=lambda one: (one.occurred_at, one.position)):
            self._splits.setdefault(split.asset, []).append(split)
        self._split_times = {
            asset: [_microseconds(one.occurred_at) for one in found] for asset, found in self._splits.items()
        }

    def add(self, asset: str, at: datetime, price: Decimal) -> None:
        """Add a mark."""
        times = self._times.setdefault(asset, array("q"))
        moment = _microseconds(at)
        self._in_order = self._in_order and (not times or times[-1] <= moment)
        times.append(moment)
        self._prices.setdefault(asset, []).append(decimal_text(price))

    def at(self, asset: str, moment: datetime, splits_made: int = 0) -> Decimal | None:
        """Return the last price of `asset` at or before the moment, None without one.

        The price is per unit after the asset's first `splits_made` splits; each split in between rounds half to even at
        18 decimal places.
        """
        if not self._in_order:
            self._sort()
        times = self._times.get(asset, array("q"))
        found = bisect_right(times, _microseconds(moment))
        if not found:
            return None
        price = Decimal(self._prices[asset][found - 1])
        return self._in_units(asset, price, times[found - 1], splits_made) if asset in self._splits else price

    def days(self) -> Iterator[int]:
        """Yield the UTC days with marks as proleptic ordinals, unordered, with repetitions."""
        first = _EPOCH.toordinal()
        for times in self._times.values():
            yield from (first + one // _A_DAY for one in times)

    def _in_units(self, asset: str, price: Decimal, seen_at: int, splits_made: int) -> Decimal:
        splits, seen = self._splits[asset], bisect_right(self._split_times[asset], seen_at)
        for split in splits[seen:splits_made]:
            price = round18(price * split.denominator / split.numerator)
        for split in reversed(splits[splits_made:seen]):
            price = round18(price * split.numerator / split.denominator)
        return price

    def _sort(self) -> None:
        for asset, times in self._times.items():
            order = sorted(range(len(times)), key=times.__getitem__)
            self._times[asset] = array("q", (times[index] for index in order))
            self._prices[asset] = [self._prices[asset][index] for index in order]
        self._in_order = True


def _microseconds(at: datetime) -> int:
    return (at - _EPOCH) // _MICROSECOND
