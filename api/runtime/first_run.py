"""Contents of a new paper portfolio: cash and bots, recorded once, as ordinary events."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Final
from uuid import UUID

from ledger.events import AccountOpened, BotRegistered, BotStarted, CashDeposited, Event, PortfolioOpened
from ledger.log.envelope import NewEvent
from ledger.log.event_log import NoSuchPortfolio
from ledger.projections.book import Book
from ledger.projections.portfolio import portfolio_id_of
from ledger.values import Asset, Instrument, derived_id
from signals.bot import Bot
from signals.registry import NO_BOTS, bot_of, parameters_of, parameters_text

ACCOUNT: Final = "paper"
STARTING_CASH: Final = Decimal(10_000)
BOT_KINDS: Final = ("rsi", "macd", "ma_cross")


def ensure_portfolio(book: Book, name: str, instrument: Instrument, timeframe: str, now: datetime) -> UUID:
    """Open the paper portfolio called `name` unless it exists; return its id.

    It gets 10,000 of the quote currency, three bots running on `instrument`, and the weighted bot, registered.
    """
    portfolio_id = portfolio_id_of(name)
    try:
        book.log.head(portfolio_id)
    except NoSuchPortfolio:
        events = [
            PortfolioOpened(name=name, base_currency=instrument.quote),
            AccountOpened(account=ACCOUNT, venue="paper", mode="paper"),
            CashDeposited(account=ACCOUNT, asset=Asset(instrument.quote), amount=STARTING_CASH),
            *(
                registered(f"{kind}-{instrument}", kind, instrument, timeframe, "{}")
                for kind in (*BOT_KINDS, "combined")
            ),
            *(BotStarted(bot_id=f"{kind}-{instrument}") for kind in BOT_KINDS),
        ]
        book.record(portfolio_id, [_first(portfolio_id, number, event, now) for number, event in enumerate(events)])
    return portfolio_id


def registered(
    bot_id: str,
    kind: str,
    instrument: Instrument,
    timeframe: str,
    parameters: str,
    foreign: Mapping[str, Bot] = NO_BOTS,
) -> BotRegistered:
    """Return the registration of a bot of a known kind, its parameters completed with defaults.

    Raises UnknownBotKind and BadParameters, and for an enabled bot of another package BotUnusable and BotRaised.
    """
    bot = bot_of(kind, foreign)
    return BotRegistered(
        bot_id=bot_id,
        kind=kind,
        bot_version=bot.version,
        instrument=instrument,
        timeframe=timeframe,
        parameters=parameters_text(parameters_of(kind, parameters, foreign)),
    )


def _first(portfolio_id: UUID, number: int, event: Event, now: datetime) -> NewEvent:
    return NewEvent(event, derived_id(portfolio_id, "first", number), now, "first-run", portfolio_id)
