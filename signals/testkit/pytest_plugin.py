"""For the tests of a bot's author: the fixture `assert_conforms`. It does nothing in tests that do not ask for it."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from signals.bot import Bot, Parameters


@pytest.fixture
def assert_conforms() -> "Callable[[Bot, Parameters | None], None]":
    """Called with a bot, and its parameters unless the defaults are meant, it fails with every rule that the bot breaks."""
    from signals.testkit.trial import tried

    def check(bot: "Bot", params: "Parameters | None" = None) -> None:
        found = tried(bot, params)
        if found:
            pytest.fail("\n".join([f"{bot.kind} breaks these rules:", *found]), pytrace=False)

    return check
