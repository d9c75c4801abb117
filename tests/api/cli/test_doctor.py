"""`daybook doctor`."""

from collections.abc import Iterator

import pytest

from tests.support.processes import Home, free_port, new_home, serving


@pytest.fixture
def home() -> Iterator[Home]:
    with new_home(candles=100) as made:
        yield made


def test_the_doctor_of_a_new_home_makes_nothing(home: Home) -> None:
    """Before the first start all is well, and asking has made neither a folder nor a database."""
    done = home.run("doctor")

    assert (done.returncode, done.stderr) == (0, "")
    assert "No problems." in done.stdout
    assert "created by daybook serve" in done.stdout
    assert not home.data_dir.exists()


def test_the_doctor_of_a_running_daybook(home: Home, database_url: str) -> None:
    """While Daybook runs the doctor shows its database, its server and its portfolios, and no secret."""
    secret = database_url.replace("postgres@", "postgres:hush-hush@")
    with serving(home, database_url=database_url) as running:
        running.until_ready()
        done = home.run("doctor", database_url=secret)

    assert "portfolios      1" in done.stdout
    assert "PostgreSQL 18" in done.stdout
    assert home.settings["port"] in done.stdout
    assert "hush-hush" not in done.stdout + done.stderr
    assert home.settings["owner_token"] not in done.stdout


def test_the_doctor_names_what_is_wrong_and_what_to_do(home: Home) -> None:
    """Everything wrong is told at once, each with what to do; the exit code is 1, and there is no traceback."""
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


def test_wrong_settings_are_told_before_anything_else(home: Home) -> None:
    """Settings that cannot be read end the doctor with their sentence, like every command."""
    done = home.run("doctor", port="many")

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("daybook: DAYBOOK_PORT is wrong")
