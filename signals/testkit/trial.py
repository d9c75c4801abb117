"""A bot by its kind, its file or its package, asked everything that the conformance kit knows, here and in another process."""

import importlib
import inspect
import sys
import tomllib
from collections.abc import Iterator
from datetime import timedelta
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import Any, Final, cast

from pydantic import ValidationError

from ledger.values import Instrument
from signals.bot import Bot, Parameters, first_fault
from signals.market.candle import Candle
from signals.market.simulated import simulated_candles
from signals.registry import BUILT_IN
from signals.sandbox.bots import ForeignBot
from signals.sandbox.discovery import GROUP, BotCode, installed_bot
from signals.sandbox.guard import Failure, answer_of
from signals.sandbox.process import Limits
from signals.testkit.conformance import breaches
from signals.testkit.scaffold import BadBot

MORE_BARS: Final = 60
"""So many bars are asked about, beyond those that the bot needs before it may speak."""


def trial_candles(bars: int, seed: int = 1) -> list[Candle]:
    """So many minute candles of a simulated market, the same for the same seed."""
    return list(islice(simulated_candles(seed, Instrument("BTC-USD"), timedelta(minutes=1)), bars))


def tried(bot: Bot, params: Parameters | None = None, code: BotCode | None = None) -> list[str]:
    """Every rule that the bot breaks on a simulated market, a sentence each; see `signals.testkit.conformance.breaches`.

    It is asked in another process too, from `code`, or else from where its class was imported. Raises BadBot when that
    cannot be done, or when it cannot say what it needs.
    """
    settings = answer_of(bot.Params) if params is None else params
    if isinstance(settings, Failure):
        raise BadBot(f"{bot.kind} has no defaults for all its parameters: name them ({settings.text})")
    needed = answer_of(lambda: bot.needs(settings).bars)
    if isinstance(needed, Failure):
        raise BadBot(f"{bot.kind} cannot say how many bars it needs: {needed.text}")
    found = code or _code_of(bot)
    elsewhere = ForeignBot(bot.kind, lambda: found, Limits())
    try:
        return breaches(bot, settings, trial_candles(needed + MORE_BARS), elsewhere=elsewhere.as_bot())
    finally:
        elsewhere.close()


def found_bots(what: str) -> Iterator[tuple[Bot, BotCode]]:
    """The bots that a kind, a Python file or a package's folder stands for. Their code is run. Raises BadBot."""
    if what in BUILT_IN:
        yield BUILT_IN[what], _code_of(BUILT_IN[what])
        return
    path = Path(what)
    if path.suffix == ".py" and path.is_file():
        yield from _in_file(path.resolve())
    elif path.is_dir():
        yield from _in_folder(path.resolve())
    elif "/" in what or path.suffix == ".py":
        raise BadBot(f"there is no file or folder {what}")
    else:
        code = installed_bot(what).code
        yield _made(code), code


def parameters_from(bot: Bot, text: str) -> Parameters:
    """The bot's parameters as the JSON text says them. Raises BadBot."""
    try:
        return bot.Params.model_validate_json(text)
    except ValidationError as error:
        raise BadBot(f"the parameters of {bot.kind} are wrong: {first_fault(error)}") from None


def _in_file(path: Path) -> Iterator[tuple[Bot, BotCode]]:
    """One bot for each class in the file that is one."""
    module = _imported(path.stem, path)
    found = [one for one in vars(module).values() if inspect.isclass(one) and one.__module__ == module.__name__]
    names = [one.__name__ for one in found if all(hasattr(one, name) for name in ("kind", "Params", "evaluate"))]
    if not names:
        raise BadBot(f"there is no bot in {path}: a class with kind, version, Params, needs and evaluate")
    for name in names:
        code = BotCode(f"{module.__name__}:{name}", path)
        yield _made(code), code


def _in_folder(path: Path) -> Iterator[tuple[Bot, BotCode]]:
    """One bot for each that the folder's pyproject.toml announces."""
    try:
        project = tomllib.loads((path / "pyproject.toml").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadBot(f"there is no pyproject.toml in {path}: name a package's folder, or a Python file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadBot(f"{path / 'pyproject.toml'} is not TOML: {error}") from None
    announced: dict[str, str] = project.get("project", {}).get("entry-points", {}).get(GROUP, {})
    if not announced:
        raise BadBot(f'{path / "pyproject.toml"} announces no bot: it needs [project.entry-points."{GROUP}"]')
    for target in announced.values():
        top = target.partition(":")[0].partition(".")[0]
        homes = [home for home in (path, path / "src") if (home / top).is_dir() or (home / f"{top}.py").is_file()]
        if not homes:
            raise BadBot(f"there is no package {top} in {path}")
        root = homes[0] / top if (homes[0] / top).is_dir() else homes[0] / f"{top}.py"
        _imported(top, root / "__init__.py" if root.is_dir() else root)
        code = BotCode(target, root)
        yield _made(code), code


def _imported(name: str, path: Path) -> Any:
    """The module of this name, which is that of the file. Raises BadBot when Python knows another one."""
    home = path.parent.parent if path.name == "__init__.py" else path.parent
    if str(home) not in sys.path:
        # Behind Python's own modules: a file called like one of them must not take its place.
        sys.path.append(str(home))
    importlib.invalidate_caches()
    module = answer_of(lambda: import_module(name))
    if isinstance(module, Failure):
        raise BadBot(f"{path} cannot be imported: {module.text}")
    if Path(module.__file__ or "").resolve() != path:
        raise BadBot(f"{path} is called like another module that is there already ({name}): rename it")
    return module


def _made(code: BotCode) -> Bot:
    """The bot that the code's class makes. Raises BadBot."""
    module, _, name = code.target.partition(":")

    def made() -> object:
        return getattr(import_module(module), name)()

    bot = answer_of(made)
    if isinstance(bot, Failure):
        raise BadBot(f"{code.target} cannot be made: {bot.text}")
    missing = [name for name in ("kind", "version", "Params", "needs", "evaluate") if not hasattr(bot, name)]
    if missing:
        raise BadBot(f"{code.target} is no bot: it has no {missing[0]}")
    return cast(Bot, bot)


def _code_of(bot: Bot) -> BotCode:
    """Where the bot's class was imported from."""
    kind = type(bot)
    if "<locals>" in kind.__qualname__ or kind.__module__ == "__main__":
        raise BadBot(f"{kind.__qualname__} cannot be asked in another process: define it at the top of a module")
    file = inspect.getsourcefile(kind)
    if file is None:
        raise BadBot(f"{kind.__qualname__} has no file of its own")
    target = f"{kind.__module__}:{kind.__qualname__}"
    depth = kind.__module__.count(".")
    return BotCode(target, Path(file).resolve().parents[depth - 1]) if depth else BotCode(target, Path(file).resolve())
