"""Closed candles → bot → opinion. Pure: what follows from an evaluation is for the caller to store."""

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
    """What the bot says at the close of the last of these candles (of its instrument, oldest first).

    Asks the bot only when there are as many candles as it needs. Nothing it raises comes through: an unknown kind,
    wrong parameters, candles of another market and exceptions of the bot are the outcome "failed", with a BotFailed to
    store. A SignalEmitted to store comes with the outcome "signal": a first opinion, one in another band of the policy
    than the last, or one that stands and that the bot's card says is to be repeated. Everything else is silence, and
    so is any candle at or before the bot's last signal, and an opinion that at `now` is too old to be traded ("stale").
    """
    if not candles:
        return Evaluation(bot.bot_id, None, "not_warm", "no candle has closed yet")
    asof = candles[-1].closed_at
    asked = answer_of(lambda: _ask(bot, candles, extra))
    if isinstance(asked, Failure):
        failure = BotFailed(bot_id=bot.bot_id, asof=asof, error=_printable(asked.text))
        return Evaluation(bot.bot_id, asof, "failed", failure.error, bars_seen=len(candles), failure=failure)
    if asked.needed > len(candles):
        reason = f"{len(candles)} of {asked.needed} candles are there"
        return Evaluation(bot.bot_id, asof, "not_warm", reason, asked.needed, len(candles))
    if asked.event is None:
        return Evaluation(bot.bot_id, asof, "nothing_to_say", "the bot has no opinion", asked.needed, len(candles))
    stale, silence = _why_stale(asked.event, policy, now), why_silent(bot, asked.event.score, asof, policy)
    return Evaluation(
        bot.bot_id,
        asof,
        "unchanged" if silence else "stale" if stale else "signal",
        silence or stale or _said(asked.event.score, policy),
        asked.needed,
        len(candles),
        asked.event.score,
        asked.event.confidence,
        signal_event=None if silence or stale else asked.event,
    )


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One evaluation: at `asof` (UTC, None without candles), with what outcome, and why in one sentence.

    `score` and `confidence` are set whenever the bot had an opinion, also when it is not news; `bars_needed` is 0 where
    the bot could not even say what it needs.
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
    """Why an opinion of this stored score at this close is not news, or None when it is."""
    if bot.last_asof is None or bot.last_score is None:
        return None
    if asof <= bot.last_asof:
        return f"its opinion at {time_text(bot.last_asof)} is known already"
    band = policy.band(score)
    if band == policy.band(bot.last_score) and not (band and bot.repeats):
        return f"still {_said(score, policy)}"
    return None


def signal_id(event: SignalEmitted) -> UUID:
    """The id under which this signal is stored: the same bot, settings, market and moment give the same id."""
    what = (event.bot_id, event.bot_version, event.parameters_hash, event.instrument, time_text(event.asof))
    return derived_id("signal", *what)


@dataclass(frozen=True, slots=True)
class _Asked:
    needed: int
    event: SignalEmitted | None


def _ask(view: BotView, candles: Sequence[Candle], extra: Mapping[str, Bot]) -> _Asked:
    """What the bot needs and says, as an event. Runs inside the door for foreign code."""
    bot = bot_of(view.kind, extra)
    params, settings = settings_of(view.kind, view.parameters, extra)
    last = candles[-1]
    if last.instrument != view.instrument or last.timeframe != timeframe_of(view.timeframe):
        given = f"{last.instrument} candles of {timeframe_text(last.timeframe)}"
        raise ValueError(f"it reads {view.instrument} in {view.timeframe} and was given {given}")
    needed = bot.needs(params).bars
    if needed > len(candles):
        return _Asked(needed, None)
    window = candles.window(needed) if isinstance(candles, ClosedCandles) else Window.of(candles, needed)
    signal = bot.evaluate(window, params)
    if signal is None:
        return _Asked(needed, None)
    return _Asked(needed, _event(view, bot.version, settings, last, signal))


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
    # Through text: the decimal of a float's bits would carry digits that nobody meant.
    return Decimal(f"{number:.6f}")


def _why_stale(event: SignalEmitted, policy: SignalPolicy, now: datetime) -> str | None:
    horizon = policy.longest if event.horizon_s is None else timedelta(seconds=event.horizon_s)
    if now - event.asof <= min(policy.longest, horizon):
        return None
    return f"its opinion of {time_text(event.asof)} is too old to be traded"


def _said(score: Decimal, policy: SignalPolicy) -> str:
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
        return Window.cut(last.instrument, last.timeframe, self._bars, self._end - self._first, n)

    def __len__(self) -> int:
        return self._end

    @overload
    def __getitem__(self, index: int) -> Candle: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Candle]: ...
    def __getitem__(self, index: int | slice) -> Candle | Sequence[Candle]:
        chosen = range(self._end)[index]
        return self._candles[chosen] if isinstance(chosen, int) else [self._candles[number] for number in chosen]
