"""From nothing to a signal: the commands of docs/tutorial-bot.md, run in order, with a package that pip really installs."""

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
    """Somebody who does what the page says, in a folder of their own, where packages go that they install."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.packages = home / "packages"
        self.daybook: Daybook | None = None

    def does(self, command: str) -> str | Response:
        """What the command prints, or what a curl was answered."""
        words = shlex.split(command.replace("$DAYBOOK_OWNER_TOKEN", TOKEN))
        match words[0]:
            case "daybook":
                return self.runs(*words[1:])
            case "pip":
                own = [sys.executable, "-m", "pip", *words[1:], "--no-index", "--target", str(self.packages)]
                done = subprocess.run(own, cwd=self.home, capture_output=True, text=True, check=False)
                assert done.returncode == 0, done.stderr
                return done.stdout
            case _:
                return self.asks(words[1:])

    def runs(self, *words: str) -> str:
        """What `daybook` prints, which must go well."""
        done = CliRunner().invoke(cli, list(words))
        assert done.exit_code == 0, done.output
        return done.stdout

    def asks(self, words: list[str]) -> Response:
        assert self.daybook is not None
        options = dict(pairwise(words))
        headers = dict(line.split(": ", 1) for word, line in pairwise(words) if word == "-H")
        (url,) = [word for word in words if word.startswith("http://127.0.0.1:8321/")]
        body = {"content": options["-d"]} if "-d" in options else {}
        path = url.removeprefix("http://127.0.0.1:8321")
        return self.daybook.send(options.get("-X", "GET"), path, headers=headers, **body)


@pytest.fixture
def reader(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Reader]:
    """In an empty folder, with the settings of the Daybook that will run."""
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
    """Every command of the page, and what the page says that it prints."""
    found = []
    for block, printed in re.findall(r"```sh\n(.*?)```\n(?:\n```text\n(.*?)```)?", PAGE, re.DOTALL):
        lines = block.replace("\\\n", " ").splitlines()
        found += [(line, printed or None) for line in lines]
    return found


def test_the_tutorial_leads_to_a_signal(reader: Reader, database_url: str) -> None:
    """The package is written, tested, installed by pip, enabled, registered and started, and its SignalEmitted is in the log."""
    with open_daybook(database_url, reader.home / "data", FEED) as daybook:
        reader.daybook = daybook
        answers: list[Response] = []
        for command, printed in commands():
            if command.startswith("curl http"):
                daybook.pass_seconds(3)
            said = reader.does(command)
            if isinstance(said, Response):
                assert said.is_success, said.text
                answers.append(said)
            elif printed is not None:
                assert said == printed
        events = [one.event for one in daybook.system.book.log.read(daybook.system.portfolio_id)]
        kinds = {kind["kind"]: kind for kind in daybook.read("bots/kinds")}

    (enabled,) = [event for event in events if isinstance(event, BotKindEnabled)]
    (registered,) = [event for event in events if isinstance(event, BotRegistered) and event.kind == "momentum"]
    spoken = [event for event in events if isinstance(event, SignalEmitted) and event.bot_id == "momentum-btc"]
    assert (enabled.distribution, enabled.distribution_version) == ("momentum-bot", "0.1.0")
    assert registered.parameters == '{"length":10}'
    assert spoken
    assert re.fullmatch(r"[+-]\d\.\d\d% in 10 bars", spoken[0].note)
    assert not [event for event in events if isinstance(event, BotFailed)]
    assert answers[-1].json()["status"] == "running"
    assert answers[-1].json()["last_evaluation"]["outcome"] in ("signal", "unchanged")
    assert kinds["momentum"]["parameters_schema"]["properties"]["length"]["default"] == 20
    assert (kinds["momentum"]["distribution"], kinds["momentum"]["problem"]) == ("momentum-bot", None)


def test_the_bot_on_the_page_is_the_one_that_is_written(reader: Reader) -> None:
    """The page shows the very file, which has at most twelve lines of code; and the package's own tests pass."""
    reader.runs("bot", "new", "momentum")
    (shown,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    own = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]

    tests = subprocess.run(own, cwd=reader.home / "momentum", capture_output=True, text=True, check=False)

    assert (reader.home / "momentum" / "momentum_bot" / "bot.py").read_text(encoding="utf-8") == shown
    assert len([line for line in shown.splitlines() if line]) <= 12
    assert tests.returncode == 0, tests.stdout
    assert "2 passed" in tests.stdout
