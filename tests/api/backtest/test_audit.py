"""Audit of a backtest: bots that look ahead or understate their warm-up are found, with the first difference."""

from typing import ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

from api.backtest.audit import Fault, audit_of
from signals.bot import Bot, Needs, Parameters, Signal, Window
from signals.registry import BUILT_IN
from tests.support.bots.backtest_bots import Saying, simulated_market, spec_of

MARKET = simulated_market(200)
CLOSES = [float(candle.close) for candle in MARKET.candles]


def faults_of(bot: Bot, told: list[str] | None = None) -> list[Fault]:
    said: list[str] = [] if told is None else told
    return audit_of(spec_of(bot.kind), MARKET, 3, said.append, {bot.kind: bot})


class Plain:
    """Compares the last two closes."""

    kind: ClassVar[str] = "plain"
    version: ClassVar[str] = "1"
    Params: ClassVar[type[Parameters]] = Parameters

    def needs(self, params: Parameters) -> Needs:
        return Needs(bars=2)

    def evaluate(self, window: Window, params: Parameters) -> Signal | None:
        return Signal(score=0.5 if window.close[-1] > window.close[-2] else -0.5)


class Peeks(Plain):
    """Planted: keeps a list that grows with the market, and reads bars beyond the window."""

    def scores(self, bars: NDArray[np.void], params: Parameters) -> NDArray[np.float64]:
        self.seen = bars["close"]
        ahead = np.append(self.seen[1:], self.seen[-1])
        return np.where(np.arange(len(bars)) < 1, np.nan, np.where(ahead > self.seen, 0.5, -0.5))

    def evaluate(self, window: Window, params: Parameters) -> Signal | None:
        now = int(np.flatnonzero(self.seen == window.close[-1])[0])
        ahead = self.seen[min(now + 1, len(self.seen) - 1)]
        return Signal(score=0.5 if ahead > window.close[-1] else -0.5)


class LyingTwin(Plain):
    """Planted: its twin has no score at any bar."""

    def scores(self, bars: NDArray[np.void], params: Parameters) -> NDArray[np.float64]:
        return np.full(len(bars), np.nan)


class NeedsMore(Plain):
    """Planted: an average over the whole window, declared as two bars."""

    def evaluate(self, window: Window, params: Parameters) -> Signal | None:
        return Signal(score=0.5 if window.close[-1] > window.close.mean() else -0.5)


@pytest.mark.parametrize("bot", [Plain(), Saying([0.5, None, -0.5, 0.1])], ids=["plain", "with a twin"])
def test_audit_passes_honest_bots(bot: Bot) -> None:
    """Four checks, one line each, and no fault."""
    told: list[str] = []

    assert faults_of(bot, told) == []
    assert len(told) == 4
    assert all(line.endswith(": the same") for line in told)


@pytest.mark.parametrize("kind", BUILT_IN)
def test_audit_passes_built_in_bots(kind: str) -> None:
    """No check fails on whatever their twins are shown after a cut-off."""
    assert audit_of(spec_of(kind), MARKET, 1, lambda _: None) == []


@pytest.mark.parametrize(
    ("bot", "check"),
    [(Peeks(), "look-ahead"), (LyingTwin(), "twins"), (NeedsMore(), "warm-up")],
    ids=["look-ahead", "twins", "warm-up"],
)
def test_audit_finds_cheating_bots(bot: Bot, check: str) -> None:
    """Planted: each is found by its check, with the time and content of the first difference."""
    found = [fault for fault in faults_of(bot) if fault.check == check]

    assert found
    assert "first difference at 2025-01-" in str(found[0])
    assert any(word in found[0].difference for word in ("SignalEmitted", "with twice the history"))
