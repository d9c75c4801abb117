"""What rules are asked about, and how they answer: with the numbers they looked at, whether it passes or not."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from execution.exchanges.exchange import InstrumentRules, Terms
from execution.review.exposure import Standing
from execution.review.sizing import Size
from execution.review.state import DecisionState
from ledger.events.fields import RuleChecked
from ledger.projections.portfolio import AccountView
from ledger.projections.signals import SignalView
from ledger.values import Instrument, Side, decimal_text, time_text


@dataclass(frozen=True, slots=True)
class Proposal:
    """What is about to be ordered, as far as it is known. `side` is None when the signal says hold.

    `standing` is how the portfolio stands, for the rules that weigh the order against it; `agreed` names the person who
    has said yes to the signal; `terms` are those that a person chose (bots' orders have terms that every venue takes).
    """

    instrument: Instrument
    side: Side | None
    price: Decimal | None
    size: Size | None
    account: AccountView | None
    venue_rules: InstrumentRules | None
    signal: SignalView | None = None
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None
    agreed: str | None = None
    standing: Standing | None = None
    terms: Terms | None = None


Rule = Callable[[Proposal, DecisionState], RuleChecked]


def checked(rule: str, passed: bool, reason: str, **numbers: Decimal | datetime | str | int | None) -> RuleChecked:
    """A rule's answer; numbers become text."""
    return RuleChecked(
        rule=rule, passed=passed, reason=reason, numbers={name: text_of(n) for name, n in numbers.items()}
    )


def signal_of(proposal: Proposal) -> SignalView:
    """The signal behind the order, which a rule for signals is asked about."""
    assert proposal.signal is not None, "a rule for signals was asked about an order without one"
    return proposal.signal


def standing_in(proposal: Proposal) -> Standing:
    """How the portfolio stands, which a rule of risk looks at."""
    assert proposal.standing is not None, "a rule of risk was asked without how the portfolio stands"
    return proposal.standing


def price_now(signal: SignalView, state: DecisionState) -> Decimal:
    """What the signal's instrument was last seen at: its last mark, or the signal's own price where that is newer."""
    mark = state.mark(Instrument(signal.instrument))
    return mark.price if mark is not None and mark.observed_at > signal.asof else signal.price


def seconds(duration: timedelta) -> str:
    """All of it, as text: a window of 90.5 s is not shown as 90."""
    return decimal_text(Decimal(duration // timedelta(microseconds=1)).scaleb(-6))


def text_of(value: Decimal | datetime | str | int | None) -> str:
    """A number of an answer as text."""
    if isinstance(value, Decimal):
        return decimal_text(value)
    if isinstance(value, datetime):
        return time_text(value)
    return "none" if value is None else str(value)
