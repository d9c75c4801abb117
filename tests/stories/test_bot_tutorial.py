"""The commands of docs/tutorial-bot.md, run in order, with a package installed by pip."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from click.testing import CliRunner
from httpx import Response

from api.cli import cli
from ledger.events import BotFailed, BotKindEnabled, BotRegistered, SignalEmitted
from tests.support.api_system import TOKEN, Daybook, open_daybook

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "tutorial-bot.md").read_text(encoding="utf-8")
FEED = "simulated?seed=7&speed=60"


class Reader:
    """Runs the commands of the page in a folder, into which packages are installed."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.packages = home / "packages"
        self.daybook: Daybook | None = None

    def run(self, command: str) -> str | Response:
        """Run a command; return its output, or the response to a curl."""
        words = shlex.split(command.replace("$DAYBOOK_OWNER_TOKEN", TOKEN))
        match words[0]:
            case "daybook":
                return self.run_daybook(*words[1:])
            case "pip":
                own = [sys.executable, "-m", "pip", *words[1:], "--no-index", "--target", str(self.packages)]
                done = subprocess.run(own, cwd=self.home, capture_output=True, text=True, check=False)
                assert done.returncode == 0, done.stderr
                return done.stdout
            case _:
                return self.request(words[1:])

    def run_daybook(self, *words: str) -> str:
        """Run a `daybook` command that must succeed; return its output."""
        done = CliRunner().invoke(cli, list(words))
        assert done.exit_code == 0, done.output
        return done.stdout

    def request(self, words: list[str]) -> Response:
        assert self.daybook is not None
        options = dict(pairwise(words))
        headers = dict(line.split(": ", 1) for word, line in pairwise(words) if word == "-H")
        (url,) = [word for word in words if word.startswith("http://127.0.0.1:8321/")]
        body = {"content": options["-d"]} if "-d" in options else {}
        path = url.removeprefix("http://127.0.0.1:8321")
        return self.daybook.send(options.get("-X", "GET"), path, headers=headers, **body)


@pytest.fixture
def reader(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Reader]:
    """A reader in an empty folder, with the settings of the running Daybook."""
    for name in [name for name in os.environ if name.startswith("DAYBOOK_")]:
        monkeypatch.delenv(name)
    settings = {"DATABASE_URL": database_url, "FEED": FEED, "DATA_DIR": str(tmp_path / "data")}
    for name, value in settings.items():
        monkeypatch.setenv(f"DAYBOOK_{name}", value)
    monkeypatch.chdir(tmp_path)
    reader = Reader(tmp_path)
    reader.packages.mkdir()
    monkeypatch.syspath_prepend(str(reader.packages))
    monkeypatch.setenv("PYTHONPATH", str(reader.packages))
    yield reader
    for name in [name for name in sys.modules if name.partition(".")[0] == "momentum_bot"]:
        del sys.modules[name]
    sys.path[:] = [path for path in sys.path if not path.startswith(str(tmp_path))]


def commands() -> list[tuple[str, str | None]]:
    """The commands of the page, each with its documented output."""
    found = []
    for block, printed in re.findall(r"```sh\n(.*?)```\n(?:\n```text\n(.*?)```)?", PAGE, re.DOTALL):
        lines = block.replace("\\\n", " ").splitlines()
        found += [(line, printed or None) for line in lines]
    return found


def test_tutorial_leads_to_a_signal(reader: Reader, database_url: str) -> None:
    """The package is written, tested, installed, enabled, registered and started, and emits a signal."""
    with open_daybook(database_url, reader.home / "data", FEED) as daybook:
        reader.daybook = daybook
        answers: list[Response] = []
        for command, printed in commands():
            if command.startswith("curl http"):
                daybook.pass_seconds(3)
            result = reader.run(command)
            if isinstance(result, Response):
                assert result.is_success, result.text
                answers.append(result)
            elif printed is not None:
                assert result == printed
        events = [one.event for one in daybook.system.book.log.read(daybook.system.portfolio_id)]
        kinds = {kind["kind"]: kind for kind in daybook.read("bots/kinds")}

    (enabled,) = [event for event in events if isinstance(event, BotKindEnabled)]
    (registered,) = [event for event in events if isinstance(event, BotRegistered) and event.kind == "momentum"]
    emitted = [event for event in events if isinstance(event, SignalEmitted) and event.bot_id == "momentum-btc"]
    assert (enabled.distribution, enabled.distribution_version) == ("momentum-bot", "0.1.0")
    assert registered.parameters == '{"length":10}'
    assert emitted
    assert re.fullmatch(r"[+-]\d\.\d\d% in 10 bars", emitted[0].note)
    assert not [event for event in events if isinstance(event, BotFailed)]
    assert answers[-1].json()["status"] == "running"
    assert answers[-1].json()["last_evaluation"]["outcome"] in ("signal", "unchanged")
    assert kinds["momentum"]["parameters_schema"]["properties"]["length"]["default"] == 20
    assert (kinds["momentum"]["distribution"], kinds["momentum"]["problem"]) == ("momentum-bot", None)


def test_tutorial_shows_the_generated_bot(reader: Reader) -> None:
    """The file has at most twelve lines of code, and the tests of the package pass."""
    reader.run_daybook("bot", "new", "momentum")
    shown = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)[0]
    own = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]

    tests = subprocess.run(own, cwd=reader.home / "momentum", capture_output=True, text=True, check=False)

    assert (reader.home / "momentum" / "momentum_bot" / "bot.py").read_text(encoding="utf-8") == shown
    assert len([line for line in shown.splitlines() if line]) <= 12
    assert tests.returncode == 0, tests.stdout
    assert "2 passed" in tests.stdout
