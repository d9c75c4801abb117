"""A paper venue with constant balances, orders for it, and candles by number."""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from execution.exchanges.exchange import Accepted, Fill, FoundOrder, OrderTicket, Refused, Unknown
from execution.exchanges.paper.exchange import PaperExchange, PaperTerms
from ledger.values import ZERO, Instrument, Side
from signals.market.candle import Candle
from tests.support.trading import ACCOUNT, BTC, NOON, HandClock

MINUTE: Final = timedelta(minutes=1)
PLAIN: Final = PaperTerms(half_spread=ZERO, impact=ZERO)


def bar(
    number: int,
    *,
    opened: str = "100",
    high: str = "102",
    low: str = "98",
    volume: str = "1000",
    instrument: Instrument = BTC,
) -> Candle:
    """Return the minute candle that opens `number` minutes after noon and closes at its open price."""
    numbers = [Decimal(text) for text in (opened, high, low, opened, volume)]
    return Candle(instrument, MINUTE, NOON + number * MINUTE, *numbers)


class PaperVenue:
    """A paper venue with constant ledger balances, as before any fill is booked."""

    def __init__(
        self,
        terms: PaperTerms = PLAIN,
        usd: str = "100000",
        btc: str = "100",
        kind: type[PaperExchange] = PaperExchange,
    ) -> None:
        self.clock = HandClock()
        self.balances = {"USD": Decimal(usd), "BTC": Decimal(btc)}
        self.paper = kind((BTC,), lambda _, asset: self.balances.get(asset, ZERO), self.clock, terms)

    def send(self, name: str = "o", side: Side = Side.BUY, **order: Any) -> Accepted | Refused | Unknown:
        return self.paper.submit(ticket(name, side, **order))

    def candles(self, *bars: Candle) -> None:
        for one in bars:
            self.clock.now = one.closed_at
            self.paper.on_bar(one)

    def fills(self, name: str = "o") -> list[Fill]:
        return self.paper.fills(name)

    def state(self, name: str = "o") -> str:
        found = self.paper.find(name)
        return found.state if isinstance(found, FoundOrder) else "not placed"


def ticket(
    name: str = "o",
    side: Side = Side.BUY,
    *,
    base: str | None = None,
    quote: str | None = None,
    limit: str | None = None,
    expires: datetime = NOON + timedelta(hours=2),
    instrument: Instrument = BTC,
) -> OrderTicket:
    return OrderTicket(
        client_order_id=name,
        account=ACCOUNT,
        instrument=instrument,
        side=side,
        kind="market" if limit is None else "limit",
        base_size=None if base is None else Decimal(base),
        quote_size=None if quote is None else Decimal(quote),
        limit_price=None if limit is None else Decimal(limit),
        expires_at=expires,
    )
