"""The kill switch: no send starts after a halt is stored; the conditions that halt trading automatically."""

import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import psycopg
import pytest
from click.testing import CliRunner
from sqlalchemy import Engine

from api.cli import cli
from execution.exchanges.exchange import Exchange
from execution.halts import HaltWatch, Signs, new_trips, store_halt, trip_event
from execution.orders.order_events import ticket_of
from execution.orders.trade_service import TradeService
from execution.review.review import TradeRejected
from ledger.events import TradeExecuted, TradingHalted, TradingResumed
from ledger.locks import Alone, HaltLock, LocalHaltLock, StillHeld
from ledger.log.envelope import NewEvent
from ledger.postgres.book import PostgresBook
from ledger.postgres.database import DATABASE_GONE
from ledger.postgres.halt_lock import PostgresHaltLock
from ledger.projections.book import Book, MemoryBook
from ledger.projections.orders import OrderView
from ledger.values import Side, derived_id
from tests.conftest import wait_until_blocked
from tests.support.api_system import BUY, Daybook, open_daybook, problem_of
from tests.support.events import SteppingClock
from tests.support.programs import WARMUP, Program, open_portfolio, quick_bots, tape
from tests.support.trading import ACCOUNT, BTC, Room, Script, ScriptedExchange, WatchedBook, WatchedExchange, market

# --- no send begins after a halt --------------------------------------------------------------------------------------


class WatchedHaltLock:
    """The halt lock; `open` is `True` between a sender's check and the venue's reply. Waiting halts are joined."""

    def __init__(self, halt_lock: HaltLock) -> None:
        self._halt_lock = halt_lock
        self.open = False
        self.waiting: list[threading.Thread] = []

    @contextmanager
    def sending(self, portfolio_id: UUID) -> Iterator[StillHeld]:
        with self._halt_lock.sending(portfolio_id) as held:
            self.open = True
            try:
                yield held
            finally:
                self.open = False
        while self.waiting:
            self.waiting.pop().join(60)

    @contextmanager
    def halting(self, portfolio_id: UUID) -> Iterator[bool]:
        with self._halt_lock.halting(portfolio_id) as through:
            yield through


class NoHaltLock(WatchedHaltLock):
    """Planted: sends and halts do not wait for each other."""

    @contextmanager
    def sending(self, portfolio_id: UUID) -> Iterator[StillHeld]:
        yield lambda: True

    @contextmanager
    def halting(self, portfolio_id: UUID) -> Iterator[bool]:
        yield True


class LooksOnce(TradeService):
    """Planted: does not check the halt between the stored attempt and the send."""

    def _send(self, order: OrderView) -> None:
        if self.decide(lambda state: self._attempt(order, state)):
            self._venues.at(order).submit(ticket_of(order))


class Burst:
    """Orders of bots and manual orders, with halts from other threads around effects chosen by `dice`."""

    def __init__(self, book: Book, halt_lock: WatchedHaltLock, name: str, kind: type[TradeService]) -> None:
        self.room = Room(book, name)
        self.halt_lock = halt_lock
        self.story: list[str] = []
        self._dice = random.Random(name)
        self._effects = 0
        self._trips: set[int] = set()
        exchange: Exchange = WatchedExchange(ScriptedExchange(), self._hook)
        self._book = WatchedBook(book, self._hook)
        named = {exchange.venue: exchange}
        self._service = kind(self._book, self.room.portfolio_id, named, self.room.clock, "one", halt_lock=halt_lock)

    def play(self, rounds: int) -> list[str]:
        """Sends, stored halts and resumptions, in order."""
        for number in range(rounds):
            self._trips = {self._effects + self._dice.randrange(1, 50) for _ in range(self._dice.randrange(1, 4))}
            self.room.mark()
            for bot in range(self._dice.randrange(1, 4)):
                self.room.signal("0.4", bot=f"bot {number} {bot}")
            self._service.step()
            with suppress(TradeRejected):
                self.room.request(self._service, market(), number, book=self._book)
            self._service.step()
            self.room.clock.move(hours=1)
            self.story.append("resumed")
            self.room.tell(TradingResumed(reason="on we go"))
        return self.story

    def _hook(self, side: str, effect: str) -> None:
        self._effects += 1
        if self._effects in self._trips:
            thread = threading.Thread(target=self._halt, args=(self._effects,))
            thread.start()
            # A send that has begun is waited for; whoever waits for the halt here would wait for himself.
            if self.halt_lock.open:
                self.halt_lock.waiting.append(thread)
            else:
                thread.join(60)
        if (side, effect) == ("before", "submit"):
            self.story.append("send")

    def _halt(self, number: int) -> None:
        room = self.room
        event_id = derived_id("halt", room.portfolio_id, number)
        event = NewEvent(TradingHalted(reason="enough"), event_id, room.clock(), "owner", event_id)

        def record(events: object) -> None:
            room.book.record(room.portfolio_id, [event])
            self.story.append("halted")

        assert store_halt(room.book, self.halt_lock, room.portfolio_id, event, record)


def later_sends(story: list[str]) -> int:
    """The number of sends that started while trading was halted."""
    halted, found = False, 0
    for one in story:
        halted = one == "halted" or (halted and one != "resumed")
        found += halted and one == "send"
    return found


def bursts(book: Book, halt_lock: HaltLock, count: int, kind: type[TradeService] = TradeService) -> list[str]:
    """The events of bursts with about this many halts."""
    story: list[str] = []
    number = 0
    while story.count("halted") < count:
        number += 1
        story += Burst(book, WatchedHaltLock(halt_lock), f"{kind.__name__} {number}", kind).play(3)
    return story


def test_no_send_starts_after_a_halt() -> None:
    """Dozens of halts from other threads at random effects of the trade service."""
    story = bursts(MemoryBook(SteppingClock()), LocalHaltLock(), 60)

    assert story.count("send") >= 20
    assert later_sends(story) == 0


def test_no_send_starts_after_a_halt_in_the_database(postgres_book: PostgresBook, engine: Engine) -> None:
    """The same with the lock between processes."""
    story = bursts(postgres_book, PostgresHaltLock(engine), 12)

    assert later_sends(story) == 0


@pytest.mark.nightly
def test_no_send_starts_after_any_of_a_thousand_halts(postgres_book: PostgresBook, engine: Engine) -> None:
    """The same a thousand times."""
    story = bursts(postgres_book, PostgresHaltLock(engine), 1000)

    assert story.count("send") >= 300
    assert later_sends(story) == 0


def test_unlocked_send_is_detected() -> None:
    """Planted: without the lock, or without the second check, sends start after a halt."""
    book = MemoryBook(SteppingClock())
    ungated = [
        Burst(book, NoHaltLock(LocalHaltLock()), f"ungated {number}", TradeService).play(3) for number in range(60)
    ]

    assert sum(map(later_sends, ungated)) > 0
    assert later_sends(bursts(book, LocalHaltLock(), 60, LooksOnce)) > 0


def test_halt_waits_for_a_send_in_progress(database_url: str, engine: Engine) -> None:
    """Between processes, too; sends of other programs wait for the halt."""
    halt_lock, portfolio_id, order = PostgresHaltLock(engine), derived_id("gate"), list[str]()

    def halt() -> bool:
        with halt_lock.halting(portfolio_id) as through:
            order.append("halted")
            return through

    with ThreadPoolExecutor(1) as pool:
        with halt_lock.sending(portfolio_id), halt_lock.sending(portfolio_id):
            halting = pool.submit(halt)
            wait_until_blocked(database_url, halting)
            order.append("sent")
        assert halting.result(60)
    assert order == ["sent", "halted"]


@pytest.mark.parametrize("where", ["one process", "the database"])
def test_hanging_send_does_not_block_a_halt(where: str, engine: Engine) -> None:
    """After its timeout the halt is stored, and reports that a send was still in progress."""
    portfolio_id = derived_id("hangs")
    halt_lock: HaltLock = LocalHaltLock(0.01) if where == "one process" else PostgresHaltLock(engine, 0.01)

    with halt_lock.sending(portfolio_id), halt_lock.halting(portfolio_id) as through:
        assert not through
    with halt_lock.halting(portfolio_id) as through:
        assert through


def test_lock_of_a_dead_program_is_released(engine: Engine, superuser: psycopg.Connection[tuple[object, ...]]) -> None:
    """It ends with the program's database connection."""
    halt_lock, portfolio_id = PostgresHaltLock(engine), derived_id("dies")
    with suppress(*DATABASE_GONE), halt_lock.sending(portfolio_id):
        superuser.execute("select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory'")
    with halt_lock.halting(portfolio_id) as through:
        assert through


END_SENDERS = "select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and classid = 73052"


class LostHaltLock(WatchedHaltLock):
    """A lock whose database session was ended; `told` is whether the sender notices."""

    def __init__(self, halt_lock: HaltLock, lose: Callable[[], object], *, told: bool) -> None:
        super().__init__(halt_lock)
        self._lose, self._told = lose, told

    @contextmanager
    def sending(self, portfolio_id: UUID) -> Iterator[StillHeld]:
        with super().sending(portfolio_id) as held:
            self._lose()
            yield held if self._told else lambda: True


@pytest.mark.parametrize("told", [True, False], ids=["as it is", "planted: it does not look"])
def test_sender_without_the_lock_does_not_send(
    postgres_book: PostgresBook, engine: Engine, superuser: psycopg.Connection[tuple[object, ...]], told: bool
) -> None:
    """A halt may be stored meanwhile: the order is closed as not sent."""
    room = Room(postgres_book, "lost gate")
    room.mark()
    exchange = ScriptedExchange((Script(states=("filled",)),))
    halt_lock = LostHaltLock(PostgresHaltLock(engine), lambda: superuser.execute(END_SENDERS), told=told)
    service = TradeService(
        room.book, room.portfolio_id, {exchange.venue: exchange}, room.clock, "test", halt_lock=halt_lock
    )

    room.request(service, market(), 1)

    with room.reading() as reading:
        (order,) = reading.rows.history(OrderView)
    assert (order.status, order.reason) == (("closed", "not_sent") if told else ("accepted", ""))


@pytest.mark.parametrize(("stood", "status"), [(29, "accepted"), (31, "closed")])
def test_suspended_sender_keeps_the_deadline_of_its_attempt(memory_book: MemoryBook, stood: int, status: str) -> None:
    """The clock is checked last: an attempt older than 30 seconds is not sent."""
    room = Room(memory_book, "stood still")
    room.mark()

    class Standing(Alone):
        def confirm(self) -> None:
            room.clock.move(seconds=stood)

    exchange = ScriptedExchange((Script(states=("filled",)),))
    service = room.service(exchange, leadership=Standing(room.book, room.portfolio_id))
    room.request(service, market(), 1)

    (order,) = room.orders()
    assert (order.status, order.reason) == (status, "" if status == "accepted" else "not_sent")


def test_reply_is_stored_after_the_lock_was_lost(
    postgres_book: PostgresBook, engine: Engine, superuser: psycopg.Connection[tuple[object, ...]]
) -> None:
    """A call that outlasts the database session is still stored with its outcome."""
    room = Room(postgres_book, "slow call")
    room.mark()

    def lose(side: str, effect: str) -> None:
        if (side, effect) == ("before", "submit"):
            superuser.execute(END_SENDERS)

    exchange = WatchedExchange(ScriptedExchange((Script(states=("filled",)),)), lose)
    service = TradeService(
        room.book, room.portfolio_id, {exchange.venue: exchange}, room.clock, "test", halt_lock=PostgresHaltLock(engine)
    )

    room.request(service, market(), 1)

    with room.reading() as reading:
        (order,) = reading.rows.history(OrderView)
    assert order.status == "accepted"


# --- what halts without a person --------------------------------------------------------------------------------------


QUIET = Signs()


def reasons(room: Room, signs: Signs = QUIET) -> list[str]:
    """The reasons for which trading is halted now; the halts are stored."""
    with room.reading() as reading:
        trips = new_trips(room.state(reading), room.portfolio_id, signs)
    for trip in trips:
        room.book.record(room.portfolio_id, [trip_event(room.portfolio_id, trip, room.clock())])
    return [trip.reason for trip in trips]


def resumed(room: Room) -> None:
    room.tell(TradingResumed(reason="seen"))


def unknown(room: Room) -> None:
    """An order has an unknown outcome for longer than 60 seconds."""
    room.signal()
    room.service(ScriptedExchange((Script(submit="lost", states=("unknown",)),))).step()
    room.clock.move(seconds=61)


def lost(room: Room, amount: str) -> None:
    """A loss of this size today."""
    room.limit("halt_daily_loss", "100")
    room.hold("1", "1000")
    trade = TradeExecuted(
        account=ACCOUNT,
        venue="elsewhere",
        venue_trade_id=f"lost {amount}",
        instrument=BTC,
        side=Side.SELL,
        quantity=Decimal(1),
        price=1000 - Decimal(amount),
        quote_rate=Decimal(1),
        triggered_by="import",
    )
    room.tell(trade)


TRIPS: dict[str, tuple[Callable[[Room], None], Signs, str]] = {
    "an unknown order": (unknown, Signs(), "unknown outcome for 61 s (limit: 60 s)"),
    "a daily loss": (lambda room: lost(room, "101"), Signs(), "101 USD lost on 2026-01-05 (limit: 100)"),
    "a failed verification": (lambda _: None, Signs(verification="lots differ"), "verification failed: lots differ"),
    "clocks apart": (lambda _: None, Signs(skew=timedelta(seconds=-1.5)), "differ by 1.5 s (limit: 1 s)"),
}


@pytest.mark.parametrize("name", TRIPS)
def test_condition_halts_trading(name: str) -> None:
    """Each condition stores a halt with its reason, and no order is sent afterwards."""
    prepare, signs, said = TRIPS[name]
    room, venue = Room(MemoryBook(SteppingClock()), name), ScriptedExchange()
    prepare(room)

    (reason,) = reasons(room, signs)
    room.signal("0.9", bot="later")
    room.service(venue).step()

    assert said in reason
    assert room.envelopes(TradingHalted)[0].actor == "kill-switch"
    assert venue.submitted == []


def test_values_within_their_limits_do_not_halt() -> None:
    """Nor does any value with a limit of 0."""
    room = Room(MemoryBook(SteppingClock()), "within")
    lost(room, "100")
    unknown(room)
    room.clock.move(seconds=-1)
    assert reasons(room, Signs(skew=timedelta(seconds=1))) == []

    for name in ("halt_daily_loss", "halt_unknown_seconds", "halt_clock_skew_seconds"):
        room.limit(name, "0")
    room.clock.move(seconds=3600)
    assert reasons(room, Signs(skew=timedelta(hours=1))) == []


def test_daily_loss_is_reset_at_midnight_utc() -> None:
    """Losses of the day before do not count."""
    room = Room(MemoryBook(SteppingClock()), "yesterday")
    lost(room, "500")
    room.clock.move(hours=12)

    assert reasons(room) == []


def test_the_same_cause_halts_once() -> None:
    """After a person resumes, only another cause halts again; while halted nothing is stored."""
    room = Room(MemoryBook(SteppingClock()), "once")
    unknown(room)
    assert len(reasons(room)) == 1
    lost(room, "500")
    assert reasons(room) == []

    resumed(room)
    assert [one for one in reasons(room) if "lost" in one]
    resumed(room)
    assert reasons(room) == []


def test_persistent_clock_skew_halts_again() -> None:
    """Resuming does not correct a clock."""
    room, apart = Room(MemoryBook(SteppingClock()), "apart"), Signs(skew=timedelta(seconds=5))
    assert len(reasons(room, apart)) == 1
    resumed(room)
    room.clock.move(seconds=1)

    assert len(reasons(room, apart)) == 1


def test_market_loop_halts_before_the_next_order(book: Book) -> None:
    """A condition that arises between two candles halts trading before the next order."""
    candles, portfolio_id = tape(30), derived_id("halting loop")
    open_portfolio(book, portfolio_id, candles, quick_bots())
    program = Program(book, portfolio_id, candles)
    program.play(1)
    program.loop.halts.unverified = "lots differ"
    program.play_out()

    halts = [one for one in book.log.read(portfolio_id) if isinstance(one.event, TradingHalted)]
    assert [one.occurred_at for one in halts] == [candles[WARMUP].closed_at]
    assert not [one for one in book.log.read(portfolio_id, halts[0].position) if one.type == "OrderRequested"]


def test_halt_watch_stores_nothing_on_a_quiet_portfolio() -> None:
    """On a quiet portfolio the watch stores nothing."""
    room = Room(MemoryBook(SteppingClock()), "quiet")
    HaltWatch(room.book, room.portfolio_id, room.clock, LocalHaltLock()).look()

    assert room.of(TradingHalted) == []


# --- over HTTP and at the command line --------------------------------------------------------------------------------


@pytest.fixture
def daybook(database_url: str, tmp_path: Path) -> Iterator[Daybook]:
    """A new Daybook."""
    with open_daybook(database_url, tmp_path) as running:
        yield running


def test_trading_is_halted_and_resumed_over_http(daybook: Daybook) -> None:
    """While halted, orders are refused and the state shows time, reason and person; then they are accepted."""
    assert daybook.read("trading")["halted"] is False
    assert daybook.read("trading")["reason"] is None

    first = daybook.post("trading/halt", {"reason": "too wild"}, "h1")
    assert (first.json()["halted"], first.json()["reason"], first.json()["actor"]) == (True, "too wild", "owner")
    assert daybook.post("trading/halt", {"reason": "too wild"}, "h1").content == first.content
    assert daybook.read("/health/trading")["state"] == "halted"
    refused = daybook.post("trades/execute", BUY, "t1")
    assert (refused.status_code, "too wild" in refused.text) == (422, True)
    assert daybook.post("trading/halt", {"reason": "still too wild"}, "h2").json()["reason"] == "still too wild"

    assert daybook.post("trading/resume", {"reason": "calm"}, "r1").json()["halted"] is False
    assert daybook.read("trading")["reason"] == "calm"
    assert daybook.post("trades/execute", BUY, "t2").status_code == 201
    again = daybook.post("trading/resume", {"reason": "calm"}, "r2")
    assert (again.status_code, problem_of(again)) == (409, "not-halted")


def test_halt_without_reason_or_portfolio_is_refused(daybook: Daybook) -> None:
    """Empty and multi-line reasons and unknown portfolios are refused, and nothing is stored."""
    before = daybook.head()

    assert daybook.post("trading/halt", {"reason": ""}, "a").status_code == 400
    assert daybook.post("trading/halt", {"reason": "a\nb"}, "b").status_code == 400
    assert daybook.post("trading/halt?portfolio=nobody", {"reason": "x"}, "c").status_code == 404
    assert daybook.head() == before


def test_failed_verification_halts_trading(daybook: Daybook, superuser: psycopg.Connection[tuple[object, ...]]) -> None:
    """At the next turn of the market loop."""
    assert daybook.post("verification").json()["verified"]
    daybook.pass_seconds(1)
    assert daybook.read("trading")["halted"] is False
    superuser.execute("update balances set quantity = quantity + 1")

    assert not daybook.post("verification").json()["verified"]
    daybook.pass_seconds(1)

    assert daybook.read("trading")["actor"] == "kill-switch"
    assert "verification failed" in daybook.read("trading")["reason"]


def run(database_url: str, folder: Path, *arguments: str) -> tuple[int, str]:
    """Exit code and output of the command on this database."""
    environment = {"DAYBOOK_DATABASE_URL": database_url, "DAYBOOK_DATA_DIR": str(folder)}
    result = CliRunner().invoke(cli, arguments, env=environment)
    return result.exit_code, result.output


def test_trading_is_halted_at_the_command_line(daybook: Daybook, database_url: str, tmp_path: Path) -> None:
    """Trading of a running Daybook is halted and resumed from outside, in all portfolios or in one."""
    name = daybook.system.portfolio_name
    code, said = run(database_url, tmp_path, "halt", "--reason", "enough")
    assert (code, said) == (0, f"Trading in {name!r} is halted.\n")
    assert daybook.read("trading")["reason"] == "enough"
    assert daybook.post("trades/execute", BUY, "t1").status_code == 422

    code, said = run(database_url, tmp_path, "resume", "--portfolio", name, "--reason", "calm")
    assert (code, said) == (0, f"Trading in {name!r} is resumed.\n")
    assert run(database_url, tmp_path, "resume", "--reason", "calm")[1] == f"Trading in {name!r} was not halted.\n"
    assert daybook.post("trades/execute", BUY, "t2").status_code == 201


def test_halt_of_an_unknown_portfolio_fails(database_url: str, tmp_path: Path) -> None:
    """So does a halt without a reason."""
    code, said = run(database_url, tmp_path, "halt", "--portfolio", "nobody", "--reason", "x")
    assert (code, "there is no portfolio called 'nobody'" in said) == (1, True)
    assert run(database_url, tmp_path, "halt", "--reason", " ")[0] == 2
