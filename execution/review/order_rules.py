"""Rules for every order, whoever asks for it: one small function each."""

from decimal import Decimal

from execution.exchanges.exchange import why_not_taken
from execution.review.proposal import Proposal, checked, text_of
from execution.review.sizing import Size
from execution.review.state import DecisionState
from ledger.events.fields import RuleChecked
from ledger.projections.portfolio import differences_of
from ledger.values import Side, round18


def trading_open(proposal: Proposal, state: DecisionState) -> RuleChecked:
    """Nobody has pulled the kill switch, and the views are up to date."""
    reason = state.halted
    return checked("trading_open", reason is None, f"trading is halted: {reason}" if reason else "trading is open")


def account_known(proposal: Proposal, state: DecisionState) -> RuleChecked:
    """There is an account to trade in."""
    account = proposal.account
    if account is None:
        return checked("account_known", False, "there is no such account: open one first")
    differences = differences_of(state.rows, account.account)
    if differences:
        reason = f"account {account.account} is halted: its venue and the ledger differ about {differences[0].subject}"
        return checked("account_known", False, reason, account=account.account, differences=len(differences))
    return checked("account_known", True, f"account {account.account}", account=account.account, mode=account.mode)


def product_known(proposal: Proposal, state: DecisionState) -> RuleChecked:
    """The venue trades the product, and it is quoted in the base currency."""
    quoted_right = proposal.instrument.quote == state.base_currency
    known = proposal.venue_rules is not None and quoted_right
    reason = f"{proposal.instrument} is traded at the venue" if known else f"{proposal.instrument} is not traded here"
    if not quoted_right:
        reason += f": this portfolio trades pairs quoted in {state.base_currency}"
    return checked("product_known", known, reason, product_id=str(proposal.instrument))


def terms_taken(proposal: Proposal, state: DecisionState) -> RuleChecked:
    """The venue takes orders of this kind, sized like this and with this time in force."""
    rules, terms, side = proposal.venue_rules, proposal.terms, proposal.side
    why = None
    if rules is not None and terms is not None and side is not None:
        why = why_not_taken(side, terms, rules.taken)
    kind = terms.kind if terms is not None else "market"
    return checked("terms_taken", why is None, why or "the venue takes such orders", kind=kind)


def price_known(proposal: Proposal, state: DecisionState) -> RuleChecked:
    """A price of the product has been seen."""
    known = proposal.price is not None
    reason = "a price is known" if known else f"no price of {proposal.instrument} has been seen yet"
    return checked("price_known", known, reason, price=proposal.price)


def in_steps(proposal: Proposal, state: DecisionState) -> RuleChecked:
    """Size, limit price and stop price are whole numbers of the venue's steps, where they are given."""
    size, rules = proposal.size, proposal.venue_rules
    if rules is None:
        return checked("in_steps", False, "the venue's steps are not known")
    if size is not None and size.base_size is not None and size.base_size % rules.lot:
        reason = f"size {text_of(size.base_size)} is no multiple of the venue's lot of {text_of(rules.lot)}"
        return checked("in_steps", False, reason, base_size=size.base_size, lot=rules.lot)
    for name, price in (("limit_price", proposal.limit_price), ("stop_price", proposal.stop_price)):
        if price is not None and price % rules.tick:
            told = f"{name.replace('_', ' ')} {text_of(price)}"
            reason = f"{told} is no multiple of the venue's tick of {text_of(rules.tick)}"
            return checked("in_steps", False, reason, tick=rules.tick, **{name: price})
    return checked("in_steps", True, "size and price are in the venue's steps", lot=rules.lot, tick=rules.tick)


def venue_minimum(proposal: Proposal, state: DecisionState) -> RuleChecked:
    """The order is as large as the venue's smallest."""
    size, rules = proposal.size, proposal.venue_rules
    if size is None or rules is None:
        return checked("venue_minimum", False, "the size cannot be worked out")
    if size.base_size is not None and size.base_size < rules.minimum_size:
        reason = f"size {text_of(size.base_size)} is below the venue's minimum of {text_of(rules.minimum_size)}"
        return checked("venue_minimum", False, reason, base_size=size.base_size, minimum=rules.minimum_size)
    passed = size.value >= rules.minimum_value
    words = "at least" if passed else "below"
    reason = f"value {text_of(size.value)} is {words} the venue's minimum of {text_of(rules.minimum_value)}"
    return checked("venue_minimum", passed, reason, value=size.value, minimum=rules.minimum_value)


def enough_available(proposal: Proposal, state: DecisionState) -> RuleChecked:
    """The account can pay the order with its fee, or has what is to be sold, less what open orders may take."""
    size, rules, account = proposal.size, proposal.venue_rules, proposal.account
    if size is None or rules is None or account is None or proposal.side is None:
        return checked("enough_available", False, "the size cannot be worked out")
    buy = proposal.side is Side.BUY
    asset = proposal.instrument.quote if buy else proposal.instrument.base
    needed = round18(size.value * (1 + rules.taker_fee) if buy else _to_sell(size, proposal.price))
    available = state.available(account.account, asset, rules.taker_fee)
    passed = needed <= available and needed > 0
    words = "with fees" if buy else "to sell"
    reason = f"{text_of(needed)} {asset} needed {words}, {text_of(available)} available in {account.account}"
    return checked("enough_available", passed, reason, needed=needed, available=available)


def no_unknown_order(proposal: Proposal, state: DecisionState) -> RuleChecked:
    """From the attempt until an answer is stored the outcome is unknown; so it is after an answer that proves nothing."""
    orders = state.open_orders(str(proposal.instrument))
    unknown = sum(1 for one in orders if one.status in ("submitted", "unknown"))
    reason = f"{unknown} orders of unknown outcome in {proposal.instrument}"
    return checked("no_unknown_order", unknown == 0, reason, unknown=unknown)


def _to_sell(size: Size, price: Decimal | None) -> Decimal:
    """The base quantity of a sale; one sized in quote is worked out at the price."""
    return size.base_size if size.base_size is not None else size.value / (price or Decimal(1))
