"""A leader suspended within a transaction: the server ends its session, and its successor continues."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import Engine, text

from ledger.events import SignalApproved, SignalEmitted, TradeExecuted
from ledger.locks import NotLeader
from ledger.log.envelope import NewEvent
from ledger.postgres import views
from ledger.postgres.book import PostgresBook
from ledger.postgres.leadership import PostgresLeadership
from ledger.postgres.log import Raw, raw
from ledger.postgres.sessions import (
    EXTENDED_TIMEOUT,
    LEADER_TIMEOUT,
    TRANSACTION_TIMEOUT,
    extend_timeout,
    restore_timeout,
    snapshot,
)
from ledger.values import Side, derived_id
from tests.support.trading import ACCOUNT, BTC, NOON, Room, ScriptedExchange
from tests.support.waiting import until

ROOT = Path(__file__).resolve().parents[2]
SHORT = "2s"
"""Much longer than the time between two statements of a running leader, even on a slow machine."""
NEVER = "0"


@contextmanager
def frozen(url: str, room_name: str, silence: str) -> Iterator[subprocess.Popen[str]]:
    """A leader of the room's portfolio that is suspended within a recording."""
    command = [sys.executable, "-m", "tests.campaigns.frozen_program", url, room_name, silence]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            _, status = os.waitpid(process.pid, os.WUNTRACED)
            assert os.WIFSTOPPED(status), process.communicate()
            yield process
        finally:
            process.kill()


def outcomes_of(process: subprocess.Popen[str]) -> list[str]:
    """The outcomes that the leader prints after it is resumed, to its end."""
    process.send_signal(signal.SIGCONT)
    out, _ = process.communicate()
    return out.splitlines()


def successor(room: Room, engine: Engine) -> PostgresLeadership | None:
    """The next leader, or None while the one before still holds the lock."""
    assert isinstance(room.book, PostgresBook)
    try:
        return PostgresLeadership(room.book, engine, room.portfolio_id, "the successor", room.clock)
    except NotLeader:
        return None


def test_successor_continues_after_a_leader_suspended_within_a_transaction(
    postgres_book: PostgresBook, engine: Engine, database_url: str
) -> None:
    """The suspended leader's locks are released and its work is rolled back; resumed, it stores nothing."""
    room = Room(postgres_book, "frozen")
    room.mark()
    room.signal()
    with frozen(database_url, "frozen", SHORT) as old:
        leader = until(lambda: successor(room, engine), "the take-over")
        assert leader is not None
        try:
            room.service(ScriptedExchange(), sender="new", leadership=leader).step()
            recording, confirming = outcomes_of(old)
        finally:
            leader.close()

    assert len(room.of(SignalApproved)) == 1
    assert len(room.of(SignalEmitted)) == 1
    assert recording.startswith("DatabaseUnavailable: the database ended a transaction that was idle for too long")
    assert confirming == f"NotLeader: another Daybook trades portfolio {room.portfolio_id} now: stop it first"


@pytest.mark.campaign
def test_suspended_leader_without_a_timeout_is_detected(
    postgres_book: PostgresBook, engine: Engine, database_url: str
) -> None:
    """Planted: a server without the idle timeout keeps its locks, and blocks every successor."""
    room = Room(postgres_book, "blocked")
    with frozen(database_url, "blocked", NEVER), engine.begin() as connection:
        connection.execute(text("set local lock_timeout = '50ms'"))
        with pytest.raises(psycopg.errors.LockNotAvailable):
            raw(connection).execute("select lock_portfolio(%s)", (room.portfolio_id,))


def test_every_connection_sets_its_idle_timeouts(engine: Engine) -> None:
    """Connections that may hold locks have short ones; those that read one snapshot have much longer ones."""
    asked = "select extract(epoch from current_setting('idle_in_transaction_session_timeout')::interval)::int"
    with engine.begin() as connection:
        own = raw(connection)
        found = [own.execute(asked).fetchone()]
        extend_timeout(own)
        found.append(own.execute(asked).fetchone())
        restore_timeout(own)
        found.append(own.execute(asked).fetchone())
    with snapshot(engine) as own:
        found.append(own.execute(asked).fetchone())
    with engine.begin() as connection:
        found.append(raw(connection).execute(asked).fetchone())

    assert (TRANSACTION_TIMEOUT, EXTENDED_TIMEOUT, LEADER_TIMEOUT) == ("2min", "1h", "60s")
    assert [row[0] for row in found if row is not None] == [120, 3600, 120, 3600, 120]


def test_late_entry_gets_the_longer_idle_timeout(postgres_book: PostgresBook, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its refold takes longer than the idle timeout of other transactions."""
    monkeypatch.setattr(views, "LARGE_REFOLD", 5)
    room = Room(postgres_book, "late")
    limits: list[object] = []

    def bought(number: int, minutes: int) -> None:
        event_id = derived_id("bought", number)
        trade = TradeExecuted(
            account=ACCOUNT,
            venue="scripted",
            venue_trade_id=str(number),
            instrument=BTC,
            side=Side.BUY,
            quantity=Decimal(1),
            price=Decimal(100),
            quote_rate=Decimal(1),
        )
        event = NewEvent(trade, event_id, NOON + timedelta(minutes=minutes), "owner", event_id)
        postgres_book.record(room.portfolio_id, [event], alongside=limit_in)

    def limit_in(connection: Raw) -> None:
        limits.append(connection.execute("show idle_in_transaction_session_timeout").fetchone())

    for number in range(10):
        bought(number, number)
    bought(10, -1)

    assert limits == [(TRANSACTION_TIMEOUT,)] * 10 + [(EXTENDED_TIMEOUT,)]
