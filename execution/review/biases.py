"""What misleads traders, looked for before each purchase: habits told from what was lately traded.

Each check finds nothing, a caution, a reason to reduce or one to block, with the events that show it. They are about
taking on risk: a sale is never held back for them.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Final, Literal
from uuid import UUID

from execution.review.exposure import LOOKS_BACK, pending_buys, streak
from execution.review.proposal import Proposal, standing_in
from execution.review.state import DecisionState
from ledger.booking.lots import Match
from ledger.projections.signals import OpinionView
from ledger.values import ZERO, decimal_text, round18

Level = Literal["none", "caution", "reduce", "block"]

LOSS_PCT: Final = (Decimal(2), Decimal(5))
WINS: Final = (5, 8)
CONCENTRATED_PCT: Final = Decimal(20)
ENOUGH: Final = 5
"""So many of a kind before a habit is told from them."""
BUSY: Final = (10, 3)
"""From so many trades a day on, more than so many times the usual number are too many."""
HERD: Final = 3
NEAR_PCT: Final = Decimal("0.5")


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found; `evidence` are the ids of the events that show it."""

    check: str
    level: Level
    reason: str
    evidence: tuple[UUID, ...] = ()


Check = Callable[[Proposal, DecisionState], Finding]


def loss_aversion(proposal: Proposal, state: DecisionState) -> Finding:
    """Closings of today lost more than 2 % of the portfolio's worth: reduce; more than 5 %: block."""
    standing = standing_in(proposal)
    lost = max(-sum((one.gain for one in standing.closed_today), ZERO), ZERO)
    share = _percent(lost, standing.total + lost)
    level: Level = "block" if share > LOSS_PCT[1] else "reduce" if share > LOSS_PCT[0] else "none"
    evidence = (one.event_id for one in standing.closed_today if one.gain < 0)
    return _found("loss_aversion", level, f"{_short(share)} % lost by closings of today", evidence)


def overconfidence(proposal: Proposal, state: DecisionState) -> Finding:
    """The last 5 closings of today won: reduce; the last 8: block."""
    won = streak(standing_in(proposal).closed_today, won=True)
    level: Level = "block" if len(won) >= WINS[1] else "reduce" if len(won) >= WINS[0] else "none"
    return _found("overconfidence", level, f"{len(won)} wins in a row today", (one.event_id for one in won))


def concentration(proposal: Proposal, state: DecisionState) -> Finding:
    """With this order the position is more than 20 % of the portfolio's worth: caution."""
    standing, value = standing_in(proposal), proposal.size.value if proposal.size else ZERO
    share = _percent(
        standing.held(proposal.instrument) + pending_buys(state, proposal.instrument) + value, standing.total
    )
    level: Level = "caution" if share > CONCENTRATED_PCT else "none"
    return _found("concentration", level, f"{_short(share)} % in {proposal.instrument} with this order")


def revenge(proposal: Proposal, state: DecisionState) -> Finding:
    """A loss was closed within `revenge_minutes`, and this order is larger than what was lost with: reduce."""
    window, value = state.window("revenge_minutes"), proposal.size.value if proposal.size else ZERO
    recent = [
        one
        for one in standing_in(proposal).closings
        if one.gain < 0 and state.now - one.closed_at <= window and value > one.value
    ]
    level: Level = "reduce" if recent and window else "none"
    return _found("revenge", level, f"{len(recent)} smaller losses just before", (one.event_id for one in recent))


def disposition(proposal: Proposal, state: DecisionState) -> Finding:
    """Of at least 5 winners and 5 losers closed in seven days, winners were held less than half as long: caution."""
    matches = standing_in(proposal).matches
    won, lost = [m for m in matches if m.realized_pnl > 0], [m for m in matches if m.realized_pnl < 0]
    if min(len(won), len(lost)) < ENOUGH:
        return _found("disposition", "none", "too few closings to tell")
    short, long = _held(won), _held(lost)
    level: Level = "caution" if short * 2 < long else "none"
    reason = f"winners were held {_minutes(short)} minutes, losers {_minutes(long)}"
    return _found("disposition", level, reason, (match.closing_event_id for match in won))


def overtrading(proposal: Proposal, state: DecisionState) -> Finding:
    """At least 10 trades today, and more than 3 times as many as on a usual one of the seven days before: caution."""
    standing = standing_in(proposal)
    now = {leg.event_id for leg in standing.traded_today}
    usual = Decimal(len({leg.event_id for leg in standing.legs} - now)) / LOOKS_BACK.days
    level: Level = "caution" if usual and len(now) >= BUSY[0] and len(now) > usual * BUSY[1] else "none"
    return _found("overtrading", level, f"{len(now)} trades today, {_short(usual)} on a usual day")


def herd(proposal: Proposal, state: DecisionState) -> Finding:
    """At least 3 bots have an opinion of the instrument, and all the same: caution."""
    opinions = [one for one in state.rows.where(OpinionView) if one.instrument == str(proposal.instrument)]
    actions = [one.action for one in opinions if one.action != "hold"]
    level: Level = "caution" if len(actions) >= HERD and len(set(actions)) == 1 else "none"
    return _found("herd", level, f"{len(actions)} bots have an opinion, {len(set(actions))} different ones")


def anchoring(proposal: Proposal, state: DecisionState) -> Finding:
    """At least 5 purchases in seven days, all of them and this one within 0.5 % of the average cost: caution."""
    standing, name = standing_in(proposal), str(proposal.instrument)
    average = next((one.average_cost for one in standing.worth.positions if one.product_id == name), None)
    entries = [leg for leg in standing.legs if leg.instrument == name and leg.quantity > 0]
    prices = [leg.value / leg.quantity for leg in entries] + ([proposal.price] if proposal.price else [])
    near = average is not None and all(_percent(abs(price - average), average) <= NEAR_PCT for price in prices)
    level: Level = "caution" if near and len(entries) >= ENOUGH else "none"
    reason = f"{len(entries)} purchases in seven days{', all at the average cost' if level != 'none' else ''}"
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
    """What every check finds."""
    return [check(proposal, state) for check in CHECKS]


def overall(found: Iterable[Finding]) -> Level:
    """Any block blocks, and so do two reasons to reduce; one reduces; cautions alone only caution."""
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


def _short(number: Decimal) -> str:
    return decimal_text(number.quantize(Decimal("0.01")))
