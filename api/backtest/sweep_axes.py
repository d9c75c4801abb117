"""What a sweep varies: settings of its bot and limits of the policy, and the specification of each combination."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from itertools import product
from math import prod
from typing import Any, Final

from api.backtest.backtesting import BacktestSpec, BadBacktest, RefusedParameters, run_id_of
from api.backtest.market import Market
from ledger.log.envelope import canonical_json
from ledger.values import decimal_text

MOST: Final = 100_000
"""No sweep has more combinations."""
LIMIT: Final = "limit."
"""Before the name of a limit of the policy: other names are settings of the bot."""

Settings = tuple[tuple[str, object], ...]
"""Name and value of everything that differs between the combinations."""


@dataclass(frozen=True, slots=True)
class Axis:
    """One setting of the bot, or with "limit." before it of the policy, and the values it takes in turn."""

    name: str
    values: tuple[object, ...]


def axis_of(text: str) -> Axis:
    """The axis that "name=a,b,c" or "name=from..to/step" says. Raises BadBacktest.

    Values are numbers, true, false, or else words; a range holds its end where a step falls on it.
    """
    name, equals, said = text.partition("=")
    if not equals or not name.strip() or not said.strip():
        raise BadBacktest(f"{text[:60]!r} is no setting with values: write length=7,14,21 or length=5..50/5")
    parts = [part.strip() for part in said.split(",")]
    values = tuple(value for part in parts for value in _values(part, text))
    return Axis(name.strip(), values)


def _values(part: str, text: str) -> Iterator[object]:
    first, dots, rest = part.partition("..")
    if not dots:
        yield _value(part)
        return
    last, _, step = rest.partition("/")
    try:
        low, high, by = Decimal(first), Decimal(last), Decimal(step or 1)
        steps = int((high - low) / by)
    except (InvalidOperation, ZeroDivisionError, OverflowError):
        raise BadBacktest(f"{text[:60]!r} holds no range: write length=5..50/5") from None
    if by <= 0 or not 0 <= steps < MOST:
        raise BadBacktest(f"the range in {text[:60]!r} must rise, in at most {MOST} steps")
    for number in range(steps + 1):
        yield _value(decimal_text(low + number * by))


def _value(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return text


@dataclass(frozen=True, slots=True)
class Variants:
    """The specification and the settings of each combination, by the id of its run, in the order of the axes.

    `refused` more are none for this bot, the first for this `reason`.
    """

    specs: Mapping[str, tuple[BacktestSpec, Settings]]
    refused: int
    reason: str


def variants_of(base: BacktestSpec, axes: Sequence[Axis], market: Market) -> Variants:
    """Every combination. Raises BadBacktest for axes that no bot or policy has, for too many, and when all are refused."""
    size = prod(len(axis.values) for axis in axes)
    if size > MOST:
        raise BadBacktest(f"{size} combinations are more than {MOST}: take fewer values")
    names = [axis.name for axis in axes]
    if len(set(names)) < len(names):
        raise BadBacktest("a setting is varied twice: name each once")
    specs: dict[str, tuple[BacktestSpec, Settings]] = {}
    reasons: list[str] = []
    for values in product(*(axis.values for axis in axes)):
        settings = tuple(zip(names, values, strict=True))
        spec = varied(base, settings)
        try:
            specs.setdefault(run_id_of(spec, market), (spec, settings))
        except RefusedParameters as error:
            reasons.append(str(error))
    if not specs:
        raise BadBacktest(reasons[0] if reasons else "nothing is varied: name a setting and its values")
    return Variants(specs, len(reasons), next(iter(reasons), ""))


def varied(base: BacktestSpec, settings: Settings) -> BacktestSpec:
    """The specification with these settings. Raises BadBacktest where it has no place for them."""
    own = {name: value for name, value in settings if not name.startswith(LIMIT)}
    limits = {name.removeprefix(LIMIT): value for name, value in settings if name.startswith(LIMIT)}
    if own and len(base.bots) != 1:
        raise BadBacktest(
            f"{next(iter(own))} could be a setting of any of {len(base.bots)} bots: sweep one bot at a time"
        )
    bots = base.bots
    if own:
        before: dict[str, Any] = json.loads(bots[0].parameters)
        bots = (replace(bots[0], parameters=canonical_json(before | own)),)
    try:
        new_limits = {name: Decimal(str(value)) for name, value in limits.items()}
    except InvalidOperation:
        raise BadBacktest(f"limits are numbers: {next(iter(limits))} is varied by something else") from None
    return replace(base, bots=bots, limits=tuple(sorted((dict(base.limits) | new_limits).items())))
