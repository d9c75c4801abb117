"""Trading biases, looked for before each buy in the trades of the last seven days; sales are never held back.

Each check finds nothing, a caution, a reason to reduce or a reason to block, with the events that show it.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Final, Literal
from uuid import UUID

from execution.review.proposal import Proposal, short
from execution.review.state import LOOKS_BACK, DecisionState
from ledger.booking.lots import Match
from ledger.projections.signals import OpinionView
from ledger.values import ZERO, round18

Level = Literal["none", "caution", "reduce", "block"]

LOSS_PCT: Final = (Decimal(2), Decimal(5))
WINS: Final = (5, 8)
CONCENTRATED_PCT: Final = Decimal(20)
ENOUGH: Final = 5
"""The trades of a kind from which a bias is inferred."""
BUSY: Final = (10, 3)
"""Overtrading: at least this many trades in a day, and more than this multiple of the daily average."""
HERD: Final = 3
NEAR_PCT: Final = Decimal("0.5")


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check; `evidence` are the ids of the events that show it."""

    check: str
    level: Level
    reason: str
    evidence: tuple[UUID, ...] = ()


Check = Callable[[Proposal, DecisionState], Finding]


def loss_aversion(proposal: Proposal, state: DecisionState) -> Finding:
    """Reduce when trades closed today lost more than 2 % of the portfolio's value; block above 5 %."""
    closed = state.exposure.closed_today
    lost = max(-sum((one.gain for one in closed), ZERO), ZERO)
    share = _percent(lost, state.exposure.total + lost)
    level: Level = "block" if share > LOSS_PCT[1] else "reduce" if share > LOSS_PCT[0] else "none"
    evidence = (one.event_id for one in closed if one.gain < 0)
    return _found("loss_aversion", level, f"{short(share)} % lost in trades closed today", evidence)


def overconfidence(proposal: Proposal, state: DecisionState) -> Finding:
    """Reduce after 5 winning trades in a row today; block after 8."""
    won = state.exposure.streak_today(won=True)
    level: Level = "block" if len(won) >= WINS[1] else "reduce" if len(won) >= WINS[0] else "none"
    return _found("overconfidence", level, f"{len(won)} winning trades in a row today", (one.event_id for one in won))


def concentration(proposal: Proposal, state: DecisionState) -> Finding:
    """Caution when the position would exceed 20 % of the portfolio's value."""
    exposure, instrument = state.exposure, proposal.instrument
    value = exposure.position_value(instrument) + state.pending_buys(instrument) + proposal.value
    share = _percent(value, exposure.total)
    level: Level = "caution" if share > CONCENTRATED_PCT else "none"
    return _found("concentration", level, f"{short(share)} % of the portfolio in {instrument} with this order")


def revenge(proposal: Proposal, state: DecisionState) -> Finding:
    """Reduce when a smaller trade was closed at a loss within `revenge_minutes`."""
    window = state.window("revenge_minutes")
    recent = [
        one
        for one in state.exposure.closings
        if one.gain < 0 and state.now - one.closed_at <= window and proposal.value > one.value
    ]
    level: Level = "reduce" if recent and window else "none"
    return _found("revenge", level, f"{len(recent)} recent losses on smaller trades", (one.event_id for one in recent))


def disposition(proposal: Proposal, state: DecisionState) -> Finding:
    """Caution when winners were held less than half as long as losers, with at least 5 of each closed in seven days."""
    matches = state.exposure.matches
    won, lost = [m for m in matches if m.realized_pnl > 0], [m for m in matches if m.realized_pnl < 0]
    if min(len(won), len(lost)) < ENOUGH:
        return _found("disposition", "none", "too few closed trades to compare")
    winners, losers = _held(won), _held(lost)
    level: Level = "caution" if winners * 2 < losers else "none"
    reason = f"winners held for {_minutes(winners)} minutes, losers for {_minutes(losers)}"
    return _found("disposition", level, reason, (match.closing_event_id for match in won))


def overtrading(proposal: Proposal, state: DecisionState) -> Finding:
    """Caution from 10 trades today on, when that is more than 3 times the daily average of the seven days before."""
    today = {leg.event_id for leg in state.exposure.traded_today}
    usual = Decimal(len({leg.event_id for leg in state.exposure.legs} - today)) / LOOKS_BACK.days
    level: Level = "caution" if usual and len(today) >= BUSY[0] and len(today) > usual * BUSY[1] else "none"
    return _found("overtrading", level, f"{len(today)} trades today (daily average: {short(usual)})")


def herd(proposal: Proposal, state: DecisionState) -> Finding:
    """Caution when at least 3 bots have an opinion of the instrument and all agree."""
    opinions = [one for one in state.rows.where(OpinionView) if one.instrument == str(proposal.instrument)]
    actions = [one.action for one in opinions if one.action != "hold"]
    level: Level = "caution" if len(actions) >= HERD and len(set(actions)) == 1 else "none"
    return _found("herd", level, f"{len(actions)} bots with an opinion, {len(set(actions))} different opinions")


def anchoring(proposal: Proposal, state: DecisionState) -> Finding:
    """Caution when at least 5 buys in seven days, and this one, are within 0.5 % of the average cost."""
    exposure, name = state.exposure, str(proposal.instrument)
    average = next((one.average_cost for one in exposure.valuation.positions if one.product_id == name), None)
    entries = [leg for leg in exposure.legs if leg.instrument == name and leg.quantity > 0]
    prices = [leg.value / leg.quantity for leg in entries] + ([proposal.price] if proposal.price else [])
    near = average is not None and all(_percent(abs(price - average), average) <= NEAR_PCT for price in prices)
    level: Level = "caution" if near and len(entries) >= ENOUGH else "none"
    reason = f"{len(entries)} buys in seven days{', all at the average cost' if level != 'none' else ''}"
    return _found("anchoring", level, reason, (leg.event_id for leg in entries))


CHECKS: Final[tuple[Check, ...]] = (
    loss_aversion,
    overconfidence,
    concentration,
    revenge,
    disposition,
    overtrading,
    herd,
    anchoring,
)


def findings(proposal: Proposal, state: DecisionState) -> list[Finding]:
    """The results of all checks."""
    return [check(proposal, state) for check in CHECKS]


def overall(found: Iterable[Finding]) -> Level:
    """Block on any block or on two reasons to reduce; reduce on one; else caution on any caution."""
    levels = [one.level for one in found]
    if "block" in levels or levels.count("reduce") >= 2:
        return "block"
    return "reduce" if "reduce" in levels else "caution" if "caution" in levels else "none"


def _found(check: str, level: Level, reason: str, evidence: Iterable[UUID] = ()) -> Finding:
    return Finding(check, level, reason, tuple(dict.fromkeys(evidence))[-5:] if level != "none" else ())


def _held(matches: list[Match]) -> timedelta:
    return sum((one.closed_at - one.opened_at for one in matches), timedelta(0)) / len(matches)


def _minutes(duration: timedelta) -> str:
    return str(duration // timedelta(minutes=1))


def _percent(part: Decimal, whole: Decimal) -> Decimal:
    return round18(part * 100 / whole) if whole > 0 else ZERO
