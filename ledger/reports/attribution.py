"""Whose profit it was: realised P&L by day, asset, opener and closer. The parts always add up to the whole."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC
from decimal import Decimal
from typing import Final, Literal

from ledger.booking.lots import Match
from ledger.values import ZERO

Grouping = Literal["day", "asset", "opened_by", "closed_by"]
UNKNOWN: Final = "unknown"
"""The name under which P&L stands whose opener or closer nobody recorded."""


@dataclass(frozen=True, slots=True)
class Part:
    """What the matches of one group closed, in base currency: `realized_pnl` = `proceeds` - `cost_basis`.

    These are of matches of known cost alone, and None (`proceeds` 0) where there is none; what the others brought are the
    `unknown_cost_proceeds`. `matches` counts both.
    """

    name: str
    realized_pnl: Decimal | None
    proceeds: Decimal
    cost_basis: Decimal | None
    unknown_cost_proceeds: Decimal
    matches: int


def attribution(matches: Iterable[Match], grouping: Grouping) -> tuple[Part, ...]:
    """Realised P&L by `grouping`, in order of the names: the UTC day of closing, the asset, who opened the lot, who closed it.

    Every match counts once, also those that are no trade, so that the parts add up to the portfolio's realised P&L.
    """
    name_of = _NAMES[grouping]
    groups: dict[str, list[Match]] = {}
    for match in matches:
        groups.setdefault(name_of(match), []).append(match)
    return tuple(_part(name, groups[name]) for name in sorted(groups))


def _part(name: str, matches: Sequence[Match]) -> Part:
    known = [match for match in matches if match.cost_known]
    unknown = [match for match in matches if not match.cost_known]
    return Part(
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
    "day": lambda match: match.closed_at.astimezone(UTC).date().isoformat(),
    "asset": lambda match: match.asset,
    "opened_by": lambda match: match.opened_by or UNKNOWN,
    "closed_by": lambda match: match.closed_by or UNKNOWN,
}
