"""The decision engine: what a signal asks for, weighed against what the owner wants and against habits that mislead.

Each weigher says approve, reduce (to so much), hold (not now: it may pass by itself) or reject, and names its target
and its numbers. The worst of them counts; of several reductions the smallest size.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import ROUND_DOWN, Decimal
from typing import Final, Literal

from execution.review.biases import findings, overall
from execution.review.exposure import gained_since, pending_buys
from execution.review.proposal import Proposal, checked, signal_of, standing_in
from execution.review.sizing import at_most
from execution.review.state import DecisionState
from ledger.events.fields import RuleChecked
from ledger.projections.targets import Target
from ledger.values import ZERO, Side, decimal_text, round18

Verdict = Literal["approve", "reduce", "hold", "reject"]

CUT: Final = Decimal("0.9")
"""What each warning leaves of a signal's confidence."""

CENT: Final = Decimal("0.01")


@dataclass(frozen=True, slots=True)
class Advice:
    """One weigher's answer, which names its verdict among its numbers. `most` is the largest value it allows."""

    answer: RuleChecked
    most: Decimal


Weigher = Callable[[Proposal, DecisionState], Advice]


def decided(proposal: Proposal, state: DecisionState) -> tuple[Proposal, tuple[RuleChecked, ...]]:
    """The proposal at the size that all weighers allow, and what each of them said."""
    advice = [weigher(proposal, state) for weigher in WEIGHERS]
    size, rules = proposal.size, proposal.venue_rules
    most = min(one.most for one in advice)
    if size is None or rules is None or most >= size.value:
        return proposal, tuple(one.answer for one in advice)
    cut = at_most(most, size, proposal.price or Decimal(1), rules)
    return replace(proposal, size=cut), tuple(one.answer for one in advice)


def verdict_of(answer: RuleChecked) -> Verdict:
    """What the answer comes to: a rule that passes approves, one that does not rejects, unless it says otherwise."""
    match answer.numbers.get("verdict"):
        case "reduce":
            return "reduce"
        case "hold":
            return "hold"
        case _:
            return "approve" if answer.passed else "reject"


def value_target(proposal: Proposal, state: DecisionState) -> Advice:
    """Once the portfolio is worth what the owner wants, nothing more is put at risk: purchases are held."""
    target = state.rows.get(Target, "value")
    if target is None or not _buys(proposal):
        return _no_say("value_target", proposal, target)
    total = standing_in(proposal).total
    reached = total >= target.value
    reason = f"the portfolio is worth {_short(total)}, the target is {_short(target.value)}"
    if reached:
        reason += ": it is reached, nothing more is put at risk"
    verdict: Verdict = "hold" if reached else "approve"
    return _advice("value_target", verdict, _wanted(proposal), reason, target=target.value, total=total)


def income_target(proposal: Proposal, state: DecisionState) -> Advice:
    """Once a period has gained what the owner wants of it, purchases are made smaller until it ends."""
    targets = [one for one in state.rows.where(Target) if one.kind == "income"]
    if not targets or not _buys(proposal):
        return _no_say("income_target", proposal, targets[0] if targets else None)
    worth = standing_in(proposal).worth
    gained = {one.target: gained_since(state.rows, _begin(one.period, state.now), worth) for one in targets}
    target = next((one for one in targets if gained[one.target] >= one.value), targets[0])
    reason = f"{_short(gained[target.target])} gained this {target.period}, the target is {_short(target.value)}"
    numbers = {"target": target.value, "gained": gained[target.target]}
    if gained[target.target] < target.value:
        return _advice("income_target", "approve", _wanted(proposal), reason, **numbers)
    room = _wanted(proposal) * state.limit("income_reached_pct") / 100
    return _limited("income_target", proposal, state, room, f"{reason}: it is reached", "hold", **numbers)


def allocation_target(proposal: Proposal, state: DecisionState) -> Advice:
    """No trade takes an asset's share of the portfolio further than `allocation_band_pct` points from the one wanted."""
    target = state.rows.get(Target, f"allocation-{proposal.instrument.base}")
    if target is None or proposal.size is None or proposal.side is None:
        return _no_say("allocation_target", proposal, target)
    standing, band = standing_in(proposal), state.limit("allocation_band_pct")
    total, held = standing.total, standing.held(proposal.instrument)
    if _buys(proposal):
        held += pending_buys(state, proposal.instrument)
        edge = target.value + band
        room = edge * total / 100 - held
    else:
        edge = max(target.value - band, ZERO)
        room = held - edge * total / 100
    share = round18(held * 100 / total) if total > 0 else ZERO
    reason = (
        f"{proposal.instrument.base} is {_short(share)} % of the portfolio, the target is {_short(target.value)} %"
        f" and the edge {_short(edge)} %"
    )
    return _limited(
        "allocation_target",
        proposal,
        state,
        room,
        reason,
        "reject",
        target=target.value,
        share_pct=share,
        edge_pct=edge,
    )


def reserve_target(proposal: Proposal, state: DecisionState) -> Advice:
    """No purchase, with its fee and what open orders may take, leaves less cash than the owner wants to keep."""
    target = state.rows.get(Target, "reserve")
    if target is None or proposal.venue_rules is None or not _buys(proposal):
        return _no_say("reserve_target", proposal, target)
    fee = 1 + proposal.venue_rules.taker_fee
    cash = standing_in(proposal).worth.cash - pending_buys(state) * fee
    room = (cash - target.value) / fee
    reason = f"{_short(cash)} of cash is free of orders, {_short(target.value)} of it are the reserve"
    return _limited("reserve_target", proposal, state, room, reason, "hold", target=target.value, cash=cash)


def trader_bias(proposal: Proposal, state: DecisionState) -> Advice:
    """No habit that misleads traders shows in what was lately traded (`execution/review/biases.py`)."""
    if not _buys(proposal):
        return _no_say("trader_bias", proposal, None)
    found = findings(proposal, state)
    warned = [one for one in found if one.level != "none"]
    level, said_with, least = overall(found), signal_of(proposal).confidence, state.limit("minimum_confidence")
    confidence = round18(said_with * CUT ** len(warned))
    reason = "; ".join(f"{one.check}: {one.reason}" for one in warned) or "no habit that misleads shows"
    evidence = list(dict.fromkeys(str(event_id) for one in warned for event_id in one.evidence))
    numbers = {one.check: str(one.level) for one in found} | {"evidence": ",".join(evidence)}
    said = {"confidence": decimal_text(confidence), **numbers}
    if level == "block" or confidence < least <= said_with:
        return _advice("trader_bias", "hold", _wanted(proposal), reason, **said)
    room = _wanted(proposal) / 2 if level == "reduce" else _wanted(proposal)
    return _limited("trader_bias", proposal, state, room, reason, "hold", **said)


WEIGHERS: Final[tuple[Weigher, ...]] = (value_target, income_target, allocation_target, reserve_target, trader_bias)


def _limited(
    rule: str,
    proposal: Proposal,
    state: DecisionState,
    room: Decimal,
    reason: str,
    otherwise: Verdict,
    **numbers: Decimal | str,
) -> Advice:
    """Approve what fits into `room`, reduce what does not; `otherwise` where not even the smallest trade fits."""
    wanted, room = _wanted(proposal), max(room, ZERO).quantize(CENT, rounding=ROUND_DOWN)
    if wanted <= room or wanted < CENT:
        return _advice(rule, "approve", wanted, reason, **numbers)
    if room < state.limit("minimum_trade") or room == 0:
        return _advice(rule, otherwise, wanted, f"{reason}: there is no room for a trade", room=room, **numbers)
    said = f"{reason}: {_short(wanted)} is reduced to {_short(room)}"
    return _advice(rule, "reduce", room, said, wanted=wanted, room=room, **numbers)


def _advice(rule: str, verdict: Verdict, most: Decimal, reason: str, **numbers: Decimal | str) -> Advice:
    return Advice(checked(rule, verdict in ("approve", "reduce"), reason, verdict=verdict, **numbers), most)


def _no_say(rule: str, proposal: Proposal, target: Target | None) -> Advice:
    reason = "no such target is set"
    if rule == "trader_bias" or target is not None:
        reason = "it is no purchase"
    return _advice(rule, "approve", _wanted(proposal), reason)


def _wanted(proposal: Proposal) -> Decimal:
    return proposal.size.value if proposal.size else ZERO


def _buys(proposal: Proposal) -> bool:
    return proposal.side is Side.BUY and proposal.size is not None


def _begin(period: str | None, now: datetime) -> datetime:
    """When the period that holds `now` began: days at 00:00 UTC, weeks on Mondays, months on their first."""
    today = now.replace(hour=0, minute=0, second=0, microsecond=0)
    if period == "day":
        return today
    return today - timedelta(days=today.weekday()) if period == "week" else today.replace(day=1)


def _short(number: Decimal) -> str:
    return decimal_text(number.quantize(CENT))
