"""`daybook bot new`: a package with a small bot and its tests, ready to install."""

import re
import sys
from collections.abc import Mapping
from keyword import iskeyword
from pathlib import Path
from typing import Final

from ledger.errors import DaybookError

NAME: Final = re.compile(r"[a-z][a-z0-9_]{1,39}")


class BadBot(DaybookError):
    """A bot or the name of one that cannot be used."""


def write_package(name: str, folder: Path, taken: Mapping[str, object]) -> list[Path]:
    """Write a new package `name`_bot into a new folder `name` in `folder`, and return its files.

    Raises BadBot for a name that is invalid or `taken`, and when the folder exists.
    """
    _check(name, taken)
    home = folder / name
    if home.exists():
        raise BadBot(f"{home} exists: choose another name, or another folder with --in")
    written = [home / _filled(path, name) for path in FILES]
    for path, text in zip(written, FILES.values(), strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(_filled(text, name), encoding="utf-8")
    return written


def _check(name: str, taken: Mapping[str, object]) -> None:
    if not NAME.fullmatch(name):
        raise BadBot(
            f"{name[:60]!r} is not a name for a bot: use 2 to 40 lower-case letters, digits and _, a letter first"
        )
    if iskeyword(name):
        raise BadBot(f"{name!r} is a keyword of Python: choose another name")
    if name in taken:
        raise BadBot(f"a bot of kind {name!r} exists: choose another name")
    if f"{name}_bot" in sys.stdlib_module_names:
        raise BadBot(f"Python has a module {name}_bot: choose another name")


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
dependencies = []  # it runs beside Daybook, with the packages of Daybook

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


def test_bot_conforms(assert_conforms):
    """It depends on its window alone: no future, no clock, no chance, no memory (the fixture is part of Daybook)."""
    assert_conforms(@Name@Bot())


def test_bot_conforms_with_other_parameters(assert_conforms):
    assert_conforms(@Name@Bot(), @Name@Params(length=5))
'''

_README: Final = """\
# @dashed@-bot

A bot for Daybook. Its code is in `@name@_bot/bot.py`; raise its `version` whenever a signal may change.

    pip install --no-build-isolation --editable .    # in the environment of Daybook
    daybook bot test @name@                          # or: pytest
    daybook bot enable @name@                        # again after each change: only enabled files run

Installing a package runs its code, and an enabled bot runs as your user. Enable only code that you have read.
"""

FILES: Final[Mapping[str, str]] = {
    "pyproject.toml": _PYPROJECT,
    "README.md": _README,
    "@name@_bot/__init__.py": '"""A bot for Daybook."""\n',
    "@name@_bot/bot.py": _BOT,
    "tests/test_@name@.py": _TESTS,
}
"""The files by path in the package's folder."""
