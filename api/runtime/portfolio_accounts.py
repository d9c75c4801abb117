"""Exchange accounts of the traded portfolio, and market data from the same exchange."""

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
    """The feed, redirected to an account's endpoint if it has one, and clients by account; `shown` is their description."""

    feed: CandleFeed
    exchanges: Mapping[str, LiveExchange] = field(default_factory=dict)
    shown: tuple[str, ...] = ()


def connected_accounts(
    book: PostgresBook, settings: Settings, portfolio_id: UUID, feed: CandleFeed, elapsed: Callable[[], float]
) -> Connected:
    """Connect the portfolio's accounts. Sends nothing. Raises BadSettings for a played market, on which nothing real trades."""
    with book.transaction() as connection:
        found = credentials_of(connection, portfolio_id)
    if not found:
        return Connected(feed)
    if isinstance(feed, PlayedFeed):
        raise BadSettings(
            "this portfolio has exchange accounts, which need a live market: set DAYBOOK_FEED to one such as"
            f" ccxt:{found[0].venue}?instrument=BTC-USDT"
        )
    from api.runtime.accounts import Accounts  # slow to load

    exchanges = Accounts(book, installation_key(settings.data_dir), system_clock).exchanges(portfolio_id)
    return Connected(_redirected(settings.feed, feed, found, elapsed), exchanges, tuple(map(_shown, found)))


def existing_portfolio(book: PostgresBook, name: str, feed: CandleFeed) -> UUID:
    """Return the portfolio's id. Raises BadSettings if there is none, or the market has another quote currency."""
    portfolio_id = portfolio_id_of(name)
    with book.reading(portfolio_id) as reading:
        view = next(reading.rows.where(PortfolioView), None)
    if view is None:
        raise BadSettings(f"DAYBOOK_PORTFOLIO names {name!r}, which does not exist: see daybook accounts add --create")
    strangers = [one for one in feed.instruments if one.quote != view.base_currency]
    if strangers:
        raise BadSettings(f"the base currency of {name!r} is {view.base_currency}, but DAYBOOK_FEED has {strangers[0]}")
    return portfolio_id


def _redirected(
    spec: str, feed: CandleFeed, accounts: list[VenueCredentials], elapsed: Callable[[], float]
) -> CandleFeed:
    """Read the feed from the endpoint of an account at its exchange, if there is one."""
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
