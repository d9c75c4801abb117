"""Commands are done once: a key names a request, and the request has one answer for ever."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest

from tests.support.api_system import BUY, Daybook, open_daybook, problem_of

EXECUTE = "trades/execute"
BOT = {"bot_id": "mine", "kind": "rsi", "product_id": "BTC-USD"}
FILL = {"kind": "trade", "account": "paper", "venue_trade_id": "7", "product_id": "BTC-USD", "side": "buy"}


@pytest.fixture
def daybook(database_url: str, tmp_path: Path) -> Iterator[Daybook]:
    """A new Daybook whose market has moved for a minute."""
    with open_daybook(database_url, tmp_path) as running:
        running.pass_seconds(2)
        yield running


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


@pytest.mark.parametrize(("path", "body"), COMMANDS)
def test_a_repeat_is_answered_byte_for_byte_as_the_first_time(
    daybook: Daybook, path: str, body: dict[str, Any] | None
) -> None:
    """The same key with the same request gives the first answer, however much has happened since, and stores nothing."""
    first = daybook.post(path, body, "key")
    assert first.status_code in (200, 201)
    daybook.pass_seconds(3)
    before = daybook.head()

    again = daybook.post(path, body, "key")

    assert (again.status_code, again.content) == (first.status_code, first.content)
    assert daybook.head() == before


def test_a_repeat_after_a_restart_is_answered_as_the_first_time(database_url: str, tmp_path: Path) -> None:
    """The answer is kept with the ledger, not with the program."""
    with open_daybook(database_url, tmp_path) as running:
        running.pass_seconds(2)
        firsts = [running.post(path, body, f"key {path} {body}").content for path, body in COMMANDS]
    with open_daybook(database_url, tmp_path) as running:
        before = running.head()
        assert [running.post(path, body, f"key {path} {body}").content for path, body in COMMANDS] == firsts
        assert running.head() == before


@pytest.mark.parametrize(("path", "body"), COMMANDS[:8])
def test_a_command_cut_off_before_its_answer_is_not_done_again(
    daybook: Daybook, superuser: psycopg.Connection[tuple[Any, ...]], path: str, body: dict[str, Any] | None
) -> None:
    """A command whose events were stored and whose answer was not is answered from what was stored."""
    superuser.execute(
        "create function cut_off() returns trigger language plpgsql as 'begin raise exception $$cut off$$; end';"
        "create trigger cut_off before update on commands for each row execute function cut_off()"
    )
    assert daybook.post(path, body, "key").status_code == 500
    superuser.execute("drop trigger cut_off on commands")
    daybook.pass_seconds(3)
    before = daybook.head()

    again = daybook.post(path, body, "key")

    assert again.status_code in (200, 201)
    assert daybook.head() == before
    assert daybook.post(path, body, "key").content == again.content
    assert len(daybook.read("orders?status=closed")["items"]) == (1 if path == EXECUTE else 0)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (EXECUTE, BUY | {"quote_size": "51"}),
        (EXECUTE, BUY | {"product_id": "XYZ-USD"}),
        (EXECUTE, BUY | {"quote_size": "1000000"}),
        ("bots", BOT),
        ("bots/rsi-BTC-USD/stop", None),
    ],
)
def test_a_key_names_one_request(daybook: Daybook, path: str, body: dict[str, Any] | None) -> None:
    """A key that was used for another request, whatever that may be, is refused."""
    assert daybook.post(EXECUTE, BUY, "key").status_code == 201
    before = daybook.head()

    answer = daybook.post(path, body, "key")

    assert (answer.status_code, problem_of(answer)) == (422, "idempotency-key-reused")
    assert daybook.head() == before


def test_a_request_that_is_refused_leaves_its_key_free(daybook: Daybook) -> None:
    """A key whose request was rejected may name the request that was meant."""
    assert daybook.post(EXECUTE, BUY | {"quote_size": "10001"}, "key").status_code == 422

    assert daybook.post(EXECUTE, BUY, "key").status_code == 201


def test_what_became_of_an_order_is_not_told_without_a_reason(daybook: Daybook) -> None:
    """A reason in which nothing is to be read is refused in one sentence, whatever the order; nothing is stored."""
    before = daybook.head()

    for number, blank in enumerate((" ", "\t\n\u2003")):
        body = {"outcome": "cancelled", "reason": blank}
        answer = daybook.post(f"orders/{UUID(int=7)}/resolve", body, f"blank {number}")
        assert (answer.status_code, problem_of(answer)) == (422, "no-reason")
        assert answer.json()["detail"] == "the reason is blank: state the evidence"
    assert daybook.head() == before


def test_a_repeat_while_the_first_is_running_is_told_so(daybook: Daybook) -> None:
    """While a command is being done its repeat is answered 409; afterwards it has the first answer."""
    with ThreadPoolExecutor() as pool:
        with daybook.system.trader.exclusively():
            first = pool.submit(daybook.post, EXECUTE, BUY, "key")
            second = pool.submit(daybook.post, EXECUTE, BUY, "key")
            refused = next(as_completed((first, second), timeout=60)).result()
            assert (refused.status_code, problem_of(refused)) == (409, "still-running")
        answers = [one.result(timeout=60) for one in (first, second)]

    done = next(answer for answer in answers if answer.status_code == 201)
    assert daybook.post(EXECUTE, BUY, "key").content == done.content


def test_many_repeats_at_once_are_one_order(daybook: Daybook) -> None:
    """Of a hundred equal requests at the same time one is done; the others are told to wait or get its answer."""
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: daybook.post(EXECUTE, BUY, "key"), range(100)))

    assert {answer.status_code for answer in answers} <= {201, 409}
    assert len({answer.content for answer in answers if answer.status_code == 201}) == 1
    assert len(daybook.read("orders")["items"]) == 1


def test_two_who_register_the_same_name_at_once_are_told_apart(daybook: Daybook) -> None:
    """Of many registrations of one name with different keys exactly one succeeds."""
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda number: daybook.post("bots", BOT, f"key {number}"), range(24)))

    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 23
    assert len(daybook.read("events", type="BotRegistered", limit=500)["items"]) == 5


def test_an_order_is_waited_for_until_it_is_filled(database_url: str, tmp_path: Path) -> None:
    """With patience, the answer to a market order comes with its fill as soon as the market has moved."""
    with open_daybook(database_url, tmp_path, patience_s=60.0) as running, ThreadPoolExecutor() as pool:
        running.pass_seconds(2)
        answer = pool.submit(running.post, EXECUTE, BUY, "key")
        while not answer.done():
            running.pass_seconds(1)
        filled = answer.result().json()

    assert filled["order"]["status"] == "closed"
    assert filled["trades"]
