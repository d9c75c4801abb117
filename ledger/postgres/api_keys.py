"""What the installation keeps beside the logs: keys of programs, webhooks, and which messages it has taken already.

No secret is among it: of a key its keyed hash, of a webhook's secrets the salts they are derived with.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from ledger.postgres.log import Raw

INSTALLATION: Final = UUID(int=0)
"""The portfolio that the installation's own tables stand under."""


@dataclass(frozen=True, slots=True)
class StoredKey:
    """A program's key. `hash` is keyed, `scopes` are sorted; times are UTC, None where it never was or never will be."""

    key_id: str
    name: str
    scopes: tuple[str, ...]
    hash: bytes
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None = None
    last_used_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class StoredWebhook:
    """A webhook. Its secrets are derived with `salts`, the newest first; `symbols` is canonical JSON."""

    name: str
    template: str
    passphrase: bool
    symbols: str
    salts: tuple[str, ...]
    created_at: datetime
    last_used_at: datetime | None = None


def add_key(connection: Raw, key: StoredKey) -> None:
    """The key is there."""
    connection.execute(
        "insert into api_keys (portfolio_id, key_id, name, scopes, hash, created_at, expires_at)"
        " values (%s, %s, %s, %s, %s, %s, %s)",
        (INSTALLATION, key.key_id, key.name, " ".join(key.scopes), key.hash, key.created_at, key.expires_at),
    )


def all_keys(connection: Raw) -> list[StoredKey]:
    """Every key, also those that are no longer good, oldest first."""
    found = connection.execute(
        "select key_id, name, scopes, hash, created_at, expires_at, revoked_at, last_used_at"
        " from api_keys where portfolio_id = %s order by created_at, key_id",
        (INSTALLATION,),
    )
    return [_key(*row) for row in found]


def key_called(connection: Raw, key_id: str) -> StoredKey | None:
    """The key with this id."""
    row = connection.execute(
        "select key_id, name, scopes, hash, created_at, expires_at, revoked_at, last_used_at"
        " from api_keys where portfolio_id = %s and key_id = %s",
        (INSTALLATION, key_id),
    ).fetchone()
    return None if row is None else _key(*row)


def revoke_key(connection: Raw, key_id: str, at: datetime) -> None:
    """The key is good for nothing from now on; when it was revoked first stays."""
    connection.execute(
        "update api_keys set revoked_at = %s where portfolio_id = %s and key_id = %s and revoked_at is null",
        (at, INSTALLATION, key_id),
    )


def note_key_used(connection: Raw, key_id: str, at: datetime) -> None:
    """The key was last used at this time."""
    connection.execute(
        "update api_keys set last_used_at = %s where portfolio_id = %s and key_id = %s", (at, INSTALLATION, key_id)
    )


def add_webhook(connection: Raw, webhook: StoredWebhook) -> bool:
    """Whether the webhook was added: not when there is one of its name."""
    added = connection.execute(
        "insert into webhooks (portfolio_id, name, template, passphrase, symbols, salts, created_at)"
        " values (%s, %s, %s, %s, %s, %s, %s) on conflict do nothing",
        (
            *(INSTALLATION, webhook.name, webhook.template, webhook.passphrase, webhook.symbols),
            *(" ".join(webhook.salts), webhook.created_at),
        ),
    )
    return added.rowcount == 1


def all_webhooks(connection: Raw) -> list[StoredWebhook]:
    """Every webhook by name."""
    found = connection.execute(
        "select name, template, passphrase, symbols, salts, created_at, last_used_at"
        " from webhooks where portfolio_id = %s order by name",
        (INSTALLATION,),
    )
    return [_webhook(*row) for row in found]


def webhook_called(connection: Raw, name: str) -> StoredWebhook | None:
    """The webhook of this name."""
    row = connection.execute(
        "select name, template, passphrase, symbols, salts, created_at, last_used_at"
        " from webhooks where portfolio_id = %s and name = %s",
        (INSTALLATION, name),
    ).fetchone()
    return None if row is None else _webhook(*row)


def set_salts(connection: Raw, name: str, salts: Sequence[str]) -> bool:
    """Whether there is such a webhook; its secrets are now those of these salts."""
    changed = connection.execute(
        "update webhooks set salts = %s where portfolio_id = %s and name = %s", (" ".join(salts), INSTALLATION, name)
    )
    return changed.rowcount == 1


def remove_webhook(connection: Raw, name: str) -> bool:
    """Whether there was such a webhook; there is none now."""
    gone = connection.execute("delete from webhooks where portfolio_id = %s and name = %s", (INSTALLATION, name))
    return gone.rowcount == 1


def claim_nonce(connection: Raw, webhook: str, nonce: bytes, now: datetime, keep: timedelta) -> bool:
    """Whether this message is new to the webhook; from now on it is not. Messages older than `keep` are forgotten."""
    connection.execute(
        "delete from webhook_nonces where portfolio_id = %s and seen_at < %s", (INSTALLATION, now - keep)
    )
    claimed = connection.execute(
        "insert into webhook_nonces (portfolio_id, webhook, nonce, seen_at) values (%s, %s, %s, %s)"
        " on conflict do nothing",
        (INSTALLATION, webhook, nonce, now),
    )
    connection.execute(
        "update webhooks set last_used_at = %s where portfolio_id = %s and name = %s", (now, INSTALLATION, webhook)
    )
    return claimed.rowcount == 1


def _key(
    key_id: str,
    name: str,
    scopes: str,
    digest: bytes,
    created_at: datetime,
    expires_at: datetime | None,
    revoked_at: datetime | None,
    last_used_at: datetime | None,
) -> StoredKey:
    return StoredKey(key_id, name, tuple(scopes.split()), digest, created_at, expires_at, revoked_at, last_used_at)


def _webhook(
    name: str, template: str, passphrase: bool, symbols: str, salts: str, created_at: datetime, used: datetime | None
) -> StoredWebhook:
    return StoredWebhook(name, template, passphrase, symbols, tuple(salts.split()), created_at, used)
