"""Text in documents that the program prints: compared by the tests, rewritten by `make generate`."""

import os
from pathlib import Path
from typing import Final

WRITING: Final = bool(os.environ.get("GENERATE"))
"""`make generate` sets the environment variable `GENERATE`."""


def check_generated(page: Path, documented: str, printed: str) -> None:
    """Compare a passage of a page with the text that the program prints now, or replace it there.

    Raises AssertionError when they differ, or when the page does not contain the passage.
    """
    text = page.read_text(encoding="utf-8")
    assert documented in text, f"{page.name} has no passage\n{documented}"
    if WRITING:
        page.write_text(text.replace(documented, printed, 1), encoding="utf-8")
    else:
        assert documented == printed, f"{page.name} shows\n{documented}instead of\n{printed}"


def check_generated_file(path: Path, content: str) -> None:
    """Compare a whole file with the content generated now, or write it. Raises AssertionError when they differ."""
    if WRITING:
        path.write_text(content, encoding="utf-8")
    else:
        assert path.read_text(encoding="utf-8") == content, f"{path.name} is outdated: run make generate"
