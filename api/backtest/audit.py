"""`daybook backtest audit`: detect look-ahead and understated warm-up.

Four checks of the whole backtest, each reporting the first difference: without vectorised twins; on candles that end at
a cut-off; on candles that are random after the cut-off; and with windows of twice the bars that a bot declares to need.
"""

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from itertools import zip_longest
from typing import Final

from api.backtest.market import Market
from api.backtest.run import BacktestSpec, Simulation, market_of, simulation_of
from ledger.events import BotRegistered, SignalEmitted
from ledger.log.envelope import Envelope
from ledger.values import time_text
from signals.bot import Bot, Signal, Window
from signals.market.candle import Candle
from signals.registry import NO_BOTS, bot_of, parameters_of
from signals.sandbox.guard import answer_of

NEARLY: Final = 2e-6
"""Scores are stored at six places; longer history may change the last one by rounding."""

MOST_SIGNALS: Final = 500
"""Maximum signals of a run, evenly chosen, to repeat with longer history."""

OWN: Final = frozenset({"MarkRecorded", "PortfolioOpened", "AccountOpened", "CashDeposited", "LimitSet", "BotStarted"})
"""Events of the set-up, which reflect no decision."""


@dataclass(frozen=True, slots=True)
class Fault:
    """First difference of a check, at this time (UTC)."""

    check: str
    at: datetime
    difference: str

    def __str__(self) -> str:
        return f"{self.check}: first difference at {time_text(self.at)}: {self.difference}"


def audited(
    spec: BacktestSpec, samples: int, report: Callable[[str], object], extra: Mapping[str, Bot] = NO_BOTS
) -> list[Fault]:
    """Return the faults found; `report` gets one line for each check. Raises like `run_backtest`."""
    market = market_of(spec)
    return audit_of(replace(spec, twins=True), market, samples, report, extra)


def audit_of(
    spec: BacktestSpec,
    market: Market,
    samples: int,
    report: Callable[[str], object],
    extra: Mapping[str, Bot] = NO_BOTS,
) -> list[Fault]:
    """Return the faults found on this market, like `audited`."""
    whole = simulation_of(spec, market, extra)
    cuts = _cuts(whole, samples)
    checks: tuple[tuple[str, Callable[[], Fault | None]], ...] = (
        ("without twins", lambda: _without_twins(whole, extra)),
        (f"candles that end, at {len(cuts)} cut-offs", lambda: _cut_off(whole, cuts, extra, _shortened)),
        (f"another future, at {len(cuts)} cut-offs", lambda: _cut_off(whole, cuts, extra, _poisoned)),
        ("twice the history", lambda: _longer_history(whole, extra)),
    )
    found: list[Fault] = []
    for name, check in checks:
        fault = check()
        report(f"{name}: the same" if fault is None else f"{name}: {fault}")
        found += [] if fault is None else [fault]
    return found


def _cuts(whole: Simulation, samples: int) -> list[int]:
    """Evenly spread cut-offs as numbers of bars, each with a traded bar before and after it."""
    first, end = whole.plan.first, whole.plan.end
    chosen = {first + (end - first) * number // (samples + 1) for number in range(1, samples + 1)}
    return sorted(cut for cut in chosen if first < cut < end)


def _without_twins(whole: Simulation, extra: Mapping[str, Bot]) -> Fault | None:
    plain = simulation_of(replace(whole.spec, twins=False), whole.market, extra)
    return _difference("twins", _story(plain), _story(whole))


def _cut_off(
    whole: Simulation, cuts: Sequence[int], extra: Mapping[str, Bot], changed: Callable[[Market, int], Market]
) -> Fault | None:
    """Compare with the backtest up to each cut-off, on candles that are changed after it."""
    for cut in cuts:
        until = whole.market.candles[cut - 1].closed_at
        other = simulation_of(replace(whole.spec, end=until), changed(whole.market, cut), extra)
        fault = _difference("look-ahead", _story(whole, until), _story(other))
        if fault is not None:
            return fault
    return None


def _shortened(market: Market, cut: int) -> Market:
    return Market.of(market.candles[:cut], market.name)


def _poisoned(market: Market, cut: int) -> Market:
    """After the cut-off prices jump between ten times and a tenth, in the arrays for twins too."""
    # Prices rather than NaN: that never passes the process boundary, and indicators refuse it.
    behind = [_nonsense(candle, number) for number, candle in enumerate(market.candles[cut:])]
    return Market.of([*market.candles[:cut], *behind], market.name)


def _nonsense(candle: Candle, number: int) -> Candle:
    factor = Decimal(10) if number % 2 else Decimal("0.1")
    prices = {name: getattr(candle, name) * factor for name in ("open", "high", "low", "close")}
    return replace(candle, **prices)


def _story(simulation: Simulation, until: datetime | None = None) -> list[Envelope]:
    """The events of decisions and trades, in order, up to `until`."""
    log = simulation.book.log.read(simulation.plan.portfolio_id)
    kept = (one for one in log if one.type not in OWN and one.type != BotRegistered.type)
    return [one for one in kept if until is None or one.recorded_at <= until]


def _difference(check: str, expected: Sequence[Envelope], found: Sequence[Envelope]) -> Fault | None:
    """The first difference between two lists of events."""
    for one, other in zip_longest(expected, found):
        if one is not None and other is not None and _same(one, other):
            continue
        at = min(each.recorded_at for each in (one, other) if each is not None)
        return Fault(check, at, f"{_described(one)} in the whole run, {_described(other)} in the other")
    return None


def _same(one: Envelope, other: Envelope) -> bool:
    return (one.event_id, one.payload, one.occurred_at) == (other.event_id, other.payload, other.occurred_at)


def _described(envelope: Envelope | None) -> str:
    if envelope is None:
        return "nothing more"
    event = envelope.event
    score = f" {event.score} of {event.bot_id}" if isinstance(event, SignalEmitted) else ""
    return f"{envelope.type}{score} at {time_text(envelope.recorded_at)}"


def _longer_history(whole: Simulation, extra: Mapping[str, Bot]) -> Fault | None:
    """Repeat each signal from a window of twice the bars: a bot that needs more than it declares gives another score."""
    log = whole.book.log.read(whole.plan.portfolio_id)
    events = [one.event for one in log]
    bots = {one.bot_id: one for one in events if isinstance(one, BotRegistered)}
    signals = [one for one in events if isinstance(one, SignalEmitted)]
    for signal in signals[:: max(1, len(signals) // MOST_SIGNALS)]:
        score = _with_longer_history(whole.market, bots[signal.bot_id], signal, extra)
        if score is not None and not abs(score - float(signal.score)) <= NEARLY:
            scores = f"score {signal.score} of {signal.bot_id} is {score:.6f} with twice the history"
            return Fault("warm-up", signal.asof, scores)
    return None


def _with_longer_history(
    market: Market, registration: BotRegistered, signal: SignalEmitted, extra: Mapping[str, Bot]
) -> float | None:
    """The score from twice the bars that the bot needs; None without enough bars, NaN without a signal."""
    bot = bot_of(registration.kind, extra)
    params = parameters_of(registration.kind, registration.parameters, extra)
    end = bisect_right(market.candles, signal.asof, key=lambda candle: candle.closed_at)
    bars = 2 * bot.needs(params).bars
    if bars > end:
        return None
    first = market.candles[0]
    window = Window.slice(first.instrument, first.timeframe, market.bars, end, bars)
    answer = answer_of(lambda: bot.evaluate(window, params))
    return answer.score if isinstance(answer, Signal) else float("nan")
