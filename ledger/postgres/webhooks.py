"""Webhooks in the database, and the messages already accepted. Only the salts of their secrets are stored."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from ledger.postgres.api_keys import INSTALLATION
from ledger.postgres.log import Raw

_SELECT: Final = (
    "select name, template, passphrase, symbols, salts, created_at, last_used_at from webhooks where portfolio_id = %s"
)


@dataclass(frozen=True, slots=True)
class WebhookRecord:
    """A webhook. Its secrets are derived from `salts`, newest first; `symbols` is canonical JSON."""

    name: str
    template: str
    passphrase: bool
    symbols: str
    salts: tuple[str, ...]
    created_at: datetime
    last_used_at: datetime | None = None


def add_webhook(connection: Raw, webhook: WebhookRecord) -> bool:
    """Store a new webhook; return False if its name is taken."""
    added = connection.execute(
        "insert into webhooks (portfolio_id, name, template, passphrase, symbols, salts, created_at)"
        " values (%s, %s, %s, %s, %s, %s, %s) on conflict do nothing",
        (
            *(INSTALLATION, webhook.name, webhook.template, webhook.passphrase, webhook.symbols),
            *(" ".join(webhook.salts), webhook.created_at),
        ),
    )
    return added.rowcount == 1


def read_webhooks(connection: Raw) -> list[WebhookRecord]:
    """All webhooks, sorted by name."""
    return [_webhook(*row) for row in connection.execute(f"{_SELECT} order by name", (INSTALLATION,))]


def find_webhook(connection: Raw, name: str) -> WebhookRecord | None:
    """The webhook of this name, if there is one."""
    row = connection.execute(f"{_SELECT} and name = %s", (INSTALLATION, name)).fetchone()
    return None if row is None else _webhook(*row)


def set_salts(connection: Raw, name: str, salts: Sequence[str]) -> bool:
    """Replace the salts of a webhook; return False if there is no such webhook."""
    changed = connection.execute(
        "update webhooks set salts = %s where portfolio_id = %s and name = %s", (" ".join(salts), INSTALLATION, name)
    )
    return changed.rowcount == 1


def remove_webhook(connection: Raw, name: str) -> bool:
    """Delete the webhook; return False if there was none."""
    removed = connection.execute("delete from webhooks where portfolio_id = %s and name = %s", (INSTALLATION, name))
    return removed.rowcount == 1


def claim_nonce(connection: Raw, webhook: str, nonce: bytes, now: datetime, keep: timedelta) -> bool:
    """Store the nonce of a message; return False if the webhook has accepted it before. Delete nonces older than `keep`."""
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


def _webhook(
    name: str, template: str, passphrase: bool, symbols: str, salts: str, created_at: datetime, used: datetime | None
) -> WebhookRecord:
    return WebhookRecord(name, template, passphrase, symbols, tuple(salts.split()), created_at, used)
