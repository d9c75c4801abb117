"""Rules for every order, from bots and by hand. One function each; values in base currency.

A sale only reduces risk: it passes the rules that limit exposure.
"""

from decimal import Decimal

from execution.exchanges.exchange import unsupported_terms
from execution.review.state import DecisionState, Proposal, Size, checked, short, text_of
from ledger.events.fields import RuleChecked
from ledger.projections.portfolio import differences_of
from ledger.values import ZERO, Side, round18


def trading_open(proposal: Proposal, state: DecisionState) -> RuleChecked:
    """Require that trading is not halted and that the views are up to date."""
    reason = state.halted
    return checked("trading_open", reason is None, f"trading is halted: {reason}" if reason else "trading is open")


def account_known(proposal: Proposal, state: DecisionState) -> RuleChecked:
    """Require an account without unresolved differences between ledger and venue."""
    account = proposal.account
    if account is None:
        return checked("account_known", False, "no such account: open one first")
    differences = differences_of(state.rows, account.account)
    if differences:
        reason = f"account {account.account} is halted: ledger and venue differ in {differences[0].subject}"
        return checked("account_known", False, reason, account=account.account, differences=len(differences))
    return checked("account_known", True, f"account {account.account}", account=account.account, mode=account.mode)


def product_known(proposal: Proposal, state: DecisionState) -> RuleChecked:
    """Require a product that the venue trades and that is quoted in the portfolio's base currency."""
    quoted_right = proposal.instrument.quote == state.base_currency
    known = proposal.venue_rules is not None and quoted_right
    reason = f"{proposal.instrument} is {'traded' if known else 'not traded'} at the venue"
    if not quoted_right:
        reason = f"{proposal.instrument} is not quoted in {state.base_currency}, the portfolio's base currency"
    return checked("product_known", known, reason, product_id=str(proposal.instrument))


def terms_taken(proposal: Proposal, state: DecisionState) -> RuleChecked:
    """Require a kind of order, a kind of size and a time in force that the venue accepts."""
    rules, terms, side = proposal.venue_rules, proposal.terms, proposal.side
    why = None
    if rules is not None and terms is not None and side is not None:
        why = unsupported_terms(side, terms, rules.supported)
    kind = terms.kind if terms is not None else "market"
    return checked("terms_taken", why is None, why or "the venue accepts orders with these terms", kind=kind)


def price_known(proposal: Proposal, state: DecisionState) -> RuleChecked:
    """Require a price: a limit price, or a mark of the product."""
    known = proposal.price is not None
    reason = "a price is known" if known else f"no price of {proposal.instrument} is known yet"
    return checked("price_known", known, reason, price=proposal.price)


def no_unknown_order(proposal: Proposal, state: DecisionState) -> RuleChecked:
    """Allow no order while another order of the instrument has an unknown outcome, or no stored reply yet."""
    orders = state.open_orders(str(proposal.instrument))
    unknown = sum(1 for one in orders if one.status in ("submitted", "unknown"))
    reason = f"{unknown} orders of unknown outcome in {proposal.instrument} (allowed: 0)"
    return checked("no_unknown_order", unknown == 0, reason, unknown=unknown)


def in_steps(proposal: Proposal, state: DecisionState) -> RuleChecked:
    """Require size, limit price and stop price, where given, to be multiples of the venue's lot and tick."""
    size, rules = proposal.size, proposal.venue_rules
    if rules is None:
        return checked("in_steps", False, "the venue's lot and tick are not known")
    if size is not None and size.base_size is not None and size.base_size % rules.lot:
        reason = f"size {text_of(size.base_size)} is not a multiple of the venue's lot ({text_of(rules.lot)})"
        return checked("in_steps", False, reason, base_size=size.base_size, lot=rules.lot)
    for name, price in (("limit_price", proposal.limit_price), ("stop_price", proposal.stop_price)):
        if price is not None and price % rules.tick:
            subject = f"{name.replace('_', ' ')} {text_of(price)}"
            reason = f"{subject} is not a multiple of the venue's tick ({text_of(rules.tick)})"
            return checked("in_steps", False, reason, tick=rules.tick, **{name: price})
    return checked("in_steps", True, "size and prices fit the venue's lot and tick", lot=rules.lot, tick=rules.tick)


def venue_minimum(proposal: Proposal, state: DecisionState) -> RuleChecked:
    """Require at least the venue's minimum size and value."""
    size, rules = proposal.size, proposal.venue_rules
    if size is None or rules is None:
        return checked("venue_minimum", False, "the size is not known")
    if size.base_size is not None and size.base_size < rules.minimum_size:
        reason = f"size {text_of(size.base_size)} is below the venue's minimum ({text_of(rules.minimum_size)})"
        return checked("venue_minimum", False, reason, base_size=size.base_size, minimum=rules.minimum_size)
    passed = size.value >= rules.minimum_value
    words = "at least" if passed else "below"
    reason = f"value {text_of(size.value)} is {words} the venue's minimum ({text_of(rules.minimum_value)})"
    return checked("venue_minimum", passed, reason, value=size.value, minimum=rules.minimum_value)


def enough_available(proposal: Proposal, state: DecisionState) -> RuleChecked:
    """Require enough cash for the order and its fee, or enough to sell, after amounts reserved by open orders."""
    size, rules, account = proposal.size, proposal.venue_rules, proposal.account
    if size is None or rules is None or account is None or proposal.side is None:
        return checked("enough_available", False, "the size is not known")
    buy = proposal.side is Side.BUY
    asset = proposal.instrument.quote if buy else proposal.instrument.base
    needed = round18(size.value * (1 + rules.taker_fee) if buy else _to_sell(size, proposal.price))
    available = state.available(account.account, asset, rules.taker_fee)
    passed = needed <= available and needed > 0
    reason = (
        f"needs {text_of(needed)} {asset}{' with fees' if buy else ''};"
        f" {text_of(available)} available in account {account.account}"
    )
    return checked("enough_available", passed, reason, needed=needed, available=available)


def price_band(proposal: Proposal, state: DecisionState) -> RuleChecked:
    """Limit how far a buy may be above, or a sale below, the last mark.

    A signal that awaits approval is priced at the last mark itself: it may not be far from the signal's own price in
    either direction.
    """
    most, mark, price = state.limit("price_band_pct"), state.mark(proposal.instrument), proposal.price
    if proposal.stop_price is not None:
        return checked("price_band", True, "stop orders are not compared with the mark", maximum_pct=most)
    if mark is None or price is None:
        return checked("price_band", True, "no mark to compare the price with", maximum_pct=most)
    opinion = proposal.opinion
    formed_at = opinion.price if opinion is not None and opinion.awaits_approval and opinion.price != price else None
    before, compared = (mark.price, "last mark") if formed_at is None else (formed_at, "signal's price")
    higher = round18((price - before) * 100 / before)
    away = abs(higher) if formed_at is not None else max(-higher if proposal.side is Side.SELL else higher, ZERO)
    subject = f"{'price' if proposal.limit_price is None else 'limit price'} {text_of(price)}"
    reason = f"{subject} is no worse than the {compared} {text_of(before)}"
    if away:
        direction = "above" if higher > 0 else "below"
        reason = (
            f"{subject} is {short(away)} % {direction} the {compared} {text_of(before)} (allowed: {text_of(most)} %)"
        )
    numbers = {"price": price, "mark": mark.price, "before": before, "away_pct": away, "maximum_pct": most}
    return checked("price_band", away <= most, reason, **numbers)


def position_share(proposal: Proposal, state: DecisionState) -> RuleChecked:
    """Limit one position's share of the portfolio, open orders included."""
    at_stake = state.exposure.position_value(proposal.instrument) + state.pending_buys(proposal.instrument)
    words, most = f"of the portfolio in {proposal.instrument}", state.limit("maximum_position_pct")
    return _share("position_share", words, at_stake, most, proposal, state)


def exposure(proposal: Proposal, state: DecisionState) -> RuleChecked:
    """Limit the share of the portfolio that is invested, open orders included."""
    at_stake = state.exposure.invested + state.pending_buys()
    most = state.limit("maximum_exposure_pct")
    return _share("exposure", "of the portfolio invested", at_stake, most, proposal, state)


def open_orders(proposal: Proposal, state: DecisionState) -> RuleChecked:
    """Limit the number of open orders, over all instruments."""
    most, found = state.limit("maximum_open_orders"), sum(1 for _ in state.open_orders())
    reason = f"{found + 1} open orders with this one (allowed: {text_of(most)})"
    return checked("open_orders", found + 1 <= most, reason, open_orders=found, maximum=most)


def _to_sell(size: Size, price: Decimal | None) -> Decimal:
    """The base quantity of a sale; a size in quote currency is converted at the price."""
    return size.base_size if size.base_size is not None else size.value / (price or Decimal(1))


def _share(
    rule: str, words: str, at_stake: Decimal, most: Decimal, proposal: Proposal, state: DecisionState
) -> RuleChecked:
    total, value = state.exposure.total, proposal.value
    if proposal.side is Side.SELL:
        return checked(rule, True, "a sale reduces exposure", maximum_pct=most)
    if total <= 0:
        return checked(rule, False, "the portfolio has no value", total=total, maximum_pct=most)
    share = round18((at_stake + value) * 100 / total)
    reason = f"{short(share)} % {words} with this order (allowed: {text_of(most)} %)"
    numbers = {"at_stake": at_stake, "value": value, "total": total, "share_pct": share, "maximum_pct": most}
    return checked(rule, share <= most, reason, **numbers)
