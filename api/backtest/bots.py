"""Adapts bots to the backtest. A vectorised twin marks the bars at which the bot cannot have a new signal.

The bot itself is evaluated at all other bars: where the twin's score is near a threshold, and where a signal is due to be
repeated or is the first.
"""

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from api.backtest.market import Market
from api.runtime.market_loop import new_failure, new_signal
from ledger.events import BotRegistered
from ledger.log.envelope import NewEvent
from ledger.projections.bots import BotView
from ledger.projections.policy import SignalPolicy
from signals.bot import Bot
from signals.registry import NO_BOTS, bot_of, parameters_of
from signals.runner import ClosedCandles, evaluate

GUARD: Final = 1e-6
"""Distance from a threshold within which a twin's score is not trusted: scores have six places, twins differ by 1e-9."""


class BacktestBot:
    """A registered bot on a market. With `twins` its vectorised twin, if any, is evaluated once for the whole market."""

    def __init__(
        self, registration: BotRegistered, market: Market, extra: Mapping[str, Bot] = NO_BOTS, *, twins: bool = True
    ) -> None:
        self.registration = registration
        self._market = market
        self._extra = extra
        scores = _twin_scores(registration, market, extra) if twins else None
        self._sieve = None if scores is None else _Sieve(scores)

    def next_bar(self, view: BotView, policy: SignalPolicy, after: int) -> int:
        return after + 1 if self._sieve is None else self._sieve.next_bar(view, policy, after)

    def event_at(self, view: BotView, policy: SignalPolicy, bar: int) -> NewEvent | None:
        closed = ClosedCandles(self._market.candles, bar + 1, self._market.bars)
        evaluation = evaluate(view, closed, policy, closed[-1].closed_at, self._extra)
        if evaluation.signal_event is not None:
            return new_signal(evaluation.signal_event)
        return None if evaluation.failure is None else new_failure(view, evaluation.failure)


def _twin_scores(registration: BotRegistered, market: Market, extra: Mapping[str, Bot]) -> NDArray[np.float64] | None:
    bot = bot_of(registration.kind, extra)
    twin = getattr(bot, "scores", None)
    if twin is None:
        return None
    scores = np.asarray(twin(market.bars, parameters_of(registration.kind, registration.parameters, extra)))
    if scores.dtype != np.float64 or scores.shape != (len(market.candles),):
        raise ValueError(f"the twin of {registration.kind} must return an array of one float for each bar")
    return scores


class _Sieve:
    """The scores of a twin, and the bars at which they allow a new signal."""

    def __init__(self, scores: NDArray[np.float64]) -> None:
        self._scored = ~np.isnan(scores)
        self._scores = scores
        self._found: dict[tuple[SignalPolicy, int | None], NDArray[np.int64]] = {}

    def next_bar(self, view: BotView, policy: SignalPolicy, after: int) -> int:
        """Return the first bar after `after` that may have a new signal, by the rule of `signals.runner.why_silent`."""
        band = None if view.last_score is None else policy.band(view.last_score)
        if band and view.repeats:
            band = None
        bars = self._bars(policy, band)
        found = int(bars.searchsorted(after, side="right"))
        return int(bars[found]) if found < len(bars) else len(self._scores)

    def _bars(self, policy: SignalPolicy, band: int | None) -> NDArray[np.int64]:
        """The bars with a score; with a band only those whose score lies outside it or too near its ends."""
        known = self._found.get((policy, band))
        if known is None:
            wanted = self._scored if band is None else self._scored & self._may_differ(policy, band)
            known = self._found[policy, band] = np.flatnonzero(wanted)
        return known

    def _may_differ(self, policy: SignalPolicy, band: int) -> NDArray[np.bool_]:
        edges = np.array([float(edge) for edge in policy.edges])
        size = np.abs(self._scores)
        reached = np.searchsorted(edges, size, side="right")
        bands = np.where(self._scores >= 0, reached, -reached)
        near = np.min(np.abs(size[:, np.newaxis] - edges), axis=1) <= GUARD
        wanted: NDArray[np.bool_] = (bands != band) | near | (size > 1)
        return wanted
