"""What every bot must hold, as a check that a bot's own tests, `daybook bot test` and our tests all run."""

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
    ages_later,
    dearer,
    poisoned,
    standing,
    untraded,
    window_at,
    with_a_gap,
    without_a_number,
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
    """Everything the bot does that a bot must not do, a sentence each; none for a good bot.

    A sentence names the bar (its number in `candles`, from 0, and when it closed) and what differed there; each rule is
    told of the first bar that breaks it. `elsewhere` is the same bot in another process. A bot whose answers may change
    with the price level says so with a class attribute `scale_free = False`. `candles` should be some fifty more than
    the bot needs; ValueError if too few.
    """
    needed = bot.needs(params).bars
    if len(candles) <= needed:
        raise ValueError(f"{len(candles)} candles cannot show what a bot does that needs {needed}")
    free = bool(getattr(bot, "scale_free", True)) if scale_free is None else scale_free
    trial = Trial(bot, params, candles, needed)
    found = [*trial.faults(), *trial.own_will()]
    if not trial.steady:
        return found  # what differs by itself would differ in every comparison
    checks: list[Callable[[], Iterator[str]]] = [trial.memory, trial.warm_up, trial.odd_markets, trial.dates]
    checks += [trial.price_level] if free else []
    found += [sentence for check in checks for sentence in check()]
    if elsewhere is not None:
        found += trial.another_process(elsewhere)
    said = {end: answer.score for end, answer in trial.answers.items() if isinstance(answer, Signal)}
    return [*found, *twin_breaches(bot, params, candles, needed, said)]


@dataclass(frozen=True, slots=True)
class Fault:
    """An answer that is none: the bot raised something, or broke a rule by the answer itself."""

    text: str
    raised: bool = False


Answer = Signal | None | Fault


class Trial:
    """One bot with one set of parameters, asked at every candle from the first at which it may speak.

    `answers` are by the number of candles that had closed; `steady` says whether it gives one answer to one question.
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
        self.answers: dict[int, Answer] = {end: self._ask(self._bars, end) for end in self._ends}

    def faults(self) -> Iterator[str]:
        """What it raises, what it changes, and answers that are no valid signals: each the first time."""
        told = set()
        for end, answer in self.answers.items():
            if isinstance(answer, Fault) and answer.text not in told:
                told.add(answer.text)
                yield f"at {self._place(end)} it {answer.text}"

    def own_will(self) -> Iterator[str]:
        """Whether it looks at clocks or throws dice, and whether it says the same when asked again at once."""
        seen: list[str] = []
        told: set[str] = set()
        for end in self._ends:
            first = self._ask(self._bars, end)
            with watching(seen):
                again = self._ask(self._bars, end)
            for name in sorted(set(seen) - told):
                yield f"at {self._place(end)} it {name}: a bot has nothing but its window"
            told.update(seen)
            if first != again and self.steady:
                self.steady = False
                yield self._differs(end, first, again, "asked again at once", "it remembers, or uses a clock or chance")

    def memory(self) -> Iterator[str]:
        """Whether an answer depends on what it was asked before: of the time after a bar, or before its window."""
        yield from self._after_others(
            lambda end: poisoned(self._bars, end, len(self._bars)),
            lambda end: {end + 1, min(end + self._needed, len(self._candles))},
            "after it was shown other bars that came later",
            "it remembers the future",
        )
        yield from self._after_others(
            lambda end: poisoned(self._bars, 0, end - self._needed),
            lambda end: {max(self._needed, end - self._needed), end - 1},
            "after it was shown other bars before its window",
            f"it needs more bars than the {self._needed} it says",
        )
        backwards = {end: self._ask(self._bars, end) for end in reversed(self._ends)}
        yield from self._first(backwards, "asked in another order", "it remembers what it was asked before")

    def warm_up(self) -> Iterator[str]:
        """Whether it ever has an opinion on as many bars as it says, and if not, on how many it has one."""
        if any(isinstance(answer, Signal) for answer in self.answers.values()):
            return
        whole = len(self._candles)
        longer = sorted({*(self._needed * 2**power for power in range(1, 10)), whole})
        for bars in longer:
            if bars <= whole and isinstance(answer_of(partial(self._on, bars)), Signal):
                yield (
                    f"at {self._place(whole)} it has nothing to say on the {self._needed} bars it says it needs,"
                    f" and an opinion on {bars}: it needs more bars than it says"
                )
                return
        if not any(isinstance(answer, Fault) for answer in self.answers.values()):
            first, last = self._place(self._needed), self._place(whole)
            yield f"from {first} to {last} it never has an opinion, though it has the {self._needed} bars it needs"

    def odd_markets(self) -> Iterator[str]:
        """What it does on a standing price, without volume, across a gap, and given what is no number."""
        for what, change in _ODD.items():
            bars = change(self._bars)
            for end in (self._needed, len(bars)):
                answer = self._ask(bars, end)
                if isinstance(answer, Fault) and answer not in self.answers.values():
                    yield f"{what}, at {self._place(end)}, it {answer.text}"
                    break
        answer = self._ask(without_a_number(self._bars), len(self._bars))
        if isinstance(answer, Fault) and not answer.raised:
            yield f"given a close that is no number, at {self._place(len(self._bars))}, it {answer.text}"

    def dates(self) -> Iterator[str]:
        """Whether the same bars on days that nobody knows get the same answer."""
        later = ages_later(self._bars)
        yield from self._first(
            {end: self._ask(later, end) for end in self._ends},
            "for the same bars 400 years later",
            "it knows what happened on those days",
            alike=lambda one, other: _alike(one, other, 0.0),
        )

    def price_level(self) -> Iterator[str]:
        """Whether a thousand times the price gets the same answer."""
        scaled = dearer(self._bars)
        yield from self._first(
            {end: self._ask(scaled, end) for end in self._ends},
            "at a thousand times the price",
            "say scale_free = False if that is meant",
            alike=lambda one, other: _alike(one, other, 1e-9),
        )

    def another_process(self, elsewhere: Bot) -> Iterator[str]:
        """Whether the same bot says the same in another process, which has seen nothing else."""
        try:
            params = elsewhere.Params.model_validate_json(canonical_json(self._params.model_dump(mode="json")))
        except (BotUnusable, BotRaised, ValidationError) as error:
            yield f"it cannot be asked in another process: {error}"
            return
        yield from self._first(
            {end: _asked(elsewhere, params, self._window(self._bars, end)) for end in reversed(self._ends)},
            "in another process",
            "it knows more than its window",
            alike=lambda one, other: one == other or _both_raised(one, other),
        )

    def _after_others(
        self,
        market: Callable[[int], Bars],
        shown: Callable[[int], set[int]],
        how: str,
        meaning: str,
    ) -> Iterator[str]:
        """Whether the answer at some bars is another one after it was asked at others, of another market."""
        found: dict[int, Answer] = {}
        for end in self._some:
            other = market(end)
            for before in sorted(shown(end) & set(self._ends)):
                self._ask(other, before)
            found[end] = self._ask(self._bars, end)
        yield from self._first(found, how, meaning)

    def _first(
        self,
        others: dict[int, Answer],
        how: str,
        meaning: str,
        alike: Callable[[Answer, Answer], bool] = lambda one, other: one == other,
    ) -> Iterator[str]:
        """One sentence about the first bar whose answer is another one here."""
        for end in sorted(others):
            if not alike(self.answers[end], others[end]):
                yield self._differs(end, self.answers[end], others[end], how, meaning)
                return

    def _differs(self, end: int, one: Answer, other: Answer, how: str, meaning: str) -> str:
        here, there = _told(one, other)
        return f"at {self._place(end)} it {here} and, {how}, {there}: {meaning}"

    def _place(self, end: int) -> str:
        return f"bar {end - 1} ({time_text(self._candles[end - 1].closed_at)})"

    def _on(self, bars: int) -> Signal | None:
        return self._bot.evaluate(self._whole.last(bars), self._params)

    def _window(self, bars: Bars, end: int) -> Window:
        return window_at(self._whole, bars, end, self._needed)

    def _ask(self, bars: Bars, end: int) -> Answer:
        """The bot's answer to the window that ends before bar number `end`, unless no such window can be."""
        window = answer_of(lambda: self._window(bars, end))
        if isinstance(window, Failure):
            return Fault(f"cannot be given this window: {window.text}", raised=True)
        return _asked(self._bot, self._params, window)


def _asked(bot: Bot, params: Parameters, window: Window) -> Answer:
    """The bot's answer, with every rule that one answer can break."""
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
        return Fault("answers with something that is not a Signal")
    try:
        return Signal.model_validate(answer.model_dump())
    except ValidationError as error:
        return Fault(f"answers with a signal that is out of bounds: {first_fault(error)}")


_ODD: Final[dict[str, Callable[[Bars], Bars]]] = {
    "on a standing price": standing,
    "without any volume": untraded,
    "across a gap": with_a_gap,
}


def _both_raised(one: Answer, other: Answer) -> bool:
    return isinstance(one, Fault) and isinstance(other, Fault) and one.raised and other.raised


def _alike(one: Answer, other: Answer, within: float) -> bool:
    """Whether two opinions are the same but for prices and words."""
    if not isinstance(one, Signal) or not isinstance(other, Signal):
        return one == other
    return abs(one.score - other.score) <= within and abs(one.confidence - other.confidence) <= within


def _told(one: Answer, other: Answer) -> tuple[str, str]:
    """Both answers in words, down to the first thing in which they differ."""
    if isinstance(one, Signal) and isinstance(other, Signal):
        names = list(Signal.model_fields)
        name = next((name for name in names if getattr(one, name) != getattr(other, name)), "score")
        return f"says {name} {getattr(one, name)!r}", f"{getattr(other, name)!r}"
    first, second = (_word(answer) for answer in (one, other))
    return first, second


def _word(answer: Answer) -> str:
    if answer is None:
        return "says nothing"
    return answer.text if isinstance(answer, Fault) else f"says score {answer.score!r}"
