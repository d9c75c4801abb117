"""Authentication: the owner by a bearer token, programs by keys with scopes."""

import hmac
from typing import Any, Final

from litestar.concurrency import sync_to_thread
from litestar.connection import ASGIConnection
from litestar.exceptions import NotAuthorizedException
from litestar.handlers import BaseRouteHandler

from api.http.errors import Problem
from api.http.scopes import NEEDED
from api.runtime.keys import OWNER, Caller, Keys
from api.runtime.owner_token import token_hash

CALLER: Final = "caller"
"""Key of the caller in a request's state."""


async def by_scope(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Guard. Admits the owner's token, and keys with the scope that the operation requires.

    Raises NotAuthorizedException for any other token, Problem 403 for a key without the scope.
    """
    caller = await _caller(connection)
    if caller is None:
        raise NotAuthorizedException("the owner's token or a key is required: 'Authorization: Bearer TOKEN'")
    needed = NEEDED.get(operation_of(handler))
    if caller is not OWNER and needed not in caller.scopes:
        required = f"requires the scope {needed}" if needed else "is for the owner only"
        has = ", ".join(sorted(caller.scopes))
        raise Problem(403, "scope-needed", f"this {required} (scopes of the key {caller.name!r}: {has})")
    connection.scope["state"][CALLER] = caller


def caller_of(request: ASGIConnection[Any, Any, Any, Any]) -> Caller:
    """The caller of an admitted request."""
    caller = request.scope["state"][CALLER]
    assert isinstance(caller, Caller)
    return caller


def operation_of(handler: BaseRouteHandler) -> str:
    """The operation id, or an empty text."""
    name = getattr(handler, "operation_id", None)
    return name if isinstance(name, str) else ""


async def _caller(connection: ASGIConnection[Any, Any, Any, Any]) -> Caller | None:
    scheme, _, given = connection.headers.get("authorization", "").partition(" ")
    token = given.strip()
    if scheme.lower() != "bearer":
        return None
    if hmac.compare_digest(token_hash(token), connection.app.state.token_hash):
        return OWNER
    keys: Keys = connection.app.state.api_keys
    return await sync_to_thread(keys.caller, token)
