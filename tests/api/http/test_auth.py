"""Who is let in: the owner everywhere, a key where its scopes reach, anyone else to what is declared public here."""

import hashlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import psycopg
import pytest
from litestar import Litestar, get
from litestar.routes import HTTPRoute
from litestar.testing import TestClient

from api.runtime.owner_token import HASH_FILE, owner_token_hash, remember_token
from tests.support.api_system import BUY, TOKEN, Daybook, configured_logs, open_daybook, problem_of

Route = tuple[str, str]

PUBLIC_PATHS = (
    *("/", "/health/live", "/health/ready", "/api/schema", "/api/schema/openapi.json"),
    "/api/schema/{path:str}",  # answers 404, like every path that is not there
)
WEBHOOK: Route = ("POST", "/api/v1/webhooks/{name:str}")
PUBLIC: set[Route] = {(method, path) for method in ("GET", "OPTIONS") for path in PUBLIC_PATHS}
PUBLIC.add(("OPTIONS", WEBHOOK[1]))  # which methods there are; the message itself needs a signature
SAMPLES: Mapping[str, str] = {"uuid": "00000000-0000-0000-0000-000000000000", "int": "1", "str": "x"}


@pytest.fixture
def daybook(database_url: str, tmp_path: Path) -> Iterator[Daybook]:
    """A new Daybook."""
    with open_daybook(database_url, tmp_path) as running:
        yield running


def routes(app: Litestar) -> set[Route]:
    """Every method and path the application answers."""
    return {(method, route.path) for route in app.routes if isinstance(route, HTTPRoute) for method in route.methods}


def open_routes(client: TestClient[Litestar], headers: Mapping[str, str]) -> set[Route]:
    """The routes that do not ask for the owner's token when they are called with these headers."""
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
def test_every_route_that_is_not_declared_public_needs_the_token(daybook: Daybook, headers: dict[str, str]) -> None:
    """Without the owner's token exactly the declared routes answer, whatever stands in its place."""
    assert open_routes(daybook.client, headers) == PUBLIC


def test_no_route_refuses_the_owner(daybook: Daybook) -> None:
    """With the token no route answers 401, however the scheme is written; a webhook asks for a signature instead."""
    opened = open_routes(daybook.client, {"Authorization": f"bearer {TOKEN}"})

    assert opened | {WEBHOOK} == routes(daybook.client.app)
    assert WEBHOOK not in opened


def test_a_planted_open_route_is_found(daybook: Daybook) -> None:
    """A route that somebody adds without a guard is found by the matrix."""

    @get("/api/v1/planted", sync_to_thread=False)
    def planted() -> str:
        return "anyone may read this"

    daybook.client.app.register(planted)

    assert ("GET", "/api/v1/planted") in open_routes(daybook.client, {}) - PUBLIC


def test_the_token_is_made_once_and_kept_as_a_hash(tmp_path: Path) -> None:
    """A token that its owner has been told holds from then on; the file knows its hash only, and only its user reads it."""
    token_hash, token = owner_token_hash(tmp_path, None)
    assert token is not None
    remember_token(tmp_path, token)

    assert owner_token_hash(tmp_path, None) == (token_hash, None)
    assert (tmp_path / HASH_FILE).read_text() == token_hash == hashlib.sha256(token.encode()).hexdigest()
    assert (tmp_path / HASH_FILE).stat().st_mode & 0o777 == 0o600
    assert len(token) >= 43, "256 bits"


def test_a_token_nobody_was_told_locks_nobody_out(tmp_path: Path) -> None:
    """A start that was cut off before the token was shown leaves no hash behind: the next one makes a new token."""
    _, unseen = owner_token_hash(tmp_path, None)
    _, shown = owner_token_hash(tmp_path, None)

    assert unseen is not None
    assert shown is not None
    assert unseen != shown


@pytest.mark.parametrize("left", [b"", b"6f", b"\xff" * 64, b"F" * 64])
def test_a_half_written_hash_locks_nobody_out(tmp_path: Path, left: bytes) -> None:
    """A hash file that holds no hash counts as none, and is replaced."""
    (tmp_path / HASH_FILE).write_bytes(left)

    _, token = owner_token_hash(tmp_path, None)
    assert token is not None
    remember_token(tmp_path, token)

    assert owner_token_hash(tmp_path, None) == (hashlib.sha256(token.encode()).hexdigest(), None)
    assert [path.name for path in tmp_path.iterdir()] == [HASH_FILE]


def test_a_given_token_is_not_stored(tmp_path: Path) -> None:
    """The token from the settings is used as it is, and no file is made of it."""
    assert owner_token_hash(tmp_path, "given") == (hashlib.sha256(b"given").hexdigest(), None)
    assert list(tmp_path.iterdir()) == []


def test_the_token_appears_nowhere(
    daybook: Daybook, superuser: psycopg.Connection[tuple[object, ...]], capfd: pytest.CaptureFixture[str]
) -> None:
    """After orders, errors and an unexpected failure the token is in no log line, no answer, no event and no file."""
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
