"""At which exchanges may real orders be placed? Those with declared facts; all others are for paper trading only."""

from typing import Final

from execution.exchanges.ccxt.venue_facts import VenueFacts
from execution.exchanges.ccxt.venues.alpaca import ALPACA
from execution.exchanges.ccxt.venues.binance import BINANCE
from execution.exchanges.ccxt.venues.bybit import BYBIT
from execution.exchanges.ccxt.venues.coinbase import COINBASE
from execution.exchanges.ccxt.venues.kraken import KRAKEN
from execution.exchanges.ccxt.venues.luno import LUNO
from ledger.errors import DaybookError

DECLARED: Final = {facts.venue: facts for facts in (COINBASE, LUNO, ALPACA, BINANCE, KRAKEN, BYBIT)}


class UndeclaredVenue(DaybookError, ValueError):
    """A venue without declared facts, where orders cannot be placed."""


def facts_of(venue: str) -> VenueFacts:
    """Return the declared facts of the venue. Raises UndeclaredVenue."""
    if venue not in DECLARED:
        known = ", ".join(DECLARED)
        raise UndeclaredVenue(f"orders cannot be placed at {venue[:40]!r}: use one of {known}, or trade on paper")
    return DECLARED[venue]
