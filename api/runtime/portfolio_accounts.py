"""The accounts at venues of the portfolio that is traded in, and the market data that come from the same place."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from api.runtime.keys import installation_key
from api.runtime.settings import BadSettings, Settings
from execution.exchanges.exchange import LiveExchange
from ledger.postgres.book import PostgresBook
from ledger.postgres.venue_credentials import VenueCredentials, credentials_of
from ledger.projections.portfolio import PortfolioView, portfolio_id_of
from ledger.values import system_clock
from signals.market.feed import CandleFeed, open_feed
from signals.market.playback import PlayedFeed


@dataclass(frozen=True, slots=True)
class Connected:
    """The feed, redirected where an account's endpoint stands in for its venue, and exchanges by account; `shown` in words."""

    feed: CandleFeed
    exchanges: Mapping[str, LiveExchange] = field(default_factory=dict)
    shown: tuple[str, ...] = ()


def connected_accounts(
    book: PostgresBook, settings: Settings, portfolio_id: UUID, feed: CandleFeed, elapsed: Callable[[], float]
) -> Connected:
    """Nothing is asked of a venue yet. Raises BadSettings for a played market, on which nothing real can be traded."""
    with book.transaction() as connection:
        found = credentials_of(connection, portfolio_id)
    if not found:
        return Connected(feed)
    if isinstance(feed, PlayedFeed):
        raise BadSettings(
            "this portfolio has accounts at venues, which need a market in real time: set DAYBOOK_FEED to one such as"
            f" ccxt:{found[0].venue}?instrument=BTC-USDT"
        )
    from api.runtime.accounts import Accounts  # the venues' clients are slow to load

    exchanges = Accounts(book, installation_key(settings.data_dir), system_clock).exchanges(portfolio_id)
    return Connected(_redirected(settings.feed, feed, found, elapsed), exchanges, tuple(map(_shown, found)))


def existing_portfolio(book: PostgresBook, name: str, feed: CandleFeed) -> UUID:
    """The portfolio's id. Raises BadSettings where there is none, or the market is quoted in another currency."""
    portfolio_id = portfolio_id_of(name)
    with book.reading(portfolio_id) as reading:
        view = next(reading.rows.where(PortfolioView), None)
    if view is None:
        raise BadSettings(f"DAYBOOK_PORTFOLIO names {name!r}, which does not exist: see daybook accounts add --create")
    strangers = [one for one in feed.instruments if one.quote != view.base_currency]
    if strangers:
        raise BadSettings(f"{name!r} reckons in {view.base_currency}, and DAYBOOK_FEED brings {strangers[0]}")
    return portfolio_id


def _redirected(
    spec: str, feed: CandleFeed, accounts: list[VenueCredentials], elapsed: Callable[[], float]
) -> CandleFeed:
    """The feed of a venue that an endpoint stands in for is read from there too."""
    venue = spec.partition("?")[0].removeprefix("ccxt:")
    endpoint = next((one.endpoint for one in accounts if one.venue == venue and one.endpoint), None)
    if endpoint is None:
        return feed
    chosen = endpoint

    def redirect(client: Any) -> None:
        from execution.exchanges.ccxt.transport import Wire
        from execution.exchanges.ccxt.venues import facts_of

        facts = facts_of(venue)
        client.has = {**client.has, **facts.has}
        client.options.update(_options(facts.settings))
        client.session.mount("https://", Wire(facts.hosts, system_clock, chosen))

    return open_feed(spec, clock=system_clock, elapsed=elapsed, prepare=redirect)


def _options(settings: Mapping[str, object]) -> dict[str, object]:
    options = settings.get("options", {})
    assert isinstance(options, dict)
    return options


def _shown(account: VenueCredentials) -> str:
    kind = "LIVE: real money" if account.live else "test" + (f" at {account.endpoint}" if account.endpoint else "")
    return f"{account.account} at {account.venue} ({kind})"
