"""What every bot must hold, as a check that a bot's own tests can run."""

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

from pydantic import ValidationError

from signals.bot import Bot, Parameters, Signal, Window
from signals.foreign import Failure, answer_of
from signals.market import Candle

SCALE = Decimal(1000)


def breaches(bot: Bot, params: Parameters, candles: Sequence[Candle], *, scale_free: bool = True) -> list[str]:
    """Everything the bot does that a bot must not do, one sentence each; none for a good bot.

    It is asked at every candle from the first at which it may speak, forwards and then backwards: answers that differ
    come from memory, chance or the future. Then on a standing price, across a gap, and at a thousand times the price
    (unless it is not `scale_free`). `candles` should be some fifty more than the bot needs; ValueError if too few.
    """
    needed = bot.needs(params).bars
    if len(candles) <= needed:
        raise ValueError(f"{len(candles)} candles cannot show what a bot does that needs {needed}")
    found: list[str] = []
    windows = [Window.of(candles[:end], needed) for end in range(needed, len(candles) + 1)]
    forwards = [_asked(bot, params, window, found) for window in windows]
    backwards = [_asked(bot, params, window, found) for window in reversed(windows)]
    if forwards != backwards[::-1]:
        found.append("the same window gets another answer when it is asked in another order")
    if all(answer is None for answer in forwards):
        found.append(f"it never has an opinion, though it has the {needed} bars it needs")
    _asked(bot, params, Window.of([_flat(candle, candles[0].close) for candle in candles], needed), found)
    _asked(bot, params, Window.of([*candles[: needed // 2], *candles[needed // 2 + 1 :]][:needed], needed), found)
    if scale_free:
        scaled = [_scaled(candle) for candle in candles]
        ends = range(needed, len(candles) + 1)
        dearer = [_asked(bot, params, Window.of(scaled[:end], needed), found) for end in ends]
        if any(not _alike(*pair) for pair in zip(forwards, dearer, strict=True)):
            found.append("a thousand times the price changes its opinion")
    return list(dict.fromkeys(found))


def _asked(bot: Bot, params: Parameters, window: Window, found: list[str]) -> Signal | None:
    """The bot's answer; None where it broke a rule, which is then noted in `found`."""
    before = window.bars.tobytes()
    answer: object = answer_of(lambda: bot.evaluate(window, params))
    if isinstance(answer, Failure):
        found.append(f"it raises {answer.text}")
        return None
    if window.bars.tobytes() != before:
        found.append("it changes the window it was given")
    if answer is None:
        return None
    if not isinstance(answer, Signal):
        found.append("it answers with something that is not a Signal")
        return None
    try:
        return Signal.model_validate(answer.model_dump())
    except ValidationError:
        found.append("it answers with a signal that is out of bounds")
        return None


def _alike(one: Signal | None, other: Signal | None) -> bool:
    if one is None or other is None:
        return one is other
    return abs(one.score - other.score) <= 1e-9 and abs(one.confidence - other.confidence) <= 1e-9


def _flat(candle: Candle, price: Decimal) -> Candle:
    return replace(candle, open=price, high=price, low=price, close=price)


def _scaled(candle: Candle) -> Candle:
    prices = {name: getattr(candle, name) * SCALE for name in ("open", "high", "low", "close")}
    return replace(candle, **prices)
