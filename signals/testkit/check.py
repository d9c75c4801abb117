"""Find a bot by kind, file or package, and run the conformance kit on it, here and in another process."""

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
"""The bars to evaluate beyond those that the bot needs."""


def sample_candles(bars: int, seed: int = 1) -> list[Candle]:
    """Minute candles of a simulated market, the same for the same seed."""
    return list(islice(simulated_candles(seed, Instrument("BTC-USD"), timedelta(minutes=1)), bars))


def check_bot(bot: Bot, params: Parameters | None = None, code: BotCode | None = None) -> list[str]:
    """Return every rule that the bot breaks on a simulated market, one sentence each; see `conformance.breaches`.

    Evaluates it in another process too, from `code` or the module of its class. Raises BadBot when that is impossible,
    or when `Params` or `needs` fails.
    """
    settings = answer_of(bot.Params) if params is None else params
    if isinstance(settings, Failure):
        raise BadBot(f"{bot.kind} has parameters without a default: pass them ({settings.text})")
    needed = answer_of(lambda: bot.needs(settings).bars)
    if isinstance(needed, Failure):
        raise BadBot(f"needs of {bot.kind} failed: {needed.text}")
    found = code or _code_of(bot)
    elsewhere = ForeignBot(bot.kind, lambda: found, Limits())
    try:
        return breaches(bot, settings, sample_candles(needed + MORE_BARS), elsewhere=elsewhere.as_bot())
    finally:
        elsewhere.close()


def find_bots(source: str) -> Iterator[tuple[Bot, BotCode]]:
    """Import the bots of a kind, a Python file or a package's folder. Raises BadBot."""
    if source in BUILT_IN:
        yield BUILT_IN[source], _code_of(BUILT_IN[source])
        return
    path = Path(source)
    if path.suffix == ".py" and path.is_file():
        yield from _in_file(path.resolve())
    elif path.is_dir():
        yield from _in_folder(path.resolve())
    elif "/" in source or path.suffix == ".py":
        raise BadBot(f"there is no file or folder {source}")
    else:
        code = installed_bot(source).code
        yield _created(code), code


def read_parameters(bot: Bot, text: str) -> Parameters:
    """Parse the bot's parameters from JSON. Raises BadBot."""
    try:
        return bot.Params.model_validate_json(text)
    except ValidationError as error:
        raise BadBot(f"the parameters of {bot.kind} are wrong: {first_fault(error)}") from None


def _in_file(path: Path) -> Iterator[tuple[Bot, BotCode]]:
    """One bot for each bot class in the file."""
    module = _imported(path.stem, path)
    found = [one for one in vars(module).values() if inspect.isclass(one) and one.__module__ == module.__name__]
    names = [one.__name__ for one in found if all(hasattr(one, name) for name in ("kind", "Params", "evaluate"))]
    if not names:
        raise BadBot(f"there is no bot in {path}: a class with kind, version, Params, needs and evaluate")
    for name in names:
        code = BotCode(f"{module.__name__}:{name}", path)
        yield _created(code), code


def _in_folder(path: Path) -> Iterator[tuple[Bot, BotCode]]:
    """One bot for each entry point in the folder's pyproject.toml."""
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
        yield _created(code), code


def _imported(name: str, path: Path) -> Any:
    """Import the file as this module. Raises BadBot when another module has the name."""
    home = path.parent.parent if path.name == "__init__.py" else path.parent
    if str(home) not in sys.path:
        # After Python's own modules, so that the file cannot replace one of them.
        sys.path.append(str(home))
    importlib.invalidate_caches()
    module = answer_of(lambda: import_module(name))
    if isinstance(module, Failure):
        raise BadBot(f"{path} cannot be imported: {module.text}")
    if Path(module.__file__ or "").resolve() != path:
        raise BadBot(f"{path} has the name of another module ({name}): rename it")
    return module


def _created(code: BotCode) -> Bot:
    """Create the bot. Raises BadBot."""
    module, _, name = code.target.partition(":")

    def create() -> object:
        return getattr(import_module(module), name)()

    bot = answer_of(create)
    if isinstance(bot, Failure):
        raise BadBot(f"{code.target} cannot be created: {bot.text}")
    missing = [name for name in ("kind", "version", "Params", "needs", "evaluate") if not hasattr(bot, name)]
    if missing:
        raise BadBot(f"{code.target} is not a bot: it has no {missing[0]}")
    return cast(Bot, bot)


def _code_of(bot: Bot) -> BotCode:
    """The code of the bot's class."""
    kind = type(bot)
    if "<locals>" in kind.__qualname__ or kind.__module__ == "__main__":
        raise BadBot(f"{kind.__qualname__} cannot run in another process: define it at the top level of a module")
    file = inspect.getsourcefile(kind)
    if file is None:
        raise BadBot(f"{kind.__qualname__} has no file of its own")
    target = f"{kind.__module__}:{kind.__qualname__}"
    depth = kind.__module__.count(".")
    return BotCode(target, Path(file).resolve().parents[depth - 1]) if depth else BotCode(target, Path(file).resolve())
