"""Faults of simulated venues, and their clock. Faults are planned by name, for a number of times."""

import random
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final, Literal

from ledger.values import Clock

Row = Mapping[str, object]
On = Literal["place", "read", "all"]
"""The requests that a fault affects: those that place orders, all others, or both."""

LOST_REPLIES: Final = {
    "hang": "the request is carried out, without a reply",
    "reset": "the request is carried out, then the connection is reset",
    "half_body": "the request is carried out, and half of the reply arrives",
    "html": "the request is carried out, and the reply is an HTML page with status 200",
    "garbage": "the request is carried out, and the reply is meaningless JSON",
    "unknown_503": 'the request is carried out, and the reply is 503 with the venue\'s text for "state unknown"',
    "timeout": "the request is carried out, and the reply is the venue's own timeout (Binance -1007)",
}
NOT_CARRIED_OUT: Final = {
    "rate_limited": "429 with Retry-After; nothing is carried out",
    "banned": "418 with Retry-After; nothing is carried out",
    "dropped": "the connection is reset before anything is carried out",
    "maintenance": "the venue is under maintenance; nothing is carried out",
}
REFUSALS: Final = {
    "refused": "the order is refused for lack of funds, whatever the balance",
}
TIMES_OF_ORDERS: Final = {
    "delayed": "the connection is reset, and the order reaches the venue `seconds` later, if still valid then",
}
STATES: Final = {
    "skew": "the venue's clock runs `seconds` ahead of ours (behind, if negative) until faults are cleared",
    "storm": "each request gets a fault chosen by the seed, among those that are not carried out or lose the reply",
}
FILLS_OF_ORDERS: Final = {
    "split": "the immediate fill of the order comes in three executions",
    "partial": "two fifths of the order fill immediately; the settings decide on the rest",
}
FILL_REPORTS: Final = {
    "fills_late": "own trades are not reported yet",
    "fills_duplicated": "every own trade is reported twice",
    "fills_reordered": "own trades are reported newest first",
}
KEYS: Final = {
    "withdrawals": "the venue reports that the key may withdraw (Binance-shaped only)",
}
FAULTS: Final = {
    **LOST_REPLIES,
    **NOT_CARRIED_OUT,
    **REFUSALS,
    **TIMES_OF_ORDERS,
    **FILLS_OF_ORDERS,
    **FILL_REPORTS,
    **STATES,
    **KEYS,
}
"""All faults by name, with their effects."""
_STORMY: Final = frozenset({*LOST_REPLIES, *NOT_CARRIED_OUT})


@dataclass(slots=True)
class Planned:
    """A fault that will occur `times` more (None: until cleared)."""

    name: str
    on: On
    times: int | None
    seconds: Decimal


def planned_fault(name: str, seconds: Decimal, times: int | None = 1, on: On | None = None) -> Planned:
    """Return the fault; `on` defaults to the requests that fit it. Raises ValueError for an unknown name."""
    if name not in FAULTS:
        raise ValueError(f"unknown fault {name[:40]!r} (available: {', '.join(FAULTS)})")
    wide = name in STATES or name in FILL_REPORTS or name in KEYS or name == "maintenance"
    return Planned(name, on or ("all" if wide else "place"), None if name == "skew" else times, seconds)


class Faults:
    """The planned faults. Storms are seeded."""

    def __init__(self, seed: int = 0) -> None:
        self.planned: list[Planned] = []
        self._dice = random.Random(seed)

    def plan(self, planned: Planned) -> None:
        self.planned.append(planned)

    def clear(self) -> None:
        self.planned.clear()

    def take(self, names: Collection[str], *, placing: bool) -> Planned | None:
        """Return the oldest planned fault among `names` for such a request, and count it. A storm may be any of them."""
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
        """Return own trades as reported: none, twice or newest first while such a fault is planned."""
        for name in FILL_REPORTS:
            if self.take({name}, placing=False) is None:
                continue
            if name == "fills_late":
                return []
            trades = [*trades, *trades] if name == "fills_duplicated" else trades[::-1]
        return trades

    @property
    def skew(self) -> Decimal:
        """Lead of the venue's clock in seconds."""
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
