"""Screenshots in the documents: `python -m tests.support.documents.screenshots` takes them from a running Daybook.

Needs Chromium (Debian: chromium-headless-shell). The hash of the page's source is kept beside the pictures, so that a test
finds a screenshot that is older than the page.
"""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.support.commands import ROOT
from tests.support.processes import TOKEN, new_home, serving
from tests.support.waiting import until

FOLDER: Final = ROOT / "docs" / "screenshots"
SOURCES: Final = {"status-page.png": ROOT / "api" / "static" / "status.html"}
BROWSERS: Final = ("chromium-headless-shell", "chromium", "google-chrome")
MINIMUM_TRADES: Final = 8


def hash_file(picture: str) -> Path:
    """The file with the hash of the source that the picture was taken of."""
    return FOLDER / f"{picture}.sha256"


def source_hash(picture: str) -> str:
    return hashlib.sha256(SOURCES[picture].read_bytes()).hexdigest()


def take(picture: str, browser: str) -> None:
    """Take a screenshot of the status page once the paper portfolio has traded."""
    with new_home(feed="simulated?seed=7&speed=3600") as home, serving(home) as daybook:
        daybook.until_ready()
        until(lambda: len(daybook.read("trades/")["items"]) >= MINIMUM_TRADES, "trades on the page")
        FOLDER.mkdir(exist_ok=True)
        command = [
            *(browser, "--headless", "--hide-scrollbars", "--window-size=1280,1000", "--virtual-time-budget=5000"),
            *(["--no-sandbox"] if os.geteuid() == 0 else []),
            *(f"--user-data-dir={home.folder / 'browser'}", f"--screenshot={FOLDER / picture}"),
            f"{daybook.url}/#token={TOKEN}",
        ]
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        daybook.end(signal.SIGTERM)
    hash_file(picture).write_text(source_hash(picture) + "\n", encoding="utf-8")
    print(f"wrote {(FOLDER / picture).relative_to(ROOT)}")  # noqa: T201


def main() -> None:
    """Take the screenshots whose page has changed."""
    outdated = [
        one
        for one in SOURCES
        if not hash_file(one).exists() or hash_file(one).read_text(encoding="utf-8").strip() != source_hash(one)
    ]
    browser = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if outdated and browser is None:
        sys.exit("screenshots need Chromium: install it (Debian, as root: apt-get install chromium-headless-shell)")
    for one in outdated:
        take(one, browser or "")


if __name__ == "__main__":
    main()
