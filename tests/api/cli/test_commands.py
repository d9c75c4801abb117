"""All commands: their help, what starting them imports, and how failures are reported."""

import subprocess
import sys
from collections.abc import Iterator

import pytest
from click.testing import CliRunner

from api.cli import Daybook, cli
from ledger.errors import DaybookError
from tests.support.processes import DAYBOOK, Home, new_home

HEAVY = (
    "ccxt",
    "cryptography",
    "litestar",
    "numpy",
    "pandas",
    "psycopg",
    "pydantic",
    "sqlalchemy",
    "structlog",
    "uvicorn",
)


@pytest.fixture
def home() -> Iterator[Home]:
    with new_home(candles=100) as made:
        yield made


@pytest.mark.parametrize("option", ["--version", "--help"])
def test_daybook_imports_no_heavy_module_for(option: str) -> None:
    """The version and the list of commands are shown without loading the database, the web server or data frames."""
    command = [sys.executable, "-X", "importtime", str(DAYBOOK), option]
    done = subprocess.run(command, capture_output=True, text=True, check=True)

    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert "click" in imported
    assert imported.isdisjoint(HEAVY)


@pytest.mark.parametrize("name", [None, *cli.commands])
def test_every_help_has_an_example_and_fits(home: Home, name: str | None) -> None:
    """The help of daybook and of each command shows an example and its exit codes, in 80 columns."""
    done = home.run(*([name] if name else []), "--help")

    assert done.returncode == 0
    assert "Example: " in done.stdout
    assert f"daybook {name or 'serve'}" in done.stdout
    assert name is None or "Exit codes" in done.stdout
    assert max(len(line) for line in done.stdout.splitlines()) <= 80


def test_expected_failures_are_one_line_and_others_are_tracebacks() -> None:
    """Only failures that Daybook raises on purpose, and those of the system, lose their traceback."""
    group = Daybook(name="planted")
    failures = {
        "ours": DaybookError("one\nline"),
        "system": FileNotFoundError(2, "not found", "a.csv"),
        "bug": KeyError("x"),
    }

    def fails(failure: Exception) -> None:
        raise failure

    for name, failure in failures.items():
        group.command(name)(lambda failure=failure: fails(failure))

    found = {name: CliRunner().invoke(group, [name]) for name in failures}

    assert (found["ours"].exit_code, found["ours"].stderr) == (1, "daybook: one line\n")
    assert (found["system"].exit_code, found["system"].stderr) == (1, "daybook: a.csv: not found\n")
    assert isinstance(found["bug"].exception, KeyError)
