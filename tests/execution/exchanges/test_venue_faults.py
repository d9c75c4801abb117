"""Whatever happens on the way to a venue: the right outcome, one order at most, and nothing said without proof."""

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
from tests.support.simulated_venue import QUOTE, Place, place, without_window

VENUES = ("binance", "luno")
DECIDED_AFTER_S = 300
"""Longer than any window and any Retry-After of the venues."""


@pytest.fixture(params=VENUES)
def shop(request: pytest.FixtureRequest) -> Iterator[Place]:
    """Each venue in turn."""
    with place(request.param, timeout_ms=300) as running:
        yield running


@pytest.mark.parametrize("fault", LOST_REPLIES)
def test_a_lost_answer_is_unknown_and_the_order_is_found(shop: Place, fault: str) -> None:
    """An order that the venue took and whose answer was lost is unknown, exists once, and is adopted by its client id."""
    ticket = shop.ticket()
    assert shop.exchange.rules(ticket.instrument) is not None
    shop.fault(fault)

    answer = shop.exchange.submit(ticket)
    found = shop.exchange.find(ticket.client_order_id)

    assert isinstance(answer, Unknown)
    assert isinstance(found, FoundOrder)
    assert (found.state, found.filled > 0) == ("filled", True)
    assert len(shop.orders(ticket.client_order_id)) == shop.placing_requests() == 1


def test_what_the_venue_refuses_is_refused(shop: Place) -> None:
    """The venue's own no, and a look-up that finds nothing, end the order at once; the next one is taken."""
    ticket = shop.ticket()
    assert shop.exchange.rules(ticket.instrument) is not None
    shop.fault("refused")

    assert isinstance(shop.exchange.submit(ticket), Refused)
    assert shop.orders() == []
    assert isinstance(shop.exchange.submit(shop.ticket()), Accepted)


@pytest.mark.parametrize("fault", NOT_CARRIED_OUT)
def test_a_request_that_is_not_carried_out_is_not_placed_in_the_end(shop: Place, fault: str) -> None:
    """Where nothing was placed that is said, but only when the request can no longer arrive; until then it is unknown."""
    ticket = shop.ticket()
    assert shop.exchange.rules(ticket.instrument) is not None
    shop.fault(fault, on="place")

    answer = shop.exchange.submit(ticket)
    at_once = shop.exchange.find(ticket.client_order_id)
    shop.clock.advance(DECIDED_AFTER_S)
    in_the_end = shop.exchange.find(ticket.client_order_id)

    assert isinstance(answer, Unknown)
    assert isinstance(at_once, Unknown)
    assert isinstance(in_the_end, NotPlaced)
    assert shop.orders() == []
    assert shop.placing_requests() == 1


def test_every_fault_is_tried() -> None:
    """Each fault by name is in one of the groups that the tests here go through, or is about fills or states."""
    tried = {*LOST_REPLIES, *NOT_CARRIED_OUT, *REFUSALS, *TIMES_OF_ORDERS}
    assert {*FAULTS} - tried == {*FILL_REPORTS, *FILLS_OF_ORDERS, *STATES, *KEYS}


def test_a_late_order_is_waited_for(shop: Place) -> None:
    """An order that arrives seconds later is unknown until it is there, and then it is found, once."""
    ticket = shop.ticket()
    shop.fault("delayed", seconds="3")

    assert isinstance(shop.exchange.submit(ticket), Unknown)
    early = shop.exchange.find(ticket.client_order_id)
    assert isinstance(early, Unknown)
    assert early.code == "may_still_arrive"
    shop.clock.advance(3)
    assert isinstance(shop.exchange.find(ticket.client_order_id), FoundOrder)
    assert len(shop.orders(ticket.client_order_id)) == 1


def test_a_request_that_comes_after_its_window_is_dropped_by_the_venue(shop: Place) -> None:
    """An order two minutes late is never placed, and that is proven."""
    ticket = shop.ticket()
    shop.fault("delayed", seconds="120")

    assert isinstance(shop.exchange.submit(ticket), Unknown)
    shop.clock.advance(DECIDED_AFTER_S)
    assert isinstance(shop.exchange.find(ticket.client_order_id), NotPlaced)
    assert shop.orders() == []


def test_a_look_up_that_fails_proves_nothing(shop: Place) -> None:
    """While any source cannot be read an order is not held to be not placed, however long ago it was sent."""
    ticket = shop.ticket()
    shop.fault("dropped")
    assert isinstance(shop.exchange.submit(ticket), Unknown)
    shop.clock.advance(DECIDED_AFTER_S)
    shop.fault("dropped", on="read")

    failed = shop.exchange.find(ticket.client_order_id)

    assert isinstance(failed, Unknown)
    assert failed.code == "look_up_failed"
    assert isinstance(shop.exchange.find(ticket.client_order_id), NotPlaced)


def test_what_is_refused_is_looked_up_first(shop: Place) -> None:
    """A refusal on the list is believed when look-ups find nothing; when they fail it is unknown."""
    too_dear = shop.ticket(quote_size=QUOTE[shop.name] * 1000)
    answer = shop.exchange.submit(too_dear)
    assert isinstance(answer, Refused)
    assert answer.code == "InsufficientFunds"

    again = shop.ticket(quote_size=QUOTE[shop.name] * 1000)
    shop.fault("dropped", times=None, on="read")
    assert isinstance(shop.exchange.submit(again), Unknown)
    assert shop.orders() == []


def test_a_duplicate_is_adopted(shop: Place) -> None:
    """An order that the venue has already under this id is adopted when a new process sends it again."""
    resting = shop.ticket(base_size=Decimal("0.01"), limit_price=Decimal(10000))
    first = shop.exchange.submit(resting)
    second = shop.another_adapter().submit(resting)

    assert isinstance(first, Accepted)
    assert second == first
    assert len(shop.orders(resting.client_order_id)) == 1
    assert shop.placing_requests() == 2


def test_an_order_is_not_sent_twice_by_one_process(shop: Place) -> None:
    """Sending the same order a second time sends nothing and says so."""
    ticket = shop.ticket()
    assert isinstance(shop.exchange.submit(ticket), Accepted)
    assert isinstance(shop.exchange.submit(ticket), Unknown)
    assert shop.placing_requests() == 1


def test_a_new_process_finds_what_an_old_one_sent(shop: Place) -> None:
    """An order that the log remembers is found after a restart; one that nobody remembers is unknown."""
    ticket = shop.ticket()
    sent_at = shop.clock()
    shop.fault("reset")
    assert isinstance(shop.exchange.submit(ticket), Unknown)
    restarted = shop.another_adapter()

    assert isinstance(restarted.find(ticket.client_order_id), Unknown)
    restarted.remember(ticket, sent_at)
    assert isinstance(restarted.find(ticket.client_order_id), FoundOrder)


def test_quiet_is_kept_when_the_venue_asks_for_it(shop: Place) -> None:
    """After Retry-After nothing at all is sent until the time is over."""
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


def test_a_clock_that_is_off_is_measured(shop: Place) -> None:
    """Orders are taken by a venue whose clock is 8 seconds behind ours, where the venue tells its time."""
    shop.fault("skew", seconds="-8")
    answer = shop.exchange.submit(shop.ticket())

    assert isinstance(answer, Accepted)
    if shop.name == "binance":
        assert shop.exchange.clock_ahead.total_seconds() == 8


def test_a_clock_that_jumps_is_refused_not_doubled() -> None:
    """A venue whose clock jumps away refuses by its window: nothing is placed, and nothing is said to be refused unproven."""
    with place("binance") as shop:
        assert shop.exchange.rules(shop.ticket().instrument) is not None
        shop.fault("skew", seconds="30")
        answer = shop.exchange.submit(shop.ticket())

        assert isinstance(answer, Unknown)  # look-ups are outside their window too
        assert answer.code == "InvalidNonce"
        assert shop.orders() == []


# ── the tests can fail ───────────────────────────────────────────────────────────────────────────────────────────────


def test_a_client_that_repeats_is_stopped_at_the_wire(shop: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client set to repeat requests places one order behind the wire; without it two, where ids become free again."""
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
def test_no_faults_make_two_orders_or_a_false_proof(venue: str, before: Steps, after: Steps, seed: int) -> None:
    """After any faults around sending, asking until it is decided ends in what is true at the venue, with one order at most."""
    with place(venue, seed) as shop:
        assert decided_truly(shop, before, after)


@pytest.mark.nightly
@pytest.mark.parametrize("venue", VENUES)
@settings(max_examples=1000)
@given(before=STEPS, after=STEPS, seed=SEEDS)
def test_no_faults_make_two_orders_or_a_false_proof_for_long(
    venue: str, before: Steps, after: Steps, seed: int
) -> None:
    """The same, thousands of times."""
    with place(venue, seed) as shop:
        assert decided_truly(shop, before, after)


def test_a_window_that_is_too_short_is_found_out() -> None:
    """The property fails for facts that believe a late request to be dropped at once."""
    with place("binance") as shop:
        shop.exchange = shop.another_adapter(without_window(facts_of("binance")))
        assert not decided_truly(shop, [("place", "delayed", 3)], [("find", "", 0)])


def decided_truly(shop: Place, before: Steps, after: Steps) -> bool:
    """Whether sending and asking, with these steps before and after, end in the venue's truth for ever."""
    ticket = shop.ticket()
    shop.exchange.rules(ticket.instrument)
    take(shop, before, None)
    sent_at, answer = shop.clock(), shop.exchange.submit(ticket)
    told = [answer, *take(shop, after, (ticket, sent_at))]
    shop.control.delete("/control/faults")
    while not isinstance(told[-1], Accepted | Refused | FoundOrder | NotPlaced):
        shop.clock.advance(30)
        told.append(shop.exchange.find(ticket.client_order_id))
    shop.clock.advance(3600)
    there = len(shop.orders(ticket.client_order_id))
    said = {1 if isinstance(one, Accepted | FoundOrder) else 0 for one in told if not isinstance(one, Unknown)}
    return said == {there} and there <= 1 and len(shop.orders()) == there


def take(
    shop: Place, steps: Steps, sent: tuple[OrderTicket, datetime] | None
) -> list[FoundOrder | NotPlaced | Unknown]:
    """What asking told while these steps were taken; nothing is asked before the order was sent."""
    told = []
    for what, fault, seconds in steps:
        if what == "wait":
            shop.clock.advance(seconds)
        elif what in ("place", "read"):
            shop.fault(fault, on=what, seconds=str(seconds))
        elif sent is not None and what == "restart":
            shop.exchange = shop.another_adapter()
            shop.exchange.remember(*sent)
        elif sent is not None:
            told.append(shop.exchange.find(sent[0].client_order_id))
    return told
