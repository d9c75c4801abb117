"""A whole Daybook in this process: the real application on a real database, its market advanced by the test.

Every answer is checked against the OpenAPI document that the application serves.
"""

import json
import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import structlog
from httpx import Response
from litestar import Litestar
from litestar.testing import TestClient
from pydantic import SecretStr

from api.http.app import app_state, create_app
from api.runtime.logs import configure_logs
from api.runtime.scheduler import Scheduler
from api.runtime.settings import FreqtradeSettings, Settings
from api.runtime.wiring import System, open_system
from tests.support.http_json_schema import faults

TOKEN: Final = "the-owners-token-of-the-tests"
BASE: Final = "http://127.0.0.1:8321"
API: Final = "/api/v1"
BUY: Final = {"product_id": "BTC-USD", "side": "buy", "quote_size": "50", "type": "market"}
PROBLEM: Final = "urn:daybook:problem:"
_idle: Final[list[Litestar]] = []
"""Applications for reuse: making one takes longer than the rest of a Daybook."""
_documents: Final[list[dict[str, Any]]] = []


class Daybook:
    """A running Daybook. Time passes in `pass_seconds` only; a second is a minute of its market."""

    def __init__(self, system: System, client: TestClient[Litestar], moved: list[float]) -> None:
        self.system = system
        self.client = client
        self._moved = moved
        self._document = served_document(client)

    def get(self, path: str, **parameters: object) -> Response:
        return self.send("GET", path, params={name: str(value) for name, value in parameters.items()})

    def read(self, path: str, **parameters: object) -> Any:
        """JSON of an answer with status 200."""
        answer = self.get(path, **parameters)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post(self, path: str, body: object = None, key: str | None = None, **headers: str) -> Response:
        """Answer to a command; `body` is an object or the exact text to send."""
        if body is not None:
            headers["Content-Type"] = "application/json"
        if key is not None:
            headers["Idempotency-Key"] = key
        text = body if isinstance(body, str | bytes) or body is None else json.dumps(body)
        return self.send("POST", path, content=text, headers=headers)

    def send(self, method: str, path: str, headers: Mapping[str, str] | None = None, **rest: Any) -> Response:
        """Answer to a request, checked against the OpenAPI document."""
        own = {"Authorization": f"Bearer {TOKEN}", **(headers or {})}
        answer = self.client.request(method, path if path.startswith("/") else f"{API}/{path}", headers=own, **rest)
        assert described(self._document, method, answer) == []
        return answer

    def pass_seconds(self, seconds: int) -> None:
        """Let seconds pass, with a turn of the market loop after each."""
        for _ in range(seconds):
            self._moved[0] += 1.0
            self.system.loop.tick()

    def head(self) -> int:
        """Position of the last event."""
        return self.system.book.log.head(self.system.portfolio_id).position


@contextmanager
def open_daybook(
    database_url: str,
    folder: Path,
    feed: str = "simulated?seed=7&speed=60",
    patience_s: float = 0.0,
    freqtrade: FreqtradeSettings | None = None,
    portfolio: str | None = None,
) -> Iterator[Daybook]:
    """A Daybook on the database with these settings alone, regardless of the environment."""
    moved = [0.0]
    settings = Settings(
        data_dir=folder,
        database_url=SecretStr(database_url),
        owner_token=SecretStr(TOKEN),
        portfolio=portfolio,
        feed=feed,
        port=8321,
        freqtrade=freqtrade,
    )
    with open_system(settings, elapsed=lambda: moved[0]) as system:
        scheduler = Scheduler(system.loop, 1.0)
        if _idle:
            app = _idle.pop()
            app.state.update(app_state(system, scheduler, patience_s))
        else:
            app = create_app(system, scheduler, patience_s)
        routes = len(app.routes)
        with TestClient(app, base_url=BASE) as client:
            yield Daybook(system, client, moved)
        if len(app.routes) == routes:  # else the test has added routes of its own
            _idle.append(app)


@contextmanager
def configured_logs() -> Iterator[None]:
    """Configure logging as `daybook serve` does, and restore it afterwards."""
    root, apscheduler = logging.getLogger(), logging.getLogger("apscheduler")
    before = (root.level, root.handlers[:], apscheduler.level)
    root.handlers = []
    configure_logs()
    try:
        yield
    finally:
        structlog.reset_defaults()
        root.handlers = before[1]
        root.setLevel(before[0])
        apscheduler.setLevel(before[2])


def served_document(client: TestClient[Litestar]) -> dict[str, Any]:
    """The OpenAPI document, which is the same in every application and therefore read once."""
    if not _documents:
        _documents.append(client.get("/api/schema/openapi.json").json())
    return _documents[0]


def described(document: Mapping[str, Any], method: str, answer: Response) -> list[str]:
    """Deviations of an answer from the document. A path that the document lacks must answer 404 or 405."""
    operation = _operation(document, method.lower(), answer.request.url.path)
    if operation is None:
        known = answer.status_code in (404, 405) or answer.request.url.path in ("/", "/api/schema/openapi.json")
        return [] if known else [f"{method} {answer.request.url.path} is not described"]
    response = operation["responses"].get(str(answer.status_code))
    if response is None:
        return [f"{operation['operationId']} does not say {answer.status_code}: {answer.text[:300]}"]
    kind = answer.headers["content-type"].partition(";")[0]
    if kind not in response["content"]:
        return [f"{operation['operationId']} answers {answer.status_code} as {kind}"]
    return faults(answer.json(), response["content"][kind]["schema"], document)


def problem_of(answer: Response) -> str:
    """Kind of the problem in the answer, after checking that it is complete (RFC 9457)."""
    body = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert body["status"] == answer.status_code
    assert body["type"].startswith(PROBLEM)
    assert body["title"]
    assert body["detail"]
    assert body["instance"] == answer.request.url.path
    return str(body["type"].removeprefix(PROBLEM))


def _operation(document: Mapping[str, Any], method: str, path: str) -> Mapping[str, Any] | None:
    """The operation of a path; templates without parameters take precedence."""
    for template in sorted(document["paths"], key=lambda one: "{" in one):
        pattern = re.sub(r"\{\w+\}", "[^/]+", template)
        if re.fullmatch(pattern + "/?", path) and method in document["paths"][template]:
            found: Mapping[str, Any] = document["paths"][template][method]
            return found
    return None
