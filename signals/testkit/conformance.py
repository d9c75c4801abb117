"""The rules for bots as one check, run by `daybook bot test`, the fixture `assert_conforms` and Daybook's own tests."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from pydantic import ValidationError

from ledger.log.envelope import canonical_json
from ledger.values import time_text
from signals.bot import Bot, Parameters, Signal, Window, first_fault
from signals.market.candle import Candle
from signals.sandbox.discovery import BotUnusable
from signals.sandbox.guard import Failure, answer_of
from signals.sandbox.process import BotRaised
from signals.testkit.markets import (
    Bars,
    centuries_later,
    constant_price,
    poisoned,
    scaled_up,
    window_at,
    with_a_gap,
    with_nan,
    without_volume,
)
from signals.testkit.vectorised import twin_breaches
from signals.testkit.watched_calls import watching


def breaches(
    bot: Bot,
    params: Parameters,
    candles: Sequence[Candle],
    *,
    scale_free: bool | None = None,
    elsewhere: Bot | None = None,
) -> list[str]:
    """Return every rule that the bot breaks, one sentence each.

    A sentence names the first bar that breaks the rule (its index in `candles` and close time) and the difference.
    `elsewhere` is the same bot in another process. A bot whose signals may depend on the price level has a class
    attribute `scale_free = False`. Pass about fifty candles more than the bot needs. Raises ValueError for too few.
    """
    needed = bot.needs(params).bars
    if len(candles) <= needed:
        raise ValueError(f"{len(candles)} candles are too few for a bot that needs {needed}")
    free = bool(getattr(bot, "scale_free", True)) if scale_free is None else scale_free
    runs = Evaluations(bot, params, candles, needed)
    found = [*runs.faults(), *runs.own_will()]
    if not runs.steady:
        return found  # an unsteady bot would differ in every comparison
    checks: list[Callable[[], Iterator[str]]] = [runs.memory, runs.warm_up, runs.odd_markets, runs.dates]
    checks += [runs.price_level] if free else []
    found += [sentence for check in checks for sentence in check()]
    if elsewhere is not None:
        found += runs.another_process(elsewhere)
    scores = {end: answer.score for end, answer in runs.answers.items() if isinstance(answer, Signal)}
    return [*found, *twin_breaches(bot, params, candles, needed, scores)]


@dataclass(frozen=True, slots=True)
class Fault:
    """An exception of the bot, or an answer that itself breaks a rule."""

    text: str
    raised: bool = False


Answer = Signal | None | Fault


class Evaluations:
    """One bot with one set of parameters, evaluated at every candle from the first with enough bars.

    `answers` are by the number of closed candles; `steady` is `True` while repeated evaluations agree.
    """

    def __init__(self, bot: Bot, params: Parameters, candles: Sequence[Candle], needed: int) -> None:
        self._bot = bot
        self._params = params
        self._candles = candles
        self._whole: Final = Window.of(candles, len(candles))
        self._bars: Final = self._whole.bars
        self._needed = needed
        self._ends: Final = range(needed, len(candles) + 1)
        self._some: Final = self._ends[:: max(1, len(self._ends) // 6)]
        self.steady = True
        self.answers: dict[int, Answer] = {end: self._evaluated(self._bars, end) for end in self._ends}

    def faults(self) -> Iterator[str]:
        """Exceptions, changed inputs and invalid signals: the first of each."""
        reported = set()
        for end, answer in self.answers.items():
            if isinstance(answer, Fault) and answer.text not in reported:
                reported.add(answer.text)
                yield f"at {self._place(end)} it {answer.text}"

    def own_will(self) -> Iterator[str]:
        """Use of clocks and chance, and different answers to the same window."""
        seen: list[str] = []
        reported: set[str] = set()
        for end in self._ends:
            first = self._evaluated(self._bars, end)
            with watching(seen):
                again = self._evaluated(self._bars, end)
            for name in sorted(set(seen) - reported):
                yield f"at {self._place(end)} it {name}: a bot may use only its window"
            reported.update(seen)
            if first != again and self.steady:
                self.steady = False
                yield self._differs(end, first, again, "evaluated again", "it keeps state, or uses a clock or chance")

    def memory(self) -> Iterator[str]:
        """Answers that depend on earlier evaluations: of later bars, of bars before the window, or of their order."""
        yield from self._after_others(
            lambda end: poisoned(self._bars, end, len(self._bars)),
            lambda end: {end + 1, min(end + self._needed, len(self._candles))},
            "after other bars that follow it",
            "it remembers the future",
        )
        yield from self._after_others(
            lambda end: poisoned(self._bars, 0, end - self._needed),
            lambda end: {max(self._needed, end - self._needed), end - 1},
            "after other bars before its window",
            f"it needs more bars than the {self._needed} it declares",
        )
        backwards = {end: self._evaluated(self._bars, end) for end in reversed(self._ends)}
        yield from self._first(backwards, "in another order", "it remembers earlier evaluations")

    def warm_up(self) -> Iterator[str]:
        """A bot that gives no signal on the bars that it declares; names the number on which it does."""
        if any(isinstance(answer, Signal) for answer in self.answers.values()):
            return
        whole = len(self._candles)
        longer = sorted({*(self._needed * 2**power for power in range(1, 10)), whole})
        for bars in longer:
            if bars <= whole and isinstance(answer_of(partial(self._on, bars)), Signal):
                yield (
                    f"at {self._place(whole)} it gives no signal on the {self._needed} bars it declares,"
                    f" and one on {bars}: it needs more bars than it declares"
                )
                return
        if not any(isinstance(answer, Fault) for answer in self.answers.values()):
            first, last = self._place(self._needed), self._place(whole)
            yield f"from {first} to {last} it never gives a signal, though it has the {self._needed} bars it declares"

    def odd_markets(self) -> Iterator[str]:
        """Faults at a constant price, without volume, across a gap, and with a NaN."""
        for condition, change in _ODD.items():
            bars = change(self._bars)
            for end in (self._needed, len(bars)):
                answer = self._evaluated(bars, end)
                if isinstance(answer, Fault) and answer not in self.answers.values():
                    yield f"{condition}, at {self._place(end)}, it {answer.text}"
                    break
        answer = self._evaluated(with_nan(self._bars), len(self._bars))
        if isinstance(answer, Fault) and not answer.raised:
            yield f"with a close that is NaN, at {self._place(len(self._bars))}, it {answer.text}"

    def dates(self) -> Iterator[str]:
        """Answers that change when the same bars are moved to dates without data."""
        later = centuries_later(self._bars)
        yield from self._first(
            {end: self._evaluated(later, end) for end in self._ends},
            "for the same bars 400 years later",
            "it depends on the dates",
            alike=lambda one, other: _alike(one, other, 0.0),
        )

    def price_level(self) -> Iterator[str]:
        """Answers that change at a thousand times the price."""
        scaled = scaled_up(self._bars)
        yield from self._first(
            {end: self._evaluated(scaled, end) for end in self._ends},
            "at a thousand times the price",
            "set scale_free = False if that is intended",
            alike=lambda one, other: _alike(one, other, 1e-9),
        )

    def another_process(self, elsewhere: Bot) -> Iterator[str]:
        """Answers that differ in another process."""
        try:
            params = elsewhere.Params.model_validate_json(canonical_json(self._params.model_dump(mode="json")))
        except (BotUnusable, BotRaised, ValidationError) as error:
            yield f"it cannot run in another process: {error}"
            return
        yield from self._first(
            {end: _answer(elsewhere, params, self._window(self._bars, end)) for end in reversed(self._ends)},
            "in another process",
            "it depends on more than its window",
            alike=lambda one, other: one == other or _both_raised(one, other),
        )

    def _after_others(
        self,
        market: Callable[[int], Bars],
        shown: Callable[[int], set[int]],
        how: str,
        meaning: str,
    ) -> Iterator[str]:
        """Compare answers at some bars after evaluations of another market."""
        found: dict[int, Answer] = {}
        for end in self._some:
            other = market(end)
            for before in sorted(shown(end) & set(self._ends)):
                self._evaluated(other, before)
            found[end] = self._evaluated(self._bars, end)
        yield from self._first(found, how, meaning)

    def _first(
        self,
        others: dict[int, Answer],
        how: str,
        meaning: str,
        alike: Callable[[Answer, Answer], bool] = lambda one, other: one == other,
    ) -> Iterator[str]:
        """One sentence about the first bar with a different answer."""
        for end in sorted(others):
            if not alike(self.answers[end], others[end]):
                yield self._differs(end, self.answers[end], others[end], how, meaning)
                return

    def _differs(self, end: int, one: Answer, other: Answer, how: str, meaning: str) -> str:
        here, there = _shown(one, other)
        return f"at {self._place(end)} it {here} and, {how}, {there}: {meaning}"

    def _place(self, end: int) -> str:
        return f"bar {end - 1} ({time_text(self._candles[end - 1].closed_at)})"

    def _on(self, bars: int) -> Signal | None:
        return self._bot.evaluate(self._whole.last(bars), self._params)

    def _window(self, bars: Bars, end: int) -> Window:
        return window_at(self._whole, bars, end, self._needed)

    def _evaluated(self, bars: Bars, end: int) -> Answer:
        """The bot's answer to the window that ends before index `end`; a fault when there is no such window."""
        window = answer_of(lambda: self._window(bars, end))
        if isinstance(window, Failure):
            return Fault(f"cannot be given this window: {window.text}", raised=True)
        return _answer(self._bot, self._params, window)


def _answer(bot: Bot, params: Parameters, window: Window) -> Answer:
    """Evaluate the bot, checking every rule that a single answer can break."""
    bars, settings = window.bars.tobytes(), params.model_dump_json()
    answer: object = answer_of(lambda: bot.evaluate(window, params))
    if window.bars.tobytes() != bars:
        return Fault("changes the window it was given")
    if params.model_dump_json() != settings:
        return Fault("changes its parameters")
    if isinstance(answer, Failure):
        writes = "read-only" in answer.text or "WRITEABLE" in answer.text
        return Fault(f"{'tries to change its window:' if writes else 'raises'} {answer.text}", raised=True)
    if answer is None:
        return None
    if not isinstance(answer, Signal):
        return Fault("returns something that is not a Signal")
    try:
        return Signal.model_validate(answer.model_dump())
    except ValidationError as error:
        return Fault(f"returns an invalid signal: {first_fault(error)}")


_ODD: Final[dict[str, Callable[[Bars], Bars]]] = {
    "at a constant price": constant_price,
    "without any volume": without_volume,
    "across a gap": with_a_gap,
}


def _both_raised(one: Answer, other: Answer) -> bool:
    return isinstance(one, Fault) and isinstance(other, Fault) and one.raised and other.raised


def _alike(one: Answer, other: Answer, within: float) -> bool:
    """`True` when two signals agree in score and confidence."""
    if not isinstance(one, Signal) or not isinstance(other, Signal):
        return one == other
    return abs(one.score - other.score) <= within and abs(one.confidence - other.confidence) <= within


def _shown(one: Answer, other: Answer) -> tuple[str, str]:
    """Both answers in words; of two signals, the first field in which they differ."""
    if isinstance(one, Signal) and isinstance(other, Signal):
        names = list(Signal.model_fields)
        name = next((name for name in names if getattr(one, name) != getattr(other, name)), "score")
        return f"returns {name} {getattr(one, name)!r}", f"{getattr(other, name)!r}"
    first, second = (_word(answer) for answer in (one, other))
    return first, second


def _word(answer: Answer) -> str:
    if answer is None:
        return "returns None"
    return answer.text if isinstance(answer, Fault) else f"returns score {answer.score!r}"
