"""Weigh a proposed order against the owner's targets, and against the trading biases that recent trades show.

Each weigher answers approve, reduce (to a smaller size), hold (it may pass later) or reject, with its target and numbers.
The most severe answer counts; of several reductions, the smallest size. Biases are looked for before each buy by a bot: each
check finds nothing, a caution, a reason to reduce or a reason to block, with the events that show it.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import ROUND_DOWN, Decimal
from typing import Final, Literal
from uuid import UUID

from execution.review.state import LOOKS_BACK, DecisionState, Proposal, checked, short
from ledger.booking.lots import Match
from ledger.events.fields import RuleChecked
from ledger.projections.signals import OpinionView
from ledger.projections.targets import Target
from ledger.projections.valuation import PortfolioValuation
from ledger.rows import Rows
from ledger.values import ZERO, Side, decimal_text, round18

Verdict = Literal["approve", "reduce", "hold", "reject"]

CONFIDENCE_FACTOR: Final = Decimal("0.9")
"""Each bias found multiplies the signal's confidence by this."""

CENT: Final = Decimal("0.01")


@dataclass(frozen=True, slots=True)
class Advice:
    """One weigher's answer, with its verdict among the numbers. `most` is the largest value it allows."""

    answer: RuleChecked
    most: Decimal


Weigher = Callable[[Proposal, DecisionState], Advice]


def decided(proposal: Proposal, state: DecisionState) -> tuple[Proposal, tuple[RuleChecked, ...]]:
    """The proposal, reduced to the size that all weighers allow, and their answers."""
    advice = [weigher(proposal, state) for weigher in WEIGHERS]
    size, rules = proposal.size, proposal.venue_rules
    most = min(one.most for one in advice)
    if size is not None and rules is not None and most < size.value:
        proposal = replace(proposal, size=size.at_most(most, proposal.price or Decimal(1), rules.lot))
    return proposal, tuple(one.answer for one in advice)


def verdict_of(answer: RuleChecked) -> Verdict:
    """The answer's own verdict where it has one; else approve for a rule that passed, reject for one that failed."""
    match answer.numbers.get("verdict"):
        case "reduce":
            return "reduce"
        case "hold":
            return "hold"
        case _:
            return "approve" if answer.passed else "reject"


def value_target(proposal: Proposal, state: DecisionState) -> Advice:
    """Hold buys once the portfolio's value has reached its target."""
    target = state.rows.get(Target, "value")
    if target is None or not _buys(proposal):
        return _not_concerned("value_target", proposal, target)
    total = state.exposure.total
    reached = total >= target.value
    reason = (
        f"portfolio value {short(total)} is {'at or above' if reached else 'below'} the target ({short(target.value)})"
    )
    if reached:
        reason += "; no further buys"
    verdict: Verdict = "hold" if reached else "approve"
    return _advice("value_target", verdict, proposal.value, reason, target=target.value, total=total)


def income_target(proposal: Proposal, state: DecisionState) -> Advice:
    """Reduce buys once a period's gain has reached its target, until the period ends."""
    targets = [one for one in state.rows.where(Target) if one.kind == "income"]
    if not targets or not _buys(proposal):
        return _not_concerned("income_target", proposal, targets[0] if targets else None)
    worth = state.exposure.valuation
    gained = {one.target: _gained_since(state.rows, _begin(one.period, state.now), worth) for one in targets}
    target = next((one for one in targets if gained[one.target] >= one.value), targets[0])
    reason = f"{short(gained[target.target])} gained this {target.period} (target: {short(target.value)})"
    numbers = {"target": target.value, "gained": gained[target.target]}
    if gained[target.target] < target.value:
        return _advice("income_target", "approve", proposal.value, reason, **numbers)
    room = proposal.value * state.limit("income_reached_pct") / 100
    return _limited("income_target", proposal, state, room, reason, "hold", **numbers)


def allocation_target(proposal: Proposal, state: DecisionState) -> Advice:
    """Keep an asset's share of the portfolio within `allocation_band_pct` points of its target."""
    target = state.rows.get(Target, f"allocation-{proposal.instrument.base}")
    if target is None or proposal.size is None or proposal.side is None:
        return _not_concerned("allocation_target", proposal, target)
    band, total = state.limit("allocation_band_pct"), state.exposure.total
    held = state.exposure.position_value(proposal.instrument)
    if _buys(proposal):
        held += state.pending_buys(proposal.instrument)
        edge = target.value + band
        room = edge * total / 100 - held
    else:
        edge = max(target.value - band, ZERO)
        room = held - edge * total / 100
    share = round18(held * 100 / total) if total > 0 else ZERO
    reason = (
        f"{proposal.instrument.base} is {short(share)} % of the portfolio (target: {short(target.value)} %,"
        f" allowed: {'up' if _buys(proposal) else 'down'} to {short(edge)} %)"
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
    """Keep the cash reserve: no buy, with its fee and open orders, leaves less."""
    target = state.rows.get(Target, "reserve")
    if target is None or proposal.venue_rules is None or not _buys(proposal):
        return _not_concerned("reserve_target", proposal, target)
    fee = 1 + proposal.venue_rules.taker_fee
    cash = state.exposure.valuation.cash - state.pending_buys() * fee
    room = (cash - target.value) / fee
    reason = f"{short(cash)} of cash after open orders (reserve: {short(target.value)})"
    return _limited("reserve_target", proposal, state, room, reason, "hold", target=target.value, cash=cash)


def trader_bias(proposal: Proposal, state: DecisionState) -> Advice:
    """Reduce or hold buys that show a trading bias (`CHECKS`)."""
    if not _buys(proposal):
        return _advice("trader_bias", "approve", proposal.value, NOT_A_BUY)
    found = findings(proposal, state)
    warned = [one for one in found if one.level != "none"]
    level, original, least = overall(found), proposal.of_bot.confidence, state.limit("minimum_confidence")
    confidence = round18(original * CONFIDENCE_FACTOR ** len(warned))
    reason = "; ".join(f"{one.check}: {one.reason}" for one in warned) or "no bias found in recent trades"
    evidence = list(dict.fromkeys(str(event_id) for one in warned for event_id in one.evidence))
    numbers = {one.check: str(one.level) for one in found} | {"evidence": ",".join(evidence)}
    numbers = {"confidence": decimal_text(confidence), **numbers}
    if level == "block" or confidence < least <= original:
        return _advice("trader_bias", "hold", proposal.value, reason, **numbers)
    room = proposal.value / 2 if level == "reduce" else proposal.value
    return _limited("trader_bias", proposal, state, room, reason, "hold", **numbers)


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
    """Approve a value that fits into `room` and reduce a larger one; `otherwise` if not even the minimum trade fits."""
    wanted, room = proposal.value, max(room, ZERO).quantize(CENT, rounding=ROUND_DOWN)
    if wanted <= room or wanted < CENT:
        return _advice(rule, "approve", wanted, reason, **numbers)
    if room < state.limit("minimum_trade") or room == 0:
        return _advice(rule, otherwise, wanted, f"{reason}; no room for a trade", room=room, **numbers)
    reason = f"{reason}; reduced from {short(wanted)} to {short(room)}"
    return _advice(rule, "reduce", room, reason, wanted=wanted, room=room, **numbers)


def _advice(rule: str, verdict: Verdict, most: Decimal, reason: str, **numbers: Decimal | str) -> Advice:
    return Advice(checked(rule, verdict in ("approve", "reduce"), reason, verdict=verdict, **numbers), most)


NOT_A_BUY: Final = "not a buy order"


def _not_concerned(rule: str, proposal: Proposal, target: Target | None) -> Advice:
    reason = "no such target is set" if target is None else NOT_A_BUY
    return _advice(rule, "approve", proposal.value, reason)


def _buys(proposal: Proposal) -> bool:
    return proposal.side is Side.BUY and proposal.size is not None


def _gained_since(rows: Rows, start: datetime, worth: PortfolioValuation) -> Decimal:
    """The realised gain since `start`; lots of unknown cost are left out."""
    assets = [one.product_id.removesuffix(f"-{worth.base_currency}") for one in worth.positions]
    return sum((match.realized_pnl for asset in assets for match in rows.since(Match, asset, start)), ZERO)


def _begin(period: str | None, now: datetime) -> datetime:
    """The start of the period that holds `now`: 00:00 UTC of the day, of its Monday, or of the first of its month."""
    today = now.replace(hour=0, minute=0, second=0, microsecond=0)
    if period == "day":
        return today
    return today - timedelta(days=today.weekday()) if period == "week" else today.replace(day=1)


# --- biases -----------------------------------------------------------------------------------------------------------

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
