"""API keys of programs: 256 bits, shown once, stored as keyed hashes, valid for the scopes they were issued with."""

import hashlib
import hmac
import os
import re
import secrets
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from api.runtime.scopes import SCOPES, Scope
from api.runtime.settings import BadSettings
from ledger.errors import DaybookError
from ledger.postgres.api_keys import ApiKeyRecord, add_api_key, find_api_key, revoke_api_key, touch_api_key
from ledger.postgres.book import PostgresBook
from ledger.values import Clock, time_text

KEY_FILE: Final = "installation.key"
TOKEN: Final = re.compile(r"dbk_([0-9a-f]{12})_[A-Za-z0-9_-]{43}", re.ASCII)
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}", re.ASCII)
NOTED_EVERY: Final = timedelta(seconds=60)
"""The last use of a key is stored at most this often."""


class BadKey(DaybookError):
    """A key cannot be issued or revoked."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Sender of a request, the owner (no key) or a program, with its scopes."""

    name: str
    key_id: str | None
    scopes: frozenset[str]

    @property
    def actor(self) -> str:
        """Its name in events."""
        return self.name if self.key_id is None else f"key:{self.name}:{self.key_id}"


OWNER: Final = Caller("owner", None, frozenset(SCOPES))


class Keys:
    """The keys in one installation's database; `pepper` keys their hashes."""

    def __init__(self, book: PostgresBook, pepper: bytes, clock: Clock) -> None:
        self._book = book
        self._pepper = pepper
        self._clock = clock

    def issue(self, name: str, scopes: tuple[Scope, ...], days: int | None) -> tuple[str, ApiKeyRecord]:
        """Issue a key; return its token, which is not stored, and its record. Raises BadKey for an invalid name.

        Keys with one name belong to one program, which sends the same signals with each.
        """
        if not NAME.fullmatch(name) or name == OWNER.name:
            form = "1 to 40 letters, digits, dots, dashes and underscores, but not 'owner'"
            raise BadKey(f"invalid name of a key {name[:60]!r}: use {form}")
        key_id, now = secrets.token_hex(6), self._clock()
        token = f"dbk_{key_id}_{secrets.token_urlsafe(32)}"
        expires_at = None if days is None else now + timedelta(days=days)
        key = ApiKeyRecord(key_id, name, tuple(sorted(set(scopes))), self._hash(token), now, expires_at)
        with self._book.transaction() as connection:
            add_api_key(connection, key)
        return token, key

    def revoke(self, key_id: str) -> ApiKeyRecord:
        """Revoke the key with this id from now on. Raises BadKey if there is none."""
        with self._book.transaction() as connection:
            revoke_api_key(connection, key_id, self._clock())
            key = find_api_key(connection, key_id)
        if key is None:
            raise BadKey(f"there is no key {key_id[:40]!r}: daybook key list shows all")
        return key

    def caller(self, token: str) -> Caller | None:
        """Return the key's owner, or None if it is unknown, revoked or expired."""
        found = TOKEN.fullmatch(token)
        if found is None:
            return None
        now = self._clock()
        with self._book.transaction() as connection:
            key = find_api_key(connection, found[1])
            # An unknown id takes as long as a known one.
            right = hmac.compare_digest(self._hash(token), key.hash if key else bytes(32))
            if key is None or not right or state_of(key, now) != "good":
                return None
            if key.last_used_at is None or now - key.last_used_at >= NOTED_EVERY:
                touch_api_key(connection, key.key_id, now)
        return Caller(key.name, key.key_id, frozenset(key.scopes))

    def _hash(self, token: str) -> bytes:
        return hmac.digest(self._pepper, b"key\0" + token.encode(), hashlib.sha256)


def state_of(key: ApiKeyRecord, now: datetime) -> str:
    """Return "good", or since when the key is revoked or expired."""
    if key.revoked_at is not None:
        return f"revoked at {time_text(key.revoked_at)}"
    if key.expires_at is not None and key.expires_at <= now:
        return f"expired at {time_text(key.expires_at)}"
    return "good"


def installation_key(data_dir: Path) -> bytes:
    """Return this installation's own 32 bytes, created at first use in a file readable by its user only.

    API keys are hashed with it and webhook secrets derived from it: the database alone reveals none of them, and a new
    file invalidates all. Raises BadSettings for a broken file.
    """
    path = data_dir / KEY_FILE
    if not path.exists():
        draft = data_dir / f"{KEY_FILE}.{secrets.token_hex(8)}"
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
            file.write(secrets.token_hex(32))
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):  # another process created it at the same moment: use that one
            path.hardlink_to(draft)
        draft.unlink()
    text = path.read_text(encoding="ascii", errors="replace").strip()
    if not re.fullmatch(r"[0-9a-f]{64}", text):
        raise BadSettings(f"the key {path} is broken: restore it from a backup, or remove it and issue all keys again")
    return bytes.fromhex(text)
