"""Bot rows: whether an unchanged opinion is repeated depends on the outcome of the newest signal."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import pytest

from ledger import events
from ledger.events import Event
from ledger.events.fields import RuleChecked
from ledger.log.envelope import NewEvent
from ledger.projections.book import MemoryBook
from ledger.projections.bots import BotView
from ledger.values import Asset, Instrument, Side
from tests.support.events import SteppingClock

BTC, NOON, PORTFOLIO = Instrument("BTC-USD"), datetime(2026, 3, 2, 12, tzinfo=UTC), UUID(int=1)
FIRST, SECOND = UUID(int=103), UUID(int=104)
RULE = (RuleChecked(rule="confirmed", passed=False, reason="said for 0 s", numbers={}),)


def signal(minute: int) -> events.SignalEmitted:
    return events.SignalEmitted(
        bot_id="one",
        bot_version="1",
        parameters_hash="x",
        instrument=BTC,
        asof=NOON + timedelta(minutes=minute),
        price=Decimal(1),
        score=Decimal("0.4"),
        confidence=Decimal(1),
    )


OPENED = events.PortfolioOpened(name="p", base_currency=Asset("USD"))
BOT = events.BotRegistered(bot_id="one", kind="rsi", bot_version="1", instrument=BTC, timeframe="1m", parameters="{}")
BEFORE: tuple[Event, ...] = (OPENED, BOT, events.BotStarted(bot_id="one"), signal(1))
"""The portfolio, the bot and its first signal with event id FIRST. The next event has the id SECOND."""


def repeats(*events: Event) -> bool:
    """Return `repeats` of the bot after these events, whose ids count up from 100."""
    book = MemoryBook(SteppingClock())
    for number, event in enumerate(events):
        event_id = UUID(int=100 + number)
        book.record(PORTFOLIO, [NewEvent(event, event_id, NOON, "test", event_id)])
    with book.reading(PORTFOLIO) as reading:
        bot = reading.rows.get(BotView, "one")
    assert bot is not None
    return bot.repeats


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        ((), False),
        ((events.SignalRejected(signal_id=FIRST, rules=RULE, not_yet=True),), True),
        ((events.SignalRejected(signal_id=FIRST, rules=RULE, not_yet=False),), False),
        ((events.SignalExpired(signal_id=FIRST, rules=RULE),), True),
        ((events.SignalApproved(signal_id=FIRST, side=Side.BUY, quote_size=Decimal(50), rules=()),), False),
        ((events.SignalRejected(signal_id=FIRST, rules=RULE, not_yet=True), signal(2)), False),
        ((signal(2), events.SignalRejected(signal_id=FIRST, rules=RULE, not_yet=True)), False),
        ((signal(2), events.SignalRejected(signal_id=SECOND, rules=RULE, not_yet=True)), True),
        ((events.BotConfigured(bot_id="one", parameters='{"length":7}'),), True),
        ((events.BotStopped(bot_id="one", reason="by hand"),), False),
        ((events.BotStopped(bot_id="one", reason="by hand"), events.BotStarted(bot_id="one")), True),
    ],
)
def test_bot_repeats_its_opinion_unless_it_was_judged(after: tuple[Event, ...], expected: bool) -> None:
    """The bot repeats after "not yet", an expiry, a start or new settings, and not after any other verdict."""
    assert repeats(*BEFORE, *after) is expected


def test_bot_repeats_its_opinion_after_a_start() -> None:
    """A started bot may emit its first signal."""
    assert repeats(*BEFORE[:3]) is True
