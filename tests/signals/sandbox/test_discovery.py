"""Only enabled bots of other packages run, and only with the files that were enabled."""

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
from tests.support.bots.bot_processes import (
    HOSTILE,
    MADE,
    PATIENT,
    all_closed,
    evaluated,
    evaluation_of,
    of_code,
    process_of,
)
from tests.support.events import SteppingClock, Story, fold_log


@pytest.fixture(autouse=True)
def _all_closed() -> Iterator[None]:
    yield from all_closed()


def rows_with(*events: Event) -> MemoryRows:
    """The rows after these events."""
    story = Story("enabled")
    log = MemoryLog(SteppingClock())
    log.append(story.portfolio_id, [*story.opened(), *(story.new(event) for event in events)])
    return fold_log(log.read(story.portfolio_id), MemoryRows())


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A package with a bot, which tests may change."""
    folder = tmp_path / "trend_package"
    folder.mkdir()
    shutil.copy(HOSTILE, folder / "bots.py")
    (folder / "__init__.py").touch()
    return folder


def enabled(code: BotCode) -> BotKindEnabled:
    return BotKindEnabled(kind="trend", distribution="trend-bot", distribution_version="1.0", sha256=code.sha256())


class FixedCode(InstalledBot):
    """A bot whose folder is in its version."""

    @property
    def code(self) -> BotCode:
        return BotCode(self.target, Path(self.distribution_version))


def hosts(package: Path) -> ForeignBots:
    def found(kind: str) -> InstalledBot:
        return FixedCode(kind, "trend-bot", str(package), "trend_package.bots:Trend")

    bots = ForeignBots(PATIENT, found)
    MADE.append(bots)
    return bots


def test_foreign_bots_run_only_when_enabled(package: Path) -> None:
    """Disabling removes the bot and ends its process."""
    bots = hosts(package)
    code = BotCode("trend_package.bots:Trend", package)

    assert bots.enabled(rows_with()) == {}
    assert evaluated({}).reason.startswith("UnknownBotKind: there is no bot of kind 'trend'")
    given = bots.enabled(rows_with(enabled(code)))
    assert evaluated(given).outcome == "signal"
    process = process_of(given["trend"])  # type: ignore[arg-type]  # made by ForeignBots
    assert bots.enabled(rows_with(enabled(code), BotKindDisabled(kind="trend"))) == {}
    assert not process.is_running()


def test_foreign_bot_refuses_files_changed_during_loading(package: Path) -> None:
    """After hashing and before loading."""
    found = BotCode("trend_package.bots:Trend", package)
    wanted, source = found.sha256(), package / "bots.py"

    def find() -> BotCode:
        if found.sha256() != wanted:
            raise BotUnusable("these are not the files that were enabled")
        source.write_text(source.read_text(encoding="utf-8").replace('"3"', '"9"'), encoding="utf-8")
        return found

    bot = ForeignBot("trend", find, PATIENT)
    MADE.append(bot)

    assert evaluation_of(bot).reason == "BotUnusable: these are not the files that were enabled"
    assert bot._process._running is None


def test_foreign_bot_refuses_files_changed_and_restored_during_loading(package: Path) -> None:
    """The files are the enabled ones before and after loading, and others in between."""
    found = BotCode("trend_package.bots:Trend", package)
    source = package / "bots.py"
    honest, stat, reads = source.read_bytes(), source.stat(), []

    def find() -> BotCode:
        reads.append(source.read_bytes())
        source.write_bytes(honest if len(reads) > 1 else honest.replace(b'"3"', b'"9"'))
        os.utime(source, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        return found

    bot = ForeignBot("trend", find, PATIENT)
    MADE.append(bot)

    assert evaluation_of(bot).reason == "BotUnusable: its files changed while they were loaded"


def test_foreign_bots_warn_once_when_running_as_root(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the first enabled bot; another user gets no warning."""
    rows = rows_with(enabled(BotCode("trend_package.bots:Trend", package)))
    for user, lines in ((0, 1), (1000, 0)):
        monkeypatch.setattr(os, "geteuid", lambda user=user: user)
        bots = ForeignBots(PATIENT, at_first=warn_of_root)
        with capture_logs() as logged:
            for present in (rows_with(), rows, rows_with(), rows):
                bots.enabled(present)

        assert [one["log_level"] for one in logged] == ["warning"] * lines
        bots.close()


@pytest.mark.parametrize("started", [False, True])
def test_foreign_bot_stops_when_its_files_change(package: Path, started: bool) -> None:
    """Running or not; the message has the remedy."""
    bots = hosts(package)
    rows = rows_with(enabled(BotCode("trend_package.bots:Trend", package)))
    if started:
        assert evaluated(bots.enabled(rows)).outcome == "signal"
    (package / "more.py").write_text("x = 1\n", encoding="utf-8")

    failed = evaluated(bots.enabled(rows))

    assert failed.reason.startswith("BotUnusable: the files of trend-bot ")
    assert failed.reason.endswith("review the change, then run daybook bot enable trend")
    again = rows_with(enabled(BotCode("trend_package.bots:Trend", package)))
    assert evaluated(bots.enabled(again)).outcome == "signal"


def test_bot_code_hash_covers_contents_and_names(package: Path) -> None:
    """And folders, but not `__pycache__`."""
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


def test_foreign_bot_runs_its_source_despite_a_compiled_file(package: Path) -> None:
    """A compiled file of other source, with the right time stamp, is ignored."""
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


def test_installed_bot_refuses_unknown_kinds_and_targets() -> None:
    with pytest.raises(BotUnusable, match="no installed package announces bots of kind 'nobody'"):
        installed_bot("nobody")
    for target in ("no_such_package_here.bot:Bot", "json", ":Bot", "sys:Bot"):
        with pytest.raises(BotUnusable, match=r"entry point|no package"):
            code_of(target)


def test_enabled_kind_keeps_the_newest_files(package: Path) -> None:
    """Disabling a kind that is not enabled changes nothing."""
    first = BotKindEnabled(kind="trend", distribution="a", distribution_version="1", sha256="0" * 64)
    second = BotKindEnabled(kind="trend", distribution="a", distribution_version="2", sha256="1" * 64)
    rows = rows_with(BotKindDisabled(kind="other"), first, second)

    (row,) = rows.where(EnabledBotKind)
    assert (row.kind, row.distribution_version, row.sha256) == ("trend", "2", "1" * 64)
