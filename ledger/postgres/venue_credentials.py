"""Credentials of accounts at venues. They are encrypted with a key that is not in the database."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from ledger.postgres.log import Raw


@dataclass(frozen=True, slots=True)
class VenueCredentials:
    """Credentials of an account: encrypted in `sealed`. `endpoint` replaces the venue's own; `live` accounts hold real money."""

    portfolio_id: UUID
    account: str
    venue: str
    sealed: bytes
    endpoint: str | None
    live: bool
    created_at: datetime


def store_credentials(connection: Raw, account: VenueCredentials) -> None:
    """Store the account; replace one of the same name."""
    connection.execute(
        "insert into venue_accounts (portfolio_id, account, venue, sealed, endpoint, live, created_at)"
        " values (%s, %s, %s, %s, %s, %s, %s) on conflict (portfolio_id, account) do update set venue = excluded.venue,"
        " sealed = excluded.sealed, endpoint = excluded.endpoint, live = excluded.live",
        (
            *(account.portfolio_id, account.account, account.venue, account.sealed),
            *(account.endpoint, account.live, account.created_at),
        ),
    )


def credentials_of(connection: Raw, portfolio_id: UUID | None = None) -> list[VenueCredentials]:
    """The accounts of the portfolio (None: of all), sorted by name."""
    found = connection.execute(
        "select portfolio_id, account, venue, sealed, endpoint, live, created_at from venue_accounts"
        " where %s::uuid is null or portfolio_id = %s order by account, portfolio_id",
        (portfolio_id, portfolio_id),
    )
    return [VenueCredentials(*row) for row in found]


def remove_credentials(connection: Raw, portfolio_id: UUID, account: str) -> bool:
    """Delete the account with its credentials; return False if there was none."""
    removed = connection.execute(
        "delete from venue_accounts where portfolio_id = %s and account = %s", (portfolio_id, account)
    )
    return removed.rowcount == 1
