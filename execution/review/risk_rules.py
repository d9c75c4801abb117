"""Rules of risk: how much may be at stake, how much may be lost, how often may be tried. Values in base currency.

A day begins at 00:00 UTC. What only makes the risk smaller, a sale of what is held, passes those rules that are about
how much is at stake or lost.
"""

from decimal import Decimal

from execution.review.exposure import Standing, pending_buys, streak
from execution.review.proposal import Proposal, checked, signal_of, standing_in, text_of
from execution.review.state import DecisionState
from ledger.events.fields import RuleChecked
from ledger.values import ZERO, Side, round18

CENT = Decimal("0.01")


def position_share(proposal: Proposal, state: DecisionState) -> RuleChecked:
    """No purchase makes one position, open orders included, too large a part of the portfolio."""
    standing, most = standing_in(proposal), state.limit("maximum_position_pct")
    at_stake = standing.held(proposal.instrument) + pending_buys(state, proposal.instrument)
    return _share("position_share", f"of the portfolio in {proposal.instrument}", at_stake, most, proposal, standing)


def exposure(proposal: Proposal, state: DecisionState) -> RuleChecked:
    """No purchase puts too large a part of the portfolio, open orders included, into positions."""
    standing, most = standing_in(proposal), state.limit("maximum_exposure_pct")
    at_stake = standing.invested + pending_buys(state)
    return _share("exposure", "of the portfolio invested", at_stake, most, proposal, standing)


def price_band(proposal: Proposal, state: DecisionState) -> RuleChecked:
    """The price is not much worse than the last mark: for a purchase not far above it, for a sale not far below.

    Where the price is itself the last mark, for a person took their time, it is not far from the signal's in either
    direction: they were asked about another market.
    """
    most, mark, price = state.limit("price_band_pct"), state.mark(proposal.instrument), proposal.price
    if proposal.stop_price is not None:
        return checked("price_band", True, "a stop order waits for a price away from the mark", maximum_pct=most)
    if mark is None or price is None:
        return checked("price_band", True, "there is no mark to compare the price with", maximum_pct=most)
    asked = proposal.signal is not None and proposal.signal.status == "asked" and price != proposal.signal.price
    before = proposal.signal.price if proposal.signal is not None and asked else mark.price
    higher = round18((price - before) * 100 / before)
    away = abs(higher) if asked else max(-higher if proposal.side is Side.SELL else higher, ZERO)
    words = "away from the signal's" if asked else "worse than the last mark of"
    passed = away <= most
    reason = (
        f"price {text_of(price)} is {_short(away)} % {words} {text_of(before)},"
        f" {'within' if passed else 'beyond'} {text_of(most)} %"
    )
    numbers = {"price": price, "mark": mark.price, "before": before, "away_pct": away, "maximum_pct": most}
    return checked("price_band", passed, reason, **numbers)


def open_orders(proposal: Proposal, state: DecisionState) -> RuleChecked:
    """There are not too many open orders, in all instruments together."""
    most, found = state.limit("maximum_open_orders"), sum(1 for _ in state.open_orders())
    reason = f"{found} open orders, at most {text_of(most)} with this one"
    return checked("open_orders", found + 1 <= most, reason, open_orders=found, maximum=most)


def maximum_trade(proposal: Proposal, state: DecisionState) -> RuleChecked:
    """No trade is larger than the largest."""
    most, value = state.limit("maximum_trade"), proposal.size.value if proposal.size else ZERO
    passed = value.quantize(CENT) <= most
    reason = f"value {text_of(value)} is {'at most' if passed else 'above'} the largest trade of {text_of(most)}"
    return checked("maximum_trade", passed, reason, value=value, maximum=most)


def daily_loss(proposal: Proposal, state: DecisionState) -> RuleChecked:
    """Nothing is bought on a day that has lost too much, open positions at marks included."""
    most, gain = state.limit("daily_loss"), standing_in(proposal).gain_today
    passed = _only_reduces(proposal) or -gain < most
    reason = f"{_short(max(-gain, ZERO))} lost today, {text_of(most)} ends the day's purchases"
    return checked("daily_loss", passed, reason, gain=gain, maximum=most)


def drawdown(proposal: Proposal, state: DecisionState) -> RuleChecked:
    """Nothing is bought while gains have fallen too far from their highest in seven days, in percent of that worth."""
    most, standing = state.limit("maximum_drawdown_pct"), standing_in(proposal)
    fallen = _fallen(standing)
    peak = standing.total + fallen
    share = round18(fallen * 100 / peak) if peak > 0 else ZERO
    passed = _only_reduces(proposal) or share < most
    reason = f"{_short(fallen)} ({_short(share)} %) below the best of seven days, {text_of(most)} % ends purchases"
    return checked("drawdown", passed, reason, fallen=fallen, share_pct=share, maximum_pct=most)


def loss_streak(proposal: Proposal, state: DecisionState) -> RuleChecked:
    """Nothing is bought on a day whose last closings lost too often in a row."""
    most = state.limit("losses_in_a_row")
    lost = streak(standing_in(proposal).closed_today, won=False)
    passed = _only_reduces(proposal) or len(lost) < most
    reason = f"the last {len(lost)} closings of today lost, {text_of(most)} end the day's purchases"
    named = ",".join(str(one.event_id) for one in lost[:10])
    return checked("loss_streak", passed, reason, losses=len(lost), maximum=most, evidence=named)


def trades_today(proposal: Proposal, state: DecisionState) -> RuleChecked:
    """The portfolio has not traded too often today; each fill counts."""
    most = state.limit("trades_per_day")
    made = len({leg.event_id for leg in standing_in(proposal).traded_today})
    reason = f"{made} trades today, at most {text_of(most)} with this one"
    return checked("trades_today", made + 1 <= most, reason, trades=made, maximum=most)


def bot_trades_today(proposal: Proposal, state: DecisionState) -> RuleChecked:
    """The bot has not traded too often today; each fill counts."""
    most, source = state.limit("bot_trades_per_day"), f"bot:{signal_of(proposal).bot_id}"
    made = len({leg.event_id for leg in standing_in(proposal).traded_today if leg.triggered_by == source})
    reason = f"{made} trades of this bot today, at most {text_of(most)} with this one"
    return checked("bot_trades_today", made + 1 <= most, reason, trades=made, maximum=most)


def _share(
    rule: str, words: str, at_stake: Decimal, most: Decimal, proposal: Proposal, standing: Standing
) -> RuleChecked:
    total, value = standing.total, proposal.size.value if proposal.size else ZERO
    if _only_reduces(proposal):
        return checked(rule, True, "a sale makes it smaller", maximum_pct=most)
    if total <= 0:
        return checked(rule, False, "the portfolio is worth nothing", total=total, maximum_pct=most)
    share = round18((at_stake + value) * 100 / total)
    passed = share <= most
    reason = f"{_short(share)} % {words} with this order, {'within' if passed else 'beyond'} {text_of(most)} %"
    return checked(rule, passed, reason, at_stake=at_stake, value=value, total=total, share_pct=share, maximum_pct=most)


def _only_reduces(proposal: Proposal) -> bool:
    """Whether the order is a sale; review lets nothing be sold that is not held."""
    return proposal.side is Side.SELL


def _fallen(standing: Standing) -> Decimal:
    """How far gains are below their highest since the look back began: closings one by one, then what is open now."""
    gained = highest = ZERO
    for closing in standing.closings:
        gained += closing.gain
        highest = max(highest, gained)
    gained += sum((one.unrealized_pnl or ZERO for one in standing.worth.positions), ZERO)
    return max(highest - gained, ZERO)


def _short(number: Decimal) -> str:
    """To the cent, for sentences; the numbers beside them are exact."""
    return text_of(number.quantize(CENT))
