"""Statistics of closed lots: win rate, gains and losses, holding time."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal

from ledger.booking.lots import Match
from ledger.values import ZERO


@dataclass(frozen=True, slots=True)
class ClosedLots:
    """Statistics of closed lots, fees included; each match of a lot with the trade that closed it is one observation.

    `win_rate` is a fraction; `profit_factor` is gains / losses, None without a loss; `expectancy`, the mean result, is in
    base currency, as are `average_win` and `average_loss` (negative). None: no observations.
    """

    count: int
    wins: int
    losses: int
    realized_pnl: Decimal
    win_rate: Decimal | None
    profit_factor: Decimal | None
    expectancy: Decimal | None
    average_win: Decimal | None
    average_loss: Decimal | None
    average_days_held: Decimal | None


def closed_lots(matches: Iterable[Match]) -> ClosedLots:
    """Calculate the statistics of matches that are trades (see `is_trade`)."""
    results: list[Decimal] = []
    held = timedelta()
    for match in filter(is_trade, matches):
        results.append(match.realized_pnl)
        held += match.closed_at - match.opened_at
    wins = [one for one in results if one > 0]
    losses = [one for one in results if one < 0]
    total, lost = sum(results, ZERO), -sum(losses, ZERO)
    days = Decimal(held // timedelta(seconds=1)) / 86400
    return ClosedLots(
        count=len(results),
        wins=len(wins),
        losses=len(losses),
        realized_pnl=total,
        win_rate=Decimal(len(wins)) / len(results) if results else None,
        profit_factor=sum(wins, ZERO) / lost if losses else None,
        expectancy=total / len(results) if results else None,
        average_win=sum(wins, ZERO) / len(wins) if wins else None,
        average_loss=-lost / len(losses) if losses else None,
        average_days_held=days / len(results) if results else None,
    )


def is_trade(match: Match) -> bool:
    """Return True if a trade closed the lot and its cost is known. Withdrawals, transfers and fees neither win nor lose."""
    return match.kind == "trade" and match.cost_known
