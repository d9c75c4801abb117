"""House rules, checked on the source tree.

A rule is a function from a source text, or a list of files, to its violations. Each is tested twice: the tree has no violation,
and a planted violation is found.
"""

import ast
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("ledger", "signals", "execution", "api", "migrations")
DECIDING_ROOMS = ("ledger", "signals", "execution")
MONEY_ROOMS = ("ledger", "execution")

LONGEST_FILE = 400
LONGEST_FUNCTION = 60
MOST_FILES = 20
EMPTY_NAMES = {"utils.py", "helpers.py", "common.py", "manager.py", "base.py"}

CLOCK_AND_IDS = PurePosixPath("ledger/values.py")
SQL_PLACES = {
    *(path.relative_to(ROOT).as_posix() for path in (ROOT / "ledger" / "postgres").glob("*.py")),
    "ledger/replay/fast/copy.py",
    "ledger/replay/verify.py",
    "ledger/replay/history.py",
    "api/runtime/portfolios.py",
    "api/runtime/wiring.py",
    "api/http/errors.py",
}

# Foreign code may raise anything. A failing fold must not lose the event, a failing bot must not stop the others, and an error of
# a venue's client must not be mistaken for the venue's answer.
FOREIGN_CODE = {"ledger/projections/book.py", "signals/sandbox/guard.py", "execution/exchanges/ccxt/calling.py"}

WALL_CLOCKS = {
    *(f"datetime.datetime.{name}" for name in ("now", "utcnow", "today")),
    "datetime.date.today",
    *(f"time.{name}" for name in ("time", "time_ns", "localtime", "gmtime", "ctime")),
    *(f"pandas.Timestamp.{name}" for name in ("now", "utcnow", "today")),
}
RANDOM_IDS = re.compile(r"uuid\.uuid[14]|uuid_utils(\.compat)?\.uuid[1467]|os\.urandom|secrets\..+")
CHANCE = re.compile(r"random\..+|numpy\.random\..+")
SEEDED = {"random.Random", "numpy.random.default_rng", "numpy.random.Generator", "numpy.random.PCG64"}

Check = Callable[[str], list[str]]


# ── violations ───────────────────────────────────────────────────────────────────────────────────────────────


def long_file(text: str) -> list[str]:
    """One entry if the text has more than `LONGEST_FILE` lines."""
    lines = len(text.splitlines())
    return [f"{lines} lines"] if lines > LONGEST_FILE else []


def long_functions(text: str) -> list[str]:
    """The functions of the text with more than `LONGEST_FUNCTION` lines."""
    return [
        f"line {node.lineno}: {node.name}"
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or node.lineno) - node.lineno + 1 > LONGEST_FUNCTION
    ]


def blind_handlers(text: str) -> list[str]:
    """The handlers that catch or suppress every exception."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ExceptHandler):
            caught = "BaseException" if node.type is None else ast.unparse(node.type)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("suppress"):
            caught = ", ".join(ast.unparse(kind) for kind in node.args)
        else:
            continue
        if re.search(r"\b(Base)?Exception\b", caught):
            found.append(f"line {node.lineno}: {caught}")
    return found


def float_calls(text: str) -> list[str]:
    """The conversions to float: calls of `float`, or `float` as argument of `map`."""
    return [
        f"line {node.lineno}: {ast.unparse(node)}"
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call)
        and (
            ast.unparse(node.func) == "float"
            or (ast.unparse(node.func) == "map" and node.args and ast.unparse(node.args[0]) == "float")
        )
    ]


def clocks_and_chance(text: str) -> list[str]:
    """The uses of the wall clock, of random ids, and of random numbers without a seed."""
    tree = ast.parse(text)
    names = imported_names(tree)
    seeded = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call) and (node.args or node.keywords)}
    return [
        f"line {node.lineno}: {ast.unparse(node)}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute | ast.Name)
        and (origin := full_name(node, names)) is not None
        and (
            origin in WALL_CLOCKS
            or RANDOM_IDS.fullmatch(origin)
            or (CHANCE.fullmatch(origin) and not (origin in SEEDED and id(node) in seeded))
        )
    ]


def sql_imports(text: str) -> list[str]:
    """The imports of SQLAlchemy or psycopg."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            modules = [node.module or ""]
        else:
            continue
        if any(module.partition(".")[0] in ("sqlalchemy", "psycopg") for module in modules):
            found.append(f"line {node.lineno}: {ast.unparse(node)}")
    return found


def empty_names(paths: Iterator[Path] | list[Path]) -> list[str]:
    """The paths with a meaningless file name."""
    return [path.as_posix() for path in paths if path.name in EMPTY_NAMES]


def crowded_folders(paths: Iterator[Path] | list[Path]) -> list[str]:
    """The folders with more than `MOST_FILES` Python files."""
    folders = Counter(path.parent.as_posix() for path in paths)
    return [f"{folder}: {files} files" for folder, files in sorted(folders.items()) if files > MOST_FILES]


def unanswered(text: str) -> list[str]:
    """One entry unless the text, that of a package, begins with the question that the package answers."""
    first = (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0]
    return [] if "?" in first else [f"no question: {first}"]


def places_in(path: Path) -> Iterator[str]:
    """The lines of a text file with the address of a package registry or a path of a machine; none for a binary file."""
    hosts = [("pypi", "org"), ("pythonhosted", "org"), ("npmjs", "org"), ("yarnpkg", "com"), ("debian", "org/debian")]
    folders = ("work", "root", "farm", "tmp/lab", "opt", r"home/[a-z]\w*", r"Users/\w+")
    registry = "|".join(r"\b" + r"\.".join(parts) + r"\b" for parts in hosts)
    machine = rf"(?<![\w.-])/(?:{'|'.join(folders)})/"
    pattern = re.compile(f"{registry}|{machine}")
    content = path.read_bytes()
    if b"\0" in content:
        return
    for number, line in enumerate(content.decode("utf-8", errors="replace").splitlines(), start=1):
        if found := pattern.search(line):
            yield f"line {number}: {found[0]}"


def broken_contracts(root: Path) -> str:
    """The report of import-linter on the tree in `root`; empty if every contract is kept."""
    tool = Path(sys.executable).with_name("lint-imports")
    answer = subprocess.run([tool, "--no-logo", "--no-cache"], cwd=root, capture_output=True, text=True, check=False)
    return "" if answer.returncode == 0 else answer.stdout + answer.stderr


# ── the source tree ───────────────────────────────────────────────────────────────────────────────────────────


def test_files_have_at_most_400_lines() -> None:
    assert broken_in(ROOMS, long_file) == []


def test_functions_have_at_most_60_lines() -> None:
    assert broken_in(ROOMS, long_functions) == []


def test_file_names_are_meaningful() -> None:
    """No product file is called utils, helpers, common, manager or base."""
    assert empty_names(path.relative_to(ROOT) for path in sources(ROOMS)) == []


def test_folders_have_at_most_20_files() -> None:
    """Tests included, migrations of the schema excepted: their number only grows."""
    files = [path.relative_to(ROOT) for path in sources((*ROOMS, "tests", "bench"))]

    assert crowded_folders([path for path in files if path.parent != Path("migrations/versions")]) == []


def test_packages_begin_with_the_question_they_answer() -> None:
    """The first line of every `__init__.py` of the product is that question."""
    packages = [path for path in sources(ROOMS) if path.name == "__init__.py"]

    assert [f"{path.relative_to(ROOT)}: {fault}" for path in packages for fault in unanswered(path.read_text())] == []


def test_exceptions_are_caught_by_name() -> None:
    """Except where the result of foreign code becomes a value."""
    assert broken_in(ROOMS, blind_handlers, allowed=FOREIGN_CODE) == []


def test_ledger_and_execution_never_convert_to_float() -> None:
    assert broken_in(MONEY_ROOMS, float_calls) == []


def test_clock_ids_and_random_numbers_are_parameters() -> None:
    """Deciding code reads no clock, creates no random id and uses no unseeded generator; ledger/values.py creates the clock."""
    assert broken_in(DECIDING_ROOMS, clocks_and_chance, allowed={str(CLOCK_AND_IDS)}) == []


def test_only_storage_imports_sql_libraries() -> None:
    """SQLAlchemy and psycopg are imported only by storage, migrations, wiring and the table of HTTP errors."""
    assert broken_in(("ledger", "signals", "execution", "api"), sql_imports, allowed=SQL_PLACES) == []


def test_no_file_contains_a_registry_address_or_a_machine_path() -> None:
    assert [f"{path.relative_to(ROOT)}: {place}" for path in project_files() for place in places_in(path)] == []


def test_import_contracts_are_kept(tmp_path: Path) -> None:
    """Every import contract in pyproject.toml is kept."""
    plant_rooms(tmp_path)
    for source in sources(ROOMS):
        copy = tmp_path / source.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, copy)

    assert broken_contracts(tmp_path) == ""


# ── planted violations ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("check", "text"),
    [
        (long_file, "x = 1\n" * 401),
        (long_functions, "def f() -> None:\n" + "    x = 1\n" * 60),
        (long_functions, "class A:\n    async def f(self) -> None:\n" + "        x = 1\n" * 60),
        (blind_handlers, "try:\n    f()\nexcept:\n    pass\n"),
        (blind_handlers, "try:\n    f()\nexcept Exception:\n    pass\n"),
        (blind_handlers, "try:\n    f()\nexcept (ValueError, BaseException) as e:\n    log(e)\n"),
        (blind_handlers, "import contextlib\nwith contextlib.suppress(Exception):\n    f()\n"),
        (float_calls, "price = float(text)\n"),
        (float_calls, "prices = list(map(float, texts))\n"),
        (clocks_and_chance, "from datetime import datetime\nnow = datetime.now(UTC)\n"),
        (clocks_and_chance, "import datetime as dt\nclock = dt.datetime.utcnow\n"),
        (clocks_and_chance, "import time\nnow = time.time()\n"),
        (clocks_and_chance, "from time import time as now\nstart = now()\n"),
        (clocks_and_chance, "from uuid import uuid4\nmake_id = uuid4\n"),
        (clocks_and_chance, "from uuid_utils.compat import uuid7\nevent_id = uuid7()\n"),
        (clocks_and_chance, "import random\ndelay = random.uniform(0, 1)\n"),
        (clocks_and_chance, "import random\ndice = random.Random()\n"),
        (clocks_and_chance, "import numpy as np\nsteps = np.random.normal(size=9)\n"),
        (clocks_and_chance, "from numpy.random import default_rng\ndice = default_rng()\n"),
        (unanswered, '"""Venues, one small file each."""\n'),
        (unanswered, "import ccxt\n"),
        (sql_imports, "import sqlalchemy as sa\n"),
        (sql_imports, "from psycopg.rows import tuple_row\n"),
        (sql_imports, "def f() -> None:\n    from sqlalchemy import text\n"),
    ],
)
def test_check_finds_a_planted_violation(check: Check, text: str) -> None:
    """Each check of a source text finds its violation once."""
    assert len(check(text)) == 1


@pytest.mark.parametrize(
    ("check", "text"),
    [
        (long_file, "x = 1\n" * 400),
        (long_functions, "def f() -> None:\n" + "    x = 1\n" * 59),
        (blind_handlers, "try:\n    f()\nexcept (OSError, ValueError):\n    raise\n"),
        (float_calls, "def f(score: float) -> bool:\n    return isinstance(score, float)\n"),
        (clocks_and_chance, "import time\nstart = time.monotonic()\ntook = time.perf_counter() - start\n"),
        (clocks_and_chance, "import random\ndice = random.Random(7)\nstep = dice.random()\n"),
        (clocks_and_chance, "from datetime import datetime\nt = datetime.fromisoformat(x)\n"),
        (clocks_and_chance, "from uuid import UUID, uuid5\nx = uuid5(SPACE, 'a')\n"),
        (sql_imports, "from ledger.postgres.log import PostgresLog\n"),
    ],
)
def test_check_accepts_correct_code(check: Check, text: str) -> None:
    assert check(text) == []


def test_empty_names_finds_a_planted_file() -> None:
    assert empty_names([Path("ledger/booking/lots.py"), Path("api/controllers/utils.py")]) == [
        "api/controllers/utils.py"
    ]


def test_crowded_folders_finds_a_planted_folder() -> None:
    files = [
        Path(f"api/{folder}/{number}.py") for folder, many in (("cli", 21), ("http", 20)) for number in range(many)
    ]

    assert crowded_folders(files) == ["api/cli: 21 files"]


@pytest.mark.parametrize("host", [("pypi", "org"), ("files", "pythonhosted", "org"), ("registry", "npmjs", "org")])
def test_places_in_finds_a_planted_registry_address(host: tuple[str, ...], tmp_path: Path) -> None:
    lock = tmp_path / "requirements.lock"
    lock.write_text(f"# fine\n--index-url https://{'.'.join(host)}/simple\n", encoding="utf-8")

    assert [place.partition(":")[0] for place in places_in(lock)] == ["line 2"]


@pytest.mark.parametrize("folder", ["work", "root", "farm", "tmp/lab", "opt/wheels", "home/someone"])
def test_places_in_finds_a_planted_machine_path(folder: str, tmp_path: Path) -> None:
    """A path inside the project is no violation."""
    page = tmp_path / "page.md"
    page.write_text(f"see docs/{folder}/x and frame{folder}/y\nsee {'/' + folder}/main\n", encoding="utf-8")

    assert [place.partition(":")[0] for place in places_in(page)] == ["line 2"]


@pytest.mark.parametrize(
    ("place", "line"),
    [
        ("ledger/log/envelope.py", "import ledger.booking.lots"),
        ("signals/bot.py", "from execution import review"),
        *(
            pytest.param(place, line, marks=pytest.mark.campaign)
            for place, line in (
                ("ledger/values.py", "import api"),
                ("ledger/imports/run.py", "import ledger.replay.verify"),
                ("execution/halts.py", "import signals"),
                ("migrations/env.py", "import api"),
                ("signals/runner.py", "import ccxt"),
                ("execution/halts.py", "from litestar import get"),
            )
        ),
    ],
)
def test_import_contracts_find_a_planted_import(place: str, line: str, tmp_path: Path) -> None:
    """Each import contract breaks on an import that it forbids and is kept without it."""
    plant_rooms(tmp_path)
    assert broken_contracts(tmp_path) == ""

    (tmp_path / place).write_text(f"{line}\n", encoding="utf-8")
    assert place.removesuffix(".py").replace("/", ".") in broken_contracts(tmp_path)


def test_import_contracts_allow_ccxt_in_feeds_and_exchanges(tmp_path: Path) -> None:
    plant_rooms(tmp_path)
    for place in ("signals/market/ccxt.py", "execution/exchanges/ccxt/exchange.py"):
        (tmp_path / place).write_text("import ccxt\n", encoding="utf-8")

    assert broken_contracts(tmp_path) == ""


# ── reading the source tree ─────────────────────────────────────────────────────────────────────────────────────────────────


def sources(rooms: tuple[str, ...]) -> Iterator[Path]:
    """The Python files of these packages, sorted."""
    for room in rooms:
        yield from sorted((ROOT / room).rglob("*.py"))


def broken_in(rooms: tuple[str, ...], check: Check, allowed: set[str] | None = None) -> list[str]:
    """The violations in these packages, each with its path; `allowed` paths are not read."""
    return [
        f"{path.relative_to(ROOT)}: {finding}"
        for path in sources(rooms)
        if path.relative_to(ROOT).as_posix() not in (allowed or set())
        for finding in check(path.read_text(encoding="utf-8"))
    ]


def project_files() -> list[Path]:
    """The files tracked or trackable by git; without git, every file outside hidden and generated folders."""
    try:
        listing = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT,
            capture_output=True,
            check=True,
        )
    except (FileNotFoundError, subprocess.CalledProcessError):
        files = [path for path in ROOT.rglob("*") if not any(map(hidden_or_made, path.relative_to(ROOT).parts[:-1]))]
    else:
        files = [ROOT / name for name in listing.stdout.decode().split("\0") if name]
    return [path for path in files if path.is_file()]


def hidden_or_made(folder: str) -> bool:
    """True for names of hidden and generated folders."""
    made = {"node_modules", "__pycache__", "build", "dist"}
    return folder in made or folder.endswith(".egg-info") or (folder.startswith(".") and folder != ".ci")


def imported_names(tree: ast.Module) -> dict[str, str]:
    """Map each imported name to its origin: `dt` -> `datetime`, `now` -> `time.time`."""
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                root = alias.name.partition(".")[0]
                names[alias.asname or root] = alias.name if alias.asname else root
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return names


def full_name(node: ast.expr, names: dict[str, str]) -> str | None:
    """The dotted origin of an expression such as `dt.datetime.now`; None if it does not start at an import."""
    if isinstance(node, ast.Name):
        return names.get(node.id)
    if isinstance(node, ast.Attribute) and (owner := full_name(node.value, names)) is not None:
        return f"{owner}.{node.attr}"
    return None


def plant_rooms(root: Path) -> None:
    """Copy the tree of product modules, each empty, with the import contracts of the project."""
    (root / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text(encoding="utf-8"), encoding="utf-8")
    for path in sources(ROOMS):
        planted = root / path.relative_to(ROOT)
        planted.parent.mkdir(parents=True, exist_ok=True)
        planted.touch()
