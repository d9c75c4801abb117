"""Which bots of other packages may run: those that were enabled, with the files that were enabled."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from api.runtime.wiring import warn_of_root
from ledger.events import BotKindDisabled, BotKindEnabled, Event
from ledger.log.event_log import MemoryLog
from ledger.projections.bots import EnabledBotKind
from ledger.rows import MemoryRows
from signals.sandbox.bots import ForeignBot, ForeignBots
from signals.sandbox.discovery import BotCode, BotUnusable, InstalledBot, code_of, installed_bot
from tests.support.bot_processes import (
    HOSTILE,
    MADE,
    PATIENT,
    all_closed,
    asked,
    evaluated,
    of_code,
    process_of,
)
from tests.support.events import SteppingClock, Story, fold_log


@pytest.fixture(autouse=True)
def _all_closed() -> Iterator[None]:
    yield from all_closed()


def rows_with(*events: Event) -> MemoryRows:
    """What is enabled after these events."""
    story = Story("enabled")
    log = MemoryLog(SteppingClock())
    log.append(story.portfolio_id, [*story.opened(), *(story.new(event) for event in events)])
    return fold_log(log.read(story.portfolio_id), MemoryRows())


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A package with a bot that can be changed."""
    folder = tmp_path / "trend_package"
    folder.mkdir()
    shutil.copy(HOSTILE, folder / "bots.py")
    (folder / "__init__.py").touch()
    return folder


def enabled(code: BotCode) -> BotKindEnabled:
    return BotKindEnabled(kind="trend", distribution="trend-bot", distribution_version="1.0", sha256=code.sha256())


class FixedCode(InstalledBot):
    """Installed at a place that the test knows."""

    @property
    def code(self) -> BotCode:
        return BotCode(self.target, Path(self.distribution_version))


def hosts(package: Path) -> ForeignBots:
    def found(kind: str) -> InstalledBot:
        return FixedCode(kind, "trend-bot", str(package), "trend_package.bots:Trend")

    bots = ForeignBots(PATIENT, found)
    MADE.append(bots)
    return bots


def test_only_what_was_enabled_runs(package: Path) -> None:
    """Without the fact there is no bot; with it there is; taken back there is none, and its process has ended."""
    bots = hosts(package)
    code = BotCode("trend_package.bots:Trend", package)

    assert bots.enabled(rows_with()) == {}
    assert evaluated({}).reason.startswith("UnknownBotKind: there is no bot of kind 'trend'")
    given = bots.enabled(rows_with(enabled(code)))
    assert evaluated(given).outcome == "signal"
    process = process_of(given["trend"])  # type: ignore[arg-type]  # it is one of ours
    assert bots.enabled(rows_with(enabled(code), BotKindDisabled(kind="trend"))) == {}
    assert not process.is_running()


def test_what_changed_while_it_was_loaded_does_not_run(package: Path) -> None:
    """Files that changed after they were hashed and before they were loaded stop the bot at once."""
    found = BotCode("trend_package.bots:Trend", package)
    wanted, source = found.sha256(), package / "bots.py"

    def find() -> BotCode:
        if found.sha256() != wanted:
            raise BotUnusable("these are not the files that were enabled")
        source.write_text(source.read_text(encoding="utf-8").replace('"3"', '"9"'), encoding="utf-8")
        return found

    bot = ForeignBot("trend", find, PATIENT)
    MADE.append(bot)

    assert asked(bot).reason == "BotUnusable: these are not the files that were enabled"
    assert bot._process._running is None


def test_what_changed_back_while_it_was_loaded_does_not_run_either(package: Path) -> None:
    """Files that are the enabled ones before and after the loading, and were others between, stop the bot too."""
    found = BotCode("trend_package.bots:Trend", package)
    source = package / "bots.py"
    honest, stat, looks = source.read_bytes(), source.stat(), []

    def find() -> BotCode:
        looks.append(source.read_bytes())
        source.write_bytes(honest if len(looks) > 1 else honest.replace(b'"3"', b'"9"'))
        os.utime(source, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        return found

    bot = ForeignBot("trend", find, PATIENT)
    MADE.append(bot)

    assert asked(bot).reason == "BotUnusable: its files changed while they were loaded"


def test_running_as_root_is_told_once(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first bot of others that is enabled under root is worth one line of the log; under others there is none."""
    rows = rows_with(enabled(BotCode("trend_package.bots:Trend", package)))
    for user, lines in ((0, 1), (1000, 0)):
        monkeypatch.setattr(os, "geteuid", lambda user=user: user)
        bots = ForeignBots(PATIENT, at_first=warn_of_root)
        with capture_logs() as told:
            for asked_of in (rows_with(), rows, rows_with(), rows):
                bots.enabled(asked_of)

        assert [one["log_level"] for one in told] == ["warning"] * lines
        bots.close()


@pytest.mark.parametrize("started", [False, True])
def test_other_files_than_those_enabled_do_not_run(package: Path, started: bool) -> None:
    """A file that changed, came or went stops the bot, running or not, with a sentence that says what to do."""
    bots = hosts(package)
    rows = rows_with(enabled(BotCode("trend_package.bots:Trend", package)))
    if started:
        assert evaluated(bots.enabled(rows)).outcome == "signal"
    (package / "more.py").write_text("x = 1\n", encoding="utf-8")

    failed = evaluated(bots.enabled(rows))

    assert failed.reason.startswith("BotUnusable: the files of trend-bot ")
    assert failed.reason.endswith("look at what changed, then run daybook bot enable trend")
    again = rows_with(enabled(BotCode("trend_package.bots:Trend", package)))
    assert evaluated(bots.enabled(again)).outcome == "signal"


def test_every_byte_and_name_counts(package: Path) -> None:
    """The hash changes with each content, name and place of a file, and not with what Python compiles beside it."""
    code = BotCode("trend_package.bots:Trend", package)
    seen = {code.sha256()}
    (package / "__pycache__").mkdir()
    (package / "__pycache__" / "bots.cpython-311.pyc").write_bytes(b"compiled")
    assert code.sha256() in seen
    (package / "inner").mkdir()
    changes: list[Callable[[], object]] = [
        lambda: (package / "a.txt").write_text("b"),
        lambda: (package / "a.txt").rename(package / "b.txt"),
        lambda: (package / "b.txt").write_text("c"),
        lambda: (package / "b.txt").rename(package / "inner" / "b.txt"),
        lambda: (package / "bots.pyc").write_bytes(b"compiled"),
    ]
    for change in changes:
        change()
        assert code.sha256() not in seen
        seen.add(code.sha256())
    (package / "linked").symlink_to(package.parent)
    with pytest.raises(BotUnusable, match="is a link to another folder"):
        code.sha256()


def test_compiled_leftovers_do_not_run(package: Path) -> None:
    """What is executed is the source that was hashed, also where a compiled file of other source claims to be it."""
    import importlib.util
    import py_compile

    source = package / "bots.py"
    honest, stat = source.read_bytes(), source.stat()
    other = honest.replace(b'version: ClassVar[str] = "3"', b'version: ClassVar[str] = "9"')
    assert len(other) == len(honest)
    source.write_bytes(other)
    os.utime(source, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    py_compile.compile(str(source), importlib.util.cache_from_source(str(source)))
    source.write_bytes(honest)
    os.utime(source, ns=(stat.st_atime_ns, stat.st_mtime_ns))

    bot = of_code("trend_package.bots:Trend", package)

    assert bot.version == "3"


def test_what_is_not_installed_is_said() -> None:
    """A kind that nobody announces, and an entry point that leads nowhere, are refused without running anything."""
    with pytest.raises(BotUnusable, match="no installed package announces bots of kind 'nobody'"):
        installed_bot("nobody")
    for target in ("no_such_package_here.bot:Bot", "json", ":Bot", "sys:Bot"):
        with pytest.raises(BotUnusable, match=r"entry point|no package"):
            code_of(target)


def test_enabling_leaves_one_row(package: Path) -> None:
    """Enabled twice, the newest files count; disabling what is not enabled changes nothing."""
    first = BotKindEnabled(kind="trend", distribution="a", distribution_version="1", sha256="0" * 64)
    second = BotKindEnabled(kind="trend", distribution="a", distribution_version="2", sha256="1" * 64)
    rows = rows_with(BotKindDisabled(kind="other"), first, second)

    (row,) = rows.where(EnabledBotKind)
    assert (row.kind, row.distribution_version, row.sha256) == ("trend", "2", "1" * 64)
