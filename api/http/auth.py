"""Who may call: the owner, by a bearer token that is kept only as a hash, and programs, by keys with scopes."""

import hashlib
import hmac
import os
import re
import secrets
from pathlib import Path
from typing import Any, Final

from litestar.concurrency import sync_to_thread
from litestar.connection import ASGIConnection
from litestar.exceptions import NotAuthorizedException
from litestar.handlers import BaseRouteHandler

from api.http.errors import Problem
from api.http.scopes import NEEDED
from api.runtime.keys import OWNER, Caller, Keys

HASH_FILE: Final = "owner-token.sha256"
CALLER: Final = "caller"
"""Where a request's state holds who sent it."""


def owner_token_hash(data_dir: Path, given: str | None) -> tuple[str, str | None]:
    """The hash of the owner's token, and the token itself when it was made just now (else None).

    A given token is used and not stored. Otherwise the one holds whose hash was stored in the data folder; where there
    is none a new one is made, which holds from the moment it is handed to `remember_token`.
    """
    if given is not None:
        return _hash(given), None
    path = data_dir / HASH_FILE
    stored = path.read_text(encoding="utf-8", errors="replace").strip() if path.exists() else ""
    if re.fullmatch(r"[0-9a-f]{64}", stored):
        return stored, None
    token = secrets.token_urlsafe(32)
    return _hash(token), token


def remember_token(data_dir: Path, token: str) -> None:
    """The token's hash lies in the data folder, whole or not at all, in a file that only its user can read.

    To be called once the owner has been told the token: a token that nobody saw must not lock its owner out.
    """
    path, draft = data_dir / HASH_FILE, data_dir / f"{HASH_FILE}.new"
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
        file.write(_hash(token))
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


async def by_scope(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Lets a request through that carries the owner's token, or a key with the scope that the route asks for.

    Raises NotAuthorizedException for any other token, and Problem 403 for a key without the scope. A route that asks
    for none is for the owner alone.
    """
    caller = await _caller(connection)
    if caller is None:
        raise NotAuthorizedException("send the owner's token or a key as 'Authorization: Bearer TOKEN'")
    needed = NEEDED.get(operation_of(handler))
    if caller is not OWNER and needed not in caller.scopes:
        asked = f"needs the scope {needed}" if needed else "is for the owner alone"
        has = ", ".join(sorted(caller.scopes))
        raise Problem(403, "scope-needed", f"this {asked}; the key {caller.name!r} has {has}: issue one that may do it")
    connection.scope["state"][CALLER] = caller


def caller_of(request: ASGIConnection[Any, Any, Any, Any]) -> Caller:
    """Who sent the request that was let through."""
    caller = request.scope["state"][CALLER]
    assert isinstance(caller, Caller)
    return caller


def operation_of(handler: BaseRouteHandler) -> str:
    """The operation id of the route, or nothing where it has none."""
    name = getattr(handler, "operation_id", None)
    return name if isinstance(name, str) else ""


async def _caller(connection: ASGIConnection[Any, Any, Any, Any]) -> Caller | None:
    scheme, _, given = connection.headers.get("authorization", "").partition(" ")
    token = given.strip()
    if scheme.lower() != "bearer":
        return None
    if hmac.compare_digest(_hash(token), connection.app.state.token_hash):
        return OWNER
    keys: Keys = connection.app.state.api_keys
    return await sync_to_thread(keys.caller, token)


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
