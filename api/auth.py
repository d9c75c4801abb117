"""Who may call: the owner, by a bearer token that is kept only as a hash."""

import hashlib
import hmac
import os
import re
import secrets
from pathlib import Path
from typing import Any, Final

from litestar.connection import ASGIConnection
from litestar.exceptions import NotAuthorizedException
from litestar.handlers import BaseRouteHandler

HASH_FILE: Final = "owner-token.sha256"


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


def owner_only(connection: ASGIConnection[Any, Any, Any, Any], _handler: BaseRouteHandler) -> None:
    """Lets a request through that carries the owner's token. Raises NotAuthorizedException."""
    scheme, _, token = connection.headers.get("authorization", "").partition(" ")
    expected = connection.app.state.token_hash
    if scheme.lower() != "bearer" or not hmac.compare_digest(_hash(token.strip()), expected):
        raise NotAuthorizedException("send the owner's token as 'Authorization: Bearer TOKEN'")


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
