"""Errors of the interface: always a problem with a stable type, and nothing partly stored."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from sqlalchemy import make_url

from tests.support.api_system import BUY, TOKEN, Daybook, configured_logs, problem_of

EXECUTE, PREVIEW = "trades/execute", "trades/preview"
LIMIT = {"product_id": "BTC-USD", "side": "buy", "base_size": "0.1", "type": "limit", "limit_price": "10000"}
BOT = {"bot_id": "mine", "kind": "rsi", "product_id": "BTC-USD"}


@pytest.fixture
def daybook(daybook: Daybook) -> Daybook:
    """A new Daybook after two minutes of its market."""
    daybook.pass_seconds(2)
    return daybook


def ticket(**other: object) -> dict[str, object]:
    """A buy order for 50 with these changes; None removes a field."""
    return {name: value for name, value in (BUY | other).items() if value is not None}


BODIES: list[tuple[str, str | bytes, int, str]] = [
    ("no body", "", 400, "invalid-request"),
    ("no JSON", "{", 400, "invalid-request"),
    ("a list", "[]", 400, "invalid-request"),
    ("null", "null", 400, "invalid-request"),
    ("a text", '"buy"', 400, "invalid-request"),
    ("no UTF-8", b'{"product_id": "\xff"}', 400, "invalid-request"),
    ("half a surrogate", '{"product_id": "BTC-USD", "side": "buy", "account": "\\ud800"}', 400, "invalid-request"),
    ("deep objects", '{"a":' * 20_000, 400, "invalid-request"),
    ("deep lists", "[" * 100_000, 400, "invalid-request"),
    ("NaN", '{"product_id": "BTC-USD", "side": "buy", "quote_size": NaN}', 400, "invalid-request"),
    ("Infinity", '{"product_id": "BTC-USD", "side": "buy", "quote_size": Infinity}', 400, "invalid-request"),
    ("1e999", '{"product_id": "BTC-USD", "side": "buy", "quote_size": 1e999}', 400, "invalid-request"),
    ("6000 digits", f'{{"product_id": "BTC-USD", "side": "buy", "quote_size": {"9" * 6000}}}', 400, "invalid-request"),
    ("a number", json.dumps(ticket(quote_size=50)), 400, "invalid-request"),
    ("a float", json.dumps(ticket(quote_size=50.5)), 400, "invalid-request"),
    ("a number as price", json.dumps(LIMIT | {"limit_price": 10000}), 400, "invalid-request"),
    ("true", json.dumps(ticket(quote_size=True)), 400, "invalid-request"),
    ("the text NaN", json.dumps(ticket(quote_size="NaN")), 400, "invalid-request"),
    ("the text Infinity", json.dumps(ticket(quote_size="Infinity")), 400, "invalid-request"),
    ("an exponent", json.dumps(ticket(quote_size="5e1")), 400, "invalid-request"),
    ("40 digits", json.dumps(ticket(quote_size="1" * 40)), 400, "invalid-request"),
    ("40 decimal places", json.dumps(ticket(quote_size="0." + "1" * 40)), 400, "invalid-request"),
    ("zero", json.dumps(ticket(quote_size="0")), 400, "invalid-request"),
    ("below zero", json.dumps(ticket(quote_size="-50")), 400, "invalid-request"),
    ("no size", json.dumps(ticket(quote_size=None)), 400, "invalid-request"),
    ("two sizes", json.dumps(ticket(base_size="1")), 400, "invalid-request"),
    ("the same size twice", json.dumps(ticket(size_usd="50")), 400, "invalid-request"),
    ("an unknown field", json.dumps(ticket(qoute_size="50")), 400, "invalid-request"),
    ("no product", json.dumps(ticket(product_id=None)), 400, "invalid-request"),
    ("half a product", json.dumps(ticket(product_id="BTC")), 400, "invalid-request"),
    ("no side", json.dumps(ticket(side=None)), 400, "invalid-request"),
    ("hold", json.dumps(ticket(side="hold")), 400, "invalid-request"),
    ("5 as side", json.dumps(ticket(side=5)), 400, "invalid-request"),
    ("a limit without price", json.dumps(LIMIT | {"limit_price": None}), 400, "invalid-request"),
    ("a price without limit", json.dumps(ticket(limit_price="10000")), 400, "invalid-request"),
    ("NUL as account", json.dumps(ticket(account="a\0b")), 400, "invalid-request"),
    ("no letter as account", json.dumps(ticket(account="")), 400, "invalid-request"),
    ("an unknown product", json.dumps(ticket(product_id="XYZ-USD")), 422, "unknown-product"),
    ("an unknown account", json.dumps(ticket(account="none")), 422, "order-rejected:"),
    ("below the minimum", json.dumps(ticket(quote_size="0.5")), 422, "order-rejected:venue-minimum"),
    ("more than the cash", json.dumps(ticket(quote_size="10001")), 422, "order-rejected:enough-available"),
    ("all the cash", json.dumps(ticket(quote_size="10000")), 422, "order-rejected:enough-available"),
    (
        "the most there is",
        json.dumps(ticket(quote_size=None, base_size="9" * 20)),
        422,
        "order-rejected:enough-available",
    ),
    (
        "more than is held",
        json.dumps(ticket(side="sell", quote_size=None, base_size="1")),
        422,
        "order-rejected:enough-available",
    ),
    ("257 KiB", " " * (257 * 1024), 413, "too-large"),
]


def test_execute_rejects_wrong_orders_without_storing_anything(shared_daybook: Daybook) -> None:
    """The idempotency key stays free."""
    before = shared_daybook.head()

    for name, body, status, kind in BODIES:
        answer = shared_daybook.post(EXECUTE, body, "the same key")
        assert (name, answer.status_code) == (name, status)
        assert problem_of(answer).startswith(kind), name
        assert shared_daybook.head() == before, name

    assert shared_daybook.post(EXECUTE, BUY, "the same key").status_code == 201
    assert shared_daybook.head() > before


def test_preview_and_bots_reject_wrong_bodies(shared_daybook: Daybook) -> None:
    before = shared_daybook.head()

    for path in (PREVIEW, "bots"):
        for name, body, status, kind in BODIES[:9]:
            answer = shared_daybook.post(path, body, "key")
            assert (path, name, answer.status_code, problem_of(answer)) == (path, name, status, kind)
    assert shared_daybook.head() == before


REQUESTS: list[tuple[str, str, int, str]] = [
    ("GET", "/nothing", 404, "not-found"),
    ("GET", "/api/v1/nothing", 404, "not-found"),
    ("GET", "/api/schema/nothing", 404, "not-found"),
    ("GET", "trades/no-id", 404, "not-found"),
    ("GET", "trades/00000000-0000-0000-0000-000000000000", 404, "unknown-trade"),
    ("GET", "orders/00000000-0000-0000-0000-000000000000", 404, "unknown-order"),
    ("GET", "signals/00000000-0000-0000-0000-000000000000", 404, "unknown-signal"),
    ("GET", "bots/none", 404, "unknown-bot"),
    ("GET", "events/0", 404, "unknown-event"),
    ("GET", "events/-1", 404, "unknown-event"),
    ("GET", f"events/{2**70}", 404, "unknown-event"),
    ("GET", f"events/{'9' * 5000}", 404, "not-found"),
    ("GET", "portfolio/positions/ETH-USD", 404, "unknown-position"),
    ("GET", "portfolio?portfolio=none", 404, "unknown-portfolio"),
    ("POST", "verification?portfolio=none", 404, "unknown-portfolio"),
    ("DELETE", "trades", 405, "method-not-allowed"),
    ("POST", "portfolio/", 405, "method-not-allowed"),
    ("PUT", "events/1", 405, "method-not-allowed"),
    ("GET", "trades?limit=0", 400, "bad-limit"),
    ("GET", "portfolio/lots?method=average", 400, "bad-method"),
    ("GET", "portfolio/lots?method=specific", 400, "bad-method"),
    ("GET", "portfolio/lots?holding_period=-1", 400, "bad-holding-period"),
    ("GET", "portfolio/lots?holding_period=36501", 400, "bad-holding-period"),
    ("GET", "portfolio/lots?product_id=DOGE-USD", 404, "unknown-position"),
    ("GET", "portfolio/lots?product_id=BTC", 404, "unknown-position"),
    ("GET", "portfolio/lots?portfolio=none", 404, "unknown-portfolio"),
    ("GET", "portfolio/lots?as_of=yesterday", 400, "bad-time"),
    ("GET", "trades?limit=501", 400, "bad-limit"),
    ("GET", f"trades?limit={'9' * 40}", 400, "bad-limit"),
    ("GET", "trades?limit=x", 400, "invalid-request"),
    ("GET", "trades?limit=1&limit=2", 400, "repeated-parameter"),
    ("GET", "trades?cursor=-1", 400, "bad-cursor"),
    ("GET", "trades?cursor=", 400, "bad-cursor"),
    ("GET", f"trades?cursor={'9' * 19}", 400, "bad-cursor"),
    ("GET", "trades?cursor=%D9%A3", 400, "bad-cursor"),
    ("GET", "trades?lmit=1", 400, "unknown-parameter"),
    ("GET", "portfolio?as_of=2026-01-31T12:00:00", 400, "bad-time"),
    ("GET", "portfolio?known_at=", 400, "bad-time"),
    ("GET", "portfolio?known_at=2001-01-01T00:00:00Z", 404, "unknown-portfolio"),
    ("GET", "bots/kinds?as_of=2026-01-31T12:00:00Z", 400, "unknown-parameter"),
    ("GET", "signals?status=%00", 400, "invalid-request"),
    ("GET", "events?type=%00", 400, "invalid-request"),
    ("GET", "bots/%00", 400, "invalid-request"),
]


def test_requests_answer_a_problem_when_path_method_or_parameter_is_wrong(shared_daybook: Daybook) -> None:
    """405 lists the allowed methods."""
    for method, path, status, kind in REQUESTS:
        answer = shared_daybook.send(method, path)
        assert (path, answer.status_code, problem_of(answer)) == (path, status, kind)
        assert ("Allow" in answer.headers) == (status == 405)


@pytest.mark.parametrize("key", [None, "", "x" * 201, "tab\there"])
def test_commands_require_an_idempotency_key(shared_daybook: Daybook, key: str | None) -> None:
    """It is checked before anything else."""
    before = shared_daybook.head()

    for route, body in (
        (EXECUTE, BUY | {"product_id": "XYZ-USD"}),
        ("bots", BOT | {"kind": "none"}),
        *((f"bots/none/{what}", None) for what in ("start", "stop", "evaluate")),
    ):
        answer = shared_daybook.post(route, body, key)
        assert (answer.status_code, problem_of(answer)) == (400, "idempotency-key-needed")
    assert shared_daybook.head() == before


BOTS: list[tuple[dict[str, Any], int, str]] = [
    ({"bot_id": "rsi-BTC-USD"}, 409, "bot-exists"),
    ({"bot_id": "../up"}, 400, "invalid-request"),
    ({"kind": "none"}, 422, "bad-bot"),
    ({"product_id": "XYZ-USD"}, 422, "unknown-product"),
    ({"timeframe": "1h"}, 422, "unknown-timeframe"),
    ({"parameters": {"length": "long"}}, 422, "bad-bot"),
    ({"parameters": {"lenght": 14}}, 422, "bad-bot"),
    ({"parameters": []}, 400, "invalid-request"),
    ({"parameters": json.loads("[" * 9 + "]" * 9)}, 400, "invalid-request"),
    ({"parameters": {"length": json.loads("[" * 300 + "]" * 300)}}, 400, "invalid-request"),
]


def test_register_bot_rejects_wrong_names_kinds_markets_and_parameters(shared_daybook: Daybook) -> None:
    before = shared_daybook.head()

    for other, status, kind in BOTS:
        answer = shared_daybook.post("bots", BOT | other, "key")
        assert (answer.status_code, problem_of(answer)) == (status, kind)
    assert shared_daybook.head() == before


def test_requests_answer_421_when_the_host_is_another_machine(shared_daybook: Daybook) -> None:
    for host in ("evil.example", "127.0.0.1.evil.example", "evil.example:8321", "", "localhost@evil", "[::2]"):
        for path in ("/", "/health/live", "/api/v1/portfolio", "/api/schema/openapi.json"):
            answer = shared_daybook.client.get(path, headers={"Host": host, "Authorization": f"Bearer {TOKEN}"})
            assert (answer.status_code, problem_of(answer)) == (421, "wrong-host")


def test_requests_are_answered_under_every_name_of_this_machine(shared_daybook: Daybook) -> None:
    for host in ("127.0.0.1", "localhost:8321", "LocalHost", "[::1]", "[::1]:80"):
        assert shared_daybook.client.get("/health/live", headers={"Host": host}).status_code == 200


def test_unexpected_error_is_logged_and_not_shown(
    daybook: Daybook, superuser: psycopg.Connection[tuple[Any, ...]], capfd: pytest.CaptureFixture[str]
) -> None:
    """The log contains the traceback and no token."""
    superuser.execute("alter table trades rename to trades_hidden")

    with configured_logs():
        answer = daybook.get("trades")

    assert (answer.status_code, problem_of(answer)) == (500, "internal")
    assert not {"Traceback", "psycopg", "trades_hidden", "select"} & set(answer.text.replace('"', " ").split())
    logged = capfd.readouterr().err
    assert "Traceback" in logged
    assert "UndefinedTable" in logged
    assert TOKEN not in logged


def test_routes_answer_503_while_the_database_is_gone(daybook: Daybook, database_url: str, cluster_url: str) -> None:
    """They recover as soon as it is back."""
    before = daybook.head()

    with refusing(database_url, cluster_url):
        for path in ("portfolio", "trades", "bots/signals", "events/1", "/health/trading"):
            answer = daybook.get(path)
            assert (path, answer.status_code, problem_of(answer)) == (path, 503, "database-unavailable")
        answer = daybook.post(EXECUTE, BUY, "key")
        assert (answer.status_code, problem_of(answer)) == (503, "database-unavailable")
        ready = daybook.get("/health/ready")
        assert ready.status_code == 503
        assert "database" in ready.json()["problems"][0]
        assert daybook.get("/health/live").status_code == 200

    daybook.system.engine.dispose()
    assert daybook.get("/health/ready").status_code == 200
    assert daybook.head() == before
    assert daybook.post(EXECUTE, BUY, "key").status_code == 201


@contextmanager
def refusing(database_url: str, cluster_url: str) -> Iterator[None]:
    """Terminate all connections to the database and refuse new ones."""
    name = make_url(database_url).database
    with psycopg.connect(cluster_url, autocommit=True) as connection:
        connection.execute(f"alter database {name} with allow_connections false")
        connection.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", (name,))
        try:
            yield
        finally:
            connection.execute(f"alter database {name} with allow_connections true")
