"""Policy: the limits in force and whether trading is halted."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import ClassVar, Final

from ledger.events import Event, LimitSet, TradingHalted, TradingResumed
from ledger.log.envelope import Envelope
from ledger.rows import Change, Row, Rows

LIMITS: Final[dict[str, Decimal]] = {
    "hot_score": Decimal("0.30"),
    "warm_score": Decimal("0.15"),
    "cool_score": Decimal("0.05"),
    "action_score": Decimal("0.15"),
    "minimum_confidence": Decimal("0.20"),
    "confirmation_minutes": Decimal(5),
    "cooldown_minutes": Decimal(15),
    "signal_maximum_age_minutes": Decimal(10),
    "approval_minutes": Decimal(60),
    "order_lifetime_minutes": Decimal(120),
    "manual_order_lifetime_minutes": Decimal(1440),
    "base_trade": Decimal(50),
    "hot_multiplier": Decimal("1.8"),
    "warm_multiplier": Decimal("1.3"),
    "minimum_trade": Decimal(10),
    "maximum_trade": Decimal(100),
    "maximum_position_pct": Decimal(100),
    "maximum_exposure_pct": Decimal(100),
    "maximum_open_orders": Decimal(100),
    "price_band_pct": Decimal(10),
    "daily_loss": Decimal(100),
    "maximum_drawdown_pct": Decimal(50),
    "losses_in_a_row": Decimal(3),
    "trades_per_day": Decimal(500),
    "bot_trades_per_day": Decimal(300),
    "allocation_band_pct": Decimal(5),
    "income_reached_pct": Decimal(50),
    "revenge_minutes": Decimal(15),
    "halt_unknown_seconds": Decimal(60),
    "halt_clock_skew_seconds": Decimal(1),
    "halt_daily_loss": Decimal(0),
    "halt_differences": Decimal(1),
}
"""All limits by name, with their defaults. Sizes are in base currency; score limits apply to |score|; 0 minutes means
none; pct is percent. Exceeding a halt_ limit halts trading automatically; 0 there means never. `docs/review.md`
explains each limit."""


@dataclass(frozen=True, slots=True)
class Limit(Row):
    table: ClassVar[str] = "limits"
    key: ClassVar[tuple[str, ...]] = ("name",)
    name: str
    value: Decimal


@dataclass(frozen=True, slots=True)
class TradingState(Row):
    """The trading state of `scope` ("portfolio"): halted or not, since when, and why."""

    table: ClassVar[str] = "trading_states"
    key: ClassVar[tuple[str, ...]] = ("scope",)
    scope: str
    halted: bool
    reason: str
    since: datetime


class PolicyProjection:
    name = "policy"
    version = 1
    events: tuple[type[Event], ...] = (LimitSet, TradingHalted, TradingResumed)
    rows: tuple[type[Row], ...] = (Limit, TradingState)

    def fold(self, rows: Rows, envelope: Envelope) -> list[Change]:
        match envelope.event:
            case LimitSet() as limit:
                return [Limit(limit.limit, limit.value)]
            case TradingHalted() as halt:
                return [TradingState("portfolio", True, halt.reason, envelope.occurred_at)]
            case TradingResumed() as resumed:
                return [TradingState("portfolio", False, resumed.reason, envelope.occurred_at)]
            case _:
                return []


def limit_of(rows: Rows, name: str) -> Decimal:
    """Return the value in force for the limit `name`."""
    row = rows.get(Limit, name)
    return LIMITS[name] if row is None else row.value


@dataclass(frozen=True, slots=True)
class SignalPolicy:
    """Decides which opinions are worth a signal. Scores between two `edges` (ascending, unsigned) are equal to review.

    Opinions older than `longest` are no longer traded.
    """

    edges: tuple[Decimal, ...]
    longest: timedelta

    def band(self, score: Decimal) -> int:
        """Return the number of edges that |score| reaches, negative for a sell; 0 is hold."""
        reached = sum(1 for edge in self.edges if abs(score) >= edge)
        return reached if score >= 0 else -reached


def signal_policy(rows: Rows) -> SignalPolicy:
    """Return the signal policy of the limits in force."""
    edges = {limit_of(rows, name) for name in ("cool_score", "warm_score", "hot_score", "action_score")}
    return SignalPolicy(tuple(sorted(edges)), minutes(limit_of(rows, "signal_maximum_age_minutes")))


LONGEST: Final = timedelta(days=3650)
"""Cap on limits in minutes, so that adding one to a time cannot overflow."""


def minutes(limit: Decimal) -> timedelta:
    """Convert a limit in minutes to a duration, to the microsecond; at most `LONGEST`."""
    microseconds = min(limit * 60_000_000, Decimal(LONGEST // timedelta(microseconds=1)))
    return timedelta(microseconds=int(microseconds))


def halt_reason(rows: Rows) -> str | None:
    """Return the reason of the halt, or None when trading is open."""
    state = rows.get(TradingState, "portfolio")
    return state.reason if state is not None and state.halted else None
