"""`daybook doctor`."""

from collections.abc import Iterator

import pytest

from tests.support.processes import Home, free_port, new_home, serving


@pytest.fixture
def home() -> Iterator[Home]:
    with new_home(candles=100) as made:
        yield made


def test_doctor_creates_nothing_in_a_new_folder(home: Home) -> None:
    """Before the first start there is no problem; neither a folder nor a database is created."""
    done = home.run("doctor")

    assert (done.returncode, done.stderr) == (0, "")
    assert "No problems." in done.stdout
    assert "created by daybook serve" in done.stdout
    assert not home.data_dir.exists()


def test_doctor_shows_a_running_daybook(home: Home, database_url: str) -> None:
    """Database, server and portfolios are shown, and no secret."""
    secret = database_url.replace("postgres@", "postgres:hush-hush@")
    with serving(home, database_url=database_url) as running:
        running.until_ready()
        done = home.run("doctor", database_url=secret)

    assert "portfolios      1" in done.stdout
    assert "PostgreSQL 18" in done.stdout
    assert home.settings["port"] in done.stdout
    assert "hush-hush" not in done.stdout + done.stderr
    assert home.settings["owner_token"] not in done.stdout


def test_doctor_lists_all_problems_with_remedies(home: Home) -> None:
    """All problems are listed at once; the exit code is 1, without a traceback."""
    url = f"postgresql://me:hush-hush@127.0.0.1:{free_port()}/db"
    (home.folder / "a-file").write_text("")

    done = home.run("doctor", feed="file:none-BTC-USD-1m.csv", data_dir="a-file", database_url=url, fed="simulated")

    assert done.returncode == 1
    assert done.stdout.count("PROBLEM:") == 4
    for advice in ("unset DAYBOOK_FED", "cannot be opened", "make it writable", "is the server running"):
        assert advice in done.stdout
    assert "4 problems." in done.stdout
    assert "hush-hush" not in done.stdout
    assert done.stderr == ""


def test_doctor_ends_with_one_sentence_when_settings_cannot_be_read(home: Home) -> None:
    """Unreadable settings end the doctor with one sentence, like every command."""
    done = home.run("doctor", port="many")

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("daybook: DAYBOOK_PORT is wrong")
