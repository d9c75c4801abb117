"""The verdict on a signal or an order entered by hand: approve, reduce, hold, reject, ask or expire. Pure."""

from dataclasses import dataclass
from datetime import timedelta
from decimal import ROUND_DOWN, Decimal

from execution.exchanges.exchange import InstrumentRules, check_terms
from execution.review import FIRST, FOR_EVERY_ORDER, FOR_SIGNALS, NOT_YET
from execution.review.signal_rules import person_agrees, price_now
from execution.review.state import DecisionState, Opinion, Proposal, Size, in_lots, temperature
from execution.review.targets import Verdict, decided, verdict_of
from ledger.errors import CannotRecord
from ledger.events.fields import OrderKind, RuleChecked, TimeInForce
from ledger.projections.portfolio import AccountView
from ledger.projections.signals import action_of
from ledger.values import ZERO, Instrument, Side, round18

Rules = tuple[RuleChecked, ...]


@dataclass(frozen=True, slots=True)
class Approval:
    """An order of `size` on `side` may be placed in `account`."""

    side: Side
    size: Size
    account: AccountView
    rules: Rules

    @property
    def verdict(self) -> Verdict:
        """Approve, or reduce when the size is smaller than wanted; the reducing rule reports both sizes."""
        return "reduce" if "reduce" in map(verdict_of, self.rules) else "approve"


@dataclass(frozen=True, slots=True)
class Rejection:
    """At least one rule failed."""

    rules: Rules

    @property
    def failed(self) -> RuleChecked:
        """The first rule that failed."""
        return next(rule for rule in self.rules if not rule.passed)

    @property
    def not_yet(self) -> bool:
        """`True` when every failed rule may pass later for the same opinion."""
        return all(rule.passed or rule.rule in NOT_YET or verdict_of(rule) == "hold" for rule in self.rules)

    @property
    def verdict(self) -> Verdict:
        """Hold when it is not yet, else reject."""
        return "hold" if self.not_yet else "reject"


class TradeRejected(CannotRecord):
    """Review rejected an order entered by hand, or a signal that a person approved. `rules` holds every answer, `failed`
    the first that failed."""

    def __init__(self, rejection: Rejection) -> None:
        failed, rules = rejection.failed, rejection.rules
        super().__init__(failed.reason, rule=failed.rule, rules=[one.model_dump(mode="json") for one in rules])
        self.kind = "order-rejected:" + failed.rule.replace("_", "-")
        self.rules: tuple[RuleChecked, ...] = rules
        self.failed = failed


@dataclass(frozen=True, slots=True)
class Question:
    """Every rule passed but for a person's approval; `approval` is the order that would be placed now."""

    approval: Approval


@dataclass(frozen=True, slots=True)
class Expiry:
    """The signal is too old to be traded, regardless of the other rules; the first rule is the one that failed."""

    rules: Rules


@dataclass(frozen=True, slots=True)
class ManualTicket:
    """An order entered by hand. Account and lifetime may be left open. Raises ValueError as an `OrderTicket` does."""

    instrument: Instrument
    side: Side
    kind: OrderKind
    base_size: Decimal | None
    quote_size: Decimal | None
    limit_price: Decimal | None
    account: str | None
    stop_price: Decimal | None = None
    time_in_force: TimeInForce | None = None
    lifetime: timedelta | None = None

    def __post_init__(self) -> None:
        check_terms(self)


SignalVerdict = Approval | Question | Rejection | Expiry


def review_signal(
    opinion: Opinion, state: DecisionState, venue_rules: InstrumentRules | None, agreed: str | None = None
) -> SignalVerdict:
    """The verdict on a signal's opinion, with every rule's answer. `agreed` names the person who approved it.

    A signal that awaits approval is priced at the newest mark: the market moved on meanwhile.
    """
    instrument, account = opinion.instrument, state.first_account()
    action = action_of(opinion.score, state.limit("action_score"))
    side = None if action == "hold" else Side(action)
    size, price = None, price_now(opinion, state) if opinion.awaits_approval else opinion.price
    if side is not None and account is not None and venue_rules is not None and price is not None:
        wanted = wanted_value(opinion.score, state)
        size = signal_size(side, wanted, price, instrument, account.account, venue_rules, state)
    proposal = Proposal(instrument, side, price, size, account, venue_rules, opinion, agreed=agreed)
    proposal, weighed = decided(proposal, state)
    rules = (*(rule(proposal, state) for rule in (FIRST, *FOR_SIGNALS, *FOR_EVERY_ORDER)), *weighed)
    if not rules[0].passed:
        return Expiry(rules)
    failed = [rule for rule in rules if not rule.passed]
    if [rule.rule for rule in failed] == [person_agrees.__name__] and failed[0].numbers["mode"] == "ask":
        return Question(_approval(proposal, rules))
    return _verdict(proposal, rules)


def review_manual(
    ticket: ManualTicket, state: DecisionState, venue_rules: InstrumentRules | None
) -> Approval | Rejection:
    """The verdict on an order entered by hand, by the rules for every order."""
    account = state.account(ticket.account) if ticket.account is not None else state.first_account()
    mark = state.mark(ticket.instrument)
    price = ticket.limit_price or (mark.price if mark else ticket.stop_price)
    if price is not None and ticket.stop_price is not None and ticket.side is Side.BUY:
        price = max(price, ticket.stop_price)  # the price at which a triggered buy would fill
    size = None if price is None else _ticket_size(ticket, price)
    proposal = Proposal(
        ticket.instrument,
        ticket.side,
        price,
        size,
        account,
        venue_rules,
        limit_price=ticket.limit_price,
        stop_price=ticket.stop_price,
        terms=ticket,
    )
    return _verdict(proposal, tuple(rule(proposal, state) for rule in FOR_EVERY_ORDER))


def _ticket_size(ticket: ManualTicket, price: Decimal) -> Size:
    if ticket.base_size is not None:
        return Size(round18(ticket.base_size * price), ticket.base_size)
    assert ticket.quote_size is not None
    return Size(ticket.quote_size, None)


def _verdict(proposal: Proposal, rules: Rules) -> Approval | Rejection:
    return _approval(proposal, rules) if all(rule.passed for rule in rules) else Rejection(rules)


def _approval(proposal: Proposal, rules: Rules) -> Approval:
    side, size, account = proposal.side, proposal.size, proposal.account
    assert side is not None
    assert size is not None
    assert account is not None
    return Approval(side, size, account, rules)


# --- size -------------------------------------------------------------------------------------------------------------


def signal_size(
    side: Side,
    wanted: Decimal,
    price: Decimal,
    instrument: Instrument,
    account: str,
    rules: InstrumentRules,
    state: DecisionState,
) -> Size:
    """`wanted` (in quote), reduced to the cash that the account can spend, fees included, or to the quantity it can sell."""
    if side is Side.BUY:
        affordable = spendable(state.available(account, instrument.quote, rules.taker_fee), rules)
        return Size(min(wanted, affordable).quantize(Decimal("0.01"), rounding=ROUND_DOWN), None)
    held = in_lots(max(state.available(account, instrument.base, rules.taker_fee), ZERO), rules.lot)
    sold = _sold(held, wanted, price, rules, state)
    return Size(round18(sold * price), sold)


def wanted_value(score: Decimal, state: DecisionState) -> Decimal:
    """Base trade times the multiplier of the temperature, at most the largest trade; in quote currency."""
    multipliers = {"HOT": state.limit("hot_multiplier"), "WARM": state.limit("warm_multiplier")}
    wanted = state.limit("base_trade") * multipliers.get(temperature(score, state), Decimal(1))
    return min(wanted, state.limit("maximum_trade"))


def spendable(cash: Decimal, rules: InstrumentRules) -> Decimal:
    """The largest order value that `cash` pays for together with its fee."""
    return max(cash, ZERO) / (1 + rules.taker_fee)


def _sold(held: Decimal, wanted: Decimal, price: Decimal, rules: InstrumentRules, state: DecisionState) -> Decimal:
    """The part of `held` to sell: worth `wanted`, without leaving a remainder smaller than the smallest trade.

    Such a remainder is sold as well, or, where that exceeds the largest trade, enough is kept for one smallest trade.
    """
    least = state.limit("minimum_trade")
    sold = min(in_lots(wanted / price, rules.lot), held)
    if (held - sold) * price >= least or sold == held:
        return sold
    if held * price <= state.limit("maximum_trade"):
        return held
    return in_lots(max(held - least / price, ZERO), rules.lot)
