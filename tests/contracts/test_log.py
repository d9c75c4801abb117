"""The contract of `EventLog`, tested with the log in memory and the one in PostgreSQL."""

import json
import multiprocessing
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count, pairwise
from uuid import UUID

import psycopg
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from sqlalchemy import Engine

from ledger.events import (
    BotConfigured,
    CashDeposited,
    Event,
    PortfolioOpened,
    SignalRejected,
    TradeExecuted,
    TradingHalted,
)
from ledger.events.fields import RuleChecked
from ledger.log.envelope import BadEvent, Envelope, NewEvent, decode, encoded
from ledger.log.event_log import Conflict, EventLog, MemoryLog, NoSuchPortfolio, verified
from ledger.postgres.database import WRITER, engine_for
from ledger.postgres.log import PostgresLog, append_in, raw
from ledger.values import Asset, derived_id
from tests.conftest import LogMaker, wait_until_blocked
from tests.support.events import START, ListedClock, Step, SteppingClock, Story, batches_of, realistic_batches, steps

StoryMaker = Callable[[], Story]
_examples = count(1)


def stored(log: EventLog, portfolio_id: UUID) -> list[Envelope]:
    """Return the verified log of a portfolio."""
    return list(verified(portfolio_id, log.read(portfolio_id)))


def opened(log: EventLog, story: Story) -> Story:
    """Append the first batch of the story and return the story."""
    log.append(story.portfolio_id, story.opened())
    return story


def halted(story: Story, reason: str, **surroundings: str) -> NewEvent:
    return story.new(TradingHalted(reason=reason), **surroundings)  # type: ignore[arg-type]


# --- order and completeness -------------------------------------------------------------------------------------------


@given(moves=st.lists(steps(), max_size=12))
def test_append_keeps_order_without_gaps(make_log: LogMaker, moves: list[Step]) -> None:
    """Appended events are at positions 1, 2, 3 … in the order given, unchanged, in a valid chain."""
    story = Story(f"order {next(_examples)}")
    log = make_log(SteppingClock())
    answers = [envelope for batch in batches_of(story, moves) for envelope in log.append(story.portfolio_id, batch)]

    found = stored(log, story.portfolio_id)
    assert found == answers
    assert [one.position for one in found] == list(range(1, len(story.events) + 1))
    assert [one.event_id for one in found] == [one.event_id for one in story.events]
    assert [one.event for one in found] == [one.event for one in story.events]
    assert [(one.occurred_at, one.actor, one.metadata) for one in found] == [
        (one.occurred_at, one.actor, one.metadata) for one in story.events
    ]


@given(moves=st.lists(steps(), max_size=12))
def test_both_logs_compute_the_same_hashes(engine: Engine, moves: list[Step]) -> None:
    """The same events at the same times get equal envelopes, including hashes, in memory and in PostgreSQL."""
    story = Story(f"hash {next(_examples)}")
    memory, postgres = MemoryLog(SteppingClock()), PostgresLog(engine, SteppingClock())

    for batch in batches_of(story, moves):
        assert memory.append(story.portfolio_id, batch) == postgres.append(story.portfolio_id, batch)
    assert stored(memory, story.portfolio_id) == stored(postgres, story.portfolio_id)
    assert memory.head(story.portfolio_id) == postgres.head(story.portfolio_id)


@given(moves=st.lists(steps(), max_size=12), repeats=st.booleans())
def test_append_encoded_equals_append(engine: Engine, moves: list[Step], repeats: bool) -> None:
    """Encoded events get the same envelopes as events, and stored ones are not stored again."""
    story = Story(f"encoded {next(_examples)}")
    memory, postgres = MemoryLog(SteppingClock()), PostgresLog(engine, SteppingClock())

    for batch in batches_of(story, moves):
        memory.append(story.portfolio_id, batch)
        texts = [encoded(new) for new in batch]
        assert postgres.append_encoded(story.portfolio_id, texts) == len(batch)
        if repeats:
            memory.append(story.portfolio_id, batch)
            assert postgres.append_encoded(story.portfolio_id, texts) == 0
    assert stored(memory, story.portfolio_id) == stored(postgres, story.portfolio_id)
    assert memory.head(story.portfolio_id) == postgres.head(story.portfolio_id)


def test_append_encoded_rejects_like_append(engine: Engine, new_story: StoryMaker) -> None:
    """A conflicting id, a wrong position, a repeated id and an unknown portfolio raise as in `append`."""
    log = PostgresLog(engine, SteppingClock())
    with pytest.raises(NoSuchPortfolio):
        log.append_encoded(UUID(int=5), [encoded(halted(new_story(), "nowhere"))])
    story = opened(log, new_story())
    before = stored(log, story.portfolio_id)
    new, clash = encoded(halted(story, "new")), encoded(replace(story.events[1], actor="somebody else"))

    with pytest.raises(Conflict, match=str(clash.event_id)):
        log.append_encoded(story.portfolio_id, [new, clash])
    with pytest.raises(Conflict, match="expected position 7, but the log stands at 3"):
        log.append_encoded(story.portfolio_id, [new], expected_position=7)
    with pytest.raises(ValueError, match="same id"):
        log.append_encoded(story.portfolio_id, [new, new])
    assert stored(log, story.portfolio_id) == before
    assert log.append_encoded(story.portfolio_id, [], expected_position=7) == 0
    assert log.append_encoded(story.portfolio_id, [encoded(story.events[1]), new], expected_position=3) == 1
    assert [one.position for one in stored(log, story.portfolio_id)] == [1, 2, 3, 4]


@pytest.mark.parametrize(
    "limit", [None, 0, *(pytest.param(one, marks=pytest.mark.campaign) for one in (1, 4999, 5000, 5001, 20000))]
)
def test_read_respects_after_and_limit(log: EventLog, new_story: StoryMaker, limit: int | None) -> None:
    """A reader gets at most `limit` events above `after`, over any number of pages."""
    story = opened(log, new_story())
    log.append(story.portfolio_id, [halted(story, "again") for _ in range(5200)])

    for after in (0, 1, 5100, 5203, 9999):
        wanted = list(range(1, 5204))[after:][: 5203 if limit is None else limit]
        assert [one.position for one in log.read(story.portfolio_id, after, limit)] == wanted


def test_portfolios_are_independent(log: EventLog, new_story: StoryMaker) -> None:
    """The same event ids in two portfolios do not conflict; each has its own positions and chain."""
    one, other = new_story(), new_story()
    for mine, theirs in zip(realistic_batches(one, 20), realistic_batches(other, 20), strict=True):
        log.append(one.portfolio_id, mine)
        log.append(other.portfolio_id, theirs)
    before = stored(log, other.portfolio_id)
    log.append(one.portfolio_id, [halted(one, "only here")])

    assert [envelope.event_id for envelope in before] == [new.event_id for new in one.events[:-1]]
    assert stored(log, other.portfolio_id) == before
    assert len(stored(log, one.portfolio_id)) == len(before) + 1
    assert {one.portfolio_id, other.portfolio_id} <= set(log.portfolios())
    assert log.portfolios() == sorted(log.portfolios(), key=str)


# --- atomic, idempotent, optimistic -----------------------------------------------------------------------------------


def test_rejected_batch_stores_nothing(log: EventLog, new_story: StoryMaker) -> None:
    """When one event of a batch is rejected none is stored, and the next append leaves no gap."""
    story = opened(log, new_story())
    before = stored(log, story.portfolio_id)
    clash = replace(story.events[1], actor="somebody else")

    with pytest.raises(Conflict, match=str(clash.event_id)):
        log.append(story.portfolio_id, [halted(story, "first"), clash, halted(story, "last")])
    assert stored(log, story.portfolio_id) == before
    assert [one.position for one in log.append(story.portfolio_id, [halted(story, "next")])] == [len(before) + 1]


@given(data=st.data())
def test_repeated_append_returns_the_stored_envelopes(make_log: LogMaker, data: st.DataObject) -> None:
    """Events appended again, in part and mixed with new ones, return the stored envelopes and are stored once."""
    story = Story(f"repeat {next(_examples)}")
    log = make_log(SteppingClock())
    log.append(story.portfolio_id, story.opened())
    first = log.append(story.portfolio_id, [halted(story, f"number {number}") for number in range(4)])
    repeated: list[NewEvent] = data.draw(st.lists(st.sampled_from(story.events), unique_by=lambda new: new.event_id))
    fresh = [halted(story, f"fresh {number}") for number in range(data.draw(st.integers(0, 3)))]
    mixed: list[NewEvent] = data.draw(st.permutations([*repeated, *fresh]))
    before = stored(log, story.portfolio_id)

    answers = log.append(story.portfolio_id, mixed)
    new = [one for one in mixed if one in fresh]
    assert [one.event_id for one in answers] == [one.event_id for one in mixed]
    assert [one.event_id for one in stored(log, story.portfolio_id)][len(before) :] == [one.event_id for one in new]
    assert all(answer in stored(log, story.portfolio_id) for answer in answers)
    assert stored(log, story.portfolio_id)[: len(before)] == before
    assert first == stored(log, story.portfolio_id)[3:7]


@pytest.mark.parametrize(
    "change",
    [
        lambda new: replace(new, event=TradingHalted(reason="another")),
        lambda new: replace(new, occurred_at=new.occurred_at + timedelta(microseconds=1)),
        lambda new: replace(new, actor="another"),
        lambda new: replace(new, metadata='{"source":"another"}'),
    ],
    ids=["payload", "time", "actor", "metadata"],
)
def test_append_raises_conflict_for_an_id_with_other_content(
    log: EventLog, new_story: StoryMaker, change: Callable[[NewEvent], NewEvent]
) -> None:
    """Any difference to the stored event of the same id is a conflict."""
    story = opened(log, new_story())
    new = halted(story, "as it was")
    log.append(story.portfolio_id, [new])
    before = stored(log, story.portfolio_id)

    with pytest.raises(Conflict, match="already stored with other content"):
        log.append(story.portfolio_id, [change(new)])
    assert stored(log, story.portfolio_id) == before
    assert log.append(story.portfolio_id, [new]) == before[-1:]


@given(expected=st.integers(-2, 9), events=st.integers(0, 3), repeats=st.booleans())
def test_expected_position_is_checked_only_for_new_events(
    make_log: LogMaker, expected: int, events: int, repeats: bool
) -> None:
    """With a wrong expected position nothing is stored; without new events it is not checked."""
    story = Story(f"expected {next(_examples)}")
    log = make_log(SteppingClock())
    log.append(story.portfolio_id, story.opened())
    batch = [*(story.events[1:3] if repeats else []), *(halted(story, "now") for _ in range(events))]
    before = stored(log, story.portfolio_id)

    if events and expected != len(before):
        with pytest.raises(Conflict, match=f"expected position {expected}, but the log stands at {len(before)}"):
            log.append(story.portfolio_id, batch, expected)
        assert stored(log, story.portfolio_id) == before
    else:
        log.append(story.portfolio_id, batch, expected)
        assert len(stored(log, story.portfolio_id)) == len(before) + events


def test_append_rejects_a_batch_with_a_repeated_id(log: EventLog, new_story: StoryMaker) -> None:
    """A batch with the same event twice raises ValueError and stores nothing."""
    story = opened(log, new_story())
    twice = halted(story, "twice")

    with pytest.raises(ValueError, match="same id"):
        log.append(story.portfolio_id, [twice, twice])
    assert len(stored(log, story.portfolio_id)) == 3


def test_first_event_must_open_the_portfolio(log: EventLog, new_story: StoryMaker) -> None:
    """Without an opening nothing is stored, and a failed first append leaves no trace."""
    story = new_story()
    opening = story.opened()

    for batch in ([], opening[1:], [opening[1], opening[0]]):
        with pytest.raises(NoSuchPortfolio, match=str(story.portfolio_id)):
            log.append(story.portfolio_id, batch)
    with pytest.raises(Conflict):
        log.append(story.portfolio_id, opening, expected_position=1)
    with pytest.raises(NoSuchPortfolio):
        log.append(story.portfolio_id, opening[1:])
    with pytest.raises(NoSuchPortfolio):
        log.head(story.portfolio_id)
    assert story.portfolio_id not in log.portfolios()
    assert stored(log, story.portfolio_id) == []
    assert [one.position for one in log.append(story.portfolio_id, opening, expected_position=0)] == [1, 2, 3]


# --- times ------------------------------------------------------------------------------------------------------------


@given(seconds=st.lists(st.integers(-100, 100), min_size=1, max_size=8), empty=st.booleans())
def test_recorded_at_never_decreases(make_log: LogMaker, seconds: list[int], empty: bool) -> None:
    """The time of recording is the later of the clock's and the previous event's."""
    story = Story(f"clock {next(_examples)}")
    times = [START + timedelta(seconds=second) for second in seconds]
    log = make_log(ListedClock([START, START + timedelta(days=1), *times] if empty else [START, *times]))
    log.append(story.portfolio_id, story.opened())
    if empty:
        log.append(story.portfolio_id, [])
    for _ in times:
        log.append(story.portfolio_id, [halted(story, "tick")])

    recorded = [one.recorded_at for one in stored(log, story.portfolio_id)][2:]
    assert all(earlier <= later for earlier, later in pairwise(recorded))
    assert recorded[1:] == [max([START, *times[: number + 1]]) for number in range(len(times))]


@given(time=st.datetimes(min_value=datetime(1, 1, 2), max_value=datetime(9999, 12, 30), timezones=st.just(UTC)))  # noqa: DTZ001
@example(time=datetime(1969, 12, 31, 23, 59, 59, 999999, UTC))
@example(time=datetime(1, 1, 1, tzinfo=UTC))
@example(time=datetime(9999, 12, 31, 23, 59, 59, 999999, UTC))
def test_times_are_stored_to_the_microsecond(make_log: LogMaker, time: datetime) -> None:
    """Times from year 1 to 9999 come back to the microsecond, in a valid chain."""
    story = Story(f"time {next(_examples)}")
    log = make_log(ListedClock([time]))
    log.append(story.portfolio_id, story.opened())
    log.append(story.portfolio_id, [story.new(TradingHalted(reason="then"), at=time)])

    assert stored(log, story.portfolio_id)[-1].occurred_at == time
    assert stored(log, story.portfolio_id)[-1].recorded_at == time


# --- texts ------------------------------------------------------------------------------------------------------------

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=60)


@given(reason=TEXTS, actor=TEXTS, metadata=TEXTS)
@example(reason='"quoted" \\ back \\u0000 slash \\', actor="O'Brien", metadata='{"a":"\\u0000"}')
@example(reason="Жить 生活 🜚 e\u0301 \u202eback\ufeff\uffff\U0010ffff", actor="%s $1 ;--", metadata="\\\\x00")
@example(reason="line\r\nbreak\tand\x7f\x01control", actor="", metadata="")
@example(reason="€" * 2000, actor="a" * 100_000, metadata='"' * 100_000)
def test_texts_are_stored_exactly(engine: Engine, reason: str, actor: str, metadata: str) -> None:
    """Any text comes back unchanged, and both logs compute the same hash."""
    story = Story(f"text {next(_examples)}")
    memory, postgres = MemoryLog(SteppingClock()), PostgresLog(engine, SteppingClock())
    batch = [*story.opened(), halted(story, reason, actor=actor, metadata=metadata)]

    assert memory.append(story.portfolio_id, batch) == postgres.append(story.portfolio_id, batch)
    last = stored(postgres, story.portfolio_id)[-1]
    assert (last.event, last.actor, last.metadata) == (TradingHalted(reason=reason), actor, metadata)
    assert postgres.append(story.portfolio_id, batch)[-1] == last


def rejected(rule: RuleChecked) -> SignalRejected:
    return SignalRejected(signal_id=UUID(int=1), rules=(rule,), not_yet=False)


@pytest.mark.parametrize("character", ["\0", "\ud800"], ids=["nul", "lone surrogate"])
def test_events_reject_characters_that_cannot_be_stored(new_story: StoryMaker, character: str) -> None:
    """NUL and lone surrogates are rejected when the event is created, before any log sees them."""
    story, text = new_story(), f"a{character}b"
    trade = story.buy(Step("buy"))[0].event
    makers: tuple[Callable[[], Event], ...] = (
        lambda: TradingHalted(reason=text),
        lambda: PortfolioOpened(name=text, base_currency=Asset("USD")),
        lambda: BotConfigured(bot_id="rsi", parameters=text),
        lambda: rejected(RuleChecked(rule="age", passed=False, reason="", numbers={"age": text})),
        lambda: rejected(RuleChecked(rule="age", passed=False, reason=text, numbers={})),
        lambda: TradeExecuted.model_validate(dict(trade) | {"triggered_by": f"exit:{text}"}),
        lambda: TradeExecuted.model_validate(dict(trade) | {"triggered_by": f"bot:{text}"}),
        lambda: decode("TradingHalted", 1, json.dumps({"reason": text})),
    )
    for make in makers:
        with pytest.raises((ValueError, BadEvent), match=r"pattern|unicode|hex escape"):
            make()
    for surroundings in ({"actor": text}, {"metadata": text}):
        with pytest.raises(ValueError, match="cannot be stored"):
            halted(story, "fine", **surroundings)


# --- concurrency ------------------------------------------------------------------------------------------------------

WRITERS, BATCHES = 4, 40


def deposits(writer: int, number: int) -> list[NewEvent]:
    """Return a batch of one to three events of this writer."""
    return [
        NewEvent(
            event=CashDeposited(account="main", asset=Asset("USD"), amount=Decimal(1 + part)),
            event_id=derived_id("deposit", writer, number, part),
            occurred_at=START + timedelta(seconds=number),
            actor=f"writer {writer}",
            correlation_id=derived_id("deposit", writer, number),
        )
        for part in range(1 + number % 3)
    ]


def write(log: EventLog, portfolio_id: UUID, writer: int) -> list[tuple[UUID, int]]:
    """Append all batches of one writer, each twice; return the acknowledged ids and positions."""
    answers: list[Envelope] = []
    for number in range(BATCHES):
        answers += log.append(portfolio_id, deposits(writer, number))
        assert log.append(portfolio_id, deposits(writer, number)) == answers[-(1 + number % 3) :]
    return [(one.event_id, one.position) for one in answers]


def write_in_process(url: str, portfolio_id: UUID, writer: int) -> list[tuple[UUID, int]]:
    engine = engine_for(url, WRITER)
    try:
        return write(PostgresLog(engine, SteppingClock()), portfolio_id, writer)
    finally:
        engine.dispose()


def tail(pages: Callable[[int], Sequence[Envelope]], finished: Callable[[], bool]) -> list[Envelope]:
    """Read all events above the last position seen until the writers have finished. A gap means a lost event."""
    seen: list[Envelope] = []
    while True:
        last_round = finished()
        for envelope in pages(seen[-1].position if seen else 0):
            assert envelope.position == len(seen) + 1, f"jumped from {len(seen)} to {envelope.position}"
            seen.append(envelope)
        if last_round:
            return seen


def check_history(found: Sequence[Envelope], acknowledged: Sequence[tuple[UUID, int]]) -> None:
    """Check that every acknowledged event is stored once, at its position, and that batches are contiguous."""
    wanted = sorted(acknowledged, key=lambda one: one[1])
    assert [(one.event_id, one.position) for one in found[3:]] == wanted
    assert len(wanted) == WRITERS * sum(1 + number % 3 for number in range(BATCHES))
    places = dict(wanted)
    for writer in range(WRITERS):
        for number in range(BATCHES):
            ids = [new.event_id for new in deposits(writer, number)]
            assert [places[event_id] - places[ids[0]] for event_id in ids] == list(range(len(ids)))


def test_concurrent_threads_lose_and_duplicate_nothing(log: EventLog, new_story: StoryMaker) -> None:
    """With several writing threads every event is stored once, and a following reader sees all of them in order."""
    story = opened(log, new_story())
    with ThreadPoolExecutor(WRITERS + 1) as pool:
        writers = [pool.submit(write, log, story.portfolio_id, writer) for writer in range(WRITERS)]
        reader = pool.submit(
            tail,
            lambda after: list(log.read(story.portfolio_id, after)),
            lambda: all(writer.done() for writer in writers),
        )

    check_history(reader.result(), [one for writer in writers for one in writer.result()])
    assert reader.result() == stored(log, story.portfolio_id)


@pytest.mark.campaign
def test_concurrent_processes_lose_and_duplicate_nothing(
    database_url: str, engine: Engine, new_story: StoryMaker
) -> None:
    """The same with processes that share only the database."""
    log = PostgresLog(engine, SteppingClock())
    story = opened(log, new_story())
    with ProcessPoolExecutor(WRITERS, multiprocessing.get_context("spawn")) as pool:
        writers = [pool.submit(write_in_process, database_url, story.portfolio_id, writer) for writer in range(WRITERS)]
        seen = tail(
            lambda after: list(log.read(story.portfolio_id, after)),
            lambda: all(writer.done() for writer in writers),
        )

    check_history(seen, [one for writer in writers for one in writer.result()])
    assert seen == stored(log, story.portfolio_id)


def test_one_of_many_writers_wins_an_expected_position(log: EventLog, new_story: StoryMaker) -> None:
    """Of several writers expecting the same position one succeeds and all others get a conflict, in every round."""
    story = opened(log, new_story())
    start = threading.Barrier(8)

    def compete(writer: int) -> int:
        won = 0
        for number in range(25):
            start.wait()
            try:
                log.append(story.portfolio_id, deposits(writer, 3 * number), 3 + number)
                won += 1
            except Conflict:
                continue
        return won

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(compete, range(8))) == 25
    assert [one.position for one in stored(log, story.portfolio_id)] == list(range(1, 29))


def test_rolled_back_append_leaves_no_gap(database_url: str, engine: Engine, new_story: StoryMaker) -> None:
    """After a rollback the waiting writer gets the position."""
    log = PostgresLog(engine, SteppingClock())
    story = opened(log, new_story())
    given_up, kept = halted(story, "given up"), halted(story, "kept")
    with ThreadPoolExecutor(1) as pool:
        with engine.connect() as connection:
            lost = append_in(raw(connection), story.portfolio_id, [encoded(given_up)], None, START)
            waiting = pool.submit(log.append, story.portfolio_id, [kept])
            wait_until_blocked(database_url, waiting)
            raw(connection).rollback()
        answer = waiting.result()

    assert [one.position for one in lost.envelopes()] == [4]
    assert [one.position for one in answer] == [4]
    assert [one.event_id for one in stored(log, story.portfolio_id)][3:] == [kept.event_id]


def test_reader_check_finds_a_log_in_identity_order(database_url: str) -> None:
    """Planted: with order by an identity column a reader misses an event whose transaction commits late."""
    story = Story("identity")
    pattern = MemoryLog(SteppingClock()).append(story.portfolio_id, story.opened())[0]
    with psycopg.connect(database_url) as slow, psycopg.connect(database_url, autocommit=True) as quick:
        quick.execute("create table plain (position bigint generated always as identity primary key, writer text)")
        slow.execute("insert into plain (writer) values ('slow')")
        quick.execute("insert into plain (writer) values ('quick')")

        def page(after: int) -> list[Envelope]:
            rows = quick.execute("select position from plain where position > %s order by 1", (after,)).fetchall()
            slow.commit()
            return [replace(pattern, position=row[0]) for row in rows]

        with pytest.raises(AssertionError, match="jumped from 0 to 2"):
            tail(page, lambda: False)
        assert page(2) == []
        assert [one.position for one in page(0)] == [1, 2]
