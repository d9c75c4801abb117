"""The faults a simulated venue has on request, each by name, a number of times."""

import random
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final, Literal

from ledger.values import Clock

Row = Mapping[str, object]
On = Literal["place", "read", "all"]
"""What a fault strikes: requests that place an order, all others, or both."""

LOST_ANSWERS: Final = {
    "hang": "the request is carried out and never answered",
    "reset": "the request is carried out, then the connection is reset",
    "half_body": "the request is carried out, and half of the answer arrives",
    "html": "the request is carried out, and the answer is a page of HTML with status 200",
    "garbage": "the request is carried out, and the answer is JSON of no sense",
    "unknown_503": 'the request is carried out, and the answer is 503 with the venue\'s words for "state unknown"',
    "timeout": "the request is carried out, and the answer is the venue's own time-out (Binance -1007)",
}
NOT_CARRIED_OUT: Final = {
    "rate_limited": "429 with Retry-After; nothing is carried out",
    "banned": "418 with Retry-After; nothing is carried out",
    "dropped": "the connection is reset before anything is carried out",
    "maintenance": "the venue is under maintenance; nothing is carried out",
}
REFUSALS: Final = {
    "refused": "the order is refused for want of funds, whatever the balance is",
}
TIMES_OF_ORDERS: Final = {
    "delayed": "the connection is reset, and the order reaches the venue `seconds` later, if it is still valid then",
}
STATES: Final = {
    "skew": "the venue's clock runs `seconds` ahead of ours (behind, if negative) until faults are cleared",
    "storm": "each request gets a fault chosen by the seed: one of those that are not carried out or lose the answer",
}
FILLS_OF_ORDERS: Final = {
    "split": "what fills of the order at once fills in three executions",
    "partial": "two fifths of the order fill at once; of the rest the settings decide",
}
FILL_REPORTS: Final = {
    "fills_late": "own trades are not told yet",
    "fills_duplicated": "every own trade is told twice",
    "fills_reordered": "own trades are told newest first",
}
KEYS: Final = {
    "withdrawals": "the venue says that the key may withdraw (Binance-shaped only)",
}
FAULTS: Final = {
    **LOST_ANSWERS,
    **NOT_CARRIED_OUT,
    **REFUSALS,
    **TIMES_OF_ORDERS,
    **FILLS_OF_ORDERS,
    **FILL_REPORTS,
    **STATES,
    **KEYS,
}
"""Every fault by name, and what happens."""
_STORMY: Final = frozenset({*LOST_ANSWERS, *NOT_CARRIED_OUT})


@dataclass(slots=True)
class Planned:
    """A fault that will happen `times` more (None: until cleared)."""

    name: str
    on: On
    times: int | None
    seconds: Decimal


def planned_fault(name: str, seconds: Decimal, times: int | None = 1, on: On | None = None) -> Planned:
    """The fault, striking what fits it unless `on` says otherwise. Raises ValueError for a name nobody knows."""
    if name not in FAULTS:
        raise ValueError(f"{name[:40]!r} is no fault: there are {', '.join(FAULTS)}")
    wide = name in STATES or name in FILL_REPORTS or name in KEYS or name == "maintenance"
    return Planned(name, on or ("all" if wide else "place"), None if name == "skew" else times, seconds)


class Faults:
    """The faults that are still to come. The dice of storms are seeded."""

    def __init__(self, seed: int = 0) -> None:
        self.planned: list[Planned] = []
        self._dice = random.Random(seed)

    def plan(self, planned: Planned) -> None:
        """The fault will happen."""
        self.planned.append(planned)

    def clear(self) -> None:
        """No fault is still to come."""
        self.planned.clear()

    def take(self, names: Collection[str], *, placing: bool) -> Planned | None:
        """The oldest planned fault among `names` that strikes such a request; it has happened once more. A storm is any."""
        for planned in self.planned:
            if planned.on == ("read" if placing else "place") or planned.name not in (*names, "storm"):
                continue
            chosen = planned
            if planned.name == "storm":
                if not _STORMY.issuperset(names):
                    continue
                name = self._dice.choice(sorted(_STORMY - {"hang"}))
                if name not in names:
                    continue
                chosen = Planned(name, planned.on, None, planned.seconds)
            if planned.times is not None:
                planned.times -= 1
                if planned.times <= 0:
                    self.planned.remove(planned)
            return chosen
        return None

    def reported(self, trades: list[Row]) -> list[Row]:
        """The own trades as they are told: none yet, twice or newest first while such a fault is planned."""
        for name in FILL_REPORTS:
            if self.take({name}, placing=False) is None:
                continue
            if name == "fills_late":
                return []
            trades = [*trades, *trades] if name == "fills_duplicated" else trades[::-1]
        return trades

    @property
    def skew(self) -> Decimal:
        """How many seconds the venue's clock is ahead."""
        return sum((planned.seconds for planned in self.planned if planned.name == "skew"), Decimal(0))


class VenueClock:
    """The venue's time in UTC: `clock` plus skew and control's advances, or `fixed` while a delayed order is placed."""

    def __init__(self, clock: Clock, faults: Faults) -> None:
        self._clock, self._faults = clock, faults
        self.advanced = timedelta(0)
        self.fixed: datetime | None = None

    def __call__(self) -> datetime:
        skew = timedelta(milliseconds=int(self._faults.skew * 1000))
        return self.fixed or self._clock() + self.advanced + skew
