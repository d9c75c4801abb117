"""Network and venue faults: the outcome is right, there is at most one order, and absence needs proof."""

from collections.abc import Iterator
from contextlib import nullcontext
from datetime import datetime
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from execution.exchanges.ccxt.transport import Wire
from execution.exchanges.ccxt.venues import facts_of
from execution.exchanges.exchange import Accepted, FoundOrder, NotPlaced, OrderTicket, Refused, Unknown
from execution.exchanges.simulated.faults import (
    FAULTS,
    FILL_REPORTS,
    FILLS_OF_ORDERS,
    KEYS,
    LOST_REPLIES,
    NOT_CARRIED_OUT,
    REFUSALS,
    STATES,
    TIMES_OF_ORDERS,
)
from tests.support.venues.simulated_venue import QUOTE, RunningVenue, running_venue, without_window

VENUES = ("binance", "luno")
DECIDED_AFTER_S = 300
"""Longer than any window and any Retry-After of the venues."""


@pytest.fixture(params=VENUES)
def shop(request: pytest.FixtureRequest) -> Iterator[RunningVenue]:
    """Each venue in turn."""
    with running_venue(request.param, timeout_ms=300) as running:
        yield running


@pytest.mark.parametrize("fault", LOST_REPLIES)
def test_lost_reply_is_unknown_and_the_order_is_found(shop: RunningVenue, fault: str) -> None:
    """An accepted order whose reply was lost is unknown, exists once, and is found by its client order id."""
    ticket = shop.ticket()
    assert shop.exchange.rules(ticket.instrument) is not None
    shop.fault(fault)

    answer = shop.exchange.submit(ticket)
    found = shop.exchange.find(ticket.client_order_id)

    assert isinstance(answer, Unknown)
    assert isinstance(found, FoundOrder)
    assert (found.state, found.filled > 0) == ("filled", True)
    assert len(shop.orders(ticket.client_order_id)) == shop.placing_requests() == 1


def test_refused_order_is_refused(shop: RunningVenue) -> None:
    """The venue's refusal and a look-up that finds nothing end the order; the next one is accepted."""
    ticket = shop.ticket()
    assert shop.exchange.rules(ticket.instrument) is not None
    shop.fault("refused")

    assert isinstance(shop.exchange.submit(ticket), Refused)
    assert shop.orders() == []
    assert isinstance(shop.exchange.submit(shop.ticket()), Accepted)


@pytest.mark.parametrize("fault", NOT_CARRIED_OUT)
def test_request_not_carried_out_is_not_placed_after_its_window(shop: RunningVenue, fault: str) -> None:
    """The outcome is unknown until the request can no longer arrive, then not placed."""
    ticket = shop.ticket()
    assert shop.exchange.rules(ticket.instrument) is not None
    shop.fault(fault, on="place")

    answer = shop.exchange.submit(ticket)
    before = shop.exchange.find(ticket.client_order_id)
    shop.clock.advance(DECIDED_AFTER_S)
    after = shop.exchange.find(ticket.client_order_id)

    assert isinstance(answer, Unknown)
    assert isinstance(before, Unknown)
    assert isinstance(after, NotPlaced)
    assert shop.orders() == []
    assert shop.placing_requests() == 1


def test_every_fault_is_tested() -> None:
    """Each fault is in one of the groups tested here, or concerns fills, states or keys."""
    tried = {*LOST_REPLIES, *NOT_CARRIED_OUT, *REFUSALS, *TIMES_OF_ORDERS}
    assert {*FAULTS} - tried == {*FILL_REPORTS, *FILLS_OF_ORDERS, *STATES, *KEYS}


def test_delayed_order_is_unknown_until_it_arrives(shop: RunningVenue) -> None:
    """An order that arrives seconds later is unknown until then, and is found once."""
    ticket = shop.ticket()
    shop.fault("delayed", seconds="3")

    assert isinstance(shop.exchange.submit(ticket), Unknown)
    early = shop.exchange.find(ticket.client_order_id)
    assert isinstance(early, Unknown)
    assert early.code == "may_still_arrive"
    shop.clock.advance(3)
    assert isinstance(shop.exchange.find(ticket.client_order_id), FoundOrder)
    assert len(shop.orders(ticket.client_order_id)) == 1


def test_order_after_its_window_is_not_placed(shop: RunningVenue) -> None:
    """The venue drops an order two minutes late, and `find` proves it."""
    ticket = shop.ticket()
    shop.fault("delayed", seconds="120")

    assert isinstance(shop.exchange.submit(ticket), Unknown)
    shop.clock.advance(DECIDED_AFTER_S)
    assert isinstance(shop.exchange.find(ticket.client_order_id), NotPlaced)
    assert shop.orders() == []


def test_failed_look_up_proves_nothing(shop: RunningVenue) -> None:
    """While any source cannot be read the order is unknown, however long ago it was sent."""
    ticket = shop.ticket()
    shop.fault("dropped")
    assert isinstance(shop.exchange.submit(ticket), Unknown)
    shop.clock.advance(DECIDED_AFTER_S)
    shop.fault("dropped", on="read")

    failed = shop.exchange.find(ticket.client_order_id)

    assert isinstance(failed, Unknown)
    assert failed.code == "look_up_failed"
    assert isinstance(shop.exchange.find(ticket.client_order_id), NotPlaced)


def test_refusal_is_confirmed_by_a_look_up(shop: RunningVenue) -> None:
    """A listed refusal counts if look-ups find nothing; if they fail the outcome is unknown."""
    too_dear = shop.ticket(quote_size=QUOTE[shop.name] * 1000)
    answer = shop.exchange.submit(too_dear)
    assert isinstance(answer, Refused)
    assert answer.code == "InsufficientFunds"

    again = shop.ticket(quote_size=QUOTE[shop.name] * 1000)
    shop.fault("dropped", times=None, on="read")
    assert isinstance(shop.exchange.submit(again), Unknown)
    assert shop.orders() == []


def test_duplicate_is_adopted(shop: RunningVenue) -> None:
    """When a new process sends an order that the venue already has, the existing order is adopted."""
    resting = shop.ticket(base_size=Decimal("0.01"), limit_price=Decimal(10000))
    first = shop.exchange.submit(resting)
    second = shop.another_adapter().submit(resting)

    assert isinstance(first, Accepted)
    assert second == first
    assert len(shop.orders(resting.client_order_id)) == 1
    assert shop.placing_requests() == 2


def test_order_is_sent_once_by_one_process(shop: RunningVenue) -> None:
    """Submitting the same order a second time sends nothing and returns Unknown."""
    ticket = shop.ticket()
    assert isinstance(shop.exchange.submit(ticket), Accepted)
    assert isinstance(shop.exchange.submit(ticket), Unknown)
    assert shop.placing_requests() == 1


def test_remembered_order_is_found_after_a_restart(shop: RunningVenue) -> None:
    """An order registered from the log is found after a restart; any other is unknown."""
    ticket = shop.ticket()
    sent_at = shop.clock()
    shop.fault("reset")
    assert isinstance(shop.exchange.submit(ticket), Unknown)
    restarted = shop.another_adapter()

    assert isinstance(restarted.find(ticket.client_order_id), Unknown)
    restarted.remember(ticket, sent_at)
    assert isinstance(restarted.find(ticket.client_order_id), FoundOrder)


def test_retry_after_is_respected(shop: RunningVenue) -> None:
    """After Retry-After nothing is sent until that time is over."""
    assert shop.exchange.rules(shop.ticket().instrument) is not None
    shop.fault("banned")
    shop.exchange.submit(shop.ticket())
    before = shop.requests()

    refused = shop.exchange.submit(shop.ticket())

    assert isinstance(refused, Refused)
    assert refused.text.startswith("not sent")
    assert shop.requests() == before
    shop.clock.advance(DECIDED_AFTER_S)
    assert isinstance(shop.exchange.submit(shop.ticket()), Accepted)


def test_clock_difference_is_measured(shop: RunningVenue) -> None:
    """A venue whose clock is 8 seconds behind accepts orders; the difference is measured where the venue has a time."""
    shop.fault("skew", seconds="-8")
    answer = shop.exchange.submit(shop.ticket())

    assert isinstance(answer, Accepted)
    if shop.name == "binance":
        assert shop.client().options["timeDifference"] == 8000


def test_order_is_unknown_after_a_clock_jump() -> None:
    """A venue whose clock jumps refuses the request by its window; without proof the outcome is unknown."""
    with running_venue("binance") as shop:
        assert shop.exchange.rules(shop.ticket().instrument) is not None
        shop.fault("skew", seconds="30")
        answer = shop.exchange.submit(shop.ticket())

        assert isinstance(answer, Unknown)  # look-ups are outside their window too
        assert answer.code == "InvalidNonce"
        assert shop.orders() == []


# ── planted bugs ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_transport_stops_a_client_that_retries(shop: RunningVenue, monkeypatch: pytest.MonkeyPatch) -> None:
    """A retrying client places one order; without the transport's guard two, where ids are reusable."""
    shop.client().options["maxRetriesOnFailure"] = 2
    guarded = shop.ticket()
    shop.fault("reset")
    assert isinstance(shop.exchange.submit(guarded), Unknown)
    assert len(shop.orders(guarded.client_order_id)) == 1

    monkeypatch.setattr(Wire, "one_request", lambda self: nullcontext())
    unguarded = shop.ticket()
    shop.fault("reset")
    shop.exchange.submit(unguarded)
    assert len(shop.orders(unguarded.client_order_id)) == (2 if shop.name == "binance" else 1)


# ── any faults at all ────────────────────────────────────────────────────────────────────────────────────────────────

ON_THE_WAY = st.sampled_from(sorted({*LOST_REPLIES, *NOT_CARRIED_OUT, "storm"} - {"hang"}))
Steps = list[tuple[str, str, int]]
SEEDS = st.integers(0, 99)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("place"), ON_THE_WAY, st.just(0)),
        st.tuples(st.just("read"), ON_THE_WAY, st.just(0)),
        st.tuples(st.just("place"), st.just("delayed"), st.integers(1, 120)),
        st.tuples(st.just("wait"), st.just(""), st.integers(1, 20)),
        st.tuples(st.just("find"), st.just(""), st.just(0)),
        st.tuples(st.just("restart"), st.just(""), st.just(0)),
    ),
    max_size=8,
)


@pytest.mark.parametrize("venue", VENUES)
@settings(max_examples=20)
@given(before=STEPS, after=STEPS, seed=SEEDS)
def test_faults_never_cause_two_orders_or_false_proof(venue: str, before: Steps, after: Steps, seed: int) -> None:
    """After any faults around sending, repeated look-ups end in the true outcome, with at most one order."""
    with running_venue(venue, seed) as shop:
        assert decided_truly(shop, before, after)


@pytest.mark.nightly
@pytest.mark.parametrize("venue", VENUES)
@settings(max_examples=1000)
@given(before=STEPS, after=STEPS, seed=SEEDS)
def test_faults_never_cause_two_orders_or_false_proof_for_long(
    venue: str, before: Steps, after: Steps, seed: int
) -> None:
    """The same with thousands of examples."""
    with running_venue(venue, seed) as shop:
        assert decided_truly(shop, before, after)


def test_fault_check_finds_a_window_that_is_too_short() -> None:
    """Planted: the property fails for facts with a wrong validity."""
    with running_venue("binance") as shop:
        shop.exchange = shop.another_adapter(without_window(facts_of("binance")))
        assert not decided_truly(shop, [("place", "delayed", 3)], [("find", "", 0)])


def decided_truly(shop: RunningVenue, before: Steps, after: Steps) -> bool:
    """Return whether sending and looking up, with these steps around, ends in the true outcome for good."""
    ticket = shop.ticket()
    shop.exchange.rules(ticket.instrument)
    take(shop, before, None)
    sent_at, answer = shop.clock(), shop.exchange.submit(ticket)
    outcomes = [answer, *take(shop, after, (ticket, sent_at))]
    shop.control.delete("/control/faults")
    while not isinstance(outcomes[-1], Accepted | Refused | FoundOrder | NotPlaced):
        shop.clock.advance(30)
        outcomes.append(shop.exchange.find(ticket.client_order_id))
    shop.clock.advance(3600)
    actual = len(shop.orders(ticket.client_order_id))
    reported = {1 if isinstance(one, Accepted | FoundOrder) else 0 for one in outcomes if not isinstance(one, Unknown)}
    return reported == {actual} and actual <= 1 and len(shop.orders()) == actual


def take(
    shop: RunningVenue, steps: Steps, sent: tuple[OrderTicket, datetime] | None
) -> list[FoundOrder | NotPlaced | Unknown]:
    """Take these steps and return the results of look-ups; before the order is sent there are none."""
    found = []
    for kind, fault, seconds in steps:
        if kind == "wait":
            shop.clock.advance(seconds)
        elif kind in ("place", "read"):
            shop.fault(fault, on=kind, seconds=str(seconds))
        elif sent is not None and kind == "restart":
            shop.exchange = shop.another_adapter()
            shop.exchange.remember(*sent)
        elif sent is not None:
            found.append(shop.exchange.find(sent[0].client_order_id))
    return found
