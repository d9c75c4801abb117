"""Bots by kind; their parameters as JSON, as values, as a hash and as a JSON schema."""

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
    """The built-in bot of this kind, or the enabled one in `extra`. Raises UnknownBotKind.

    Bots of other packages (entry-point group `daybook.bots`) are never loaded here: installing a package must not be
    enough to run its code.
    """
    found = BUILT_IN.get(kind) or extra.get(kind)
    if found is None:
        known = ", ".join(bot_kinds(extra))
        raise UnknownBotKind(f"there is no bot of kind {kind[:40]!r}: there are {known} (see daybook bot kinds)")
    return found


class UnknownBotKind(DaybookError, ValueError):
    """No bot of this kind is built in or enabled."""


class BadParameters(DaybookError, ValueError):
    """The bot does not accept these parameters."""


BUILT_IN: Final[Mapping[str, Bot]] = {bot.kind: bot for bot in (*SINGLE.values(), MultiTimeframeBot(), CombinedBot())}
"""The bots that are always available. An `extra` bot cannot replace one of them."""


def bot_kinds(extra: Mapping[str, Bot] = NO_BOTS) -> tuple[str, ...]:
    """All kinds that `bot_of` accepts, sorted."""
    return tuple(sorted({*BUILT_IN, *extra}))


def parameters_of(kind: str, json_text: str, extra: Mapping[str, Bot] = NO_BOTS) -> Parameters:
    """Parse parameters from a JSON object and fill in defaults. Raises UnknownBotKind or BadParameters."""
    return settings_of(kind, json_text, extra).params


class Settings(NamedTuple):
    """Parameters and their hash."""

    params: Parameters
    hash: str


def settings_of(kind: str, json_text: str, extra: Mapping[str, Bot] = NO_BOTS) -> Settings:
    """Parse parameters as `parameters_of` does, and hash them."""
    bot = bot_of(kind, extra)
    return _settings_of_built_in(id(bot), kind, json_text) if bot is BUILT_IN.get(kind) else _settings(bot, json_text)


@lru_cache(maxsize=1000)
def _settings_of_built_in(_identity: int, kind: str, json_text: str) -> Settings:
    # The text is the same at every candle, and built-in bots parse it purely.
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
    """The parameters as canonical JSON with all defaults: equal parameters give equal text."""
    return canonical_json(params.model_dump(mode="json"))


def parameters_hash(params: Parameters) -> str:
    """The first 16 hex digits of the sha256 of `parameters_text`."""
    return hashlib.sha256(parameters_text(params).encode()).hexdigest()[:16]
