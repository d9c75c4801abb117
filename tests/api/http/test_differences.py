"""Differences between ledger and venue over HTTP: explained once, with a reason."""

from typing import Any
from uuid import UUID

from ledger.events import DifferenceFound, DifferenceResolved
from ledger.log.envelope import Envelope, NewEvent
from ledger.values import derived_id
from tests.support.api_system import BUY, Daybook, problem_of

UNKNOWN = UUID(int=7)
WHY = {"reason": "a gift from a friend"}


def found(daybook: Daybook, number: int = 1) -> UUID:
    """A difference of the paper account, as reconciliation records it."""
    event = DifferenceFound(account="paper", venue="paper", subject=f"balance of C{number}", ledger="1", venue_says="2")
    new_id = derived_id("difference", number)
    new = NewEvent(event, new_id, daybook.system.market_clock(), "test", new_id)
    daybook.system.book.record(daybook.system.portfolio_id, [new])
    return new_id


def resolved(daybook: Daybook, difference_id: UUID, key: str | None, body: Any = WHY) -> Any:
    return daybook.post(f"differences/{difference_id}/resolve", body, key)


def events(daybook: Daybook) -> list[Envelope]:
    log = daybook.system.book.log.read(daybook.system.portfolio_id)
    return [one for one in log if isinstance(one.event, DifferenceResolved)]


def refused_by(daybook: Daybook) -> list[str]:
    """Rules that an order of the account fails now."""
    preview = daybook.post("trades/preview", BUY).json()
    return [rule["rule"] for rule in preview["rules"] if not rule["passed"]]


def test_resolve_difference_lets_the_account_trade_again(daybook: Daybook) -> None:
    """The event has the reason and the actor."""
    difference_id = found(daybook)
    (listed,) = daybook.read("differences/")
    assert (listed["difference_id"], listed["status"]) == (str(difference_id), "found")
    assert refused_by(daybook) == ["account_known"]

    answer = resolved(daybook, difference_id, "explained")

    assert answer.status_code == 200
    assert (answer.json()["status"], answer.json()["reason"]) == ("resolved", "a gift from a friend")
    (envelope,) = events(daybook)
    assert isinstance(envelope.event, DifferenceResolved)
    assert (envelope.event.difference_id, envelope.event.reason) == (difference_id, "a gift from a friend")
    assert (envelope.actor, envelope.causation_id) == ("owner", difference_id)
    assert refused_by(daybook) == []


def test_account_stays_blocked_while_any_difference_is_open(daybook: Daybook) -> None:
    first, second = found(daybook, 1), found(daybook, 2)
    assert resolved(daybook, first, "first").status_code == 200
    assert refused_by(daybook) == ["account_known"]
    assert [one["status"] for one in daybook.read("differences/")] == ["resolved", "found"]

    assert resolved(daybook, second, "second").status_code == 200
    assert refused_by(daybook) == []


def test_resolve_difference_succeeds_once(daybook: Daybook) -> None:
    difference_id = found(daybook)
    first = resolved(daybook, difference_id, "once")

    assert resolved(daybook, difference_id, "once").content == first.content
    again = resolved(daybook, difference_id, "twice", {"reason": "theft"})
    assert (again.status_code, problem_of(again)) == (409, "already-resolved")
    assert "a gift from a friend" in again.json()["detail"]
    assert len(events(daybook)) == 1


def test_resolve_difference_requires_a_reason_a_key_and_an_open_difference(daybook: Daybook) -> None:
    """Otherwise nothing is stored."""
    difference_id = found(daybook)

    for number, body in enumerate((None, {}, {"reason": ""}, {"reason": None}, {"reason": 1}, WHY | {"more": "1"})):
        answer = resolved(daybook, difference_id, f"no reason {number}", body)
        assert (answer.status_code, problem_of(answer)) == (400, "invalid-request"), body
    blank = resolved(daybook, difference_id, "blank", {"reason": " \t\n\u2003"})
    assert (blank.status_code, problem_of(blank)) == (422, "no-reason")
    assert blank.json()["detail"] == "the reason is blank: state the evidence"
    assert problem_of(resolved(daybook, difference_id, None)) == "idempotency-key-needed"
    answer = resolved(daybook, UNKNOWN, "unknown")
    assert (answer.status_code, problem_of(answer)) == (404, "unknown-difference")
    assert events(daybook) == []
    assert refused_by(daybook) == ["account_known"]


def test_trading_halted_by_a_difference_resumes_only_by_command(daybook: Daybook) -> None:
    """It is not halted for the same difference again."""
    difference_id = found(daybook)
    daybook.pass_seconds(1)
    assert daybook.read("/health/trading")["state"] == "halted"

    assert resolved(daybook, difference_id, "explained").status_code == 200
    daybook.pass_seconds(1)
    assert refused_by(daybook) == ["trading_open"]

    assert daybook.post("trading/resume", {"reason": "understood"}, "resume").status_code == 200
    daybook.pass_seconds(1)
    assert (daybook.read("/health/trading")["state"], refused_by(daybook)) == ("open", [])
