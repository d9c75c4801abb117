"""The card of a bot: whether an opinion that stands is to be told again follows from what came of its newest signal."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import pytest

from ledger.events import (
    BotConfigured,
    BotRegistered,
    BotStarted,
    BotStopped,
    Event,
    PortfolioOpened,
    SignalApproved,
    SignalEmitted,
    SignalExpired,
    SignalRejected,
)
from ledger.events.fields import RuleChecked
from ledger.log.envelope import NewEvent
from ledger.projections.book import MemoryBook
from ledger.projections.bots import BotView
from ledger.values import Asset, Instrument, Side
from tests.support.events import SteppingClock

BTC, NOON, PORTFOLIO = Instrument("BTC-USD"), datetime(2026, 3, 2, 12, tzinfo=UTC), UUID(int=1)
FIRST, SECOND = UUID(int=103), UUID(int=104)
RULE = (RuleChecked(rule="confirmed", passed=False, reason="said for 0 s", numbers={}),)


def signal(minute: int) -> SignalEmitted:
    return SignalEmitted(
        bot_id="one",
        bot_version="1",
        parameters_hash="x",
        instrument=BTC,
        asof=NOON + timedelta(minutes=minute),
        price=Decimal(1),
        score=Decimal("0.4"),
        confidence=Decimal(1),
    )


OPENED = PortfolioOpened(name="p", base_currency=Asset("USD"))
BOT = BotRegistered(bot_id="one", kind="rsi", bot_version="1", instrument=BTC, timeframe="1m", parameters="{}")
TOLD: tuple[Event, ...] = (OPENED, BOT, BotStarted(bot_id="one"), signal(1))
"""The portfolio, the bot and its first signal, whose event id is FIRST; that of an event after it is SECOND."""


def repeats(*events: Event) -> bool:
    """Whether the card says so after these events, whose ids count up from 100."""
    book = MemoryBook(SteppingClock())
    for number, event in enumerate(events):
        event_id = UUID(int=100 + number)
        book.record(PORTFOLIO, [NewEvent(event, event_id, NOON, "test", event_id)])
    with book.reading(PORTFOLIO) as reading:
        card = reading.rows.get(BotView, "one")
    assert card is not None
    return card.repeats


@pytest.mark.parametrize(
    ("after", "wanted"),
    [
        ((), False),
        ((SignalRejected(signal_id=FIRST, rules=RULE, not_yet=True),), True),
        ((SignalRejected(signal_id=FIRST, rules=RULE, not_yet=False),), False),
        ((SignalExpired(signal_id=FIRST, rules=RULE),), True),
        ((SignalApproved(signal_id=FIRST, side=Side.BUY, quote_size=Decimal(50), rules=()),), False),
        ((SignalRejected(signal_id=FIRST, rules=RULE, not_yet=True), signal(2)), False),
        ((signal(2), SignalRejected(signal_id=FIRST, rules=RULE, not_yet=True)), False),
        ((signal(2), SignalRejected(signal_id=SECOND, rules=RULE, not_yet=True)), True),
        ((BotConfigured(bot_id="one", parameters='{"length":7}'),), True),
        ((BotStopped(bot_id="one", reason="by hand"),), False),
        ((BotStopped(bot_id="one", reason="by hand"), BotStarted(bot_id="one")), True),
    ],
)
def test_what_review_puts_off_is_wanted_again(after: tuple[Event, ...], wanted: bool) -> None:
    """After "not yet", too late, a start or new settings the bot says it again; after any other answer it does not."""
    assert repeats(*TOLD, *after) is wanted


def test_a_bot_that_was_just_started_may_speak() -> None:
    """Before its first signal a started bot's card wants its opinion."""
    assert repeats(*TOLD[:3]) is True
