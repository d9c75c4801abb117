"""What the interface says about kinds of bot."""

from typing import Any

from api.http.schemas import Answer


class BotKind(Answer):
    """A kind of bot that can be registered. `distribution` is the package of one that was enabled, null for our own.

    `problem` says why an enabled one cannot be asked now; its version is then that of its package and its schema null.
    """

    kind: str
    version: str
    distribution: str | None = None
    problem: str | None = None
    parameters_schema: dict[str, Any] | None
