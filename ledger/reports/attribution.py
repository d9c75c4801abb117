"""Realised P&L by day, asset, opener or closer. The groups always add up to the total."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, Literal

from ledger.booking.lots import Match
from ledger.reports.metrics import utc_day
from ledger.values import ZERO

Grouping = Literal["day", "asset", "opened_by", "closed_by"]
UNKNOWN: Final = "unknown"
"""Group of P&L without a recorded opener or closer."""


@dataclass(frozen=True, slots=True)
class Group:
    """Matches of one group, in base currency: `realized_pnl` = `proceeds` - `cost_basis`.

    These three cover matches of known cost, and are None (`proceeds` 0) if there are none. `unknown_cost_proceeds` cover
    the others. `matches` counts both.
    """

    name: str
    realized_pnl: Decimal | None
    proceeds: Decimal
    cost_basis: Decimal | None
    unknown_cost_proceeds: Decimal
    matches: int


def attribution(matches: Iterable[Match], grouping: Grouping) -> tuple[Group, ...]:
    """Return realised P&L by `grouping`, sorted by name: UTC day of closing, asset, opener or closer of the lot.

    All matches count once, including those of no trade, so the groups add up to the portfolio's realised P&L.
    """
    name_of = _NAMES[grouping]
    groups: dict[str, list[Match]] = {}
    for match in matches:
        groups.setdefault(name_of(match), []).append(match)
    return tuple(_group(name, groups[name]) for name in sorted(groups))


def _group(name: str, matches: Sequence[Match]) -> Group:
    known = [match for match in matches if match.cost_known]
    unknown = [match for match in matches if not match.cost_known]
    return Group(
        name=name,
        realized_pnl=_sum(match.realized_pnl for match in known) if known else None,
        proceeds=_sum(match.proceeds for match in known),
        cost_basis=_sum(match.cost_basis for match in known) if known else None,
        unknown_cost_proceeds=_sum(match.proceeds for match in unknown),
        matches=len(matches),
    )


def _sum(values: Iterable[Decimal]) -> Decimal:
    return sum(values, ZERO)


_NAMES: Final[Mapping[Grouping, Callable[[Match], str]]] = {
    "day": lambda match: utc_day(match.closed_at).isoformat(),
    "asset": lambda match: match.asset,
    "opened_by": lambda match: match.opened_by or UNKNOWN,
    "closed_by": lambda match: match.closed_by or UNKNOWN,
}
