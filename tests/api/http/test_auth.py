"""Authentication: the owner is admitted everywhere, anyone else only to the public routes listed here."""

import hashlib
import re
from collections.abc import Mapping

import psycopg
import pytest
from litestar import Litestar, get
from litestar.routes import HTTPRoute
from litestar.testing import TestClient

from tests.support.api_system import BUY, TOKEN, Daybook, configured_logs, problem_of

Route = tuple[str, str]

PUBLIC_PATHS = (
    *("/", "/health/live", "/health/ready", "/api/schema", "/api/schema/openapi.json"),
    "/api/schema/{path:str}",  # answers 404, like every path that is not there
)
WEBHOOK: Route = ("POST", "/api/v1/webhooks/{name:str}")
PUBLIC: set[Route] = {(method, path) for method in ("GET", "OPTIONS") for path in PUBLIC_PATHS}
PUBLIC.add(("OPTIONS", WEBHOOK[1]))  # which methods there are; the message itself needs a signature
SAMPLES: Mapping[str, str] = {"uuid": "00000000-0000-0000-0000-000000000000", "int": "1", "str": "x"}


def routes(app: Litestar) -> set[Route]:
    """Every method and path of the application."""
    return {(method, route.path) for route in app.routes if isinstance(route, HTTPRoute) for method in route.methods}


def open_routes(client: TestClient[Litestar], headers: Mapping[str, str]) -> set[Route]:
    """Routes that do not answer 401 to these headers."""
    found = set()
    for method, path in routes(client.app):
        filled = re.sub(r"\{\w+:(\w+)\}", lambda kind: SAMPLES[kind[1]], path)
        answer = client.request(method, filled, headers=dict(headers))
        if answer.status_code != 401 or problem_of(answer) != "not-authorized":
            found.add((method, path))
    return found


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": ""},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer "},
        {"Authorization": f"Bearer {TOKEN[:-1]}"},
        {"Authorization": f"Bearer {TOKEN}x"},
        {"Authorization": f"Basic {TOKEN}"},
        {"Authorization": TOKEN},
        {"Authorization": f"Bearer {hashlib.sha256(TOKEN.encode()).hexdigest()}"},
        {"X-Api-Key": TOKEN},
        {"Cookie": f"token={TOKEN}"},
    ],
)
def test_routes_answer_401_without_the_token_unless_public(shared_daybook: Daybook, headers: dict[str, str]) -> None:
    assert open_routes(shared_daybook.client, headers) == PUBLIC


def test_routes_admit_the_owner(shared_daybook: Daybook) -> None:
    """The scheme is case-insensitive; webhooks require a signature instead."""
    opened = open_routes(shared_daybook.client, {"Authorization": f"bearer {TOKEN}"})

    assert opened | {WEBHOOK} == routes(shared_daybook.client.app)
    assert WEBHOOK not in opened


def test_open_route_is_detected_when_planted(daybook: Daybook) -> None:
    @get("/api/v1/planted", sync_to_thread=False)
    def planted() -> str:
        return "anyone may read this"

    daybook.client.app.register(planted)

    assert ("GET", "/api/v1/planted") in open_routes(daybook.client, {}) - PUBLIC


def test_owner_token_never_appears_in_logs_answers_events_or_files(
    daybook: Daybook, superuser: psycopg.Connection[tuple[object, ...]], capfd: pytest.CaptureFixture[str]
) -> None:
    """Not even after errors and an unexpected failure."""
    texts = []
    with configured_logs():
        daybook.pass_seconds(2)
        texts += [daybook.post("trades/execute", BUY, "key").text, daybook.get("nothing").text]
        texts += [daybook.post("trades/execute", "{", "key").text, daybook.get(f"trades?x={TOKEN}").text]
        texts += [daybook.client.get("/api/v1/trades", headers={"Authorization": f"Basic {TOKEN}"}).text]
        superuser.execute("alter table trades rename to trades_hidden")
        texts += [daybook.get("trades").text, daybook.get(f"trades?cursor={TOKEN}").text]
    logged = capfd.readouterr()
    events = [
        envelope.payload + envelope.metadata + envelope.actor
        for envelope in daybook.system.book.log.read(daybook.system.portfolio_id)
    ]

    assert "Traceback" in logged.err
    assert TOKEN not in "".join([*texts, *events, logged.err, logged.out])
    files = daybook.system.settings.data_dir.rglob("*")
    assert not any(TOKEN.encode() in path.read_bytes() for path in files if path.is_file())
