"""Output files that appear complete or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from ledger.errors import DaybookError


class BadTarget(DaybookError):
    """A file cannot be written to its target."""


@contextmanager
def whole_file(path: Path) -> Iterator[IO[str]]:
    """Open a text file that appears under its name when complete, and not at all if writing fails."""
    with draft_of(path) as draft, draft.open("w", encoding="utf-8", newline="\n") as file:
        yield file


@contextmanager
def draft_of(path: Path) -> Iterator[Path]:
    """Yield the path of a draft beside `path` that replaces it at the end and is deleted on failure.

    Follows links. Raises BadTarget.
    """
    target = check_target(path)
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        yield draft
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)


def check_target(path: Path) -> Path:
    """Return the target of `path`, links followed. Raises BadTarget if it cannot be written."""
    target = path.resolve()
    if target.exists() and not target.is_file():
        raise BadTarget(f"{path} is not a regular file: choose another")
    if not target.parent.is_dir():
        raise BadTarget(f"{path}: there is no folder {target.parent}: create it first")
    if not os.access(target.parent, os.W_OK):
        raise BadTarget(f"{path}: no permission to write to {target.parent}: choose another folder")
    return target


def check_folder(folder: Path) -> None:
    """Check that the folder exists or can be created, and can be written. Raises BadTarget."""
    there = next(one for one in (folder.resolve(), *folder.resolve().parents) if one.exists())
    if not there.is_dir():
        raise BadTarget(f"the folder {folder} cannot be created: {there} is not a folder")
    if not os.access(there, os.W_OK):
        raise BadTarget(f"the folder {folder} cannot be written: no permission to write to {there}")
