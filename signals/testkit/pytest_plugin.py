"""The pytest fixture `assert_conforms`, for the tests of bot authors."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from signals.bot import Bot, Parameters


@pytest.fixture
def assert_conforms() -> "Callable[[Bot, Parameters | None], None]":
    """A function of a bot and optional parameters that fails with every rule that the bot breaks."""
    from signals.testkit.check import check_bot

    def check(bot: "Bot", params: "Parameters | None" = None) -> None:
        found = check_bot(bot, params)
        if found:
            pytest.fail("\n".join([f"{bot.kind} breaks these rules:", *found]), pytrace=False)

    return check
