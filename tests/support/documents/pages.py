"""Documents whose examples are run, each in a folder and on a database of its own.

A block ```csv NAME (or json) is written to that file, the commands of a block ```sh are run, and their output, standard
error included, must be the block ```text that follows. There `…` matches any text within a line that varies between runs.
"""

import json
import os
import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from click.testing import CliRunner

from api.cli import cli
from tests.support.api_system import BASE, TOKEN, open_daybook
from tests.support.documents.generated import WRITING, check_generated
from tests.support.processes import Home

BLOCK: Final = re.compile(r"^```(\w+)(?: ([^\n]+))?\n(.*?)^```$", re.DOTALL | re.MULTILINE)
SERVER: Final = "http://127.0.0.1:8321"
MASK: Final = "…"


@dataclass(frozen=True, slots=True)
class Printed:
    """The output of a block of commands, and the output that the page documents."""

    commands: str
    found: str
    documented: str


def run_page(text: str, folder: Path, database_url: str) -> list[Printed]:
    """Run the page with the folder as working directory."""
    done: list[Printed] = []
    shell = Shell(folder, database_url)
    with _inside(folder):
        for kind, name, content in BLOCK.findall(text):
            if kind == "sh":
                done.append(Printed(content, "".join(map(shell.run, content.splitlines())), ""))
            elif kind == "text":
                assert done, "a text before any command"
                done[-1] = Printed(done[-1].commands, done[-1].found, content)
            else:
                assert name, f"a block {kind} without the name of its file"
                (folder / name).write_text(content, encoding="utf-8")
    return done


def as_documented(one: Printed) -> bool:
    """Compare the whole output with the documented one."""
    return _matches(one.documented, one.found)


def _matches(documented: str, found: str) -> bool:
    return re.fullmatch(".*".join(map(re.escape, documented.split(MASK))), found) is not None


def check_page(text: str, folder: Path, database_url: str) -> list[Printed]:
    """Every block of commands prints the documented output."""
    done = run_page(text, folder, database_url)
    assert done, "a page without commands"
    for one in done:
        assert one.documented, f"{one.commands}without its output"
        assert as_documented(one), f"{one.commands}prints\n{one.found}instead of\n{one.documented}"
    return done


def check_file(page: Path, folder: Path, database_url: str) -> list[Printed]:
    """Check the examples of a document, or rewrite their output; lines that still match keep their `…`."""
    text = page.read_text(encoding="utf-8")
    if not WRITING:
        return check_page(text, folder, database_url)
    done = run_page(text, folder, database_url)
    for one in done:
        lines = one.documented.splitlines(keepends=True)
        masked = [line for line in lines if MASK in line]
        printed = [
            new if new in lines else next((line for line in masked if _matches(line, new)), new)
            for new in one.found.splitlines(keepends=True)
        ]
        check_generated(page, f"```text\n{one.documented}```", f"```text\n{''.join(printed)}```")
    return done


@dataclass(slots=True)
class Shell:
    """The few words of a shell that the pages use; `daybook` runs in this process, which is quicker than to start it."""

    folder: Path
    database_url: str
    variables: dict[str, str] = field(default_factory=dict)

    def run(self, line: str) -> str:
        """What the line prints. `&&` goes on after success only, `|` hands the output on."""
        assigned = re.fullmatch(r"(\w+)=\$\(date -u \+%FT%TZ\)", line)
        if assigned:
            # To the microsecond, so that nothing has to wait for the next second.
            self.variables[assigned[1]] = datetime.now(UTC).isoformat()
            return ""
        found = ""
        for commands in _split(self._words(line), "&&"):
            code, printed = 0, ""
            for command in _split(commands, "|"):
                code, printed = self._command(command, printed)
            found += printed
            if code:
                break
        return found

    def _words(self, line: str) -> list[str]:
        values = {"DAYBOOK_OWNER_TOKEN": TOKEN, **self.variables}
        line = re.sub(r"\$(\w+)", lambda name: values[name[1]], line)
        lexer = shlex.shlex(line, posix=True, punctuation_chars="|&")
        lexer.whitespace_split = True
        return list(lexer)

    def _command(self, words: list[str], given: str) -> tuple[int, str]:
        program, *arguments = words
        if program == "daybook":
            settings = {"data_dir": str(self.folder / "data"), "database_url": self.database_url}
            ended = CliRunner().invoke(
                cli, arguments, env=Home(self.folder, settings).environment(), prog_name="daybook"
            )
            return ended.exit_code, ended.output
        if program == "curl":
            return 0, self._fetched(arguments)
        return 0, COMMANDS[program](arguments, given)

    def _fetched(self, arguments: list[str]) -> str:
        """The answer of a Daybook on the same database."""
        (url,) = [one for one in arguments if one.startswith(SERVER)]
        headers = dict(one.split(": ", 1) for one in arguments if ": " in one)
        with open_daybook(self.database_url, self.folder) as running:
            return running.client.get(url.replace(SERVER, BASE), headers=headers).text


def _cat(arguments: list[str], _: str) -> str:
    return "".join(Path(name).read_text(encoding="utf-8") for name in arguments)


def _cmp(arguments: list[str], _: str) -> str:
    one, other = (Path(name).read_bytes() for name in arguments)
    assert one == other, f"{arguments} differ"
    return ""


def _echo(arguments: list[str], _: str) -> str:
    return " ".join(arguments) + "\n"


def _grep(arguments: list[str], given: str) -> str:
    *options, pattern = arguments
    assert options in (["-E"], ["-v", "-E"])
    kept = [line for line in given.splitlines(keepends=True) if bool(re.search(pattern, line)) == ("-v" not in options)]
    return "".join(kept)


def _python(arguments: list[str], given: str) -> str:
    assert arguments == ["-m", "json.tool"]
    return json.dumps(json.loads(given), indent=4) + "\n"


def _sleep(_: list[str], __: str) -> str:
    return ""


COMMANDS: Final[Mapping[str, Callable[[list[str], str], str]]] = {
    "cat": _cat,
    "cmp": _cmp,
    "echo": _echo,
    "grep": _grep,
    "python3": _python,
    "sleep": _sleep,
}


def _split(words: list[str], mark: str) -> Iterator[list[str]]:
    part: list[str] = []
    for word in [*words, mark]:
        if word == mark:
            if part:
                yield part
            part = []
        else:
            part.append(word)


@contextmanager
def _inside(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
