"""Rules for what bots say: one small function each. People who order by hand are not held to them."""

from datetime import timedelta
from decimal import Decimal

from execution.review.proposal import Proposal, checked, price_now, seconds, signal_of, text_of
from execution.review.sizing import temperature
from execution.review.state import DecisionState
from ledger.events import SignalEmitted
from ledger.events.fields import RuleChecked
from ledger.projections.bots import mode_of
from ledger.projections.signals import action_of
from ledger.values import Side


def newest_signal(proposal: Proposal, state: DecisionState) -> RuleChecked:
    """The bot has not spoken again since."""
    signal = signal_of(proposal)
    opinion = state.opinion(signal.bot_id, signal.instrument)
    newest = opinion.asof if opinion else signal.asof
    passed = newest == signal.asof
    reason = "it is the bot's newest signal" if passed else "the bot has spoken again since"
    return checked("newest_signal", passed, reason, asof=signal.asof, newest=newest)


def fresh_signal(proposal: Proposal, state: DecisionState) -> RuleChecked:
    """The signal is younger than its own horizon and the policy's maximum, or the one for people; else it expires."""
    signal = signal_of(proposal)
    longest = state.window("approval_minutes" if signal.status == "asked" else "signal_maximum_age_minutes")
    if signal.horizon_s is not None:
        longest = min(longest, timedelta(seconds=signal.horizon_s))
    age = state.now - signal.asof
    passed = age <= longest
    reason = f"the signal is {seconds(age)} s old, {'within' if passed else 'beyond'} {seconds(longest)} s"
    return checked("fresh_signal", passed, reason, age_s=seconds(age), longest_s=seconds(longest))


def enough_confidence(proposal: Proposal, state: DecisionState) -> RuleChecked:
    """The bot is confident enough."""
    signal, least = signal_of(proposal), state.limit("minimum_confidence")
    passed = signal.confidence >= least
    reason = f"confidence {text_of(signal.confidence)} is {'at least' if passed else 'below'} {text_of(least)}"
    return checked("enough_confidence", passed, reason, confidence=signal.confidence, minimum=least)


def warm_enough(proposal: Proposal, state: DecisionState) -> RuleChecked:
    """The temperature gate: the score is at least WARM."""
    signal, least = signal_of(proposal), state.limit("warm_score")
    warmth = temperature(signal.score, state)
    passed = abs(signal.score) >= least
    reason = f"{warmth}: |score| {text_of(abs(signal.score))} is {'at least' if passed else 'below'} WARM at {text_of(least)}"
    return checked("warm_enough", passed, reason, temperature=warmth, score=signal.score, minimum=least)


def says_act(proposal: Proposal, state: DecisionState) -> RuleChecked:
    """The score says buy or sell, not hold."""
    signal, threshold = signal_of(proposal), state.limit("action_score")
    action = action_of(signal.score, threshold)
    reason = (
        f"score {text_of(signal.score)} says {action} (buy from {text_of(threshold)}, sell from -{text_of(threshold)})"
    )
    return checked("says_act", action != "hold", reason, score=signal.score, threshold=threshold, action=action)


def confirmed(proposal: Proposal, state: DecisionState) -> RuleChecked:
    """Said for the whole window, by event time; a bar slower than the window must have been followed by a second one."""
    signal, window = signal_of(proposal), state.window("confirmation_minutes")
    opinion = state.opinion(signal.bot_id, signal.instrument)
    bars = opinion.bars if opinion else 0
    elapsed = signal.asof - opinion.since if opinion and bars else timedelta(0)
    passed = not window or (elapsed >= window and bars >= 2)
    reason = f"said for {seconds(elapsed)} s over {bars} bars, {seconds(window)} s and 2 bars wanted"
    return checked("confirmed", passed, reason, elapsed_s=seconds(elapsed), window_s=seconds(window), bars=bars)


def cooled_down(proposal: Proposal, state: DecisionState) -> RuleChecked:
    """The bot's last trade is long enough ago."""
    signal, window = signal_of(proposal), state.window("cooldown_minutes")
    opinion = state.opinion(signal.bot_id, signal.instrument)
    last = opinion.traded_at if opinion else None
    if last is None:
        return checked("cooled_down", True, "the bot has not traded yet", window_s=seconds(window))
    passed = not window or signal.asof - last >= window
    reason = f"{seconds(signal.asof - last)} s since the bot's last trade, {seconds(window)} s wanted"
    return checked("cooled_down", passed, reason, since_s=seconds(signal.asof - last), window_s=seconds(window))


def no_open_order(proposal: Proposal, state: DecisionState) -> RuleChecked:
    """No bot's order is still open: orders of people, which may rest for a day, stand in no bot's way."""
    orders = state.open_orders(str(proposal.instrument))
    open_orders = sum(1 for order in orders if order.triggered_by.startswith("bot:"))
    reason = f"{open_orders} open orders of bots in {proposal.instrument}"
    return checked("no_open_order", open_orders == 0, reason, open_orders=open_orders)


def between_exits(proposal: Proposal, state: DecisionState) -> RuleChecked:
    """What is bought is above the signal's own stop loss and below its take profit by now: else it is sold at once."""
    signal = signal_of(proposal)
    recorded = state.rows.recorded(signal.signal_id) if proposal.side is Side.BUY else None
    said = recorded.event if recorded is not None else None
    stop, target = (said.stop_loss, said.take_profit) if isinstance(said, SignalEmitted) else (None, None)
    price, where = price_now(signal, state), None
    if stop is not None and price <= stop:
        where = f"not above the signal's own stop loss of {text_of(stop)}"
    elif target is not None and price >= target:
        where = f"not below the signal's own take profit of {text_of(target)}"
    reason = f"no level of the signal would sell at once what is bought at {text_of(price)}"
    if where is not None:
        reason = f"price {text_of(price)} is {where}: what is bought would be sold at once"
    return checked("between_exits", where is None, reason, price=price, stop_loss=stop, take_profit=target)


def minimum_trade(proposal: Proposal, state: DecisionState) -> RuleChecked:
    """No trade is smaller than the smallest."""
    least, value = state.limit("minimum_trade"), proposal.size.value if proposal.size else Decimal(0)
    passed = value >= least
    reason = f"value {text_of(value)} is {'at least' if passed else 'below'} the smallest trade of {text_of(least)}"
    return checked("minimum_trade", passed, reason, value=value, minimum=least)


def person_agrees(proposal: Proposal, state: DecisionState) -> RuleChecked:
    """The bot is not off, and where its mode is to ask, a person has said yes."""
    mode, agreed = mode_of(state.rows, signal_of(proposal).bot_id), proposal.agreed
    reason = {
        "automatic": "the bot's signals are traded without asking",
        "ask": f"{agreed} said yes" if agreed else "a person is to say yes first",
        "off": "the bot is off: its signals are not traded",
    }[mode]
    passed = mode == "automatic" or (mode == "ask" and agreed is not None)
    return checked("person_agrees", passed, reason, mode=mode, agreed=agreed)
