"""Permissions of API keys."""

from typing import Final, Literal, get_args

Scope = Literal["read", "signal:emit", "trade", "admin"]
SCOPES: Final[tuple[Scope, ...]] = get_args(Scope)
