"""Evaluation of a bot: closed candles in, an event or a reason out. Pure; the caller stores the event."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from math import ceil
from typing import Literal, overload
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from ledger.events import BotFailed, SignalEmitted
from ledger.events.fields import SignalPart
from ledger.projections.bots import BotView
from ledger.projections.policy import SignalPolicy
from ledger.values import derived_id, time_text
from signals.bot import Bot, Part, Signal, Window, bars_of
from signals.market.candle import Candle, timeframe_of, timeframe_text
from signals.registry import NO_BOTS, bot_of, settings_of
from signals.sandbox.guard import Failure, answer_of


def evaluate(
    bot: BotView, candles: Sequence[Candle], policy: SignalPolicy, now: datetime, extra: Mapping[str, Bot] = NO_BOTS
) -> "Evaluation":
    """Evaluate the bot at the close of the last candle (candles of its instrument, oldest first).

    Never raises: an unknown kind, wrong parameters, candles of another market and exceptions of the bot give the outcome
    "failed" with a BotFailed to store. The outcome "signal" comes with a SignalEmitted to store: the first signal of the
    bot, one in another band of the policy than the last, or the same again for a bot that repeats. A candle at or before
    the last signal gives "unchanged"; a signal too old to be traded at `now` gives "stale".
    """
    if not candles:
        return Evaluation(bot.bot_id, None, "not_warm", "no candle has closed yet")
    asof = candles[-1].closed_at
    found = answer_of(lambda: _evaluated(bot, candles, extra))
    if isinstance(found, Failure):
        failure = BotFailed(bot_id=bot.bot_id, asof=asof, error=_printable(found.text))
        return Evaluation(bot.bot_id, asof, "failed", failure.error, bars_seen=len(candles), failure=failure)
    if found.needed > len(candles):
        reason = f"{len(candles)} of {found.needed} candles are available"
        return Evaluation(bot.bot_id, asof, "not_warm", reason, found.needed, len(candles))
    if found.event is None:
        return Evaluation(bot.bot_id, asof, "nothing_to_say", "the bot gave no signal", found.needed, len(candles))
    stale, silence = _why_stale(found.event, policy, now), why_silent(bot, found.event.score, asof, policy)
    return Evaluation(
        bot.bot_id,
        asof,
        "unchanged" if silence else "stale" if stale else "signal",
        silence or stale or _side(found.event.score, policy),
        found.needed,
        len(candles),
        found.event.score,
        found.event.confidence,
        signal_event=None if silence or stale else found.event,
    )


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One evaluation at `asof` (UTC, None without candles): its outcome, and the reason in one sentence.

    `score` and `confidence` are set whenever the bot gave a signal, also an unchanged or stale one; `bars_needed` is 0
    when the bot failed before it reported its needs.
    """

    bot_id: str
    asof: datetime | None
    outcome: Literal["signal", "unchanged", "stale", "not_warm", "nothing_to_say", "failed"]
    reason: str
    bars_needed: int = 0
    bars_seen: int = 0
    score: Decimal | None = None
    confidence: Decimal | None = None
    signal_event: SignalEmitted | None = None
    failure: BotFailed | None = None


def why_silent(bot: BotView, score: Decimal, asof: datetime, policy: SignalPolicy) -> str | None:
    """The reason to emit no signal for this score at this close, or None."""
    if bot.last_asof is None or bot.last_score is None:
        return None
    if asof <= bot.last_asof:
        return f"the signal at {time_text(bot.last_asof)} is recorded already"
    band = policy.band(score)
    if band == policy.band(bot.last_score) and not (band and bot.repeats):
        return f"still {_side(score, policy)}"
    return None


def signal_id(event: SignalEmitted) -> UUID:
    """The id of the signal: the same bot, settings, instrument and time give the same id."""
    identity = (event.bot_id, event.bot_version, event.parameters_hash, event.instrument, time_text(event.asof))
    return derived_id("signal", *identity)


@dataclass(frozen=True, slots=True)
class _Found:
    needed: int
    event: SignalEmitted | None


def _evaluated(view: BotView, candles: Sequence[Candle], extra: Mapping[str, Bot]) -> _Found:
    """The bars that the bot needs, and its signal as an event. Runs under `answer_of`: may raise anything."""
    bot = bot_of(view.kind, extra)
    params, settings = settings_of(view.kind, view.parameters, extra)
    last = candles[-1]
    if last.instrument != view.instrument or last.timeframe != timeframe_of(view.timeframe):
        given = f"{last.instrument} candles of {timeframe_text(last.timeframe)}"
        raise ValueError(f"it reads {view.instrument} in {view.timeframe} and was given {given}")
    needed = bot.needs(params).bars
    if needed > len(candles):
        return _Found(needed, None)
    window = candles.window(needed) if isinstance(candles, ClosedCandles) else Window.of(candles, needed)
    signal = bot.evaluate(window, params)
    if signal is None:
        return _Found(needed, None)
    return _Found(needed, _event(view, bot.version, settings, last, signal))


def _event(view: BotView, version: str, settings: str, last: Candle, signal: Signal) -> SignalEmitted:
    return SignalEmitted(
        bot_id=view.bot_id,
        bot_version=version,
        parameters_hash=settings,
        instrument=last.instrument,
        asof=last.closed_at,
        price=last.close,
        score=_six_places(signal.score),
        confidence=_six_places(signal.confidence),
        horizon_s=None if signal.horizon is None else ceil(signal.horizon.total_seconds()),
        entry=signal.entry,
        take_profit=signal.take_profit,
        stop_loss=signal.stop_loss,
        category=signal.category,
        parts=tuple(map(_signal_part, signal.parts)),
        note=signal.note,
    )


def _signal_part(part: Part) -> SignalPart:
    value = None if part.value is None else _six_places(part.value)
    return SignalPart(name=part.name, score=_six_places(part.score), weight=_six_places(part.weight), value=value)


def _six_places(number: float) -> Decimal:
    # Through text: the exact value of a float has meaningless digits.
    return Decimal(f"{number:.6f}")


def _why_stale(event: SignalEmitted, policy: SignalPolicy, now: datetime) -> str | None:
    horizon = policy.longest if event.horizon_s is None else timedelta(seconds=event.horizon_s)
    if now - event.asof <= min(policy.longest, horizon):
        return None
    return f"the signal of {time_text(event.asof)} is too old to be traded"


def _side(score: Decimal, policy: SignalPolicy) -> str:
    return f"hold ({score})" if not policy.band(score) else f"{'buy' if score > 0 else 'sell'} ({score})"


def _printable(text: str) -> str:
    return text.replace("\0", "?")[:2000]


class ClosedCandles(Sequence[Candle]):
    """The first `end` of some candles of one instrument and timeframe, oldest first. Nothing later can be reached.

    `bars` are all of the candles as an array (`bars_of`): then any moment of them costs nothing. Without it, as many as
    the longest window needs are put into one.
    """

    __slots__ = ("_bars", "_candles", "_end", "_first")

    def __init__(self, candles: Sequence[Candle], end: int | None = None, bars: NDArray[np.void] | None = None) -> None:
        self._candles = candles
        self._end = len(candles) if end is None else end
        self._bars = bars_of(()) if bars is None else bars
        self._first = self._end if bars is None else 0

    def window(self, n: int) -> Window:
        """The window of the last `n`. Raises ValueError when there are fewer."""
        if 0 <= self._end - n < self._first:
            self._first = self._end - n
            self._bars = bars_of(self._candles[self._first : self._end])
        last = self[-1]
        return Window.slice(last.instrument, last.timeframe, self._bars, self._end - self._first, n)

    def __len__(self) -> int:
        return self._end

    @overload
    def __getitem__(self, index: int) -> Candle: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Candle]: ...
    def __getitem__(self, index: int | slice) -> Candle | Sequence[Candle]:
        chosen = range(self._end)[index]
        return self._candles[chosen] if isinstance(chosen, int) else [self._candles[number] for number in chosen]
