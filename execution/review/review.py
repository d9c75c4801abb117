"""Review: signal + state → approve, reduce, hold or reject, with every rule's answer. Pure."""

from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal

from execution.exchanges.exchange import InstrumentRules, check_terms
from execution.review.exposure import standing_of
from execution.review.proposal import Proposal, price_now
from execution.review.rules import FIRST, FOR_EVERY_ORDER, FOR_SIGNALS, NOT_YET
from execution.review.signal_rules import person_agrees
from execution.review.sizing import Size, signal_size, wanted_value
from execution.review.state import DecisionState
from execution.review.targets import Verdict, decided, verdict_of
from ledger.errors import CannotRecord
from ledger.events.fields import OrderKind, RuleChecked, TimeInForce
from ledger.projections.portfolio import AccountView
from ledger.projections.signals import SignalView, action_of
from ledger.values import Instrument, Side, round18

Rules = tuple[RuleChecked, ...]


@dataclass(frozen=True, slots=True)
class Approval:
    """`size` of `side` may be ordered in `account`."""

    side: Side
    size: Size
    account: AccountView
    rules: Rules

    @property
    def verdict(self) -> Verdict:
        """Approve, or reduce when the size was made smaller than wanted; the rule that did so tells both."""
        return "reduce" if "reduce" in map(verdict_of, self.rules) else "approve"


@dataclass(frozen=True, slots=True)
class Rejection:
    """At least one rule said no."""

    rules: Rules

    @property
    def failed(self) -> RuleChecked:
        """The first rule that said no."""
        return next(rule for rule in self.rules if not rule.passed)

    @property
    def not_yet(self) -> bool:
        """Whether every rule that said no may say yes to the same opinion later."""
        return all(rule.passed or rule.rule in NOT_YET or verdict_of(rule) == "hold" for rule in self.rules)

    @property
    def verdict(self) -> Verdict:
        """Hold when it is not yet, else reject."""
        return "hold" if self.not_yet else "reject"


class TradeRejected(CannotRecord):
    """Review said no to an order that a person asked for; `rules` holds every answer, `failed` the first no."""

    def __init__(self, rejection: Rejection) -> None:
        failed, rules = rejection.failed, rejection.rules
        super().__init__(failed.reason, rule=failed.rule, rules=[one.model_dump(mode="json") for one in rules])
        self.kind = "order-rejected:" + failed.rule.replace("_", "-")
        self.rules: tuple[RuleChecked, ...] = rules
        self.failed = failed


@dataclass(frozen=True, slots=True)
class Question:
    """Every rule says yes but that a person is to agree: `approval` is what would be ordered now."""

    approval: Approval


@dataclass(frozen=True, slots=True)
class Expiry:
    """The signal is too old to be traded, whatever the other rules say; the first rule is the one that says so."""

    rules: Rules


@dataclass(frozen=True, slots=True)
class ManualTicket:
    """What a person asks for. Account and lifetime may be left open. Raises ValueError as an `OrderTicket` does."""

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
    signal: SignalView, state: DecisionState, venue_rules: InstrumentRules | None, agreed: str | None = None
) -> SignalVerdict:
    """The verdict on a signal; it lists every rule with its numbers. `agreed` names a person who has said yes to it.

    One that a person was asked about is held to the newest mark: the market went on while they thought.
    """
    instrument, account = Instrument(signal.instrument), state.first_account()
    action = action_of(signal.score, state.limit("action_score"))
    side = None if action == "hold" else Side(action)
    size, price = None, price_now(signal, state) if signal.status == "asked" else signal.price
    if side is not None and account is not None and venue_rules is not None:
        wanted = wanted_value(signal.score, state)
        size = signal_size(side, wanted, price, instrument, account.account, venue_rules, state)
    standing = standing_of(state)
    proposal = Proposal(instrument, side, price, size, account, venue_rules, signal, agreed=agreed, standing=standing)
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
    """The verdict on an order that a person asks for: the rules that hold for every order."""
    account = state.account(ticket.account) if ticket.account is not None else state.first_account()
    mark = state.mark(ticket.instrument)
    price = ticket.limit_price or (mark.price if mark else ticket.stop_price)
    if price is not None and ticket.stop_price is not None and ticket.side is Side.BUY:
        price = max(price, ticket.stop_price)  # what it will cost by then
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
        standing=standing_of(state),
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
    """What may be ordered, where nothing stands against it."""
    side, size, account = proposal.side, proposal.size, proposal.account
    assert side is not None
    assert size is not None
    assert account is not None
    return Approval(side, size, account, rules)
