"""The README and the other documents are true: commands exist, examples run, tables match the program."""

import ast
import re
import shlex
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from click import Group
from click.testing import CliRunner

from api.cli import Deferred, cli
from api.cli.replay import BROKEN, DIFFERENT, VERIFIED
from api.runtime.settings import PREFIX, Settings
from ledger.values import system_clock
from signals.market.candle import BadFeed
from signals.market.feed import open_feed
from tests.support.api_system import TOKEN, Daybook, open_daybook
from tests.support.documents.generated import check_generated
from tests.support.market_files import write_market

ROOT = Path(__file__).resolve().parents[2]
README, FIRST_TRADE, OPERATE = (
    (ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "docs/first-trade.md", "docs/operate.md")
)
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")] + sorted(
    (ROOT / "docs").rglob("*.md")
)


@pytest.fixture
def daybook(database_url: str, tmp_path: Path) -> Iterator[Daybook]:
    """A new Daybook, a minute of market time later."""
    with open_daybook(database_url, tmp_path) as running:
        running.pass_seconds(2)
        yield running


def table(first: str) -> list[list[str]]:
    """The rows of the README's table with this first heading."""
    lines = README[README.index(f"| {first} |") :].split("\n\n", 1)[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_readme_lists_every_setting_with_its_default() -> None:
    """And no other setting."""
    documented = {row[0].strip("`"): row[1] for row in table("setting")}

    assert set(documented) == {PREFIX + name.upper() for name in Settings.model_fields}
    for name, field in Settings.model_fields.items():
        if field.default is not None:
            assert f"`{field.default}`" in documented[PREFIX + name.upper()]


def test_open_feed_accepts_every_documented_form(tmp_path: Path) -> None:
    """Planted: an unknown form is rejected."""
    market = write_market(tmp_path, candles=100)
    for row in table("feed"):
        spec = row[0].strip("`").replace("PATH", str(market))
        assert open_feed(spec, clock=system_clock, elapsed=lambda: 0.0).instruments, spec
    with pytest.raises(BadFeed):
        open_feed("planted", clock=system_clock, elapsed=lambda: 0.0)


def test_readme_lists_every_exit_code_of_replay() -> None:
    assert [int(row[0]) for row in table("exit code")] == sorted({VERIFIED, 1, 2, DIFFERENT, BROKEN})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_documents_name_only_commands_that_exist(page: Path) -> None:
    """Each `daybook …` is a command with these options, each `make …` a target."""
    text = page.read_text(encoding="utf-8")
    for name, below, options in re.findall(r"`(?:\.venv/bin/)?daybook ([a-z]+)(?: ([a-z]+))?((?: [^`]*)?)`", text):
        assert name in cli.commands, f"{page.name}: daybook {name}"
        command = cli.commands[name]
        if isinstance(command, Deferred):
            command = command.load()
        if isinstance(command, Group) and below:
            assert below in command.commands, f"{page.name}: daybook {name} {below}"
            command = command.commands[below]
        known = {option for parameter in command.params for option in parameter.opts}
        assert set(re.findall(r"--[a-z-]+", options)) <= known, f"{page.name}: daybook {name}{options}"
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(re.findall(r"(?:^|`)make ([a-z-]+)", text, re.MULTILINE)) <= targets


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_documents_link_only_to_files_that_exist(page: Path) -> None:
    """Links to files of the project, and paths in backquotes."""
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", text):
        assert (page.parent / target).exists(), f"{page.name}: {target}"
    rooms = "ledger|signals|execution|api|migrations|tests|docs|bench"
    for path in re.findall(rf"`((?:{rooms})/[\w./-]*)`", text):
        assert (ROOT / path).exists(), f"{page.name}: {path}"


def test_architecture_page_names_functions_that_exist() -> None:
    """Each row of a path names a function, class or method and the file that defines it."""
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    steps = re.findall(r"^\|[^|]+\| `([\w.]+)` \| `([\w./]+\.py)` \|$", page, re.MULTILINE)

    assert len(steps) >= 20
    for name, file in steps:
        tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
        defined = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)}
        assert set(name.split(".")) <= defined, f"{file}: {name}"


def test_first_trade_example_buys_once(daybook: Daybook) -> None:
    """Sent again, the command of docs/first-trade.md returns the first answer."""
    (example, *_) = re.findall(r"```sh\n(curl .*?)```", FIRST_TRADE, re.DOTALL)
    words = shlex.split(example.replace("$DAYBOOK_OWNER_TOKEN", TOKEN))
    options = dict(pairwise(words))
    headers = dict(line.split(": ", 1) for word, line in pairwise(words) if word == "-H")
    (url,) = [word for word in words if word.startswith("http://127.0.0.1:8321/")]

    answers = [
        daybook.send(options["-X"], url.removeprefix("http://127.0.0.1:8321"), headers=headers, content=options["-d"])
        for _ in range(2)
    ]

    assert [answer.status_code for answer in answers] == [201, 201]
    assert answers[0].content == answers[1].content
    assert len(daybook.read("orders")["items"]) == 1


@pytest.mark.generated
def test_lots_example_prints_the_documented_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command in docs/lots.md, run on the trades above it, prints the lines below it."""
    page = ROOT / "docs" / "lots.md"
    (trades,), (command,), (documented,) = (
        re.findall(rf"```{kind}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
        for kind in ("csv", "sh", "text")
    )
    (tmp_path / "trades.csv").write_text(trades, encoding="utf-8")
    monkeypatch.chdir(tmp_path)

    done = CliRunner().invoke(cli, shlex.split(command)[1:])

    assert done.exit_code == 0
    shown = "".join(done.stdout.splitlines(keepends=True)[: documented.count("\n")])
    check_generated(page, documented, shown)


def test_documented_paths_answer(daybook: Daybook) -> None:
    """Those of the pages on the first trade and on operation."""
    paths = set(re.findall(r"`(/(?:health|api)/[\w./-]+)`", FIRST_TRADE + OPERATE))

    assert len(paths) >= 3
    assert [path for path in paths if daybook.get(path).status_code != 200] == []
