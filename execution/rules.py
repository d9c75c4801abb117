"""Approval rules: one small function each. A rule answers with the numbers it looked at, whether it passes or not."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final

from execution.desk import Desk
from execution.exchange import InstrumentRules
from execution.sizing import Size, temperature
from ledger.event_parts import RuleChecked
from ledger.projections.differences import differences_of
from ledger.projections.opinions import action_of
from ledger.projections.portfolio import AccountView
from ledger.projections.signals import SignalView
from ledger.values import Instrument, Side, decimal_text, round18, time_text


@dataclass(frozen=True, slots=True)
class Proposal:
    """What is about to be ordered, as far as it is known. `side` is None when the signal says hold."""

    instrument: Instrument
    side: Side | None
    price: Decimal | None
    size: Size | None
    account: AccountView | None
    venue_rules: InstrumentRules | None
    signal: SignalView | None = None
    limit_price: Decimal | None = None


Rule = Callable[[Proposal, Desk], RuleChecked]


def checked(rule: str, passed: bool, reason: str, **numbers: Decimal | datetime | str | int | None) -> RuleChecked:
    """A rule's answer; numbers become text."""
    return RuleChecked(rule=rule, passed=passed, reason=reason, numbers={name: _text(n) for name, n in numbers.items()})


# --- rules for every order --------------------------------------------------------------------------------------------


def trading_open(proposal: Proposal, desk: Desk) -> RuleChecked:
    reason = desk.halted
    return checked("trading_open", reason is None, f"trading is halted: {reason}" if reason else "trading is open")


def account_known(proposal: Proposal, desk: Desk) -> RuleChecked:
    account = proposal.account
    if account is None:
        return checked("account_known", False, "there is no such account: open one first")
    differences = differences_of(desk.rows, account.account)
    if differences:
        reason = f"account {account.account} is halted: its venue and the ledger differ about {differences[0].subject}"
        return checked("account_known", False, reason, account=account.account, differences=len(differences))
    return checked("account_known", True, f"account {account.account}", account=account.account, mode=account.mode)


def product_known(proposal: Proposal, desk: Desk) -> RuleChecked:
    quoted_right = proposal.instrument.quote == desk.base_currency
    known = proposal.venue_rules is not None and quoted_right
    reason = f"{proposal.instrument} is traded at the venue" if known else f"{proposal.instrument} is not traded here"
    if not quoted_right:
        reason += f": this portfolio trades pairs quoted in {desk.base_currency}"
    return checked("product_known", known, reason, product_id=str(proposal.instrument))


def price_known(proposal: Proposal, desk: Desk) -> RuleChecked:
    known = proposal.price is not None
    reason = "a price is known" if known else f"no price of {proposal.instrument} has been seen yet"
    return checked("price_known", known, reason, price=proposal.price)


def in_steps(proposal: Proposal, desk: Desk) -> RuleChecked:
    """Size and limit price are whole numbers of the venue's steps, where they are given."""
    size, rules, limit = proposal.size, proposal.venue_rules, proposal.limit_price
    if rules is None:
        return checked("in_steps", False, "the venue's steps are not known")
    if size is not None and size.base_size is not None and size.base_size % rules.lot:
        reason = f"size {_text(size.base_size)} is no multiple of the venue's lot of {_text(rules.lot)}"
        return checked("in_steps", False, reason, base_size=size.base_size, lot=rules.lot)
    if limit is not None and limit % rules.tick:
        reason = f"limit price {_text(limit)} is no multiple of the venue's tick of {_text(rules.tick)}"
        return checked("in_steps", False, reason, limit_price=limit, tick=rules.tick)
    return checked("in_steps", True, "size and price are in the venue's steps", lot=rules.lot, tick=rules.tick)


def venue_minimum(proposal: Proposal, desk: Desk) -> RuleChecked:
    size, rules = proposal.size, proposal.venue_rules
    if size is None or rules is None:
        return checked("venue_minimum", False, "the size cannot be worked out")
    if size.base_size is not None and size.base_size < rules.minimum_size:
        reason = f"size {_text(size.base_size)} is below the venue's minimum of {_text(rules.minimum_size)}"
        return checked("venue_minimum", False, reason, base_size=size.base_size, minimum=rules.minimum_size)
    passed = size.value >= rules.minimum_value
    reason = f"value {_text(size.value)} is {'at least' if passed else 'below'} the venue's minimum of {_text(rules.minimum_value)}"
    return checked("venue_minimum", passed, reason, value=size.value, minimum=rules.minimum_value)


def enough_available(proposal: Proposal, desk: Desk) -> RuleChecked:
    size, rules, account = proposal.size, proposal.venue_rules, proposal.account
    if size is None or rules is None or account is None or proposal.side is None:
        return checked("enough_available", False, "the size cannot be worked out")
    buy = proposal.side is Side.BUY
    asset = proposal.instrument.quote if buy else proposal.instrument.base
    needed = round18(size.value * (1 + rules.taker_fee) if buy else _to_sell(size, proposal.price))
    available = desk.available(account.account, asset, rules.taker_fee)
    passed = needed <= available and needed > 0
    words = "with fees" if buy else "to sell"
    reason = f"{_text(needed)} {asset} needed {words}, {_text(available)} available in {account.account}"
    return checked("enough_available", passed, reason, needed=needed, available=available)


def no_unknown_order(proposal: Proposal, desk: Desk) -> RuleChecked:
    """From the attempt until an answer is stored the outcome is unknown; so it is after an answer that proves nothing."""
    orders = desk.open_orders(str(proposal.instrument))
    unknown = sum(1 for one in orders if one.status in ("submitted", "unknown"))
    reason = f"{unknown} orders of unknown outcome in {proposal.instrument}"
    return checked("no_unknown_order", unknown == 0, reason, unknown=unknown)


# --- rules for signals ------------------------------------------------------------------------------------------------


def newest_signal(proposal: Proposal, desk: Desk) -> RuleChecked:
    signal = _signal(proposal)
    opinion = desk.opinion(signal.bot_id, signal.instrument)
    newest = opinion.asof if opinion else signal.asof
    passed = newest == signal.asof
    reason = "it is the bot's newest signal" if passed else "the bot has spoken again since"
    return checked("newest_signal", passed, reason, asof=signal.asof, newest=newest)


def fresh_signal(proposal: Proposal, desk: Desk) -> RuleChecked:
    signal = _signal(proposal)
    longest = desk.window("signal_maximum_age_minutes")
    if signal.horizon_s is not None:
        longest = min(longest, timedelta(seconds=signal.horizon_s))
    age = desk.now - signal.asof
    passed = age <= longest
    reason = f"the signal is {_seconds(age)} s old, {'within' if passed else 'beyond'} {_seconds(longest)} s"
    return checked("fresh_signal", passed, reason, age_s=_seconds(age), longest_s=_seconds(longest))


def enough_confidence(proposal: Proposal, desk: Desk) -> RuleChecked:
    signal, least = _signal(proposal), desk.limit("minimum_confidence")
    passed = signal.confidence >= least
    reason = f"confidence {_text(signal.confidence)} is {'at least' if passed else 'below'} {_text(least)}"
    return checked("enough_confidence", passed, reason, confidence=signal.confidence, minimum=least)


def warm_enough(proposal: Proposal, desk: Desk) -> RuleChecked:
    signal, least = _signal(proposal), desk.limit("warm_score")
    warmth = temperature(signal.score, desk)
    passed = abs(signal.score) >= least
    reason = (
        f"{warmth}: |score| {_text(abs(signal.score))} is {'at least' if passed else 'below'} WARM at {_text(least)}"
    )
    return checked("warm_enough", passed, reason, temperature=warmth, score=signal.score, minimum=least)


def says_act(proposal: Proposal, desk: Desk) -> RuleChecked:
    signal, threshold = _signal(proposal), desk.limit("action_score")
    action = action_of(signal.score, threshold)
    reason = f"score {_text(signal.score)} says {action} (buy from {_text(threshold)}, sell from -{_text(threshold)})"
    return checked("says_act", action != "hold", reason, score=signal.score, threshold=threshold, action=action)


def confirmed(proposal: Proposal, desk: Desk) -> RuleChecked:
    """Said for the whole window, by event time; a bar slower than the window must have been followed by a second one."""
    signal, window = _signal(proposal), desk.window("confirmation_minutes")
    opinion = desk.opinion(signal.bot_id, signal.instrument)
    bars = opinion.bars if opinion else 0
    elapsed = signal.asof - opinion.since if opinion and bars else timedelta(0)
    passed = not window or (elapsed >= window and bars >= 2)
    reason = f"said for {_seconds(elapsed)} s over {bars} bars, {_seconds(window)} s and 2 bars wanted"
    return checked("confirmed", passed, reason, elapsed_s=_seconds(elapsed), window_s=_seconds(window), bars=bars)


def cooled_down(proposal: Proposal, desk: Desk) -> RuleChecked:
    signal, window = _signal(proposal), desk.window("cooldown_minutes")
    opinion = desk.opinion(signal.bot_id, signal.instrument)
    last = opinion.traded_at if opinion else None
    if last is None:
        return checked("cooled_down", True, "the bot has not traded yet", window_s=_seconds(window))
    passed = not window or signal.asof - last >= window
    reason = f"{_seconds(signal.asof - last)} s since the bot's last trade, {_seconds(window)} s wanted"
    return checked("cooled_down", passed, reason, since_s=_seconds(signal.asof - last), window_s=_seconds(window))


def no_open_order(proposal: Proposal, desk: Desk) -> RuleChecked:
    """No bot's order is still open: orders of people, which may rest for a day, stand in no bot's way."""
    orders = desk.open_orders(str(proposal.instrument))
    open_orders = sum(1 for order in orders if order.triggered_by.startswith("bot:"))
    reason = f"{open_orders} open orders of bots in {proposal.instrument}"
    return checked("no_open_order", open_orders == 0, reason, open_orders=open_orders)


def minimum_trade(proposal: Proposal, desk: Desk) -> RuleChecked:
    least, value = desk.limit("minimum_trade"), proposal.size.value if proposal.size else Decimal(0)
    passed = value >= least
    reason = f"value {_text(value)} is {'at least' if passed else 'below'} the smallest trade of {_text(least)}"
    return checked("minimum_trade", passed, reason, value=value, minimum=least)


FOR_EVERY_ORDER: Final[tuple[Rule, ...]] = (
    trading_open,
    account_known,
    product_known,
    price_known,
    no_unknown_order,
    in_steps,
    venue_minimum,
    enough_available,
)
FOR_SIGNALS: Final[tuple[Rule, ...]] = (
    newest_signal,
    enough_confidence,
    warm_enough,
    says_act,
    confirmed,
    cooled_down,
    no_open_order,
    minimum_trade,
)

NOT_YET: Final = frozenset(
    rule.__name__
    for rule in (
        trading_open,
        price_known,
        no_unknown_order,
        enough_confidence,
        confirmed,
        cooled_down,
        no_open_order,
    )
)
"""The rules whose no says nothing against the opinion itself: said again, it may pass."""


def _signal(proposal: Proposal) -> SignalView:
    assert proposal.signal is not None, "a rule for signals was asked about an order without one"
    return proposal.signal


def _to_sell(size: Size, price: Decimal | None) -> Decimal:
    """The base quantity of a sale; one sized in quote is worked out at the price."""
    return size.base_size if size.base_size is not None else size.value / (price or Decimal(1))


def _seconds(duration: timedelta) -> str:
    """All of it, as text: a window of 90.5 s is not shown as 90."""
    return decimal_text(Decimal(duration // timedelta(microseconds=1)).scaleb(-6))


def _text(value: Decimal | datetime | str | int | None) -> str:
    if isinstance(value, Decimal):
        return decimal_text(value)
    if isinstance(value, datetime):
        return time_text(value)
    return "none" if value is None else str(value)
