"""Files of the owner's that appear whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from ledger.errors import DaybookError


class BadTarget(DaybookError):
    """A file cannot be written where it is wanted; the text says why and what to do."""


@contextmanager
def whole_file(path: Path) -> Iterator[IO[str]]:
    """A text file that appears under its name when it is complete, and not at all when writing fails."""
    with draft_of(path) as draft, draft.open("w", encoding="utf-8", newline="\n") as file:
        yield file


@contextmanager
def draft_of(path: Path) -> Iterator[Path]:
    """A file beside `path` that takes its place at the end, and is gone when something fails on the way.

    Links are followed. Raises BadTarget for a place that no file of ours may take.
    """
    target = check_target(path)
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        yield draft
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)


def check_target(path: Path) -> Path:
    """The place that a file at `path` would take, over links. Raises BadTarget for one that no file of ours may take."""
    target = path.resolve()
    if target.exists() and not target.is_file():
        raise BadTarget(f"{path} is no plain file: name one that may be written")
    if not target.parent.is_dir():
        raise BadTarget(f"{path}: there is no folder {target.parent}: make it first")
    if not os.access(target.parent, os.W_OK):
        raise BadTarget(f"{path}: nothing may be written to {target.parent}: name another folder")
    return target


def check_folder(folder: Path) -> None:
    """Files can be written to the folder, which is there or can be made. Raises BadTarget."""
    there = next(one for one in (folder.resolve(), *folder.resolve().parents) if one.exists())
    if not there.is_dir():
        raise BadTarget(f"the folder {folder} cannot be made: {there} is no folder")
    if not os.access(there, os.W_OK):
        raise BadTarget(f"the folder {folder} cannot be written: nothing may be written to {there}")
