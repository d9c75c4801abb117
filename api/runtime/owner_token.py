"""The owner's token; only its hash is stored, in the data folder."""

import hashlib
import os
import re
import secrets
from pathlib import Path
from typing import Final

HASH_FILE: Final = "owner-token.sha256"


def owner_token_hash(data_dir: Path, given: str | None) -> tuple[str, str | None]:
    """Hash of the owner's token, and the token itself if it was made just now (else None).

    A given token is used and not stored. Otherwise the hash in the data folder applies; without one a new token is made,
    which is valid from `remember_token` on.
    """
    if given is not None:
        return token_hash(given), None
    path = data_dir / HASH_FILE
    stored = path.read_text(encoding="utf-8", errors="replace").strip() if path.exists() else ""
    if re.fullmatch(r"[0-9a-f]{64}", stored):
        return stored, None
    token = secrets.token_urlsafe(32)
    return token_hash(token), token


def remember_token(data_dir: Path, token: str) -> None:
    """Store the token's hash atomically, readable by its user only.

    Call this after showing the token to the owner: a token that was never shown must not lock the owner out.
    """
    path, draft = data_dir / HASH_FILE, data_dir / f"{HASH_FILE}.new"
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
        file.write(token_hash(token))
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def token_hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
