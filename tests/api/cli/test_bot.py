"""`daybook bot`: create packages, list kinds, enable and disable third-party code."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from api.cli import cli
from api.runtime import market_time
from ledger.events import BotFailed, BotKindDisabled, BotKindEnabled
from signals.registry import BUILT_IN
from signals.testkit.scaffold import write_package
from tests.support.api_system import Daybook, open_daybook, problem_of

FEED = "simulated?seed=7&speed=60"
METADATA = "Metadata-Version: 2.1\nName: {name}-bot\nVersion: 0.1.0\n"


def run(*words: str) -> tuple[int, str, str]:
    """The exit code, standard output and standard error."""
    done = CliRunner().invoke(cli, ["bot", *words])
    return done.exit_code, done.stdout, done.stderr


def install(name: str, place: Path) -> Path:
    """Write a new package into `place` as pip would install it; return its bot's file."""
    for path in write_package(name, place / "sources", BUILT_IN):
        if path.parent.name == f"{name}_bot":
            target = place / f"{name}_bot" / path.name
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(path.read_bytes())
    info = place / f"{name}_bot-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(METADATA.format(name=name), encoding="utf-8")
    entry_point = f"[daybook.bots]\n{name} = {name}_bot.bot:{name.capitalize()}Bot\n"
    (info / "entry_points.txt").write_text(entry_point, encoding="utf-8")
    return place / f"{name}_bot" / "bot.py"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, database_url: str) -> Path:
    """The folder of installed packages, with settings for the test's database."""
    for name in [name for name in os.environ if name.startswith("DAYBOOK_")]:
        monkeypatch.delenv(name)
    settings = {"DATABASE_URL": database_url, "FEED": FEED, "DATA_DIR": str(tmp_path / "data")}
    for name, value in settings.items():
        monkeypatch.setenv(f"DAYBOOK_{name}", value)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "site").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    return tmp_path / "site"


@pytest.fixture
def daybook(place: Path, database_url: str) -> Iterator[Daybook]:
    with open_daybook(database_url, place.parent / "data", FEED) as running:
        yield running


def kinds() -> dict[str, dict[str, Any]]:
    code, said, _ = run("kinds", "--json")
    assert code == 0
    return {kind["kind"]: kind for kind in json.loads(said)}


# --- writing ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("Momentum", "is not a name for a bot: use 2 to 40 lower-case letters"),
        ("m", "is not a name for a bot"),
        ("a" * 41, "is not a name for a bot"),
        ("über", "is not a name for a bot"),
        ("../evil", "is not a name for a bot"),
        ("lambda", "is a keyword of Python"),
        ("rsi", "a bot of kind 'rsi' exists"),
        ("taken", "exists"),
    ],
)
def test_new_refuses_an_unusable_name(name: str, reason: str, tmp_path: Path) -> None:
    """An invalid name, a known kind and an existing folder are refused in one sentence, and nothing is written."""
    (tmp_path / "taken").mkdir()

    code, said, wrong = run("new", "--in", str(tmp_path), "--", name)

    assert (code, said) == (1, "")
    assert reason in wrong
    assert wrong.count("\n") == 1
    assert list(tmp_path.rglob("*")) == [tmp_path / "taken"]


def test_new_writes_a_package_that_passes_the_kit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name with underscores gives a package whose bot passes the kit, with other parameters too."""
    monkeypatch.syspath_prepend(str(tmp_path))
    assert run("new", "slow_and_steady", "--in", str(tmp_path))[0] == 0

    code, said, _ = run("test", str(tmp_path / "slow_and_steady"), "--params", '{"length":3}', "--json")

    assert (code, json.loads(said)) == (0, [{"kind": "slow_and_steady", "version": "1", "breaches": []}])


def test_test_lists_violations_with_exit_code_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Violations are printed below the kind; wrong parameters are one sentence."""
    monkeypatch.syspath_prepend(str(tmp_path))
    path = tmp_path / "planted_late_bot.py"
    path.write_text(
        "import time\nfrom signals.bots.rsi import RsiBot\n\nclass Late(RsiBot):\n    kind = 'late'\n\n"
        "    def evaluate(self, window, params):\n        time.time()\n        return super().evaluate(window, params)\n",
        encoding="utf-8",
    )

    code, said, _ = run("test", str(path), "--params", '{"length":3}')

    assert code == 1
    first, second = said.splitlines()
    assert first == "late (version 1) breaks 1 rule:"
    assert second.endswith("it reads the clock (time.time): a bot may use only its window")
    for words, reason in [
        ([str(path), "--params", '{"length":1}'], "the parameters of late are wrong: length must be "),
        ([str(path), "--params", "{"], "the parameters of late are wrong: "),
        (["nobody"], "no installed package announces bots of kind 'nobody'"),
    ]:
        code, said, wrong = run("test", *words)
        assert (code, said, wrong.count("\n")) == (1, "", 1)
        assert reason in wrong


# --- enabling ---------------------------------------------------------------------------------------------------------


def test_kinds_lists_built_in_bots_without_a_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the first start the built-in kinds are listed, and no database is created."""
    monkeypatch.setenv("DAYBOOK_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.delenv("DAYBOOK_DATABASE_URL", raising=False)

    assert {"rsi", "macd"} <= set(kinds())
    assert not (tmp_path / "data").exists()


def test_kinds_shows_installed_enabled_and_changed(daybook: Daybook, place: Path) -> None:
    """Enabling twice records one event; code that is only installed is never run."""
    marker = place / "it_ran"
    file = install("momentum", place)
    file.write_text(f"open({str(marker)!r}, 'w')\n", encoding="utf-8")
    assert kinds()["momentum"]["state"] == "installed"
    assert not marker.exists()
    assert "momentum" not in {kind["kind"] for kind in daybook.read("bots/kinds")}

    file.write_bytes((place / "sources" / "momentum" / "momentum_bot" / "bot.py").read_bytes())
    for said in ("may run in", "was enabled already in"):
        code, printed, _ = run("enable", "momentum")
        assert code == 0
        assert said in printed
    assert kinds()["momentum"]["state"] == "enabled"
    assert kinds()["rsi"] == {"kind": "rsi", "state": "built-in", "version": "1", "distribution": None, "sha256": None}

    file.write_text(file.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    assert kinds()["momentum"]["state"] == "changed"
    events = [one.event for one in daybook.system.book.log.read(daybook.system.portfolio_id)]
    assert len([event for event in events if isinstance(event, BotKindEnabled)]) == 1


def test_changed_code_does_not_run(daybook: Daybook, place: Path) -> None:
    """A running bot whose files change fails at the next candle; its view, its kind and a new registration give the reason."""
    file = install("momentum", place)
    assert run("enable", "momentum")[0] == 0
    new = {"bot_id": "m", "kind": "momentum", "product_id": "BTC-USD"}
    assert daybook.post("bots", new, "1").status_code == 201
    assert daybook.post("bots/m/start", key="2").status_code == 200
    daybook.pass_seconds(2)
    assert daybook.read("bots/m")["status"] == "running"

    file.write_text(file.read_text(encoding="utf-8") + "# another line\n", encoding="utf-8")
    daybook.pass_seconds(2)

    reason = "the files of momentum-bot 0.1.0 are not those of momentum-bot 0.1.0 that were enabled"
    card = daybook.read("bots/m")
    (signal,) = [one for one in daybook.read("bots/signals") if one["bot_id"] == "m"]
    (kind,) = [one for one in daybook.read("bots/kinds") if one["kind"] == "momentum"]
    refused = daybook.post("bots", new | {"bot_id": "n"}, "3")
    assert card["status"] == "failed"
    assert reason in card["status_reason"]
    assert reason in signal["blocked_by"][0]
    assert reason in kind["problem"]
    assert kind["parameters_schema"] is None
    assert (refused.status_code, problem_of(refused)) == (422, "bad-bot")
    assert run("enable", "momentum")[0] == 0
    assert daybook.post("bots/m/start", key="4").status_code == 200
    daybook.pass_seconds(2)
    assert daybook.read("bots/m")["status"] == "running"


def test_registration_checks_parameters_of_an_enabled_bot(daybook: Daybook, place: Path) -> None:
    """A wrong parameter is refused in the words of the bot's own bounds."""
    install("momentum", place)
    assert run("enable", "momentum")[0] == 0

    refused = daybook.post(
        "bots", {"bot_id": "m", "kind": "momentum", "product_id": "BTC-USD", "parameters": {"length": 1}}, "1"
    )

    assert (refused.status_code, problem_of(refused)) == (422, "bad-bot")
    assert "length must be greater than or equal to 2" in refused.json()["detail"]


def test_disable_stops_bots_of_the_kind(daybook: Daybook, place: Path) -> None:
    """Its bots fail at the next candle, it is listed as installed, and the log holds the reason."""
    install("momentum", place)
    assert run("enable", "momentum")[0] == 0
    daybook.post("bots", {"bot_id": "m", "kind": "momentum", "product_id": "BTC-USD"}, "1")
    daybook.post("bots/m/start", key="2")

    assert run("disable", "momentum", "--reason", "too loud")[0] == 0
    daybook.pass_seconds(2)

    events = [one.event for one in daybook.system.book.log.read(daybook.system.portfolio_id)]
    (failed,) = [event for event in events if isinstance(event, BotFailed)]
    assert failed.error.startswith("UnknownBotKind: there is no bot of kind 'momentum'")
    assert BotKindDisabled(kind="momentum", reason="too loud") in events
    assert kinds()["momentum"]["state"] == "installed"


def test_kinds_shows_an_uninstalled_kind_as_missing(daybook: Daybook, place: Path) -> None:
    """An enabled kind that was uninstalled is listed as missing."""
    file = install("momentum", place)
    assert run("enable", "momentum")[0] == 0
    for path in (file.parent, place / "momentum_bot-0.1.0.dist-info"):
        path.rename(place.parent / path.name)

    assert kinds()["momentum"]["state"] == "missing"


def test_enable_refuses_unusable_kinds(daybook: Daybook, place: Path) -> None:
    """A built-in, an unknown, a broken and a duplicate kind, and an unknown portfolio: one sentence each."""
    head = daybook.head()
    install("momentum", place).write_text("1 / 0\n", encoding="utf-8")
    install("double", place)
    other = place / "other_bot-1.dist-info"
    other.mkdir()
    (other / "METADATA").write_text(METADATA.format(name="other"), encoding="utf-8")
    (other / "entry_points.txt").write_text("[daybook.bots]\ndouble = other:Bot\n", encoding="utf-8")

    for words, reason in [
        (("enable", "rsi"), "rsi is built in and needs no enabling"),
        (("enable", "nobody"), "no installed package announces bots of kind 'nobody'"),
        (("enable", "momentum"), "it cannot be loaded: ZeroDivisionError"),
        (("enable", "double"), "double-bot and other-bot both announce bots of kind 'double'"),
        (("disable", "momentum"), "the kind 'momentum' is not enabled"),
        (("disable", "momentum", "--portfolio", "elsewhere"), "there is no portfolio called 'elsewhere'"),
        (("kinds", "--portfolio", "elsewhere"), "there is no portfolio called 'elsewhere'"),
    ]:
        code, said, wrong = run(*words)
        assert (code, said, wrong.count("\n")) == (1, "", 1), words
        assert reason in wrong
    assert daybook.head() == head


def test_enable_does_not_advance_market_time(daybook: Daybook, place: Path) -> None:
    """The event has the time of the market, so a recorded market resumes where it was."""
    install("momentum", place)
    before = market_time.last_market_time(daybook.system.book, daybook.system.portfolio_id)

    assert run("enable", "momentum")[0] == 0

    assert market_time.last_market_time(daybook.system.book, daybook.system.portfolio_id) == before
