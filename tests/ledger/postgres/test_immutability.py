"""Roles cannot change the log, and verification finds changes made by a superuser."""

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, make_url

from ledger.log.envelope import EncodedEvent
from ledger.log.event_log import BrokenLog, Head, event_hash, genesis_hash
from ledger.postgres.book import PostgresBook
from ledger.postgres.database import READER, WRITER
from ledger.postgres.log import append_many, raw, read_page
from ledger.replay import verify as replay
from ledger.replay.fast.copy import raw_events
from ledger.replay.fast.decode import Unverified, envelope_of, verified_raw
from ledger.replay.verify import verify_portfolio
from tests.support.events import START, SteppingClock, Story, realistic_batches, record_all

Superuser = psycopg.Connection[tuple[Any, ...]]

TABLES = ("events", *(f"events_{number}" for number in range(8)))
ON_ROWS = (
    "insert into {table} select * from events limit 1",
    "update {table} set actor = 'somebody'",
    "delete from {table}",
    "truncate {table}",
    "alter table {table} disable trigger refuse_change",
    "alter table {table} disable trigger all",
    "drop trigger refuse_change on {table}",
    "drop table {table} cascade",
    "alter table {table} owner to current_user",
    "alter table {table} drop column hash",
    "select * from {table} for update",
    "lock table {table} in access exclusive mode",
    "create rule hole as on select to {table} do instead nothing",
    "merge into {table} using (select 1) one on true when matched then delete",
)
ON_THE_REST = (
    "update portfolios set head_position = 1",
    "insert into portfolios values (gen_random_uuid(), 0, '', now())",
    "delete from portfolios",
    "truncate portfolios",
    "set session_replication_role = replica",
    "set role daybook_owner",
    "set session authorization postgres",
    "alter role current_user superuser",
    "grant daybook_owner to daybook_writer",
    "alter table events detach partition events_0",
    "create table public.events_9 (x int)",
    "create or replace function append_events(uuid, bigint, timestamptz, jsonb) returns void language sql as ''",
    "create or replace function refuse_change() returns trigger language plpgsql as 'begin return null; end'",
    "drop function append_events(uuid, bigint, timestamptz, jsonb)",
    "drop schema public cascade",
    "update alembic_version set version_num = '0'",
    "update pg_trigger set tgenabled = 'D'",
    "select pg_read_file('postgresql.conf')",
    "copy portfolios to program 'cat'",
)
ATTACKS = (*(attack.format(table=table) for table in ("events", "events_3") for attack in ON_ROWS), *ON_THE_REST)


@pytest.fixture
def story(engine: Engine) -> Story:
    """A portfolio with a realistic log in the fresh database."""
    story = Story("immutable")
    record_all(PostgresBook(engine, SteppingClock()), story, realistic_batches(story, 25))
    return story


@pytest.fixture
def strangers(superuser: Superuser, database_url: str) -> Iterator[dict[str, str]]:
    """URLs of two users whose only role is writer or reader, as on a separate server."""
    urls = {}
    for role in (WRITER, READER):
        superuser.execute(f"create role test_{role} login in role {role}")
        urls[role] = make_url(database_url).set(username=f"test_{role}").render_as_string(hide_password=False)
    yield urls
    for role in (WRITER, READER):
        superuser.execute(f"drop owned by test_{role}")
        superuser.execute(f"drop role test_{role}")


def log_of(superuser: Superuser) -> list[tuple[Any, ...]]:
    """All rows of the log, and its triggers."""
    return [
        *superuser.execute("select * from events order by portfolio_id, position"),
        *superuser.execute("select * from portfolios order by 1"),
        *superuser.execute("select tgrelid::regclass::text, tgname, tgenabled::text from pg_trigger order by 1, 2"),
    ]


# --- the roles --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", [WRITER, READER])
@pytest.mark.parametrize("switched", [True, False], ids=["switched role", "own login"])
def test_roles_cannot_change_the_log(
    superuser: Superuser, strangers: dict[str, str], database_url: str, story: Story, role: str, switched: bool
) -> None:
    """Changing the log, its triggers or its head is refused for lack of privileges."""
    before = log_of(superuser)
    with psycopg.connect(database_url if switched else strangers[role], autocommit=True) as connection:
        if switched:
            connection.execute(f"set role {role}")
        assert read_page(connection, story.portfolio_id, 0, 1)
        allowed = []
        for attack in ATTACKS:
            if switched and attack in ("set role daybook_owner", "set session authorization postgres"):
                continue  # a superuser may switch back: the role only guards against our own mistakes
            try:
                with connection.transaction(force_rollback=True):
                    connection.execute(attack)
                    allowed.append(attack)
            except psycopg.errors.InsufficientPrivilege:
                continue

    assert allowed == []
    assert log_of(superuser) == before


def test_reader_can_only_read(superuser: Superuser, strangers: dict[str, str], story: Story) -> None:
    """The reader can neither append, lock nor change a view."""
    with psycopg.connect(strangers[READER], autocommit=True) as connection:
        for attack in (
            "select append_events(gen_random_uuid(), null, now(), '[]')",
            "select append_many(gen_random_uuid(), null, now(), null, null, null, null, null, null, null, null, null)",
            "select lock_portfolio(gen_random_uuid())",
            "delete from holdings",
            "update view_checkpoints set position = 0",
            "insert into commands values (gen_random_uuid(), 'k', 'h', null, null, now())",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(attack)


def test_append_functions_ignore_objects_of_the_caller(
    superuser: Superuser, strangers: dict[str, str], story: Story
) -> None:
    """Temporary tables with the names of the log are not used."""
    with psycopg.connect(strangers[WRITER], autocommit=True) as connection:
        connection.execute("create temp table portfolios (like public.portfolios)")
        connection.execute("create temp table events (like public.events)")
        connection.execute("set search_path = pg_temp, public")
        head = connection.execute(
            "select position from public.append_events(%s, null, now(), %s)",
            (story.portfolio_id, future_event(story)),
        ).fetchone()

        assert head == (len(story.events) + 1,)
        assert append_many(connection, story.portfolio_id, [another_event()], None, START) is not None
        assert connection.execute("select count(*) from pg_temp.events").fetchone() == (0,)


def another_event() -> EncodedEvent:
    return EncodedEvent(UUID(int=78), "FromTheFuture", 1, START, "x", UUID(int=78), None, "{}")


def future_event(story: Story) -> str:
    """A batch in the form of the database function."""
    surroundings = '"occurred_at":"2026-01-02T10:00:00Z","actor":"x","causation_id":null,"payload":"{}","metadata":"{}"'
    return (
        f'[{{"event_id":"{UUID(int=77)}","correlation_id":"{UUID(int=77)}","type":"FromTheFuture","version":1,'
        f"{surroundings}}}]"
    )


@pytest.mark.parametrize("time", ["infinity", "-infinity", "294276-01-01T00:00:00Z", "10000-01-01T00:00:00Z"])
def test_append_refuses_times_outside_the_range_of_python(superuser: Superuser, story: Story, time: str) -> None:
    batch = future_event(story).replace("2026-01-02T10:00:00Z", time)

    with pytest.raises(psycopg.Error, match=r"violates check|infinity|out of range"):
        superuser.execute("select append_events(%s, null, now(), %s)", (story.portfolio_id, batch))
    arrays = f"'{{{UUID(int=77)}}}', '{{x}}', '{{1}}', '{{{time}}}', '{{x}}', '{{{UUID(int=77)}}}', '{{null}}', '{{x}}', '{{x}}'"
    with pytest.raises(psycopg.Error, match=r"violates check|infinity|out of range"):
        superuser.execute(f"select append_many(%s, null, now(), {arrays})", (story.portfolio_id,))


# --- the triggers -----------------------------------------------------------------------------------------------------


def change_as_superuser(superuser: Superuser) -> list[str]:
    """Attempt to change the log; return the statements that succeeded."""
    allowed, refusals = [], set()
    for table in TABLES:
        for attack in (
            f"update {table} set actor = 'somebody'",
            f"update {table} set actor = 'somebody' where false",
            f"delete from {table}",
            f"truncate {table}",
            f"insert into {table} select * from {table} on conflict (portfolio_id, position) do update set actor = 'x'",
            f"merge into {table} using (select 1) one on true when matched then delete",
        ):
            try:
                with superuser.transaction(force_rollback=True):
                    superuser.execute(attack)
                    allowed.append(attack)
            except psycopg.Error as error:
                refusals.add((error.sqlstate, str(error.diag.message_primary).partition(": ")[2]))
    assert refusals == {("DB003", "the log is immutable, correct it with a new event")}
    return allowed


@pytest.mark.parametrize("mode", ["origin", "replica", "local"])
def test_triggers_refuse_changes_by_a_superuser(superuser: Superuser, story: Story, mode: str) -> None:
    """On the table and each partition, with any replication role."""
    superuser.execute(f"set session_replication_role = {mode}")

    assert change_as_superuser(superuser) == []


def test_planted_ordinary_trigger_is_found(superuser: Superuser, story: Story) -> None:
    """A trigger that is enabled, but not always, does not fire in replica mode."""
    superuser.execute("alter table events_3 enable trigger refuse_change")
    superuser.execute("set session_replication_role = replica")

    assert len(change_as_superuser(superuser)) == 6


def test_planted_partition_without_trigger_is_found(superuser: Superuser, story: Story) -> None:
    """The trigger of the table does not protect its partitions."""
    superuser.execute("drop trigger refuse_change on events_5")

    assert {attack.split()[-1] for attack in change_as_superuser(superuser)} == {
        *("'somebody'", "false", "events_5", "'x'", "delete"),
    }


# --- tampering without triggers ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Tampering:
    """A change to the stored log, and the first position at which it must be found."""

    what: str
    statements: tuple[tuple[str, tuple[Any, ...]], ...]
    position: int


class Victim:
    """A database with a realistic log, its triggers disabled, and a copy to restore it from."""

    def __init__(self, engine: Engine, superuser: Superuser) -> None:
        self.engine = engine
        self.superuser = superuser
        stories = [Story("victim"), Story("bystander")]
        for story in stories:
            record_all(PostgresBook(engine, SteppingClock()), story, realistic_batches(story, 25))
        self.portfolio_id, self.other_id = (story.portfolio_id for story in stories)
        self.log = read_page(superuser, self.portfolio_id, 0, 1000)
        self.other_length = len(read_page(superuser, self.other_id, 0, 1000))
        superuser.execute("alter table events disable trigger refuse_change")
        superuser.execute("create table saved_events as select * from events")
        superuser.execute("create table saved_portfolios as select * from portfolios")

    def restore(self) -> None:
        with self.superuser.transaction():
            for table in ("events", "portfolios"):
                self.superuser.execute(f"delete from {table}")
                self.superuser.execute(f"insert into {table} select * from saved_{table}")

    def broken_after(self, tampering: Tampering) -> int | None:
        """The position at which verification finds the log broken, if it does."""
        try:
            with self.superuser.transaction():
                for statement, values in tampering.statements:
                    self.superuser.execute(statement, values)
            report = verify_portfolio(self.engine, self.portfolio_id)
            return report.broken.position if report.broken else None
        finally:
            self.restore()

    def raw_broken_after(self, tampering: Tampering) -> int | None:
        """The same for the verification of raw events and the head row."""
        try:
            with self.superuser.transaction():
                for statement, values in tampering.statements:
                    self.superuser.execute(statement, values)
            return self._raw_broken()
        finally:
            self.restore()

    def _raw_broken(self) -> int | None:
        with self.engine.connect() as connection:
            own = raw(connection)
            try:
                with closing(raw_events(own, self.portfolio_id)) as raws:
                    whole = [envelope_of(one) for one in verified_raw(self.portfolio_id, raws)]
                end = Head(whole[-1].position, whole[-1].hash) if whole else Head(0, genesis_hash(self.portfolio_id))
                replay._check_head(own, self.portfolio_id, end, whole[-1].recorded_at if whole else None)
            except (Unverified, BrokenLog) as error:
                return error.position
            return None


@pytest.fixture
def victim(engine: Engine, superuser: Superuser) -> Victim:
    return Victim(engine, superuser)


_WHERE = "where portfolio_id = %s and position = %s"
_OTHER_VALUES = {
    "event_id": "md5(event_id::text)::uuid",
    "type": "type || 'x'",
    "version": "-version",
    "occurred_at": "occurred_at + interval '1 microsecond'",
    "recorded_at": "recorded_at - interval '1 year'",
    "actor": "overlay(actor placing '~' from 1)",
    "correlation_id": "md5(correlation_id::text)::uuid",
    "causation_id": "case when causation_id is null then event_id end",
    "metadata": "overlay(metadata placing '~' from 2)",
    "hash": "set_byte(hash, 7, 255 - get_byte(hash, 7))",
}


def tamperings(victim: Victim) -> st.SearchStrategy[Tampering]:
    """All kinds of change to the victim's log."""
    me, length = victim.portfolio_id, len(victim.log)
    places = st.integers(1, length)

    def value(position: int, column: str) -> Tampering:
        statement = f"update events set {column} = {_OTHER_VALUES[column]} {_WHERE}"
        return Tampering(f"{column} of {position}", ((statement, (me, position)),), position)

    def byte(position: int, place: int, bit: int) -> Tampering:
        payload = victim.log[position - 1].payload
        place %= len(payload)
        changed = payload[:place] + (chr(ord(payload[place]) ^ (1 << bit)).strip("\0") or "0") + payload[place + 1 :]
        return Tampering(
            f"byte of {position}", ((f"update events set payload = %s {_WHERE}", (changed, me, position)),), position
        )

    def delete(first: int, last: int) -> Tampering:
        first, last = min(first, last), max(first, last)
        statement = "delete from events where portfolio_id = %s and position between %s and %s"
        return Tampering(f"delete {first} to {last}", ((statement, (me, first, last)),), first)

    def swap(one: int, other: int) -> Tampering:
        other = other if other != one else one % length + 1
        move = f"update events set position = %s {_WHERE}"
        moves = ((move, (10**6, me, one)), (move, (one, me, other)), (move, (other, me, 10**6)))
        return Tampering(f"swap {one} and {other}", moves, min(one, other))

    def insert(position: int, copied: int, move_head: bool) -> Tampering:
        shift = "update events set position = position + %s where portfolio_id = %s and position > %s"
        copy = (
            "insert into events select portfolio_id, %s, gen_random_uuid(), type, version, occurred_at, recorded_at, actor,"
            f" correlation_id, causation_id, payload, metadata, hash from events {_WHERE}"
        )
        source = copied if copied < position else copied + 1
        return Tampering(
            f"insert before {position}",
            (
                (shift, (10**6, me, position - 1)),
                (shift, (1 - 10**6, me, 10**6)),
                (copy, (position, me, source)),
                (
                    f"update portfolios set head_position = head_position + {int(move_head)} where portfolio_id = %s",
                    (me,),
                ),
            ),
            position,
        )

    def extend(fitting: bool, number: int) -> Tampering:
        """Append events, with correct hashes if `fitting`."""
        statements, previous = [], victim.log[-1].hash
        insert_row = f"insert into events values ({', '.join(['%s'] * 13)})"
        for extra in range(number):
            fields = {**vars(victim.log[-1]), "position": length + 1 + extra, "event_id": UUID(int=extra + 1)}
            fields.pop("event", None)
            made = type(victim.log[-1])(**fields)
            previous = event_hash(previous, made) if fitting else previous
            statements.append((insert_row, (*list(fields.values())[:12], previous)))
        return Tampering(f"extend by {number}", tuple(statements), length + 1)

    def move_away(position: int) -> Tampering:
        statement = f"update events set portfolio_id = %s, position = %s {_WHERE}"
        values = (victim.other_id, victim.other_length + 1, me, position)
        to_free_the_id = ("delete from events where portfolio_id = %s", (victim.other_id,))
        return Tampering(f"move {position} away", (to_free_the_id, (statement, values)), position)

    def head(change: str) -> Tampering:
        texts = {
            "up": ("update portfolios set head_position = head_position + 3", length + 1),
            "down": ("update portfolios set head_position = head_position - 3", length - 2),
            "hash": ("update portfolios set head_hash = set_byte(head_hash, 7, 255 - get_byte(head_hash, 7))", length),
            "missing": ("delete from portfolios", length),
        }
        statement, position = texts[change]
        return Tampering(f"head {change}", ((f"{statement} where portfolio_id = %s", (me,)),), position)

    return st.one_of(
        st.builds(value, places, st.sampled_from(sorted(_OTHER_VALUES))),
        st.builds(byte, places, st.integers(0, 999), st.integers(0, 6)),
        st.builds(delete, places, places | st.just(length)),
        st.builds(swap, places, places),
        st.builds(insert, places, st.integers(1, length - 1), st.booleans()),
        st.builds(extend, st.booleans(), st.integers(1, 3)),
        st.builds(move_away, places),
        st.builds(head, st.sampled_from(["up", "down", "hash", "missing"])),
    )


@given(data=st.data())
def test_verification_finds_every_tampering_at_its_first_position(victim: Victim, data: st.DataObject) -> None:
    """A superuser disables the triggers and changes the log anywhere."""
    tampering = data.draw(tamperings(victim))

    assert victim.broken_after(tampering) == tampering.position


@pytest.mark.campaign
@settings(max_examples=400)
@given(data=st.data())
def test_verification_finds_hundreds_of_tamperings(victim: Victim, data: st.DataObject) -> None:
    tampering = data.draw(tamperings(victim))

    assert victim.broken_after(tampering) == tampering.position


@pytest.mark.nightly
@settings(max_examples=10_000)
@given(data=st.data())
def test_both_verifications_find_ten_thousand_tamperings(victim: Victim, data: st.DataObject) -> None:
    tampering = data.draw(tamperings(victim))

    assert victim.broken_after(tampering) == tampering.position
    assert victim.raw_broken_after(tampering) == tampering.position


@given(data=st.data())
def test_raw_verification_finds_every_tampering_at_its_first_position(victim: Victim, data: st.DataObject) -> None:
    tampering = data.draw(tamperings(victim))

    assert victim.raw_broken_after(tampering) == tampering.position


def test_raw_verification_stops_at_a_null_header(victim: Victim) -> None:
    for column in (
        "event_id",
        "type",
        "version",
        "occurred_at",
        "recorded_at",
        "actor",
        "correlation_id",
        "payload",
        "hash",
    ):
        victim.superuser.execute(f"alter table events alter {column} drop not null")
        nulled = Tampering("null", ((f"update events set {column} = null {_WHERE}", (victim.portfolio_id, 7)),), 7)
        assert victim.raw_broken_after(nulled) == 7
    assert victim.raw_broken_after(Tampering("nothing", (), 0)) is None


def test_verification_accepts_an_unchanged_log(victim: Victim) -> None:
    """Triggers were disabled and rows rewritten, but the log is the same."""
    assert victim.broken_after(Tampering("nothing", (), 0)) is None
    report = verify_portfolio(victim.engine, victim.portfolio_id)
    assert (report.broken, report.differences, report.events) == (None, (), len(victim.log))


@pytest.mark.parametrize(
    ("part", "planted", "statement"),
    [
        ("verified", lambda _portfolio, envelopes: envelopes, f"update events set actor = 'x' {_WHERE}"),
        ("_check_head", lambda *_: None, "delete from events where portfolio_id = %s and position > %s"),
        ("head_record", lambda *_: Head(3, b""), f"select 1 {_WHERE.replace('where', 'from events where')}"),
    ],
    ids=["no chain", "no head", "another head"],
)
def test_planted_gaps_of_verification_change_the_result(
    victim: Victim, monkeypatch: pytest.MonkeyPatch, part: str, planted: Callable[..., Any], statement: str
) -> None:
    """Without the chain, without the head, and with a wrong head."""
    tampering = Tampering("planted", ((statement, (victim.portfolio_id, 5)),), 5)
    right = victim.broken_after(tampering)
    monkeypatch.setattr(replay, part, planted)

    assert victim.broken_after(tampering) != right
