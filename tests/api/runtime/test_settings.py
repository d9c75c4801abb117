"""Settings: their sources, and messages about wrong ones."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from api.runtime.settings import BadSettings, Settings, load_settings, usable_folder
from api.runtime.wiring import chosen_feed
from tests.support.processes import Home, new_home


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory and an environment without any DAYBOOK_*."""
    for name in [name for name in os.environ if name.upper().startswith("DAYBOOK_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def home() -> Iterator[Home]:
    with new_home(candles=100) as made:
        yield made


def test_settings_have_the_documented_defaults(folder: Path) -> None:
    """The defaults are those of the README."""
    found = load_settings()

    assert (found.data_dir, found.port, found.feed) == (Path(".daybook"), 8321, "simulated")
    assert (found.token, found.database) == (None, None)


def test_variables_override_the_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file applies where no variable is set."""
    (folder / "daybook.toml").write_text('port = 9000\nfeed = "simulated?seed=3"\n')
    monkeypatch.setenv("DAYBOOK_PORT", "9001")

    found = load_settings()

    assert (found.port, found.feed) == (9001, "simulated?seed=3")


def test_settings_are_frozen_and_hide_secrets() -> None:
    """The object's text holds neither the token nor the database's password."""
    made = Settings.model_validate({"owner_token": "hush-token", "database_url": "postgresql://u:hush-word@h/d"})

    assert "hush" not in f"{made!r} {made} {made.model_dump()} {made.model_dump_json()}"
    with pytest.raises(ValueError, match="frozen"):
        made.port = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("variable", "value", "wanted"),
    [
        ("DAYBOOK_PORT", "eighty", "a whole number from 1 to 65535"),
        ("DAYBOOK_PORT", "0", "a whole number from 1 to 65535"),
        ("DAYBOOK_PORT", "65536", "a whole number from 1 to 65535"),
        ("DAYBOOK_PORT", "", "a whole number from 1 to 65535"),
        ("DAYBOOK_OWNER_TOKEN", "", "1 to 200 letters"),
        ("DAYBOOK_OWNER_TOKEN", "two words", "1 to 200 letters"),
        ("DAYBOOK_OWNER_TOKEN", "hüsch", "1 to 200 letters"),
        ("DAYBOOK_OWNER_TOKEN", "x" * 201, "1 to 200 letters"),
        ("DAYBOOK_DATABASE_URL", "", "a URL such as"),
        ("DAYBOOK_FEED", "", "a market such as"),
        ("DAYBOOK_DATA_DIR", "", "the path of a folder"),
    ],
)
def test_wrong_variable_is_reported_with_its_form(
    folder: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, wanted: str
) -> None:
    """One sentence gives the variable and its form, and shows no value."""
    monkeypatch.setenv(variable, value)

    with pytest.raises(BadSettings) as caught:
        load_settings()

    sentence = str(caught.value)
    assert sentence.startswith(f"{variable} is wrong: it must be {wanted}")
    assert "\n" not in sentence
    assert not value or len(value) < 4 or value not in sentence


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"port = ", "daybook.toml is not TOML"),
        (b"prot = 9000", "unknown setting 'prot' in daybook.toml (allowed: data_dir, port,"),
        (b'port = "many"', "DAYBOOK_PORT is wrong"),
        (b"port = 80.5", "DAYBOOK_PORT is wrong"),
        (b"feed = 7", "DAYBOOK_FEED is wrong"),
        (b"owner_token = 7", "DAYBOOK_OWNER_TOKEN is wrong"),
        (b"[port]\nnumber = 1", "DAYBOOK_PORT is wrong"),
        (b"feed = '\xff'", "daybook.toml is not text in UTF-8"),
    ],
)
def test_wrong_file_is_one_sentence(folder: Path, text: bytes, said: str) -> None:
    """A file that is not TOML, has an unknown name or a wrong value is reported in one sentence."""
    (folder / "daybook.toml").write_bytes(text)

    with pytest.raises(BadSettings) as caught:
        load_settings()

    assert str(caught.value).startswith(said)
    assert "\n" not in str(caught.value)


def test_unreadable_file_is_one_sentence(folder: Path) -> None:
    """A read error is reported with the remedy."""
    (folder / "daybook.toml").symlink_to("/proc/self/mem")

    with pytest.raises(BadSettings, match=r"daybook\.toml cannot be read: .*: correct that or remove the file"):
        load_settings()


FEEDS = (
    ("coinbase", "'coinbase' is not a feed"),
    ("simulated?sped=5", "unknown option 'sped'"),
    ("simulated?speed=0", "speed '0'"),
    ("file:none-BTC-USD-1m.csv", "cannot be opened"),
    ("file:wrong-BTC-USD-1m.csv", "line 1 must be timestamp,"),
    ("file:bad-BTC-USD-1m.csv", "line 2:"),
    ("file:a-file", "names no instrument and timeframe"),
    ("ccxt:nowhere", "'nowhere' is not a venue"),
)


def test_unusable_market_is_one_sentence(folder: Path) -> None:
    """A wrong feed, and a missing or wrong market file, are reported in one sentence that names the setting."""
    (folder / "wrong-BTC-USD-1m.csv").write_text("time,open\n1,2\n")
    (folder / "bad-BTC-USD-1m.csv").write_text("timestamp,open,high,low,close,volume\nx,1,1,1,1,1\n")
    (folder / "a-file").write_text("")
    for feed, said in FEEDS:
        with pytest.raises(BadSettings) as caught:
            chosen_feed(feed, lambda: 0.0)
        assert str(caught.value).startswith("DAYBOOK_FEED cannot be used: ")
        assert said in str(caught.value)
        assert "\n" not in str(caught.value)


def test_unusable_data_folder_is_one_sentence(folder: Path) -> None:
    """A file in its place, and an unwritable parent, are reported with the setting to change."""
    (folder / "a-file").write_text("")
    for path in ("a-file", "a-file/below", "/proc", "/proc/none"):
        with pytest.raises(BadSettings, match=r"cannot be used .*DAYBOOK_DATA_DIR"):
            usable_folder(Path(path))


def test_serve_ends_with_one_sentence_after_unusable_settings(home: Home) -> None:
    """Nothing else is printed, the exit code is 1, and no database is created."""
    for name, value in (("feed", "file:none-BTC-USD-1m.csv"), ("data_dir", "/proc/none"), ("port", "http")):
        done = home.run("serve", **{name: value})
        assert (value, done.returncode, done.stdout) == (value, 1, "")
        assert done.stderr.startswith("daybook: ")
        assert done.stderr.count("\n") == 1
        assert f"DAYBOOK_{name.upper()}" in done.stderr
    assert not (home.data_dir / "postgres").exists()
