"""Bots that installed packages announce: which there are and what their files hold, found out without running them."""

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
"""The entry-point group: the name of an entry point is the kind, its value the class as package.module:Class."""
OURS: Final = "daybook"


class BotUnusable(DaybookError):
    """A bot of another package cannot be asked; the sentence says why and, where it can be mended, how."""


@dataclass(frozen=True, slots=True)
class BotCode:
    """The class `target` (package.module:Class) and the one file or folder that its package or module consists of."""

    target: str
    root: Path

    def sha256(self) -> str:
        """The hash of the files' paths and contents in order, in hex. Raises BotUnusable when one cannot be read."""
        digest = hashlib.sha256()
        try:
            for path in _files(self.root):
                name, content = path.relative_to(self.root.parent).as_posix().encode(), path.read_bytes()
                digest.update(b"%d %b %d " % (len(name), name, len(content)))
                digest.update(content)
        except OSError as error:
            raise BotUnusable(
                f"{error.filename} cannot be read ({error.strerror}): install the package again"
            ) from None
        return digest.hexdigest()

    def stamp(self) -> tuple[tuple[str, int, int, int, int], ...]:
        """What the system says of the files without opening them: as long as it stays the same, so do they."""
        try:
            stats = [(str(path), path.stat()) for path in _files(self.root)]
        except OSError as error:
            raise BotUnusable(
                f"{error.filename} cannot be read ({error.strerror}): install the package again"
            ) from None
        return tuple((path, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size, stat.st_ino) for path, stat in stats)


@dataclass(frozen=True, slots=True)
class InstalledBot:
    """A kind of bot that a package announces. Its code has not been looked into, let alone run."""

    kind: str
    distribution: str
    distribution_version: str
    target: str

    @property
    def code(self) -> BotCode:
        """Where the class is. Raises BotUnusable when the package is not where its entry point says."""
        return code_of(self.target)


def installed_bots() -> list[InstalledBot]:
    """Every kind that a package other than Daybook announces, by kind; one that several announce is there as often."""
    importlib.invalidate_caches()
    found = [_installed(point) for point in entry_points(group=GROUP) if point.dist and point.dist.name != OURS]
    return sorted(found, key=lambda bot: (bot.kind, bot.distribution))


def installed_bot(kind: str) -> InstalledBot:
    """The one of this kind. Raises BotUnusable when there is none, or more than one."""
    found = [bot for bot in installed_bots() if bot.kind == kind]
    if not found:
        raise BotUnusable(f"no installed package announces bots of kind {kind[:40]!r}: install it where Daybook is")
    if len(found) > 1:
        names = " and ".join(bot.distribution for bot in found)
        raise BotUnusable(f"{names} both announce bots of kind {kind!r}: uninstall all but one")
    return found[0]


def code_of(target: str) -> BotCode:
    """The code of the class that `target` names as package.module:Class. Raises BotUnusable; runs nothing."""
    module, _, name = target.partition(":")
    top = module.partition(".")[0]
    if not name or not top.isidentifier():
        raise BotUnusable(f"the entry point {target[:80]!r} names no class as package.module:Class")
    try:
        spec = find_spec(top)
    except ValueError:  # a module that was put together by hand
        spec = None
    if spec is None or spec.origin is None or not spec.has_location:
        raise BotUnusable(f"there is no package {top!r} with files of its own: install the bot's package again")
    origin = Path(spec.origin)
    return BotCode(target, origin.parent if spec.submodule_search_locations else origin)


def _installed(point: EntryPoint) -> InstalledBot:
    assert point.dist is not None
    return InstalledBot(point.name, point.dist.name, point.dist.version, point.value)


def _files(root: Path) -> Iterator[Path]:
    """The files in a steady order, without what Python itself makes of them. Raises BotUnusable for a linked folder."""
    if root.is_file():
        yield root
    for folder, names, files in os.walk(root):
        names[:] = sorted(name for name in names if name != "__pycache__")
        if linked := [name for name in names if Path(folder, name).is_symlink()]:
            raise BotUnusable(f"{Path(folder, linked[0])} is a link to another folder: put the files themselves there")
        yield from (Path(folder, name) for name in sorted(files))
