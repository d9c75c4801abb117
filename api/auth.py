"""Who may call: the owner, by a bearer token that is kept only as a hash."""

import hashlib
import hmac
import secrets
from pathlib import Path
from typing import Any

from litestar.connection import ASGIConnection
from litestar.exceptions import NotAuthorizedException
from litestar.handlers import BaseRouteHandler

HASH_FILE = "owner-token.sha256"


def owner_token_hash(data_dir: Path, given: str | None) -> tuple[str, str | None]:
    """The hash of the owner's token, and the token itself when it was made just now (else None).

    A given token is used and not stored. Otherwise the one made at the first start holds; its hash lies in the data
    folder in a file that only its user can read, and removing that file makes a new one at the next start.
    """
    if given is not None:
        return _hash(given), None
    path = data_dir / HASH_FILE
    if path.exists():
        return path.read_text(encoding="ascii").strip(), None
    token = secrets.token_urlsafe(32)
    path.touch(mode=0o600)
    path.write_text(_hash(token), encoding="ascii")
    return _hash(token), token


def owner_only(connection: ASGIConnection[Any, Any, Any, Any], _handler: BaseRouteHandler) -> None:
    """Lets a request through that carries the owner's token. Raises NotAuthorizedException."""
    scheme, _, token = connection.headers.get("authorization", "").partition(" ")
    expected = connection.app.state.token_hash
    if scheme.lower() != "bearer" or not hmac.compare_digest(_hash(token.strip()), expected):
        raise NotAuthorizedException("send the owner's token as 'Authorization: Bearer TOKEN'")


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
