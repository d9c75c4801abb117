"""One contract for every log: what `EventLog` promises, asked of the one in memory and of the one in PostgreSQL."""

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
from ledger.log.event_log import Conflict, EventLog, MemoryLog, NoSuchPortfolio
from ledger.log.hash_chain import verified
from ledger.postgres.database import WRITER, engine_for
from ledger.postgres.log import PostgresLog, append_in, raw
from ledger.values import Asset, derived_id
from tests.conftest import LogMaker, wait_until_blocked
from tests.support.events import START, ListedClock, Step, SteppingClock, Story, batches_of, realistic_batches, steps

StoryMaker = Callable[[], Story]
_examples = count(1)


def stored(log: EventLog, portfolio_id: UUID) -> list[Envelope]:
    """The whole log of a portfolio, proven."""
    return list(verified(portfolio_id, log.read(portfolio_id)))


def opened(log: EventLog, story: Story) -> Story:
    """The story, its first batch being in the log."""
    log.append(story.portfolio_id, story.opened())
    return story


def halted(story: Story, reason: str, **surroundings: str) -> NewEvent:
    return story.new(TradingHalted(reason=reason), **surroundings)  # type: ignore[arg-type]


# --- order and completeness -------------------------------------------------------------------------------------------


@given(moves=st.lists(steps(), max_size=12))
def test_positions_are_gapless_and_order_is_kept(make_log: LogMaker, moves: list[Step]) -> None:
    """Whatever is appended stands at positions 1, 2, 3 … in the order given, unchanged, under a chain that holds."""
    story = Story(f"order {next(_examples)}")
    log = make_log(SteppingClock())
    answers = [envelope for batch in batches_of(story, moves) for envelope in log.append(story.portfolio_id, batch)]

    found = stored(log, story.portfolio_id)
    assert found == answers
    assert [one.position for one in found] == list(range(1, len(story.told) + 1))
    assert [one.event_id for one in found] == [one.event_id for one in story.told]
    assert [one.event for one in found] == [one.event for one in story.told]
    assert [(one.occurred_at, one.actor, one.metadata) for one in found] == [
        (one.occurred_at, one.actor, one.metadata) for one in story.told
    ]


@given(moves=st.lists(steps(), max_size=12))
def test_both_logs_give_the_same_hashes(engine: Engine, moves: list[Step]) -> None:
    """The same events at the same times get the same envelopes, hash for hash, in memory and in PostgreSQL."""
    story = Story(f"hash {next(_examples)}")
    memory, postgres = MemoryLog(SteppingClock()), PostgresLog(engine, SteppingClock())

    for batch in batches_of(story, moves):
        assert memory.append(story.portfolio_id, batch) == postgres.append(story.portfolio_id, batch)
    assert stored(memory, story.portfolio_id) == stored(postgres, story.portfolio_id)
    assert memory.head(story.portfolio_id) == postgres.head(story.portfolio_id)


@given(moves=st.lists(steps(), max_size=12), repeats=st.booleans())
def test_encoded_events_are_stored_as_if_they_had_been_made_here(
    engine: Engine, moves: list[Step], repeats: bool
) -> None:
    """Events handed over as texts get the same envelopes as events, and those already there are not stored again."""
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


def test_encoded_events_follow_the_same_rules(engine: Engine, new_story: StoryMaker) -> None:
    """A clash, a wrong position, an id given twice and an unknown portfolio are refused on the road of texts too."""
    log = PostgresLog(engine, SteppingClock())
    with pytest.raises(NoSuchPortfolio):
        log.append_encoded(UUID(int=5), [encoded(halted(new_story(), "nowhere"))])
    story = opened(log, new_story())
    before = stored(log, story.portfolio_id)
    new, clash = encoded(halted(story, "new")), encoded(replace(story.told[1], actor="somebody else"))

    with pytest.raises(Conflict, match=str(clash.event_id)):
        log.append_encoded(story.portfolio_id, [new, clash])
    with pytest.raises(Conflict, match="expected position 7, but the log stands at 3"):
        log.append_encoded(story.portfolio_id, [new], expected_position=7)
    with pytest.raises(ValueError, match="same id"):
        log.append_encoded(story.portfolio_id, [new, new])
    assert stored(log, story.portfolio_id) == before
    assert log.append_encoded(story.portfolio_id, [], expected_position=7) == 0
    assert log.append_encoded(story.portfolio_id, [encoded(story.told[1]), new], expected_position=3) == 1
    assert [one.position for one in stored(log, story.portfolio_id)] == [1, 2, 3, 4]


@pytest.mark.parametrize(
    "limit", [None, 0, *(pytest.param(one, marks=pytest.mark.campaign) for one in (1, 4999, 5000, 5001, 20000))]
)
def test_reading_gives_what_was_asked_for(log: EventLog, new_story: StoryMaker, limit: int | None) -> None:
    """A reader gets the events above `after`, at most `limit`, however many pages that takes."""
    story = opened(log, new_story())
    log.append(story.portfolio_id, [halted(story, "again") for _ in range(5200)])

    for after in (0, 1, 5100, 5203, 9999):
        wanted = list(range(1, 5204))[after:][: 5203 if limit is None else limit]
        assert [one.position for one in log.read(story.portfolio_id, after, limit)] == wanted


def test_two_portfolios_are_independent(log: EventLog, new_story: StoryMaker) -> None:
    """The same event ids in two portfolios are two stories, each with its own positions and its own chain."""
    one, other = new_story(), new_story()
    for mine, theirs in zip(realistic_batches(one, 20), realistic_batches(other, 20), strict=True):
        log.append(one.portfolio_id, mine)
        log.append(other.portfolio_id, theirs)
    before = stored(log, other.portfolio_id)
    log.append(one.portfolio_id, [halted(one, "only here")])

    assert [envelope.event_id for envelope in before] == [new.event_id for new in one.told[:-1]]
    assert stored(log, other.portfolio_id) == before
    assert len(stored(log, one.portfolio_id)) == len(before) + 1
    assert {one.portfolio_id, other.portfolio_id} <= set(log.portfolios())
    assert log.portfolios() == sorted(log.portfolios(), key=str)


# --- atomic, idempotent, optimistic -----------------------------------------------------------------------------------


def test_a_refused_batch_leaves_nothing(log: EventLog, new_story: StoryMaker) -> None:
    """When one event of a batch is refused none is stored, and the next append finds no hole."""
    story = opened(log, new_story())
    before = stored(log, story.portfolio_id)
    clash = replace(story.told[1], actor="somebody else")

    with pytest.raises(Conflict, match=str(clash.event_id)):
        log.append(story.portfolio_id, [halted(story, "first"), clash, halted(story, "last")])
    assert stored(log, story.portfolio_id) == before
    assert [one.position for one in log.append(story.portfolio_id, [halted(story, "next")])] == [len(before) + 1]


@given(data=st.data())
def test_repeating_gives_the_old_answer(make_log: LogMaker, data: st.DataObject) -> None:
    """A batch sent again, in part and mixed with new events, is answered with the old envelopes and stored once."""
    story = Story(f"repeat {next(_examples)}")
    log = make_log(SteppingClock())
    log.append(story.portfolio_id, story.opened())
    first = log.append(story.portfolio_id, [halted(story, f"number {number}") for number in range(4)])
    repeated: list[NewEvent] = data.draw(st.lists(st.sampled_from(story.told), unique_by=lambda new: new.event_id))
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
def test_the_same_id_with_other_content_is_a_conflict(
    log: EventLog, new_story: StoryMaker, change: Callable[[NewEvent], NewEvent]
) -> None:
    """An event id that is taken by other content is refused, whatever the difference."""
    story = opened(log, new_story())
    new = halted(story, "as it was")
    log.append(story.portfolio_id, [new])
    before = stored(log, story.portfolio_id)

    with pytest.raises(Conflict, match="already stored with other content"):
        log.append(story.portfolio_id, [change(new)])
    assert stored(log, story.portfolio_id) == before
    assert log.append(story.portfolio_id, [new]) == before[-1:]


@given(expected=st.integers(-2, 9), events=st.integers(0, 3), repeats=st.booleans())
def test_an_expected_position_is_asked_of_new_events_only(
    make_log: LogMaker, expected: int, events: int, repeats: bool
) -> None:
    """An append that expects another position stores nothing; one that has nothing new to store is never refused."""
    story = Story(f"expected {next(_examples)}")
    log = make_log(SteppingClock())
    log.append(story.portfolio_id, story.opened())
    batch = [*(story.told[1:3] if repeats else []), *(halted(story, "now") for _ in range(events))]
    before = stored(log, story.portfolio_id)

    if events and expected != len(before):
        with pytest.raises(Conflict, match=f"expected position {expected}, but the log stands at {len(before)}"):
            log.append(story.portfolio_id, batch, expected)
        assert stored(log, story.portfolio_id) == before
    else:
        log.append(story.portfolio_id, batch, expected)
        assert len(stored(log, story.portfolio_id)) == len(before) + events


def test_one_id_twice_in_a_batch_is_a_mistake(log: EventLog, new_story: StoryMaker) -> None:
    """A batch that names one event twice is refused before anything is stored."""
    story = opened(log, new_story())
    twice = halted(story, "twice")

    with pytest.raises(ValueError, match="same id"):
        log.append(story.portfolio_id, [twice, twice])
    assert len(stored(log, story.portfolio_id)) == 3


def test_a_portfolio_begins_with_its_opening(log: EventLog, new_story: StoryMaker) -> None:
    """Nothing is stored for a portfolio that was never opened, and no failed beginning leaves a trace."""
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
def test_recording_times_never_run_backwards(make_log: LogMaker, seconds: list[int], empty: bool) -> None:
    """The time of recording is the clock's or that of the event before, whichever is later; nothing else moves it."""
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
def test_every_time_is_kept_to_the_microsecond(make_log: LogMaker, time: datetime) -> None:
    """Times long before 1970 and long after now come back to the microsecond, under a chain that holds."""
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
def test_every_text_is_kept_exactly(engine: Engine, reason: str, actor: str, metadata: str) -> None:
    """Any text comes back letter for letter, and both logs agree on its hash."""
    story = Story(f"text {next(_examples)}")
    memory, postgres = MemoryLog(SteppingClock()), PostgresLog(engine, SteppingClock())
    batch = [*story.opened(), halted(story, reason, actor=actor, metadata=metadata)]

    assert memory.append(story.portfolio_id, batch) == postgres.append(story.portfolio_id, batch)
    last = stored(postgres, story.portfolio_id)[-1]
    assert (last.event, last.actor, last.metadata) == (TradingHalted(reason=reason), actor, metadata)
    assert postgres.append(story.portfolio_id, batch)[-1] == last


def rejected(rule: RuleChecked) -> SignalRejected:
    return SignalRejected(signal_id=UUID(int=1), rules=(rule,), not_yet=False)


@pytest.mark.parametrize("character", ["\0", "\ud800"], ids=["nul", "half a pair"])
def test_a_character_that_cannot_be_stored_is_refused_at_the_event(new_story: StoryMaker, character: str) -> None:
    """NUL and half a surrogate pair are refused where the event is made, so that no log ever meets them."""
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
    """A batch of one to three events that belongs to this writer alone."""
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
    """All batches of one writer, each sent twice; gives the ids and positions acknowledged."""
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
    """What a reader sees that asks for everything above the last position it saw, until the writers have finished.

    A jump means that it has missed something for ever.
    """
    seen: list[Envelope] = []
    while True:
        last_round = finished()
        for envelope in pages(seen[-1].position if seen else 0):
            assert envelope.position == len(seen) + 1, f"jumped from {len(seen)} to {envelope.position}"
            seen.append(envelope)
        if last_round:
            return seen


def check_history(found: Sequence[Envelope], acknowledged: Sequence[tuple[UUID, int]]) -> None:
    """Every acknowledged event is there once, where it was acknowledged, and every batch lies together."""
    wanted = sorted(acknowledged, key=lambda one: one[1])
    assert [(one.event_id, one.position) for one in found[3:]] == wanted
    assert len(wanted) == WRITERS * sum(1 + number % 3 for number in range(BATCHES))
    places = dict(wanted)
    for writer in range(WRITERS):
        for number in range(BATCHES):
            ids = [new.event_id for new in deposits(writer, number)]
            assert [places[event_id] - places[ids[0]] for event_id in ids] == list(range(len(ids)))


def test_threads_lose_and_double_nothing(log: EventLog, new_story: StoryMaker) -> None:
    """Threads that write at once lose and double nothing, and a reader that follows them sees all of it in order."""
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


def test_processes_lose_and_double_nothing(database_url: str, engine: Engine, new_story: StoryMaker) -> None:
    """The same holds for separate processes, which share nothing but the database."""
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


def test_of_many_writers_expecting_one_position_one_wins(log: EventLog, new_story: StoryMaker) -> None:
    """When many want the same next position one gets it and all others are told of the conflict, round after round."""
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


def test_an_append_rolled_back_leaves_no_hole(database_url: str, engine: Engine, new_story: StoryMaker) -> None:
    """A transaction that is given up after its append leaves no hole, and the writer that waited takes its place."""
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


def test_the_check_on_readers_finds_a_log_in_identity_order(database_url: str) -> None:
    """Planted: order by an identity column lets a reader pass over an event whose transaction commits late."""
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
