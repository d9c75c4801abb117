"""API keys: each scope opens exactly its operations."""

import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
from click.testing import CliRunner, Result
from litestar import Litestar, get
from litestar.routes import HTTPRoute

from api.cli import cli
from api.http import scopes
from api.http.auth import by_scope, operation_of
from api.http.scopes import BY_SIGNATURE, NEEDED, OPEN
from api.runtime.keys import KEY_FILE, Keys, installation_key
from api.runtime.scopes import SCOPES, Scope
from api.runtime.settings import BadSettings
from tests.support.api_system import Daybook, problem_of

SAMPLES: Mapping[str, str] = {"uuid": "00000000-0000-0000-0000-000000000000", "int": "1", "str": "x"}


def keys_of(daybook: Daybook) -> Keys:
    found = daybook.client.app.state.api_keys
    assert isinstance(found, Keys)
    return found


def issue(daybook: Daybook, *wanted: Scope, name: str = "model", days: int | None = None) -> str:
    """Issue a key and return its token."""
    return keys_of(daybook).issue(name, wanted, days)[0]


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def operations(app: Litestar) -> dict[str, tuple[str, str]]:
    """Operations by id, each with its method and a callable path."""
    return {
        operation_of(handler): (method, re.sub(r"\{\w+:(\w+)\}", lambda kind: SAMPLES[kind[1]], route.path))
        for route in app.routes
        if isinstance(route, HTTPRoute) and route.path.startswith(("/api/v1", "/health"))
        for method, (handler, _) in route.route_handler_map.items()
        if method != "OPTIONS"
    }


def reach(daybook: Daybook, *wanted: Scope) -> set[str]:
    """Operations that admit a key with these scopes."""
    headers = bearer(issue(daybook, *wanted))
    found = set()
    for operation, (method, path) in operations(daybook.client.app).items():
        answer = daybook.client.request(method, path, headers=headers)
        assert answer.status_code < 500, (operation, answer.text)
        if answer.status_code != 403 or problem_of(answer) != "scope-needed":
            found.add(operation)
    return found


def undeclared(app: Litestar) -> set[str]:
    """Operations without a declared scope or exemption."""
    return set(operations(app)) - set(NEEDED) - OPEN - BY_SIGNATURE


# ── scopes ────────────────────────────────────────────────────────────────────────────────────────


def test_scope_opens_exactly_the_operations_that_require_it(daybook: Daybook) -> None:
    for scope in SCOPES:
        declared = {operation for operation, needed in NEEDED.items() if needed == scope}
        assert declared, scope
        assert reach(daybook, scope) == declared | OPEN | BY_SIGNATURE, scope
    assert reach(daybook, *SCOPES) == set(operations(daybook.client.app))


def test_wrong_scope_is_detected_when_planted(daybook: Daybook, monkeypatch: pytest.MonkeyPatch) -> None:
    declared = {operation for operation, needed in NEEDED.items() if needed == "read"}
    monkeypatch.setitem(scopes.NEEDED, "executeTrade", "read")

    assert reach(daybook, "read") != declared | OPEN | BY_SIGNATURE


def test_every_operation_declares_its_scope(daybook: Daybook) -> None:
    """An undeclared operation admits no key."""
    app = daybook.client.app
    assert undeclared(app) == set()
    assert set(NEEDED) | OPEN | BY_SIGNATURE == set(operations(app))

    @get("/api/v1/planted", operation_id="planted", guards=[by_scope], sync_to_thread=False)
    def planted() -> str:
        return "planted"

    app.register(planted)

    assert undeclared(app) == {"planted"}
    answer = daybook.client.get("/api/v1/planted", headers=bearer(issue(daybook, *SCOPES)))
    assert (answer.status_code, problem_of(answer)) == (403, "scope-needed")
    assert "is for the owner only" in answer.json()["detail"]


# ── validity ──────────────────────────────────────────────────────────────────────────────────────────────


CHANGES: tuple[Callable[[str], str], ...] = (
    lambda token: token[:-1],
    lambda token: token + "A",
    lambda token: token[:-1] + ("A" if token[-1] != "A" else "B"),
    lambda token: token.replace("dbk_", "dbk-"),
    lambda token: "dbk_" + "0" * 12 + token[16:],
    lambda token: token.upper(),
    lambda token: token[4:],
)


def test_altered_key_answers_401(daybook: Daybook) -> None:
    token = issue(daybook, "read")
    assert daybook.send("GET", "trades", headers=bearer(token)).status_code == 200

    for change in CHANGES:
        answer = daybook.send("GET", "trades", headers=bearer(change(token)))
        assert (answer.status_code, problem_of(answer)) == (401, "not-authorized")


def test_revoked_key_answers_401_at_once(daybook: Daybook) -> None:
    """The program's other key stays valid."""
    keys = keys_of(daybook)
    token, key = keys.issue("model", ("read",), None)
    other = issue(daybook, "read")
    assert daybook.send("GET", "trades", headers=bearer(token)).status_code == 200

    keys.revoke(key.key_id)

    assert daybook.send("GET", "trades", headers=bearer(token)).status_code == 401
    assert daybook.send("GET", "trades", headers=bearer(other)).status_code == 200


def test_key_expires_on_time(daybook: Daybook) -> None:
    system = daybook.system
    now = [system.clock()]
    keys = Keys(system.book, installation_key(system.settings.data_dir), lambda: now[0])
    token, _ = keys.issue("model", ("read",), 1)

    now[0] += timedelta(days=1) - timedelta(seconds=1)
    assert keys.caller(token) is not None
    now[0] += timedelta(seconds=1)
    assert keys.caller(token) is None


def test_stored_hash_of_a_key_is_useless_without_the_installation_key(
    daybook: Daybook, superuser: psycopg.Connection[tuple[object, ...]], tmp_path: Path
) -> None:
    token = issue(daybook, "read")
    assert daybook.send("GET", "trades", headers=bearer(token)).status_code == 200
    (stored,) = superuser.execute("select k::text from api_keys k").fetchone() or ("",)

    assert token[-43:] not in str(stored)
    elsewhere = Keys(daybook.system.book, bytes(32), daybook.system.clock)
    assert elsewhere.caller(token) is None
    assert (tmp_path / KEY_FILE).stat().st_mode & 0o777 == 0o600
    (tmp_path / KEY_FILE).write_text("short")
    with pytest.raises(BadSettings, match="is broken: restore it from a backup"):
        installation_key(tmp_path)


def test_events_name_the_key_that_caused_them(daybook: Daybook) -> None:
    token, key = keys_of(daybook).issue("ops", ("trade",), None)

    answer = daybook.post("bots/rsi-BTC-USD/stop", None, "stop", Authorization=f"Bearer {token}")

    assert answer.status_code == 200, answer.text
    newest = daybook.read("events", limit=1)["items"][0]
    assert (newest["type"], newest["actor"]) == ("BotStopped", f"key:ops:{key.key_id}")


# ── the command ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_key_command_issues_lists_and_revokes(daybook: Daybook, database_url: str, tmp_path: Path) -> None:
    """Changes apply to the running Daybook; a key is printed once and never listed."""

    def run(*words: str) -> Result:
        env = {"DAYBOOK_DATABASE_URL": database_url, "DAYBOOK_DATA_DIR": str(tmp_path)}
        return CliRunner().invoke(cli, ["key", *words], env=env)

    token = run("issue", "--name", "model", "--scope", "read", "--expires", "30").stdout.strip()
    assert daybook.send("GET", "trades", headers=bearer(token)).status_code == 200

    listed = run("list").stdout
    assert re.fullmatch(r"[0-9a-f]{12}  model  read  good  last used at \S+Z\n", listed)
    assert token not in listed + run("list", "--json").stdout

    assert "is revoked at" in run("revoke", listed[:12]).stdout
    assert daybook.send("GET", "trades", headers=bearer(token)).status_code == 401
    gone = run("revoke", "0" * 12)
    assert (gone.exit_code, gone.stderr.startswith("daybook: there is no key")) == (1, True)
    bad = run("issue", "--name", "owner", "--scope", "read")
    assert (bad.exit_code, "invalid name of a key" in bad.stderr) == (1, True)
    assert run("issue", "--name", "model", "--scope", "everything").exit_code == 2
