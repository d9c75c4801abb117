"""Keys of programs: what each scope opens, and that nothing else does."""

import re
from collections.abc import Callable, Iterator, Mapping
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
from tests.support.api_system import Daybook, open_daybook, problem_of

SAMPLES: Mapping[str, str] = {"uuid": "00000000-0000-0000-0000-000000000000", "int": "1", "str": "x"}


@pytest.fixture
def daybook(database_url: str, tmp_path: Path) -> Iterator[Daybook]:
    """A new Daybook."""
    with open_daybook(database_url, tmp_path) as running:
        yield running


def keys_of(daybook: Daybook) -> Keys:
    found = daybook.client.app.state.api_keys
    assert isinstance(found, Keys)
    return found


def issue(daybook: Daybook, *wanted: Scope, name: str = "model", days: int | None = None) -> str:
    """A new key's token."""
    return keys_of(daybook).issue(name, wanted, days)[0]


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def operations(app: Litestar) -> dict[str, tuple[str, str]]:
    """Every operation of the interface with its method and a path that can be called."""
    return {
        operation_of(handler): (method, re.sub(r"\{\w+:(\w+)\}", lambda kind: SAMPLES[kind[1]], route.path))
        for route in app.routes
        if isinstance(route, HTTPRoute) and route.path.startswith(("/api/v1", "/health"))
        for method, (handler, _) in route.route_handler_map.items()
        if method != "OPTIONS"
    }


def reach(daybook: Daybook, *wanted: Scope) -> set[str]:
    """The operations that a key with these scopes is let into."""
    headers = bearer(issue(daybook, *wanted))
    found = set()
    for operation, (method, path) in operations(daybook.client.app).items():
        answer = daybook.client.request(method, path, headers=headers)
        assert answer.status_code < 500, (operation, answer.text)
        if answer.status_code != 403 or problem_of(answer) != "scope-needed":
            found.add(operation)
    return found


def undeclared(app: Litestar) -> set[str]:
    """The operations that say neither which scope they need nor that they need none."""
    return set(operations(app)) - set(NEEDED) - OPEN - BY_SIGNATURE


# ── every route × every scope ────────────────────────────────────────────────────────────────────────────────────────


def test_each_scope_opens_exactly_the_routes_that_ask_for_it(daybook: Daybook) -> None:
    """A key with one scope is let into every route declared with it and refused at all others; four scopes open them all."""
    for scope in SCOPES:
        declared = {operation for operation, needed in NEEDED.items() if needed == scope}
        assert declared, scope
        assert reach(daybook, scope) == declared | OPEN | BY_SIGNATURE, scope
    assert reach(daybook, *SCOPES) == set(operations(daybook.client.app))


def test_a_route_with_a_wrong_scope_is_found(daybook: Daybook, monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: a guard that takes `read` for enough to trade makes the matrix differ."""
    declared = {operation for operation, needed in NEEDED.items() if needed == "read"}
    monkeypatch.setitem(scopes.NEEDED, "executeTrade", "read")

    assert reach(daybook, "read") != declared | OPEN | BY_SIGNATURE


def test_every_route_declares_its_scope(daybook: Daybook) -> None:
    """No route is without a declaration, no declaration without a route, and a key has no way round an undeclared one."""
    app = daybook.client.app
    assert undeclared(app) == set()
    assert set(NEEDED) | OPEN | BY_SIGNATURE == set(operations(app))

    @get("/api/v1/planted", operation_id="planted", guards=[by_scope], sync_to_thread=False)
    def planted() -> str:
        return "nobody said who may read this"

    app.register(planted)

    assert undeclared(app) == {"planted"}
    answer = daybook.client.get("/api/v1/planted", headers=bearer(issue(daybook, *SCOPES)))
    assert (answer.status_code, problem_of(answer)) == (403, "scope-needed")
    assert "is for the owner only" in answer.json()["detail"]


# ── which keys are good ──────────────────────────────────────────────────────────────────────────────────────────────


CHANGES: tuple[Callable[[str], str], ...] = (
    lambda token: token[:-1],
    lambda token: token + "A",
    lambda token: token[:-1] + ("A" if token[-1] != "A" else "B"),
    lambda token: token.replace("dbk_", "dbk-"),
    lambda token: "dbk_" + "0" * 12 + token[16:],
    lambda token: token.upper(),
    lambda token: token[4:],
)


def test_a_changed_key_is_no_key(daybook: Daybook) -> None:
    """A truncated, lengthened or forged key is answered 401, like one that never was."""
    token = issue(daybook, "read")
    assert daybook.send("GET", "trades", headers=bearer(token)).status_code == 200

    for change in CHANGES:
        answer = daybook.send("GET", "trades", headers=bearer(change(token)))
        assert (answer.status_code, problem_of(answer)) == (401, "not-authorized")


def test_a_revoked_key_is_refused_at_once(daybook: Daybook) -> None:
    """The first request after the revocation is answered 401; the program's other key goes on."""
    keys = keys_of(daybook)
    token, key = keys.issue("model", ("read",), None)
    other = issue(daybook, "read")
    assert daybook.send("GET", "trades", headers=bearer(token)).status_code == 200

    keys.revoke(key.key_id)

    assert daybook.send("GET", "trades", headers=bearer(token)).status_code == 401
    assert daybook.send("GET", "trades", headers=bearer(other)).status_code == 200


def test_a_key_ends_when_it_was_to_end(daybook: Daybook) -> None:
    """A key of one day is good for just less than that, and then no more; its last use is known to the minute."""
    system = daybook.system
    now = [system.clock()]
    keys = Keys(system.book, installation_key(system.settings.data_dir), lambda: now[0])
    token, _ = keys.issue("model", ("read",), 1)

    now[0] += timedelta(days=1) - timedelta(seconds=1)
    assert keys.caller(token) is not None
    now[0] += timedelta(seconds=1)
    assert keys.caller(token) is None


def test_the_database_does_not_give_a_key_away(
    daybook: Daybook, superuser: psycopg.Connection[tuple[object, ...]], tmp_path: Path
) -> None:
    """The token stands nowhere in the database, and its hash is good for nothing without the installation's own key."""
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


def test_what_a_key_does_carries_its_name(daybook: Daybook) -> None:
    """Events name the key that caused them, not the owner."""
    token, key = keys_of(daybook).issue("ops", ("trade",), None)

    answer = daybook.post("bots/rsi-BTC-USD/stop", None, "stop", Authorization=f"Bearer {token}")

    assert answer.status_code == 200, answer.text
    newest = daybook.read("events", limit=1)["items"][0]
    assert (newest["type"], newest["actor"]) == ("BotStopped", f"key:ops:{key.key_id}")


# ── the command ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_command_issues_lists_and_revokes(daybook: Daybook, database_url: str, tmp_path: Path) -> None:
    """What `daybook key` does holds in the Daybook that is running; the key is printed once and in no list."""

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
