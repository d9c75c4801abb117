"""Idempotent commands: a key identifies one request, which has one answer forever."""

from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest

from tests.support.api_system import BUY, Daybook, configured_logs, open_daybook, problem_of

EXECUTE = "trades/execute"
BOT = {"bot_id": "mine", "kind": "rsi", "product_id": "BTC-USD"}
FILL = {"kind": "trade", "account": "paper", "venue_trade_id": "7", "product_id": "BTC-USD", "side": "buy"}


@pytest.fixture
def daybook(daybook: Daybook) -> Daybook:
    """A new Daybook after two minutes of its market."""
    daybook.pass_seconds(2)
    return daybook


COMMANDS: list[tuple[str, dict[str, Any] | None]] = [
    (EXECUTE, BUY),
    ("bots", BOT),
    ("bots/rsi-BTC-USD/stop", None),
    ("bots/rsi-BTC-USD/start", None),
    ("portfolios", {"name": "mine", "base_currency": "EUR"}),
    ("accounts", {"account": "wallet", "venue": "own", "mode": "live"}),
    ("portfolio/entries", {"kind": "cash_deposit", "account": "paper", "amount": "5"}),
    ("portfolio/entries", FILL | {"quantity": "0.1", "price": "100"}),
    ("bots/combined-BTC-USD/evaluate", None),
]


def test_repeated_command_returns_the_first_answer_byte_for_byte(daybook: Daybook) -> None:
    """Nothing is stored, however much has happened in between."""
    firsts = [daybook.post(path, body, f"key {path} {body}") for path, body in COMMANDS]
    assert {first.status_code for first in firsts} <= {200, 201}
    daybook.pass_seconds(3)
    before = daybook.head()

    for (path, body), first in zip(COMMANDS, firsts, strict=True):
        again = daybook.post(path, body, f"key {path} {body}")
        assert (path, again.status_code, again.content) == (path, first.status_code, first.content)
    assert daybook.head() == before


def test_repeated_command_returns_the_first_answer_after_a_restart(database_url: str, tmp_path: Path) -> None:
    with open_daybook(database_url, tmp_path) as running:
        running.pass_seconds(2)
        firsts = [running.post(path, body, f"key {path} {body}").content for path, body in COMMANDS]
    with open_daybook(database_url, tmp_path) as running:
        before = running.head()
        assert [running.post(path, body, f"key {path} {body}").content for path, body in COMMANDS] == firsts
        assert running.head() == before


def test_repeated_command_does_nothing_when_only_the_answer_was_lost(
    daybook: Daybook, superuser: psycopg.Connection[tuple[Any, ...]]
) -> None:
    """The answer is computed from the stored events."""
    superuser.execute(
        "create function cut_off() returns trigger language plpgsql as 'begin raise exception $$cut off$$; end';"
        "create trigger cut_off before update on commands for each row execute function cut_off()"
    )
    with configured_logs():  # tracebacks as the program writes them: those of structlog's default take a second each
        for path, body in COMMANDS[:8]:
            assert daybook.post(path, body, f"key {path} {body}").status_code == 500, path
    superuser.execute("drop trigger cut_off on commands")
    daybook.pass_seconds(3)
    before = daybook.head()

    for path, body in COMMANDS[:8]:
        again = daybook.post(path, body, f"key {path} {body}")
        assert again.status_code in (200, 201), path
        assert daybook.post(path, body, f"key {path} {body}").content == again.content, path
    assert daybook.head() == before
    assert len(daybook.read("orders?status=closed")["items"]) == 1


OTHERS: list[tuple[str, dict[str, Any] | None]] = [
    (EXECUTE, BUY | {"quote_size": "51"}),
    (EXECUTE, BUY | {"product_id": "XYZ-USD"}),
    (EXECUTE, BUY | {"quote_size": "1000000"}),
    ("bots", BOT),
    ("bots/rsi-BTC-USD/stop", None),
]


def test_command_is_rejected_when_its_key_belongs_to_another_request(daybook: Daybook) -> None:
    assert daybook.post(EXECUTE, BUY, "key").status_code == 201
    before = daybook.head()

    for path, body in OTHERS:
        answer = daybook.post(path, body, "key")
        assert (path, answer.status_code, problem_of(answer)) == (path, 422, "idempotency-key-reused")
    assert daybook.head() == before


def test_rejected_command_leaves_its_key_free(daybook: Daybook) -> None:
    assert daybook.post(EXECUTE, BUY | {"quote_size": "10001"}, "key").status_code == 422

    assert daybook.post(EXECUTE, BUY, "key").status_code == 201


def test_resolve_order_rejects_a_blank_reason(daybook: Daybook) -> None:
    before = daybook.head()

    for number, blank in enumerate((" ", "\t\n\u2003")):
        body = {"outcome": "cancelled", "reason": blank}
        answer = daybook.post(f"orders/{UUID(int=7)}/resolve", body, f"blank {number}")
        assert (answer.status_code, problem_of(answer)) == (422, "no-reason")
        assert answer.json()["detail"] == "the reason is blank: state the evidence"
    assert daybook.head() == before


def test_repeated_command_answers_409_while_the_first_is_running(daybook: Daybook) -> None:
    with ThreadPoolExecutor() as pool:
        with daybook.system.trader.exclusively():
            first = pool.submit(daybook.post, EXECUTE, BUY, "key")
            second = pool.submit(daybook.post, EXECUTE, BUY, "key")
            refused = next(as_completed((first, second), timeout=60)).result()
            assert (refused.status_code, problem_of(refused)) == (409, "still-running")
        answers = [one.result(timeout=60) for one in (first, second)]

    done = next(answer for answer in answers if answer.status_code == 201)
    assert daybook.post(EXECUTE, BUY, "key").content == done.content


def test_hundred_equal_requests_at_once_make_one_order(daybook: Daybook) -> None:
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: daybook.post(EXECUTE, BUY, "key"), range(100)))

    assert {answer.status_code for answer in answers} <= {201, 409}
    assert len({answer.content for answer in answers if answer.status_code == 201}) == 1
    assert len(daybook.read("orders")["items"]) == 1


def test_register_bot_succeeds_once_when_many_use_the_same_name_at_once(daybook: Daybook) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda number: daybook.post("bots", BOT, f"key {number}"), range(24)))

    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 23
    assert len(daybook.read("events", type="BotRegistered", limit=500)["items"]) == 5


def test_execute_answers_with_the_fills_when_patience_is_long_enough(database_url: str, tmp_path: Path) -> None:
    with open_daybook(database_url, tmp_path, patience_s=60.0) as running, ThreadPoolExecutor() as pool:
        running.pass_seconds(2)
        answer = pool.submit(running.post, EXECUTE, BUY, "key")
        while not answer.done():
            running.pass_seconds(1)
        filled = answer.result().json()

    assert filled["order"]["status"] == "closed"
    assert filled["trades"]
