"""The command `daybook replay`: verification, differences and broken chains."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from ledger.postgres.book import PostgresBook
from tests.support.events import Step, Story, realistic_batches, record_all
from tests.support.processes import Home, free_port, new_home

OBJECT = {"portfolios", "events", "trades", "seconds", "events_per_second", "verified", "state_hash", "differences"}
DIFFERENCE = {"portfolio_id", "what", "stored", "replayed", "first_event"}

Superuser = psycopg.Connection[tuple[Any, ...]]


@pytest.fixture
def story() -> Story:
    return Story("replayed")


@pytest.fixture
def home(database_url: str, postgres_book: PostgresBook, story: Story) -> Iterator[Home]:
    """A home whose ledger has a long history."""
    record_all(postgres_book, story, realistic_batches(story, 60))
    with new_home(candles=100, database_url=database_url) as made:
        yield made


def test_replay_verifies_a_sound_ledger(home: Home, story: Story) -> None:
    """The object has exactly the promised names and the right counts, with exit code 0."""
    code, found = home.replay()

    assert code == 0
    assert set(found) == OBJECT
    assert (found["portfolios"], found["events"], found["verified"]) == (1, len(story.events), True)
    assert found["trades"] > 0
    assert found["differences"] == []
    assert len(found["state_hash"]) == 64
    assert home.replay()[1]["state_hash"] == found["state_hash"]


def test_replay_is_the_same_with_workers_and_thorough(home: Home) -> None:
    """In worker processes, folded twice, or both, portfolios have the same state hash."""
    alone = home.replay()[1]["state_hash"]

    for options in (["--thorough"], ["--workers", "2", "--thorough", "--rebuild"]):
        code, found = home.replay(*options)
        assert (code, found["state_hash"]) == (0, alone)
    assert home.run("replay", "--executor", "dask:").returncode == 2


def test_replay_accepts_the_name_or_id_of_a_portfolio(home: Home, story: Story) -> None:
    """An unknown name is a failure, as everywhere."""
    named = str(story.portfolio_id)

    assert home.replay("--portfolio", named)[1]["portfolios"] == 1
    for options in ((), ("--as-of", "2024-01-01T00:00:00Z")):
        done = home.run("replay", "--portfolio", "no such portfolio", *options)
        said = "daybook: there is no portfolio called 'no such portfolio': daybook replay lists them\n"
        assert (done.returncode, done.stderr) == (1, said)


def test_replay_finds_a_changed_view(home: Home, superuser: Superuser) -> None:
    """A number changed behind Daybook's back is reported with table, row, field, both values and the first event concerned."""
    superuser.execute("update holdings set realized_pnl = realized_pnl + 1 where asset = 'BTC'")

    code, found = home.replay()

    assert (code, found["verified"]) == (3, False)
    changed = [one for one in found["differences"] if one["what"] == "holdings[BTC].realized_pnl"]
    assert len(changed) == 1
    assert set(changed[0]) == DIFFERENCE
    assert changed[0]["stored"] != changed[0]["replayed"]
    assert changed[0]["first_event"] >= 1
    told = home.run("replay")
    assert told.returncode == 3
    assert "DIFFERENCE holdings[BTC].realized_pnl" in told.stdout
    assert "NOT VERIFIED" in told.stdout


def test_replay_rebuild_repairs_the_views(home: Home, superuser: Superuser) -> None:
    """After --rebuild the changed views match the log, and the same run verifies them."""
    before = home.replay()[1]["state_hash"]
    superuser.execute("update holdings set quantity = 0")
    superuser.execute("delete from trades")
    assert home.replay()[0] == 3

    code, found = home.replay("--rebuild")

    assert (code, found["differences"], found["state_hash"]) == (0, [], before)
    assert home.replay()[0] == 0


def test_replay_finds_a_changed_byte_of_the_log(home: Home, superuser: Superuser) -> None:
    """One changed byte of one event is found with its position, and a rebuild refuses to use it."""
    with superuser.transaction():
        superuser.execute("set local session_replication_role = replica")
        for table in _event_tables(superuser):
            superuser.execute(f"alter table {table} disable trigger refuse_change")
        superuser.execute("update events set payload = overlay(payload placing 'x' from 3 for 1) where position = 7")

    code, found = home.replay()

    assert (code, found["verified"], found["state_hash"]) == (4, False, "")
    assert found["differences"][0]["what"] == "events[position 7]"
    assert found["differences"][0]["first_event"] == 7
    rebuilt = home.run("replay", "--rebuild")
    assert rebuilt.returncode == 4
    assert "Traceback" not in rebuilt.stderr
    assert "7" in rebuilt.stdout + rebuilt.stderr


def _event_tables(superuser: Superuser) -> list[str]:
    rows = superuser.execute(
        "select relname from pg_class where relname ~ '^events(_[0-9]+)?$' and relkind in ('r', 'p')"
    )
    return [str(row[0]) for row in rows]


def test_replay_of_an_unreachable_server_is_one_sentence() -> None:
    """A server that is down or refuses, and an invalid URL, are one sentence without the password, with exit code 1."""
    port = free_port()
    nobody, other = f"postgresql://me:hush-hush@127.0.0.1:{port}/db", "mysql://me:hush-hush@localhost/db"
    for command, url in ((("replay", "--json"), nobody), (("serve",), nobody), (("replay",), other)):
        with new_home(candles=100, database_url=url) as home:
            done = home.run(*command)
            assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
            assert done.stderr.startswith("daybook: ")
            assert "hush-hush" not in done.stderr


def test_replay_refuses_a_newer_schema(home: Home, superuser: Superuser) -> None:
    """A database that a newer Daybook has used is not changed; the sentence advises an upgrade."""
    superuser.execute("update alembic_version set version_num = '9999'")

    for command in ("replay", "serve"):
        done = home.run(command)
        assert (done.returncode, done.stderr.count("\n")) == (1, 1)
        assert "upgrade Daybook" in done.stderr
    assert superuser.execute("select version_num from alembic_version").fetchone() == ("9999",)


def test_replay_starts_and_stops_the_embedded_server() -> None:
    """Before the first start, replay starts the embedded server, reports an empty ledger, and leaves nothing running."""
    with new_home(candles=100) as home:
        code, found = home.replay()

        assert (code, found["portfolios"], found["events"], found["verified"]) == (0, 0, 0, True)
        assert "nothing has been recorded yet" in home.run("replay").stderr
        assert home.postmaster() is None


def test_replay_includes_events_recorded_meanwhile(home: Home, postgres_book: PostgresBook, story: Story) -> None:
    """Events recorded between two runs are in the second."""
    before = home.replay()[1]["events"]
    record_all(postgres_book, story, [story.buy(Step("buy"))])

    code, found = home.replay()

    assert (code, found["events"]) == (0, before + 1)
