"""Bots announced by installed packages, and the hash of their files; no code is imported."""

import hashlib
import importlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from ledger.errors import DaybookError

GROUP: Final = "daybook.bots"
"""The entry-point group. The name of an entry point is the kind, its value the class as package.module:Class."""
OURS: Final = "daybook"


class BotUnusable(DaybookError):
    """A bot of another package cannot be used; the message has the reason and the remedy."""


@dataclass(frozen=True, slots=True)
class BotCode:
    """The class `target` (package.module:Class) and the file or folder of its package or module."""

    target: str
    root: Path

    def sha256(self) -> str:
        """Hash the paths and contents of the files in order, as hex. Raises BotUnusable when one cannot be read."""
        digest = hashlib.sha256()
        try:
            for path in _files(self.root):
                name, content = path.relative_to(self.root.parent).as_posix().encode(), path.read_bytes()
                digest.update(b"%d %b %d " % (len(name), name, len(content)))
                digest.update(content)
        except OSError as error:
            raise BotUnusable(f"{error.filename} cannot be read ({error.strerror}): reinstall the package") from None
        return digest.hexdigest()

    def stamp(self) -> tuple[tuple[str, int, int, int, int], ...]:
        """Path, times, size and inode of each file, which change whenever a file does."""
        try:
            stats = [(str(path), path.stat()) for path in _files(self.root)]
        except OSError as error:
            raise BotUnusable(f"{error.filename} cannot be read ({error.strerror}): reinstall the package") from None
        return tuple((path, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size, stat.st_ino) for path, stat in stats)


@dataclass(frozen=True, slots=True)
class InstalledBot:
    """A kind of bot announced by a package. Its code has not been imported."""

    kind: str
    distribution: str
    distribution_version: str
    target: str

    @property
    def code(self) -> BotCode:
        """The code of the class. Raises BotUnusable when the package cannot be found."""
        return code_of(self.target)


def installed_bots() -> list[InstalledBot]:
    """Every kind announced by a package other than Daybook, sorted; once per announcement."""
    importlib.invalidate_caches()
    found = [_installed(point) for point in entry_points(group=GROUP) if point.dist and point.dist.name != OURS]
    return sorted(found, key=lambda bot: (bot.kind, bot.distribution))


def installed_bot(kind: str) -> InstalledBot:
    """The bot of this kind. Raises BotUnusable unless exactly one package announces it."""
    found = [bot for bot in installed_bots() if bot.kind == kind]
    if not found:
        raise BotUnusable(f"no installed package announces bots of kind {kind[:40]!r}: install it beside Daybook")
    if len(found) > 1:
        names = " and ".join(bot.distribution for bot in found)
        raise BotUnusable(f"{names} both announce bots of kind {kind!r}: uninstall all but one")
    return found[0]


def code_of(target: str) -> BotCode:
    """Find the code of package.module:Class without importing it. Raises BotUnusable."""
    module, _, name = target.partition(":")
    top = module.partition(".")[0]
    if not name or not top.isidentifier():
        raise BotUnusable(f"the entry point {target[:80]!r} is not of the form package.module:Class")
    try:
        spec = find_spec(top)
    except ValueError:  # a module created at run time
        spec = None
    if spec is None or spec.origin is None or not spec.has_location:
        raise BotUnusable(f"there is no package {top!r} with files of its own: reinstall the bot's package")
    origin = Path(spec.origin)
    return BotCode(target, origin.parent if spec.submodule_search_locations else origin)


def _installed(point: EntryPoint) -> InstalledBot:
    assert point.dist is not None
    return InstalledBot(point.name, point.dist.name, point.dist.version, point.value)


def _files(root: Path) -> Iterator[Path]:
    """The files in a fixed order, without `__pycache__`. Raises BotUnusable for a linked folder."""
    if root.is_file():
        yield root
    for folder, names, files in os.walk(root):
        names[:] = sorted(name for name in names if name != "__pycache__")
        if linked := [name for name in names if Path(folder, name).is_symlink()]:
            raise BotUnusable(f"{Path(folder, linked[0])} is a link to another folder: replace it by the files")
        yield from (Path(folder, name) for name in sorted(files))
