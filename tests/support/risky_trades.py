"""A room with a history of trades."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from execution.exchanges.exchange import InstrumentRules
from execution.review.review import SignalVerdict, review_signal
from execution.review.state import Opinion, Proposal, Size
from ledger.events import TargetSet, TradeExecuted
from ledger.projections.book import MemoryBook
from ledger.projections.signals import SignalView
from ledger.values import Asset, Instrument, Side
from tests.support.events import SteppingClock
from tests.support.trading import ACCOUNT, BTC, NOON, RULES, Room

MIDNIGHT = NOON.replace(hour=0)
HOUR = timedelta(hours=1)


def room_with(**limits: str) -> Room:
    """A room with 10,000 of cash, and these limits."""
    room = Room(MemoryBook(SteppingClock()), "risk")
    for name, value in limits.items():
        room.limit(name, value)
    return room


def wanted(room: Room, kind: Any, value: str, asset: str | None = None, period: Any = None) -> None:
    """Set this target."""
    room.tell(TargetSet(kind=kind, asset=None if asset is None else Asset(asset), period=period, value=Decimal(value)))


def traded(
    room: Room,
    side: Side,
    quantity: str,
    price: str,
    at: datetime,
    source: str = "bot:one",
    instrument: Instrument = BTC,
) -> None:
    """A fill at `at`, without fee."""
    number = len(room.envelopes())
    trade = TradeExecuted(
        account=ACCOUNT,
        venue="scripted",
        venue_trade_id=f"t{number}",
        instrument=instrument,
        side=side,
        quantity=Decimal(quantity),
        price=Decimal(price),
        quote_rate=Decimal(1),
        triggered_by=source,
    )
    room.tell(trade, at=at)


def closed(room: Room, gains: str, at: datetime = NOON - 4 * HOUR, size: str = "100") -> None:
    """Round trips of `size` in BTC, five minutes apart: w gains 1, l loses 1, e is even."""
    for number, letter in enumerate(gains):
        when = at + number * timedelta(minutes=5)
        price = Decimal(size)
        sold = price + {"w": 1, "l": -1, "e": 0}[letter]
        traded(room, Side.BUY, "1", str(price), when)
        traded(room, Side.SELL, "1", str(sold), when + timedelta(minutes=2))


def proposed(room: Room, ask: Callable[[Proposal, Any], Any], **changed: Any) -> Any:
    """The answer of `ask` to a buy of 50 BTC-USD at 100, with these fields changed, in the room's state."""
    with room.reading() as reading:
        state = room.state(reading)
        found = sorted(reading.rows.history(SignalView), key=lambda signal: signal.asof)
        proposal = Proposal(
            instrument=BTC,
            side=Side.BUY,
            price=Decimal(100),
            size=Size(Decimal(50), None),
            account=state.first_account(),
            venue_rules=RULES,
            opinion=Opinion.of_signal(found[-1], reading.rows) if found else None,
        )
        return ask(replace(proposal, **changed), state)


def judged(room: Room, rules: InstrumentRules = RULES) -> SignalVerdict:
    """Review's verdict on the newest signal."""
    with room.reading() as reading:
        signal = max(reading.rows.where(SignalView), key=lambda one: one.position)
        return review_signal(Opinion.of_signal(signal, reading.rows), room.state(reading), rules)
