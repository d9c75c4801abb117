"""What review's verdicts, and people's answers where they are asked, become in the log. Pure: ids derive from their causes."""

from typing import Final
from uuid import UUID

from execution.exchanges.exchange import InstrumentRules
from execution.orders.order_events import client_order_id
from execution.review.proposal import checked
from execution.review.review import Approval, Expiry, Question, Rejection, SignalVerdict, TradeRejected, review_signal
from execution.review.signal_rules import newest_signal, person_agrees
from execution.review.state import DecisionState
from ledger.errors import DaybookError
from ledger.events import (
    ApprovalRequested,
    Event,
    OrderRequested,
    SignalApproved,
    SignalExpired,
    SignalRejected,
)
from ledger.log.envelope import NewEvent
from ledger.projections.signals import SignalView
from ledger.values import Instrument, derived_id

REVIEW: Final = "review"


class WrongSignal(DaybookError):
    """There is no such signal, or it waits for nobody's answer; the sentence says which."""


def verdict_events(
    signal: SignalView, verdict: SignalVerdict, state: DecisionState, actor: str = REVIEW
) -> list[NewEvent]:
    """The verdict and, when it is an approval, the order it asks for: stored together or not at all."""

    def told(event: Event) -> list[NewEvent]:
        event_id = derived_id(signal.signal_id, "verdict")
        return [NewEvent(event, event_id, state.now, actor, signal.signal_id, signal.signal_id)]

    match verdict:
        case Approval():
            approved = SignalApproved(
                signal_id=signal.signal_id, side=verdict.side, quote_size=verdict.size.value, rules=verdict.rules
            )
            (verdict_event,) = told(approved)
            order, order_id = _order(signal, verdict, state), derived_id(signal.signal_id, "order")
            return [
                verdict_event,
                NewEvent(order, order_id, state.now, actor, signal.signal_id, verdict_event.event_id),
            ]
        case Question():
            return [] if signal.status == "asked" else [_question(signal, verdict.approval, state)]
        case Rejection():
            if signal.status == "asked" and not _for_good(verdict):
                return []  # the person is still thinking, and what stands in the way may pass
            return told(SignalRejected(signal_id=signal.signal_id, rules=verdict.rules, not_yet=verdict.not_yet))
        case Expiry():
            return told(SignalExpired(signal_id=signal.signal_id, rules=verdict.rules))


def approved_by(
    person: str, signal_id: UUID, state: DecisionState, venue_rules: InstrumentRules | None
) -> list[NewEvent]:
    """The person's yes, if review says yes as well. Raises WrongSignal, and TradeRejected where review says no now."""
    signal = _waiting(state, signal_id)
    verdict = review_signal(signal, state, venue_rules, person)
    if isinstance(verdict, Rejection | Expiry):
        raise TradeRejected(Rejection(verdict.rules))
    return verdict_events(signal, verdict, state, person)


def rejected_by(person: str, signal_id: UUID, reason: str, state: DecisionState) -> list[NewEvent]:
    """The person's no. Raises WrongSignal."""
    _waiting(state, signal_id)
    said = f"{person} said no: {reason}" if reason else f"{person} said no"
    answer = checked(person_agrees.__name__, False, said, mode="ask", agreed=None)
    event = SignalRejected(signal_id=signal_id, rules=(answer,), not_yet=False)
    event_id = derived_id(signal_id, "verdict")
    return [NewEvent(event, event_id, state.now, person, signal_id, signal_id)]


def _waiting(state: DecisionState, signal_id: UUID) -> SignalView:
    """The signal that waits for a person's answer."""
    signal = state.rows.get(SignalView, signal_id)
    if signal is None:
        raise WrongSignal(f"there is no signal {signal_id}")
    if signal.status != "asked":
        raise WrongSignal(f"signal {signal_id} waits for nobody's answer: it is {signal.status}")
    return signal


def _for_good(rejection: Rejection) -> bool:
    """Whether a question is answered by itself: the bot has spoken again since, or was turned off."""
    failed = {rule.rule: rule for rule in rejection.rules if not rule.passed}
    agrees = failed.get(person_agrees.__name__)
    return newest_signal.__name__ in failed or (agrees is not None and agrees.numbers["mode"] == "off")


def _question(signal: SignalView, approval: Approval, state: DecisionState) -> NewEvent:
    asked = ApprovalRequested(
        signal_id=signal.signal_id,
        bot_id=signal.bot_id,
        instrument=Instrument(signal.instrument),
        side=approval.side,
        quote_size=approval.size.value,
        rules=approval.rules,
    )
    event_id = derived_id(signal.signal_id, "question")
    return NewEvent(asked, event_id, state.now, REVIEW, signal.signal_id, signal.signal_id)


def _order(signal: SignalView, approval: Approval, state: DecisionState) -> OrderRequested:
    return OrderRequested(
        client_order_id=client_order_id(derived_id(signal.signal_id, "order")),
        account=approval.account.account,
        venue=approval.account.venue,
        instrument=Instrument(signal.instrument),
        side=approval.side,
        kind="market",
        base_size=approval.size.base_size,
        quote_size=approval.size.value if approval.size.base_size is None else None,
        signal_id=signal.signal_id,
        triggered_by=f"bot:{signal.bot_id}",
        expires_at=state.now + state.window("order_lifetime_minutes"),
    )
