"""`daybook bot new`: a package with a bot in it that can be installed, tested and changed into something better."""

import re
import sys
from collections.abc import Mapping
from keyword import iskeyword
from pathlib import Path
from typing import Final

from ledger.errors import DaybookError

NAME: Final = re.compile(r"[a-z][a-z0-9_]{1,39}")


class BadBot(DaybookError):
    """A bot, or the name of one, that cannot be used; the sentence says what is wrong with it."""


def write_package(name: str, folder: Path, taken: Mapping[str, object]) -> list[Path]:
    """The files of a new package `name`_bot, in a new folder called `name` within `folder`; nothing is overwritten.

    Raises BadBot for a name that no bot can have, that is `taken`, or whose folder is there already.
    """
    _check(name, taken)
    home = folder / name
    if home.exists():
        raise BadBot(f"{home} is there already: choose another name, or another place with --in")
    written = [home / _filled(path, name) for path in FILES]
    for path, text in zip(written, FILES.values(), strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(_filled(text, name), encoding="utf-8")
    return written


def _check(name: str, taken: Mapping[str, object]) -> None:
    if not NAME.fullmatch(name):
        raise BadBot(f"{name[:60]!r} is no name for a bot: use 2 to 40 small letters, digits and _, a letter first")
    if iskeyword(name):
        raise BadBot(f"{name!r} is a word of Python itself: choose another name")
    if name in taken:
        raise BadBot(f"there is a bot of kind {name!r} already: choose another name")
    if f"{name}_bot" in sys.stdlib_module_names:
        raise BadBot(f"Python itself has a module called {name}_bot: choose another name")


def _filled(text: str, name: str) -> str:
    words = "".join(part.capitalize() for part in name.split("_"))
    return text.replace("@name@", name).replace("@Name@", words).replace("@dashed@", name.replace("_", "-"))


_PYPROJECT: Final = """\
[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "@dashed@-bot"
version = "0.1.0"
description = "A bot for Daybook."
requires-python = ">=3.11"
dependencies = []  # it runs where Daybook is installed, with what Daybook brings along

[project.entry-points."daybook.bots"]
@name@ = "@name@_bot.bot:@Name@Bot"

[tool.setuptools]
packages = ["@name@_bot"]

[tool.pytest.ini_options]
testpaths = ["tests"]
pythonpath = ["."]
"""

_BOT: Final = """\
from pydantic import Field

from signals.bot import Needs, Parameters, Signal, Window, bounded


class @Name@Params(Parameters):
    length: int = Field(20, ge=2, le=500, description="bars that it looks back")


class @Name@Bot:
    kind, version, Params = "@name@", "1", @Name@Params

    def needs(self, params: @Name@Params) -> Needs:
        return Needs(bars=params.length + 1)

    def evaluate(self, window: Window, params: @Name@Params) -> Signal | None:
        change = float(window.close[-1] / window.close[0]) - 1
        return Signal(score=bounded(10 * change), note=f"{change:+.2%} in {params.length} bars")
"""

_TESTS: Final = '''\
from @name@_bot.bot import @Name@Bot, @Name@Params


def test_it_breaks_no_rule(assert_conforms):
    """It depends on its window alone: no future, no clock, no chance, no memory (the fixture comes with Daybook)."""
    assert_conforms(@Name@Bot())


def test_other_parameters_break_none_either(assert_conforms):
    assert_conforms(@Name@Bot(), @Name@Params(length=5))
'''

_README: Final = """\
# @dashed@-bot

A bot for Daybook. Its opinion is in `@name@_bot/bot.py`; raise its `version` whenever an answer may change.

    pip install --no-build-isolation --editable .    # where Daybook is installed
    daybook bot test @name@                          # or: pytest
    daybook bot enable @name@                        # after each change, too: what runs is what was enabled

Installing a package is running its code, and an enabled bot runs as you. Enable only what you have read.
"""

FILES: Final[Mapping[str, str]] = {
    "pyproject.toml": _PYPROJECT,
    "README.md": _README,
    "@name@_bot/__init__.py": '"""A bot for Daybook."""\n',
    "@name@_bot/bot.py": _BOT,
    "tests/test_@name@.py": _TESTS,
}
"""What is written, by its path within the package's folder."""
