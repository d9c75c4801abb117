"""Bots by kind, and their parameters as text, as values and as a form."""

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final, NamedTuple

from pydantic import ValidationError

from ledger.errors import DaybookError
from ledger.log.envelope import canonical_json
from signals.bot import Bot, Parameters, first_fault
from signals.bots.combined import CombinedBot
from signals.bots.multi_timeframe import MultiTimeframeBot
from signals.bots.weighing import SINGLE

NO_BOTS: Final[Mapping[str, Bot]] = {}


def bot_of(kind: str, extra: Mapping[str, Bot] = NO_BOTS) -> Bot:
    """The bot of this kind: a built-in, or one of `extra`, which were enabled on purpose. Raises UnknownBotKind.

    Bots that other packages announce under the entry-point group `daybook.bots` are not loaded by themselves:
    installing a package must not be enough to make its code run here.
    """
    found = BUILT_IN.get(kind) or extra.get(kind)
    if found is None:
        known = ", ".join(bot_kinds(extra))
        raise UnknownBotKind(f"there is no bot of kind {kind[:40]!r}: there are {known} (see daybook bot kinds)")
    return found


class UnknownBotKind(DaybookError, ValueError):
    """No bot of this kind is built in or enabled."""


class BadParameters(DaybookError, ValueError):
    """The parameters are not what the bot accepts; the text says which and why."""


BUILT_IN: Final[Mapping[str, Bot]] = {bot.kind: bot for bot in (*SINGLE.values(), MultiTimeframeBot(), CombinedBot())}
"""The bots that are always there. An `extra` bot cannot take one of their names."""


def bot_kinds(extra: Mapping[str, Bot] = NO_BOTS) -> tuple[str, ...]:
    """The kinds that `bot_of` knows, sorted."""
    return tuple(sorted({*BUILT_IN, *extra}))


def parameters_of(kind: str, json_text: str, extra: Mapping[str, Bot] = NO_BOTS) -> Parameters:
    """The parameters that a JSON object says, completed with defaults. Raises UnknownBotKind or BadParameters."""
    return settings_of(kind, json_text, extra).params


class Settings(NamedTuple):
    """Parameters, and the hash that stands for them."""

    params: Parameters
    hash: str


def settings_of(kind: str, json_text: str, extra: Mapping[str, Bot] = NO_BOTS) -> Settings:
    """The parameters that a JSON object says, and their hash. Raises as `parameters_of`."""
    bot = bot_of(kind, extra)
    return _settings_of_ours(id(bot), kind, json_text) if bot is BUILT_IN.get(kind) else _settings(bot, json_text)


@lru_cache(maxsize=1000)
def _settings_of_ours(_identity: int, kind: str, json_text: str) -> Settings:
    # A bot is asked with the same text at every candle, and what ours make of it follows from nothing else.
    return _settings(BUILT_IN[kind], json_text)


def _settings(bot: Bot, json_text: str) -> Settings:
    try:
        params = bot.Params.model_validate_json(json_text)
    except ValidationError as error:
        raise BadParameters(f"the parameters of {bot.kind} are wrong: {first_fault(error)}") from None
    return Settings(params, parameters_hash(params))


def parameters_schema(kind: str, extra: Mapping[str, Bot] = NO_BOTS) -> dict[str, Any]:
    """The JSON schema of the bot's parameters, with defaults, bounds and descriptions. Raises UnknownBotKind."""
    return bot_of(kind, extra).Params.model_json_schema()


def parameters_text(params: Parameters) -> str:
    """The parameters as canonical JSON with every default written out: equal parameters give equal text."""
    return canonical_json(params.model_dump(mode="json"))


def parameters_hash(params: Parameters) -> str:
    """The first 16 hex digits of the sha256 of `parameters_text`."""
    return hashlib.sha256(parameters_text(params).encode()).hexdigest()[:16]
