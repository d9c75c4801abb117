"""Bots in processes of their own, created and evaluated as by the runner."""

from collections.abc import Iterator, Mapping
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import psutil

from ledger.projections.bots import BotView
from ledger.projections.policy import SignalPolicy
from signals.bot import Bot
from signals.market.candle import Candle
from signals.runner import Evaluation, evaluate
from signals.sandbox.bots import ForeignBot, ForeignBots
from signals.sandbox.discovery import BotCode
from signals.sandbox.process import Limits
from signals.testkit.check import sample_candles
from tests.support.events import START

HOSTILE = Path(__file__).with_name("hostile_bots.py")
CANDLES = sample_candles(30)
PATIENT = Limits(answer_s=60, start_s=60)
HASTY = Limits(answer_s=0.5, start_s=60, answer_bytes=100_000)
POLICY = SignalPolicy((Decimal("0.05"),), timedelta(minutes=10))
SETTINGS = '{"length":5,"weight":0.5}'


MADE: list[ForeignBot | ForeignBots] = []


def all_closed() -> Iterator[None]:
    """The body of a fixture that closes every bot made by its test."""
    yield
    while MADE:
        MADE.pop().close()


def of_code(target: str, root: Path, limits: Limits = PATIENT, kind: str = "trend") -> ForeignBot:
    """A bot in a process of its own."""
    bot = ForeignBot(kind, lambda: BotCode(target, root), limits)
    MADE.append(bot)
    return bot


def foreign(name: str, limits: Limits = PATIENT) -> ForeignBot:
    """One of the hostile bots, in its process."""
    return of_code(f"hostile_bots:{name}", HOSTILE, limits)


def view(kind: str = "trend", parameters: str = SETTINGS) -> BotView:
    """The row of a running bot."""
    card = ("one", kind, "3", "BTC-USD", "1m", parameters)
    return BotView(*card, "running", "", START, None, None, None, repeats=False)


def evaluated(bots: Mapping[str, Bot], candles: list[Candle] = CANDLES, parameters: str = SETTINGS) -> Evaluation:
    """Evaluate a bot of kind "trend" at the close of the last candle."""
    return evaluate(view(parameters=parameters), candles, POLICY, candles[-1].closed_at, bots)


def evaluation_of(bot: ForeignBot, candles: list[Candle] = CANDLES) -> Evaluation:
    return evaluated({"trend": bot.as_bot()}, candles)


def process_of(bot: ForeignBot) -> psutil.Process:
    running = bot._process._running
    assert running is not None
    return psutil.Process(running.pid)
