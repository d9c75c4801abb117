"""Notifications: their content, and targets that hang or fail."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from api.runtime import notifying
from api.runtime.notifying import MOST_WAITING, TRIES, Notifier, Send, through_apprise
from api.runtime.settings import BadSettings
from ledger.events import BotModeSet, DifferenceFound, TradeExecuted, TradingResumed
from ledger.projections.book import MemoryBook
from ledger.values import Side
from tests.support.api_system import BUY, Daybook, open_daybook
from tests.support.events import SteppingClock
from tests.support.trading import BTC, Room, ScriptedExchange
from tests.support.waiting import until

WAIT_S = 60


def room() -> Room:
    return Room(MemoryBook(SteppingClock()), "told")


def heard_by(told: list[str], answers: Iterator[bool] | None = None) -> Send:
    """A target that keeps its messages and returns these results, by default success."""

    def send(title: str, text: str) -> bool:
        told.append(f"{title}: {text}")
        return next(answers) if answers else True

    return send


def notifier_of(one: Room, send: Send) -> Notifier:
    return Notifier(one.book.log, one.portfolio_id, send)


def test_notifier_sends_fills_and_halts_once_in_order() -> None:
    """Earlier events and routine ones are not sent, and a second turn sends nothing."""
    one, told = room(), list[str]()
    one.halt("before")
    one.tell(TradingResumed(reason="before"))
    notifier = notifier_of(one, heard_by(told))
    one.signal()
    service = one.service(ScriptedExchange())
    for _ in range(3):
        service.step()
    one.halt("too wild")
    notifier.turn()
    notifier.turn()

    assert told == [
        "Daybook: buy filled: buy 0.1 BTC-USD at 100 in main",
        "Daybook: buy filled: buy 0.2 BTC-USD at 100 in main",
        "Daybook: trading is halted: too wild (by owner)",
    ]
    assert (notifier.sent, notifier.lost, notifier.notes()) == (3, 0, [])


def test_notifier_retries_a_failing_target_and_counts_lost_messages() -> None:
    """A message delivered by a retry counts as sent, one that never is counts as lost."""
    one, tries = room(), list[str]()
    notifier = notifier_of(one, heard_by(tries, iter([False, True, *[False] * TRIES])))
    one.halt("one")
    one.halt("two")
    notifier.turn()

    assert (len(tries), notifier.sent, notifier.lost) == (2 + TRIES, 1, 1)
    assert notifier.notes() == ["1 notifications were lost; see the log"]


def test_notifier_drops_the_oldest_when_too_many_wait() -> None:
    """The newest hundred are sent, the others counted as lost."""
    one, told = room(), list[str]()
    notifier = notifier_of(one, heard_by(told))
    for number in range(MOST_WAITING + 3):
        one.halt(str(number))
    notifier.turn()

    assert (len(told), told[0], notifier.lost) == (MOST_WAITING, "Daybook: trading is halted: 3 (by owner)", 3)


def test_hanging_target_does_not_delay_trading(
    monkeypatch: pytest.MonkeyPatch, database_url: str, tmp_path: Path
) -> None:
    """While a message hangs, orders are placed and filled, and trading is halted; afterwards all messages are sent."""
    monkeypatch.setattr(notifying, "PAUSE_S", 0.001)
    hanging, released, told = threading.Event(), threading.Event(), list[str]()

    def hangs(title: str, _: str) -> bool:
        hanging.set()
        assert released.wait(WAIT_S)
        told.append(title)
        return True

    with open_daybook(database_url, tmp_path) as daybook:
        notifier = Notifier(daybook.system.book.log, daybook.system.portfolio_id, hangs)
        thread = threading.Thread(target=notifier.run)
        thread.start()
        buy(daybook, "t1")
        assert hanging.wait(WAIT_S)
        buy(daybook, "t2")
        assert daybook.post("trading/halt", {"reason": "enough"}, "h1").json()["halted"]
        assert told == []
        released.set()
        until(lambda: notifier.sent == 3, "three messages")
        notifier.stop()
        thread.join(WAIT_S)

    assert [one.removeprefix("Daybook: ") for one in told] == ["buy filled"] * 2 + ["trading is halted"]


def buy(daybook: Daybook, key: str) -> None:
    """Place an order and wait for its fill."""
    before = len(daybook.read("trades")["items"])
    assert daybook.post("trades/execute", BUY, key).status_code == 201
    daybook.pass_seconds(2)
    assert len(daybook.read("trades")["items"]) == before + 1


@contextmanager
def target(status: int) -> Iterator[tuple[str, list[str]]]:
    """A target on this machine with this status, and the messages it received."""
    heard: list[str] = []

    class Target(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            heard.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Target)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"json://127.0.0.1:{server.server_port}/", heard
    finally:
        server.shutdown()
        thread.join(WAIT_S)
        server.server_close()


@pytest.mark.parametrize(("status", "lost"), [(200, 0), (500, 1)])
def test_messages_are_sent_through_apprise(status: int, lost: int) -> None:
    """A real target receives the halt; after an error it is retried, and the message counts as lost."""
    one = room()
    with target(status) as (url, heard):
        notifier = notifier_of(one, through_apprise([url]))
        one.halt("too wild")
        notifier.turn()

    assert "too wild (by owner)" in heard[0]
    assert (len(heard), notifier.lost) == (TRIES if lost else 1, lost)


def test_unknown_target_is_refused() -> None:
    """The sentence gives the number of the target, not its text, which may hold a secret."""
    with pytest.raises(BadSettings, match="number 2") as refused:
        through_apprise(["json://127.0.0.1/", "hunter2"])
    assert "hunter2" not in str(refused.value)


def test_messages_for_approvals_differences_and_foreign_trades() -> None:
    """Each names product, size and bot, the two values that differ, or the account."""
    one, told = room(), list[str]()
    notifier = notifier_of(one, heard_by(told))
    one.tell(BotModeSet(bot_id="one", mode="ask"))
    signal_id = one.signal()
    one.service(ScriptedExchange()).step()
    one.tell(DifferenceFound(account="main", venue="v", subject="balance of BTC", ledger="1", venue_says="2"))
    one.tell(
        TradeExecuted(
            account="main", venue="v", venue_trade_id="9", instrument=BTC, side=Side.SELL, quantity=Decimal(1),
            price=Decimal(100), quote_rate=Decimal(1), triggered_by="sync",
        )
    )  # fmt: skip
    notifier.turn()

    assert told == [
        f"Daybook: a signal awaits your approval: buy BTC-USD for 90 by one: signal {signal_id}",
        "Daybook: main and its exchange differ: balance of BTC is 1 here and 2 there",
        "Daybook: a trade not placed by Daybook in main: sell 1 BTC-USD at 100",
    ]
