"""Whose profit it was: realised P&L by day, asset, opener and closer. The parts always add up to the whole."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC
from decimal import Decimal
from typing import Final, Literal

from ledger.lots import Match
from ledger.values import ZERO

Grouping = Literal["day", "asset", "opened_by", "closed_by"]
UNKNOWN: Final = "unknown"
"""The name under which P&L stands whose opener or closer nobody recorded."""


@dataclass(frozen=True, slots=True)
class Part:
    """What the matches of one group closed, in base currency: `realized_pnl` = `proceeds` - `cost_basis` where cost is known."""

    name: str
    realized_pnl: Decimal
    proceeds: Decimal
    cost_basis: Decimal
    matches: int


def attribution(matches: Iterable[Match], grouping: Grouping) -> tuple[Part, ...]:
    """Realised P&L by `grouping`, in order of the names: the UTC day of closing, the asset, who opened the lot, who closed it.

    Every match counts once, also those that are no trade, so that the parts add up to the portfolio's realised P&L.
    """
    name_of = _NAMES[grouping]
    parts: dict[str, Part] = {}
    for match in matches:
        name = name_of(match)
        known = parts.get(name) or Part(name, ZERO, ZERO, ZERO, 0)
        parts[name] = Part(
            name=name,
            realized_pnl=known.realized_pnl + match.realized_pnl,
            proceeds=known.proceeds + match.proceeds,
            cost_basis=known.cost_basis + match.cost_basis,
            matches=known.matches + 1,
        )
    return tuple(parts[name] for name in sorted(parts))


_NAMES: Final[Mapping[Grouping, Callable[[Match], str]]] = {
    "day": lambda match: match.closed_at.astimezone(UTC).date().isoformat(),
    "asset": lambda match: match.asset,
    "opened_by": lambda match: match.opened_by or UNKNOWN,
    "closed_by": lambda match: match.closed_by or UNKNOWN,
}
