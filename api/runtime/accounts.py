"""Accounts at exchanges: encrypted API keys, and the clients that use them."""

import hmac
import json
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Final
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from api.runtime.logs import hide
from execution.exchanges.ccxt.exchange import ApiKey, CcxtExchange
from execution.exchanges.ccxt.transport import BadEndpoint
from execution.exchanges.ccxt.venues import UndeclaredVenue, facts_of
from execution.exchanges.exchange import VenueUnavailable
from ledger.errors import DaybookError
from ledger.events import AccountOpened, CashDeposited, Event, OpeningLotRecorded, PortfolioOpened
from ledger.log.envelope import NewEvent
from ledger.postgres.book import PostgresBook
from ledger.postgres.venue_credentials import VenueCredentials, credentials_of, remove_credentials, store_credentials
from ledger.projections.book import Reading
from ledger.projections.portfolio import AccountView, PortfolioView, portfolio_id_of
from ledger.values import Asset, Clock, new_id

ACTOR: Final = "owner"
_NONCE: Final = 12


class BadAccount(DaybookError):
    """An account cannot be added, used or removed."""


@dataclass(frozen=True, slots=True)
class NewAccount:
    """An account to add. `create` is the base currency of a portfolio to open for it."""

    portfolio: str
    name: str
    venue: str
    api_key: ApiKey
    endpoint: str | None
    live: bool
    create: Asset | None
    adopt: bool

    @property
    def where(self) -> str:
        """Live or test, and where."""
        if self.live:
            return "LIVE: real money"
        return f"test account at {self.endpoint}" if self.endpoint else "test account at the exchange's test network"


class Accounts:
    """The accounts of one installation; `own_key` encrypts their API keys."""

    def __init__(self, book: PostgresBook, own_key: bytes, clock: Clock) -> None:
        self._book, self._clock = book, clock
        self._cipher = AESGCM(hmac.digest(own_key, b"venue credentials", "sha256"))

    def add(self, new: NewAccount) -> list[Event]:
        """Try the key, open the account and store the encrypted key; return the recorded events. Raises BadAccount.

        With `adopt` the present balances become opening entries: base currency as a deposit, other assets at unknown cost.
        """
        portfolio_id = portfolio_id_of(new.portfolio)
        sealed = self._sealed(portfolio_id, new)
        kept = VenueCredentials(portfolio_id, new.name, new.venue, sealed, new.endpoint, new.live, self._clock())
        exchange = self._exchange(kept, new.api_key)
        try:
            holdings = {asset: held.free + held.locked for asset, held in exchange.balances().items()}
            if exchange.can_withdraw():
                raise BadAccount(
                    f"the account was not added: its key may withdraw from {new.venue}: use one that may only read and trade"
                )
        except VenueUnavailable as error:
            raise BadAccount(f"the account was not added: {error}") from None
        with self._book.reading(portfolio_id) as reading:
            events = list(_openings(new, holdings, reading))
            position = reading.position
        now = self._clock()
        recorded = [NewEvent(event, one := new_id(), now, ACTOR, one) for event in events]
        self._book.record(
            portfolio_id, recorded, position, alongside=lambda connection: store_credentials(connection, kept)
        )
        return events

    def all(self) -> list[VenueCredentials]:
        with self._book.transaction() as connection:
            return credentials_of(connection)

    def remove(self, portfolio: str, name: str) -> None:
        """Delete the key; the account's entries stay. Raises BadAccount if there is none."""
        with self._book.transaction() as connection:
            if not remove_credentials(connection, portfolio_id_of(portfolio), name):
                raise BadAccount(f"{portfolio!r} has no key for an account {name!r}: daybook accounts list shows all")

    def of(self, portfolio_id: UUID) -> list[VenueCredentials]:
        """Return the accounts of one portfolio."""
        with self._book.transaction() as connection:
            return credentials_of(connection, portfolio_id)

    def exchanges(self, portfolio_id: UUID) -> dict[str, CcxtExchange]:
        """Return a client for each of the portfolio's accounts by name. Sends nothing. Raises BadAccount."""
        return {one.account: self._exchange(one, self._opened(one)) for one in self.of(portfolio_id)}

    def _exchange(self, account: VenueCredentials, api_key: ApiKey) -> CcxtExchange:
        try:
            facts = facts_of(account.venue)
            sandbox = not account.live and account.endpoint is None
            if sandbox and not facts.sandbox:
                raise BadAccount(f"{account.venue} has no test network: use --endpoint or --live")
            return CcxtExchange(
                facts, account.account, api_key, self._clock, endpoint=account.endpoint, sandbox=sandbox
            )
        except (UndeclaredVenue, BadEndpoint) as error:
            raise BadAccount(str(error)) from None

    def _sealed(self, portfolio_id: UUID, new: NewAccount) -> bytes:
        nonce = secrets.token_bytes(_NONCE)
        text = json.dumps([new.api_key.key, new.api_key.secret]).encode()
        return nonce + self._cipher.encrypt(nonce, text, _bound_to(portfolio_id, new.name, new.venue))

    def _opened(self, account: VenueCredentials) -> ApiKey:
        nonce, text = account.sealed[:_NONCE], account.sealed[_NONCE:]
        bound = _bound_to(account.portfolio_id, account.account, account.venue)
        try:
            key, secret = json.loads(self._cipher.decrypt(nonce, text, bound))
        except InvalidTag:
            reason = "was encrypted with another installation.key, or has been changed"
            raise BadAccount(f"the key of account {account.account!r} {reason}: add the account again") from None
        hide(key)
        hide(secret)
        return ApiKey(key, secret)


def _bound_to(portfolio_id: UUID, account: str, venue: str) -> bytes:
    """Associated data of an encrypted key: moved to another account, it cannot be decrypted."""
    return json.dumps([str(portfolio_id), account, venue]).encode()


def _openings(new: NewAccount, holdings: Mapping[Asset, Decimal], reading: Reading) -> Iterator[Event]:
    """Yield the events that open the account; none if it is open and only its key is new. Raises BadAccount."""
    view = next(reading.rows.where(PortfolioView), None)
    if view is None and new.create is None:
        raise BadAccount(f"there is no portfolio called {new.portfolio!r}: open it with --create --base CURRENCY")
    if view is None and new.create is not None:
        yield PortfolioOpened(name=new.portfolio, base_currency=new.create)
    mode = "live" if new.live else "paper"
    known = reading.rows.get(AccountView, new.name)
    if known is not None:
        if (known.venue, known.mode) != (new.venue, mode) or new.adopt:
            raise BadAccount(f"{new.portfolio!r} already has an account {new.name!r} ({known.venue}, {known.mode})")
        return
    yield AccountOpened(account=new.name, venue=new.venue, mode="live" if new.live else "paper")
    base = new.create if view is None else Asset(view.base_currency)
    for asset, quantity in sorted(holdings.items()) if new.adopt else ():
        if asset == base:
            yield CashDeposited(account=new.name, asset=asset, amount=quantity)
        else:
            yield OpeningLotRecorded(account=new.name, asset=asset, quantity=quantity)
