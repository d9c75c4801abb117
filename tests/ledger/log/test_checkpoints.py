"""Signed checkpoints and the standalone verifier: they find changes that a hash chain alone does not."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from ledger.log.checkpoints import (
    BadCheckpoint,
    Checkpoint,
    behind_checkpoint,
    checkpoint_text,
    make_checkpoint,
    positions_of,
    read_checkpoint_file,
    signing_key,
)
from ledger.log.event_log import Head
from ledger.postgres.book import PostgresBook
from tests.support.events import Story, realistic_batches, record_all
from tests.support.processes import Home, new_home

VERIFIER = Path(__file__).resolve().parents[3] / "docs" / "verify_log.py"
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
SEEN = [(UUID(int=7), Head(3, b"\x01" * 32)), (UUID(int=2), Head(0, b"\x02" * 32))]
Superuser = psycopg.Connection[tuple[Any, ...]]


@pytest.fixture
def story() -> Story:
    return Story("seen")


@pytest.fixture
def home(database_url: str, postgres_book: PostgresBook, story: Story) -> Iterator[Home]:
    """A home whose ledger contains a story, with a checkpoint in seen.json and the exported log in log.jsonl."""
    record_all(postgres_book, story, realistic_batches(story, 40))
    with new_home(candles=100, database_url=database_url) as made:
        assert made.run("checkpoint", "seen.json").returncode == 0
        assert made.run("export", "events", "log.jsonl").returncode == 0
        yield made


def made_checkpoint() -> Checkpoint:
    return make_checkpoint(SEEN, datetime(2026, 1, 31, 12, tzinfo=UTC), KEY)


def test_checkpoint_file_round_trips(tmp_path: Path) -> None:
    """The file contains the signed heads, sorted by portfolio id."""
    path = tmp_path / "seen.json"
    path.write_text(checkpoint_text(made_checkpoint()), encoding="utf-8")

    assert positions_of(read_checkpoint_file(path, KEY.public_key().public_bytes_raw().hex())) == sorted(
        SEEN, key=lambda one: str(one[0])
    )


@given(data=st.data())
def test_changed_checkpoint_is_rejected(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Changing any character of the file invalidates it."""
    text = checkpoint_text(made_checkpoint())
    place = data.draw(st.sampled_from([place for place, sign in enumerate(text) if sign.isalnum()]))
    sign = data.draw(st.sampled_from("0123456789abcdefXYZ").filter(lambda one: one.lower() != text[place].lower()))
    path = tmp_path_factory.mktemp("changed") / "seen.json"
    path.write_text(text[:place] + sign + text[place + 1 :], encoding="utf-8")

    with pytest.raises(BadCheckpoint):
        read_checkpoint_file(path, None)


def test_checkpoint_of_another_key_is_rejected(tmp_path: Path) -> None:
    """A rewritten log with a new checkpoint fails, because the installation knows its own key."""
    path = tmp_path / "seen.json"
    path.write_text(checkpoint_text(made_checkpoint()), encoding="utf-8")
    own = signing_key(tmp_path).public_key().public_bytes_raw().hex()

    with pytest.raises(BadCheckpoint, match="another key"):
        read_checkpoint_file(path, own)


def test_signing_key_is_created_once_and_private(tmp_path: Path) -> None:
    """Later calls return the same key, and only its user can read the file."""
    first = signing_key(tmp_path).private_bytes_raw()

    assert signing_key(tmp_path).private_bytes_raw() == first
    assert [oct(path.stat().st_mode & 0o777) for path in tmp_path.iterdir()] == ["0o600"]


def test_behind_checkpoint_finds_the_first_bad_position() -> None:
    """A longer log passes; a shorter one, one with another hash, and a missing one fail at the first bad position."""
    portfolio, wanted = SEEN[0]
    later = Head(9, b"\x09" * 32)

    assert behind_checkpoint(portfolio, later, wanted.hash, wanted) is None
    for head, there, position in ((later, b"\x03" * 32, 3), (Head(2, b"\x05" * 32), None, 3), (None, None, 1)):
        broken = behind_checkpoint(portfolio, head, there, wanted)
        assert broken is not None
        assert broken.position == position


def test_truncated_log_is_found_only_with_a_checkpoint(home: Home, story: Story, superuser: Superuser) -> None:
    """After truncating the log and repairing head and views the chain is valid; the checkpoint reveals the position."""
    kept = len(story.events) - 5
    superuser.execute("alter table events disable trigger all")
    superuser.execute("delete from events where position > %s", (kept,))
    superuser.execute(
        "update portfolios p set (head_position, head_hash, head_recorded_at) ="
        " (select position, hash, recorded_at from events e where e.portfolio_id = p.portfolio_id and position = %s)",
        (kept,),
    )
    home.run("replay", "--rebuild")
    assert home.replay()[0] == 0

    code, found = home.replay("--checkpoint", "seen.json")

    assert code == 4
    assert found["verified"] is False
    assert found["differences"][0]["what"] == f"events[position {kept + 1}]"


def test_missing_log_is_found_with_a_checkpoint(home: Home, superuser: Superuser) -> None:
    """A portfolio deleted with its views and head is found by the checkpoint."""
    superuser.execute("alter table events disable trigger all")
    tables = superuser.execute(
        "select relname from pg_class where relkind in ('r', 'p') and not relispartition and relname in"
        " (select table_name from information_schema.columns where column_name = 'portfolio_id')"
    )
    for (table,) in tables.fetchall():
        superuser.execute(f"delete from {table}")

    assert home.replay()[0] == 0
    assert home.replay("--checkpoint", "seen.json")[0] == 4


def test_unchanged_log_passes_with_a_checkpoint(home: Home) -> None:
    """An unchanged log passes; a missing checkpoint file is reported in one line."""
    assert home.replay("--checkpoint", "seen.json")[0] == 0
    done = home.run("replay", "--checkpoint", "none.json")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)


def verified(home: Home, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the verifier with an isolated Python, without any installed packages."""
    command = [sys.executable, "-I", "-S", str(VERIFIER), *arguments]
    return subprocess.run(command, cwd=home.folder, capture_output=True, text=True, check=False)


def test_standalone_verifier_accepts_an_exported_log(home: Home, story: Story) -> None:
    """The standard library is enough to verify an exported log and its checkpoint."""
    done = verified(home, "log.jsonl", "seen.json")

    assert (done.returncode, done.stderr) == (0, "")
    assert f"{len(story.events)} events" in done.stdout
    assert "OK: checkpoint" in done.stdout


def _changed_payload(events: list[dict[str, Any]]) -> None:
    events[9]["payload"] = events[9]["payload"][:-1] + " }"


def _removed(events: list[dict[str, Any]]) -> None:
    del events[9]


def _swapped(events: list[dict[str, Any]]) -> None:
    events[9], events[10] = events[10], events[9]


def _later(events: list[dict[str, Any]]) -> None:
    events[9]["occurred_at"] = "2031-01-01T00:00:00Z"


def _inserted(events: list[dict[str, Any]]) -> None:
    events.insert(9, {**events[9]})


@pytest.mark.parametrize("tamper", [_changed_payload, _removed, _swapped, _later, _inserted])
def test_standalone_verifier_reports_the_first_bad_position(
    home: Home, tamper: Callable[[list[dict[str, Any]]], None]
) -> None:
    """An edited, removed, reordered or inserted event is found at its position (an inserted duplicate, right after it)."""
    path = home.folder / "log.jsonl"
    events = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    tamper(events)
    path.write_text("".join(json.dumps(event) + "\n" for event in events), encoding="utf-8")

    done = verified(home, "log.jsonl")

    assert done.returncode == 4
    assert f"position {11 if tamper is _inserted else 10}:" in done.stdout


def test_standalone_verifier_finds_a_truncated_log_with_the_checkpoint(home: Home, story: Story) -> None:
    """A truncated log is a valid chain; the checkpoint reveals the first missing position."""
    path = home.folder / "log.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join(lines[:-3]), encoding="utf-8")

    assert verified(home, "log.jsonl").returncode == 0
    done = verified(home, "log.jsonl", "seen.json")
    assert done.returncode == 4
    assert f"position {len(story.events) - 2}" in done.stdout


def test_standalone_verifier_rejects_a_changed_checkpoint(home: Home) -> None:
    """Its own Ed25519 implementation rejects the signature."""
    path = home.folder / "seen.json"
    checkpoint = json.loads(path.read_text(encoding="utf-8"))
    checkpoint["portfolios"][0]["position"] -= 1
    path.write_text(json.dumps(checkpoint), encoding="utf-8")

    assert verified(home, "log.jsonl", "seen.json").returncode == 4
