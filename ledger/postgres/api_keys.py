"""API keys in the database. Only a keyed hash of each key is stored."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from ledger.postgres.log import Raw

INSTALLATION: Final = UUID(int=0)
"""The portfolio id of rows that belong to the installation as a whole."""

_SELECT: Final = (
    "select key_id, name, scopes, hash, created_at, expires_at, revoked_at, last_used_at"
    " from api_keys where portfolio_id = %s"
)


@dataclass(frozen=True, slots=True)
class ApiKeyRecord:
    """An API key. `hash` is keyed, `scopes` are sorted, times are UTC (None: never)."""

    key_id: str
    name: str
    scopes: tuple[str, ...]
    hash: bytes
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None = None
    last_used_at: datetime | None = None


def add_api_key(connection: Raw, key: ApiKeyRecord) -> None:
    """Store a new key."""
    connection.execute(
        "insert into api_keys (portfolio_id, key_id, name, scopes, hash, created_at, expires_at)"
        " values (%s, %s, %s, %s, %s, %s, %s)",
        (INSTALLATION, key.key_id, key.name, " ".join(key.scopes), key.hash, key.created_at, key.expires_at),
    )


def read_api_keys(connection: Raw) -> list[ApiKeyRecord]:
    """All keys, including revoked and expired ones, oldest first."""
    return [_key(*row) for row in connection.execute(f"{_SELECT} order by created_at, key_id", (INSTALLATION,))]


def find_api_key(connection: Raw, key_id: str) -> ApiKeyRecord | None:
    """The key with this id, if there is one."""
    row = connection.execute(f"{_SELECT} and key_id = %s", (INSTALLATION, key_id)).fetchone()
    return None if row is None else _key(*row)


def revoke_api_key(connection: Raw, key_id: str, at: datetime) -> None:
    """Revoke the key; an earlier time of revocation is kept."""
    connection.execute(
        "update api_keys set revoked_at = %s where portfolio_id = %s and key_id = %s and revoked_at is null",
        (at, INSTALLATION, key_id),
    )


def touch_api_key(connection: Raw, key_id: str, at: datetime) -> None:
    """Store the time of the key's last use."""
    connection.execute(
        "update api_keys set last_used_at = %s where portfolio_id = %s and key_id = %s", (at, INSTALLATION, key_id)
    )


def _key(key_id: str, name: str, scopes: str, digest: bytes, *times: datetime) -> ApiKeyRecord:
    return ApiKeyRecord(key_id, name, tuple(scopes.split()), digest, *times)
