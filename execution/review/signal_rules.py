"""Rules for the signals of bots; orders entered by hand skip them. One function each; values in base currency.

A day begins at 00:00 UTC. A sale only reduces risk: it passes the rules that limit losses.
"""

from datetime import timedelta
from decimal import Decimal

from execution.review.state import (
    DecisionState,
    Exposure,
    Opinion,
    Proposal,
    checked,
    seconds,
    short,
    temperature,
    text_of,
)
from ledger.events.fields import RuleChecked
from ledger.projections.bots import mode_of
from ledger.projections.signals import action_of
from ledger.values import ZERO, Side, round18

CENT = Decimal("0.01")


def fresh_signal(proposal: Proposal, state: DecisionState) -> RuleChecked:
    """Limit the signal's age to its own horizon and the policy's maximum, which is longer while it awaits approval."""
    opinion = proposal.of_bot
    longest = state.window("approval_minutes" if opinion.awaits_approval else "signal_maximum_age_minutes")
    if opinion.horizon is not None:
        longest = min(longest, opinion.horizon)
    age = state.now - opinion.asof
    reason = f"signal is {seconds(age)} s old (allowed: {seconds(longest)} s)"
    return checked("fresh_signal", age <= longest, reason, age_s=seconds(age), longest_s=seconds(longest))


def newest_signal(proposal: Proposal, state: DecisionState) -> RuleChecked:
    """Require the bot's newest signal."""
    opinion = proposal.of_bot
    last = state.opinion(opinion.bot_id, opinion.instrument)
    newest = last.asof if last else opinion.asof
    passed = newest == opinion.asof
    reason = "this is the bot's newest signal" if passed else "the bot has emitted a newer signal"
    return checked("newest_signal", passed, reason, asof=opinion.asof, newest=newest)


def enough_confidence(proposal: Proposal, state: DecisionState) -> RuleChecked:
    """Require a minimum confidence."""
    confidence, least = proposal.of_bot.confidence, state.limit("minimum_confidence")
    passed = confidence >= least
    reason = f"confidence {text_of(confidence)} is {'at least' if passed else 'below'} the minimum ({text_of(least)})"
    return checked("enough_confidence", passed, reason, confidence=confidence, minimum=least)


def warm_enough(proposal: Proposal, state: DecisionState) -> RuleChecked:
    """Require a temperature of at least WARM."""
    score, least = proposal.of_bot.score, state.limit("warm_score")
    warmth = temperature(score, state)
    passed = abs(score) >= least
    reason = f"{warmth}: |score| {text_of(abs(score))} is {'at least' if passed else 'below'} WARM ({text_of(least)})"
    return checked("warm_enough", passed, reason, temperature=warmth, score=score, minimum=least)


def says_act(proposal: Proposal, state: DecisionState) -> RuleChecked:
    """Require a score that means buy or sell, not hold."""
    score, threshold = proposal.of_bot.score, state.limit("action_score")
    action = action_of(score, threshold)
    reason = f"score {text_of(score)} means {action} (buy from {text_of(threshold)}, sell from -{text_of(threshold)})"
    return checked("says_act", action != "hold", reason, score=score, threshold=threshold, action=action)


def confirmed(proposal: Proposal, state: DecisionState) -> RuleChecked:
    """Require the same opinion for the whole confirmation window, by event time, and over at least two bars."""
    opinion, window = proposal.of_bot, state.window("confirmation_minutes")
    held = state.opinion(opinion.bot_id, opinion.instrument)
    bars = held.bars if held else 0
    elapsed = opinion.asof - held.since if held and bars else timedelta(0)
    passed = not window or (elapsed >= window and bars >= 2)
    reason = f"signal held for {seconds(elapsed)} s over {bars} bars; needs {seconds(window)} s and 2 bars"
    return checked("confirmed", passed, reason, elapsed_s=seconds(elapsed), window_s=seconds(window), bars=bars)


def cooled_down(proposal: Proposal, state: DecisionState) -> RuleChecked:
    """Require the cooldown to have passed since the bot's last trade."""
    opinion, window = proposal.of_bot, state.window("cooldown_minutes")
    held = state.opinion(opinion.bot_id, opinion.instrument)
    last = held.traded_at if held else None
    if last is None:
        return checked("cooled_down", True, "the bot has not traded yet", window_s=seconds(window))
    since = opinion.asof - last
    reason = f"{seconds(since)} s since the bot's last trade; needs {seconds(window)} s"
    passed = not window or since >= window
    return checked("cooled_down", passed, reason, since_s=seconds(since), window_s=seconds(window))


def no_open_order(proposal: Proposal, state: DecisionState) -> RuleChecked:
    """Allow one open order of bots per instrument; orders entered by hand, which may rest for a day, do not count."""
    orders = state.open_orders(str(proposal.instrument))
    open_orders = sum(1 for order in orders if order.triggered_by.startswith("bot:"))
    reason = f"{open_orders} open bot orders in {proposal.instrument} (allowed: 0)"
    return checked("no_open_order", open_orders == 0, reason, open_orders=open_orders)


def between_exits(proposal: Proposal, state: DecisionState) -> RuleChecked:
    """Require a buy's price to be above the signal's stop loss and below its take profit: else it is sold at once."""
    opinion = proposal.of_bot
    stop, target = (opinion.stop_loss, opinion.take_profit) if proposal.side is Side.BUY else (None, None)
    price = price_now(opinion, state)
    reason, passed = f"price {text_of(price)} reaches neither exit level of the signal", True
    if price is not None and stop is not None and price <= stop:
        reason, passed = f"price {text_of(price)} is not above the signal's stop loss ({text_of(stop)})", False
    elif price is not None and target is not None and price >= target:
        reason, passed = f"price {text_of(price)} is not below the signal's take profit ({text_of(target)})", False
    return checked("between_exits", passed, reason, price=price, stop_loss=stop, take_profit=target)


def price_now(opinion: Opinion, state: DecisionState) -> Decimal | None:
    """The newest price of the opinion's instrument: its last mark, or the opinion's own price where that is newer."""
    mark = state.mark(opinion.instrument)
    return mark.price if mark is not None and mark.observed_at > opinion.asof else opinion.price


def minimum_trade(proposal: Proposal, state: DecisionState) -> RuleChecked:
    """Require at least the minimum trade value."""
    least, value = state.limit("minimum_trade"), proposal.value
    passed = value >= least
    reason = f"value {text_of(value)} is {'at least' if passed else 'below'} the minimum trade ({text_of(least)})"
    return checked("minimum_trade", passed, reason, value=value, minimum=least)


def maximum_trade(proposal: Proposal, state: DecisionState) -> RuleChecked:
    """Allow at most the maximum trade value."""
    most, value = state.limit("maximum_trade"), proposal.value
    passed = value.quantize(CENT) <= most
    reason = f"value {text_of(value)} is {'at most' if passed else 'above'} the maximum trade ({text_of(most)})"
    return checked("maximum_trade", passed, reason, value=value, maximum=most)


def daily_loss(proposal: Proposal, state: DecisionState) -> RuleChecked:
    """Allow no buy on a day that has lost the limit, open positions at marks included."""
    most, gain = state.limit("daily_loss"), state.exposure.gain_today
    passed = proposal.side is Side.SELL or -gain < most
    reason = f"{short(max(-gain, ZERO))} lost today (limit: {text_of(most)}){'' if passed else NO_MORE_TODAY}"
    return checked("daily_loss", passed, reason, gain=gain, maximum=most)


NO_MORE_TODAY = "; no further buys until 00:00 UTC"


def drawdown(proposal: Proposal, state: DecisionState) -> RuleChecked:
    """Allow no buy while the drawdown from the 7-day high has reached the limit, in percent of the value at the high."""
    most, fallen = state.limit("maximum_drawdown_pct"), _fallen(state.exposure)
    peak = state.exposure.total + fallen
    share = round18(fallen * 100 / peak) if peak > 0 else ZERO
    passed = proposal.side is Side.SELL or share < most
    reason = f"drawdown of {short(fallen)} ({short(share)} %) from the 7-day high (limit: {text_of(most)} %)"
    return checked("drawdown", passed, reason, fallen=fallen, share_pct=share, maximum_pct=most)


def loss_streak(proposal: Proposal, state: DecisionState) -> RuleChecked:
    """Allow no buy on a day whose latest closed trades lost too many times in a row."""
    most, lost = state.limit("losses_in_a_row"), state.exposure.streak_today(won=False)
    passed = proposal.side is Side.SELL or len(lost) < most
    suffix = "" if passed else NO_MORE_TODAY
    reason = f"{len(lost)} losing trades in a row today (limit: {text_of(most)}){suffix}"
    named = ",".join(str(one.event_id) for one in lost[:10])
    return checked("loss_streak", passed, reason, losses=len(lost), maximum=most, evidence=named)


def trades_today(proposal: Proposal, state: DecisionState) -> RuleChecked:
    """Limit the portfolio's trades per day; each fill counts."""
    most = state.limit("trades_per_day")
    made = len({leg.event_id for leg in state.exposure.traded_today})
    reason = f"{made + 1} trades today with this one (allowed: {text_of(most)})"
    return checked("trades_today", made + 1 <= most, reason, trades=made, maximum=most)


def bot_trades_today(proposal: Proposal, state: DecisionState) -> RuleChecked:
    """Limit the bot's trades per day; each fill counts."""
    most, source = state.limit("bot_trades_per_day"), f"bot:{proposal.of_bot.bot_id}"
    made = len({leg.event_id for leg in state.exposure.traded_today if leg.triggered_by == source})
    reason = f"{made + 1} trades of this bot today with this one (allowed: {text_of(most)})"
    return checked("bot_trades_today", made + 1 <= most, reason, trades=made, maximum=most)


def person_agrees(proposal: Proposal, state: DecisionState) -> RuleChecked:
    """Require that the bot is not off, and a person's approval where its mode is to ask."""
    mode, agreed = mode_of(state.rows, proposal.of_bot.bot_id), proposal.agreed
    reason = {
        "automatic": "the bot's signals trade automatically",
        "ask": f"approved by {agreed}" if agreed else "waiting for approval",
        "off": "the bot is off: its signals are not traded",
    }[mode]
    passed = mode == "automatic" or (mode == "ask" and agreed is not None)
    return checked("person_agrees", passed, reason, mode=mode, agreed=agreed)


def _fallen(exposure: Exposure) -> Decimal:
    """The fall of cumulative gains below their highest in seven days: closed trades in order, then open positions."""
    gained = highest = ZERO
    for closing in exposure.closings:
        gained += closing.gain
        highest = max(highest, gained)
    gained += sum((one.unrealized_pnl or ZERO for one in exposure.valuation.positions), ZERO)
    return max(highest - gained, ZERO)
