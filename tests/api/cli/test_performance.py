"""`daybook performance` prints the figures of the HTTP interface, present and past."""

import json
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
from click.testing import CliRunner

from api.cli import cli
from api.cli.performance import print_performance
from ledger.log.point_in_time import PointInTime
from ledger.values import time_text
from tests.support.api_system import Daybook, open_daybook
from tests.support.events import Story, realistic_batches, record_all


@pytest.fixture
def story() -> Story:
    return Story("told")


@pytest.fixture
def daybook(database_url: str, tmp_path: Path, story: Story) -> Iterator[Daybook]:
    """A Daybook with a second portfolio that has a long history."""
    with open_daybook(database_url, tmp_path) as running:
        record_all(running.system.book, story, realistic_batches(story, 60))
        yield running


def test_performance_prints_the_answer_of_the_interface(
    daybook: Daybook, story: Story, capsys: pytest.CaptureFixture[str]
) -> None:
    """With --json the same object, now and as of a time; without, one line for each figure."""
    middle = story.events[len(story.events) // 2].occurred_at
    for point, asked in ((PointInTime(), {}), (PointInTime(as_of=middle), {"as_of": time_text(middle)})):
        answer = daybook.read("portfolio/performance", portfolio="told", **asked)
        print_performance(daybook.system.settings, "told", point, as_json=True)
        assert json.loads(capsys.readouterr().out) == answer

        print_performance(daybook.system.settings, "told", point, as_json=False)
        told = capsys.readouterr().out.splitlines()
        for name in ("equity", "day_change", "net_flows", "sharpe", "turnover"):
            value = "none" if answer[name] is None else answer[name]
            assert f"{name.replace('_', ' '):<24} {value}" in told
        assert f"  {'win rate':<22} {answer['closed_lots']['win_rate'] or 'none'}" in told
        assert [line for line in told if line.startswith("note: ")] == [f"note: {note}" for note in answer["notes"]]


def test_performance_of_an_unknown_portfolio_is_one_sentence(daybook: Daybook, monkeypatch: pytest.MonkeyPatch) -> None:
    """One sentence on standard error and exit code 1; without --portfolio it is wrong use."""
    monkeypatch.setattr(import_module("api.cli.performance"), "load_settings", lambda: daybook.system.settings)
    done = CliRunner().invoke(cli, ["performance", "--portfolio", "nobody"])

    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == "daybook: there is no portfolio called 'nobody': daybook replay lists them\n"
    assert CliRunner().invoke(cli, ["performance"]).exit_code == 2
