"""One leader per portfolio: the last one to take over stores and sends, earlier ones do neither."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from decimal import Decimal

import psycopg
import pytest
from sqlalchemy import Engine

from execution.exchanges.paper.exchange import PaperExchange
from execution.exits.exit_service import ExitService
from execution.orders.connections import balances_of
from execution.orders.trade_service import SUBMIT_TIMEOUT
from execution.review.review import TradeRejected
from ledger.events import ExitArmed, SignalApproved, SignalRejected, TradeExecuted
from ledger.locks import Alone, Leadership, NotLeader
from ledger.log.envelope import NewEvent
from ledger.postgres.book import PostgresBook
from ledger.postgres.leadership import PostgresLeadership
from ledger.projections.book import Book, MemoryBook
from ledger.values import ZERO, derived_id
from signals.market.candle import Quote
from tests.support.events import SteppingClock
from tests.support.trading import (
    ACCOUNT,
    BTC,
    Hook,
    MemoryLeaders,
    Room,
    ScriptedExchange,
    WatchedBook,
    WatchedExchange,
    market,
)

TakeOver = Callable[[Room], Leadership]


class WatchedLeadership:
    """The claim, with a hook before each call."""

    def __init__(self, leadership: Leadership, hook: Hook) -> None:
        self._leadership, self._hook = leadership, hook

    def record(self, events: Sequence[NewEvent], expected_position: int | None = None) -> object:
        self._hook("before", "record")
        return self._leadership.record(events, expected_position)

    def confirm(self) -> None:
        self._hook("before", "confirm")
        self._leadership.confirm()


@dataclass
class TakenOver:
    """A hook that lets another service take over before the effect of this number, and notes the effects after it."""

    number: int
    act: Callable[[], None]
    effects: list[str] = field(default_factory=list)

    def __call__(self, side: str, effect: str) -> None:
        if side == "before":
            self.effects.append(effect)
            if len(self.effects) == self.number:
                self.act()

    @property
    def sends_after(self) -> int:
        """Sends that the old leader started after the take-over."""
        return self.effects[self.number :].count("submit")


def taken_over(book: Book, take_over: TakeOver, name: str, number: int) -> tuple[list[str], bool]:
    """The faults after a take-over before the old leader's effect `number`, and whether there was one."""
    room, venue = Room(book, name), ScriptedExchange()
    room.mark()
    room.signal()
    leader: list[Leadership] = []

    def step_in() -> None:
        leader.append(take_over(room))
        room.service(venue, sender="new", leadership=leader[0]).step()

    hook = TakenOver(number, step_in)
    leadership = WatchedLeadership(take_over(room), hook)
    old = room.service(WatchedExchange(venue, hook), book=WatchedBook(book, hook), sender="old", leadership=leadership)

    def old_goes_on() -> None:
        with suppress(NotLeader):
            old.step()
        with suppress(NotLeader, TradeRejected):
            old.request(market(), room.manual_id(), leadership.record)

    old_goes_on()
    if not leader:
        return [], False
    new = room.service(venue, sender="new", leadership=leader[0])
    faults: list[str] = []
    for _ in range(4):
        stored = len(room.envelopes())
        old_goes_on()
        if len(room.envelopes()) != stored:
            faults.append("the old leader stored something")
        new.step()
        room.clock.move(seconds=SUBMIT_TIMEOUT.total_seconds())
    faults += [f"sent twice: {one}" for one in set(venue.submitted) if venue.submitted.count(one) > 1]
    faults += [f"hangs: {order.status}" for order in room.orders() if order.live]
    if len(room.of(SignalApproved)) + len(room.of(SignalRejected)) != 1:
        faults.append("not one verdict")
    if hook.sends_after:
        faults.append("the old leader sent")
    if len(room.of(TradeExecuted)) != 2 * sum(1 for order in room.orders() if order.status == "closed" and order.fills):
        faults.append("a fill is missing or doubled")
    return faults, True


def memory_take_over() -> TakeOver:
    leaders = MemoryLeaders()
    return lambda room: leaders.take_over(room.book, room.portfolio_id)


def faults_of_all(take_over: Callable[[], TakeOver]) -> tuple[int, list[str]]:
    """The number of take-overs, one before each effect of the old leader, and all faults."""
    found: list[str] = []
    for number in range(1, 500):
        faults, happened = taken_over(MemoryBook(SteppingClock()), take_over(), f"over {number}", number)
        found += faults
        if not happened:
            return number - 1, found
    raise AssertionError("the old leader never comes to an end")


def test_superseded_leader_neither_stores_nor_sends() -> None:
    """Paused before any effect while another takes over: nothing is lost or doubled."""
    count, faults = faults_of_all(memory_take_over)

    assert faults == []
    assert count > 25


def test_unchecked_claim_is_detected() -> None:
    """Planted: the old leader stores and sends beside the new one."""
    _, faults = faults_of_all(lambda: lambda room: Alone(room.book, room.portfolio_id))

    assert "the old leader sent" in faults
    assert "the old leader stored something" in faults


class UnsureBeforeSending(Alone):
    """Planted: the claim is checked before storing, not before a send."""

    def __init__(self, leadership: Leadership) -> None:
        self.record = leadership.record  # type: ignore[method-assign]


def test_claim_unchecked_before_a_send_is_detected() -> None:
    """Planted: another leader may take over between the stored attempt and the send."""

    def unsure() -> TakeOver:
        take_over = memory_take_over()
        return lambda room: UnsureBeforeSending(take_over(room))

    assert "the old leader sent" in faults_of_all(unsure)[1]


def test_exit_service_of_a_superseded_leader_stores_nothing() -> None:
    """An exit armed or triggered by a leader that was superseded raises NotLeader and leaves the log as it is."""
    room, take_over = Room(MemoryBook(SteppingClock()), "exits", venue="paper"), memory_take_over()
    paper = PaperExchange((BTC,), balances_of(room.book, room.portfolio_id), room.clock)
    trader = room.service(paper, leadership=take_over(room))
    exits = ExitService(room.book, room.portfolio_id, paper, trader)
    room.hold("1")
    exit_id = derived_id("exit of", room.portfolio_id)
    room.tell(ExitArmed(exit_id=exit_id, account=ACCOUNT, instrument=BTC, bought=ZERO, stop=Decimal(90)), exit_id)
    take_over(room)
    before = room.envelopes()

    with pytest.raises(NotLeader):
        exits.on_quote(Quote(BTC, Decimal(80), Decimal(80), room.clock()))
    assert room.envelopes() == before


# --- in the database --------------------------------------------------------------------------------------------------

Superuser = psycopg.Connection[tuple[object, ...]]


def silenced(superuser: Superuser) -> None:
    """End the sessions that hold a leader's lock, as the server does to silent ones."""
    superuser.execute("select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and classid = 73053")
    while superuser.execute("select 1 from pg_locks where locktype = 'advisory' and classid = 73053").fetchone():
        pass


@contextmanager
def claims(engine: Engine) -> Iterator[TakeOver]:
    """Makes claims to the portfolios of a stored book, and releases all at the end."""
    made: list[PostgresLeadership] = []

    def take_over(room: Room) -> PostgresLeadership:
        assert isinstance(room.book, PostgresBook)
        made.append(PostgresLeadership(room.book, engine, room.portfolio_id, f"holder {len(made)}", room.clock))
        return made[-1]

    try:
        yield take_over
    finally:
        for one in made:
            one.close()


def test_claim_is_refused_while_a_leader_lives(postgres_book: PostgresBook, engine: Engine) -> None:
    """Once the leader's session is closed, the next one leads."""
    room = Room(postgres_book, "lives")
    with claims(engine) as claim:
        first = claim(room)
        with pytest.raises(NotLeader, match="another Daybook trades"):
            claim(room)
        first.confirm()

        assert isinstance(first, PostgresLeadership)
        first.close()
        claim(room).confirm()
        with pytest.raises(NotLeader):
            first.confirm()


def test_leader_with_a_lost_session_continues_until_superseded(
    postgres_book: PostgresBook, engine: Engine, superuser: Superuser
) -> None:
    """After a take-over it can neither store nor confirm."""
    room = Room(postgres_book, "silent")
    with claims(engine) as claim:
        first = claim(room)
        silenced(superuser)
        first.confirm()

        silenced(superuser)
        second = claim(room)
        before = room.envelopes()
        for act in (first.confirm, lambda: room.service(ScriptedExchange(), leadership=first).step()):
            with pytest.raises(NotLeader):
                act()
        room.signal()
        with pytest.raises(NotLeader):
            first.record([_repeated(room)])
        assert len(room.envelopes()) == len(before) + 1
        room.service(ScriptedExchange(), leadership=second).step()
        assert len(room.of(SignalApproved)) == 1


@pytest.mark.parametrize("numbers", [range(1, 30, 4), pytest.param(range(500), marks=pytest.mark.nightly)])
def test_take_overs_in_the_database_double_nothing(
    postgres_book: PostgresBook, engine: Engine, superuser: Superuser, numbers: range
) -> None:
    """The same on the stored book, before every fourth effect; five hundred take-overs in the nightly tests."""
    with claims(engine) as claim:

        def take_over(room: Room) -> Leadership:
            silenced(superuser)
            return claim(room)

        for number in numbers:
            assert taken_over(postgres_book, take_over, f"stored {number}", number % 30 or 30) == ([], True)


def _repeated(room: Room) -> NewEvent:
    """An event that the log does not hold yet."""
    last = room.envelopes()[-1]
    return NewEvent(last.event, room.manual_id(99), last.occurred_at, "test", room.manual_id(99))
