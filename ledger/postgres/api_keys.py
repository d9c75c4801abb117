"""What the installation keeps beside the logs: keys of programs, webhooks, and which messages it has taken already.

No secret is among it: of a key its keyed hash, of a webhook's secrets the salts they are derived with.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from ledger.postgres.log import Raw

INSTALLATION: Final = UUID(int=0)
"""The portfolio that the installation's own tables stand under."""


@dataclass(frozen=True, slots=True)
class ApiKeyRecord:
    """A program's key. `hash` is keyed, `scopes` are sorted; times are UTC, None where it never was or never will be."""

    key_id: str
    name: str
    scopes: tuple[str, ...]
    hash: bytes
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None = None
    last_used_at: datetime | None = None


def add_api_key(connection: Raw, key: ApiKeyRecord) -> None:
    """The key is there."""
    connection.execute(
        "insert into api_keys (portfolio_id, key_id, name, scopes, hash, created_at, expires_at)"
        " values (%s, %s, %s, %s, %s, %s, %s)",
        (INSTALLATION, key.key_id, key.name, " ".join(key.scopes), key.hash, key.created_at, key.expires_at),
    )


def read_api_keys(connection: Raw) -> list[ApiKeyRecord]:
    """Every key, also those that are no longer good, oldest first."""
    found = connection.execute(
        "select key_id, name, scopes, hash, created_at, expires_at, revoked_at, last_used_at"
        " from api_keys where portfolio_id = %s order by created_at, key_id",
        (INSTALLATION,),
    )
    return [_key(*row) for row in found]


def find_api_key(connection: Raw, key_id: str) -> ApiKeyRecord | None:
    """The key with this id."""
    row = connection.execute(
        "select key_id, name, scopes, hash, created_at, expires_at, revoked_at, last_used_at"
        " from api_keys where portfolio_id = %s and key_id = %s",
        (INSTALLATION, key_id),
    ).fetchone()
    return None if row is None else _key(*row)


def revoke_api_key(connection: Raw, key_id: str, at: datetime) -> None:
    """The key is good for nothing from now on; when it was revoked first stays."""
    connection.execute(
        "update api_keys set revoked_at = %s where portfolio_id = %s and key_id = %s and revoked_at is null",
        (at, INSTALLATION, key_id),
    )


def touch_api_key(connection: Raw, key_id: str, at: datetime) -> None:
    """The key was last used at this time."""
    connection.execute(
        "update api_keys set last_used_at = %s where portfolio_id = %s and key_id = %s", (at, INSTALLATION, key_id)
    )


def _key(
    key_id: str,
    name: str,
    scopes: str,
    digest: bytes,
    created_at: datetime,
    expires_at: datetime | None,
    revoked_at: datetime | None,
    last_used_at: datetime | None,
) -> ApiKeyRecord:
    return ApiKeyRecord(key_id, name, tuple(scopes.split()), digest, created_at, expires_at, revoked_at, last_used_at)
