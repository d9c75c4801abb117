"""Moving in: dirty legacy databases of every generation go in whole, once, provably, and come out again."""

import random
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import Engine

from ledger.events import CashDeposited, TradeExecuted
from ledger.imports import run as importing
from ledger.imports.pending import PendingEvent
from ledger.imports.run import Store, WrongPortfolio
from ledger.log.envelope import NewEvent
from ledger.log.event_log import NoSuchPortfolio
from ledger.postgres.book import PostgresBook
from ledger.postgres.database import migrate
from ledger.values import Asset, Instrument, Side, derived_id
from migrations.legacy.check import pnl
from migrations.legacy.check.check_import import Checked
from migrations.legacy.check.pnl import explained
from migrations.legacy.load import run
from migrations.legacy.read.source import file_hash
from migrations.legacy.rollback import roll_back
from migrations.legacy.translate import orders, rows
from migrations.legacy.translate.comparison import CAUSES
from tests.support.events import Story
from tests.support.legacy_databases import GENERATIONS, Legacy, make_legacy
from tests.support.legacy_imports import Move, connections, move_of

Alter = Callable[..., object]


@pytest.fixture
def other_engine(empty_database_url: str) -> Iterator[Engine]:
    """A second database, in which the same portfolio has the same ids."""
    migrate(empty_database_url)
    with connections(empty_database_url) as engine:
        yield engine


def must_hold(move: Move, legacy: Legacy) -> Checked:
    """The whole promise after a run: nothing lost, nothing invented, all explained, the source as it was."""
    checked = move.check()
    assert checked.wrong == ()
    assert all(one.unaccounted == 0 for one in checked.rows.values())
    assert {name: one.source for name, one in checked.rows.items() if one.source} == dict(legacy.rows)
    for product in [*checked.pnl.values(), checked.total]:
        for one in product.formulas.values():
            assert sum(one.causes.values(), Decimal(0)) == one.ledger - one.legacy
            assert one.causes["unexplained"] == 0
    return checked


def live_through(engine: Engine, folder: Path, seed: int, executions: int) -> None:
    """One database, from its making to the rollback of its import."""
    legacy = make_legacy(folder / f"{seed}.db", seed, executions)
    before = file_hash(legacy.path)
    move = move_of(engine, legacy, folder, f"legacy {seed}")

    first = move.run()
    must_hold(move, legacy)
    if not first.imported:
        return
    assert move.trades() == legacy.happened
    state, length = move.proven(), move.events()
    assert [move.run().imported for _ in range(2)] == [0, 0]
    assert (move.proven(), move.events()) == (state, length)

    trade_later(move)
    must_hold(move, legacy)
    done = move.roll_back()
    assert done.reversed == sum(legacy.happened.values())
    assert move.worth() == LATER_WORTH
    move.proven()
    assert move.roll_back().reversed == 0
    assert file_hash(legacy.path) == before


LATER_WORTH = ("1050", {"BTC": "100"})
"""Cash and gains of what `trade_later` does, had nothing else ever happened."""


def trade_later(move: Move, times: int = 1) -> None:
    """After the import the portfolio goes on: money comes in, a coin is bought and half of it sold, `times` in all."""
    at, account = datetime(2026, 3, 1, tzinfo=UTC), "legacy"
    events: list[NewEvent] = []

    def add(event: CashDeposited | TradeExecuted) -> None:
        id_ = derived_id("later", move.name, len(events))
        events.append(NewEvent(event, id_, at + timedelta(seconds=len(events)), "owner", id_))

    add(CashDeposited(account=account, asset=Asset("USD"), amount=Decimal(1000)))
    for turn in range(times):
        for side, quantity, price in ((Side.BUY, Decimal(2), Decimal(50)), (Side.SELL, Decimal(1), Decimal(150))):
            add(
                TradeExecuted(
                    account=account,
                    venue="paper",
                    venue_trade_id=f"later {turn} {side.value}",
                    instrument=Instrument("BTC-USD"),
                    side=side,
                    quantity=quantity,
                    price=price,
                    quote_rate=Decimal(1),
                    triggered_by="manual",
                )
            )
    move.store.book.record(move.portfolio_id, events)


@pytest.mark.parametrize("seed", [0, 5, 19, 24])
def test_whatever_is_dirty_goes_in_whole_and_comes_out_again(seed: int, engine: Engine, tmp_path: Path) -> None:
    """Each row is accounted for, each execution stands once, each difference is explained, three runs are one, and a
    rollback leaves what came later as if nothing else had been; the replay is clean throughout and the source untouched."""
    live_through(engine, tmp_path, seed, executions=30)


@pytest.mark.nightly
@pytest.mark.parametrize("seeds", [range(start, start + 25) for start in range(100, 500, 25)], ids=str)
def test_hundreds_of_dirty_databases_go_in_whole(seeds: range, engine: Engine, tmp_path: Path) -> None:
    """The same for four hundred databases of up to a few hundred rows."""
    for seed in seeds:
        live_through(engine, tmp_path, seed, executions=random.Random(seed).choice([0, 1, 5, 40, 120]))


@pytest.mark.parametrize("generation", range(GENERATIONS))
def test_every_generation_goes_in(generation: int, engine: Engine, tmp_path: Path) -> None:
    """A database of each generation is imported; what a generation did not write down is asked for, not guessed."""
    legacy = make_legacy(tmp_path / "legacy.db", 1000 + generation, 40, generation)
    move = move_of(engine, legacy, tmp_path, "mine")
    move.run()
    checked = must_hold(move, legacy)
    if generation < 3:
        assert checked.rows["trades"].quarantined > 0
        move.run({"trades": {"*": {"unit": "base"}}})
        decided = must_hold(move, legacy)
        assert decided.rows["trades"].quarantined < checked.rows["trades"].quarantined
        assert decided.rows["trades"].imported > checked.rows["trades"].imported


def test_an_empty_database_goes_in(engine: Engine, tmp_path: Path) -> None:
    """With no row there is nothing to import, nothing to explain, and no portfolio to roll back."""
    legacy = make_legacy(tmp_path / "legacy.db", 3, 0, 0)
    move = move_of(engine, legacy, tmp_path, "mine")
    assert move.run().imported == 0
    assert move.check().ok
    with pytest.raises(NoSuchPortfolio):
        move.roll_back()


class Death(BaseException):
    """The process is gone."""


@pytest.mark.parametrize("seed", range(2))
def test_a_killed_run_goes_on_to_the_same_end(
    seed: int, engine: Engine, other_engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed again and again, before a batch or after it was stored, a run ends in the state of one that was left alone."""
    dice = random.Random(seed)
    legacy = make_legacy(tmp_path / "legacy.db", 50 + seed, 25, 5)
    alone = move_of(other_engine, legacy, tmp_path / "alone", "mine")
    alone.run()
    monkeypatch.setattr(importing, "BATCH", 5)
    monkeypatch.setattr(importing, "AT_ONCE", 4)
    append = PostgresBook.append_encoded
    move = move_of(engine, legacy, tmp_path, "mine")

    def deadly(book: PostgresBook, portfolio_id: UUID, events: list[PendingEvent]) -> int:
        before = dice.random() < 0.3
        if before:
            raise Death
        count = append(book, portfolio_id, events)  # type: ignore[arg-type]
        if dice.random() < 0.3:
            raise Death
        return count

    monkeypatch.setattr(PostgresBook, "append_encoded", deadly)
    deaths = 0
    for _ in range(200):
        with suppress(Death):
            move.run()
            break
        deaths += 1
    monkeypatch.setattr(PostgresBook, "append_encoded", append)

    assert deaths > 0
    assert move.run().imported == 0
    must_hold(move, legacy)
    assert move.proven() == alone.proven()


def test_what_was_written_during_the_import_goes_in_with_the_next_run(engine: Engine, tmp_path: Path) -> None:
    """Rows that came in meanwhile are imported; a bot's row whose fill is synced later is taken back for the fill."""
    legacy = make_legacy(tmp_path / "legacy.db", 4, 0, 5)
    write(
        legacy.path,
        "insert into trades (id, product_id, side, size, price, size_usd, order_id, status, filled_at) values"
        " (1, 'BTC-USD', 'BUY', 0.5, 100.0, 50.0, 'o1', 'completed', '2025-09-20 10:00:00')",
    )
    move = move_of(engine, legacy, tmp_path, "mine")
    move.run()
    write(
        legacy.path,
        "insert into raw_trades (id, fill_id, order_id, product_id, side, size, size_in_quote, price, commission, created_at)"
        " values (1, 'f1', 'o1', 'BTC-USD', 'BUY', 0.5, 0, 101.0, 0.3, '2025-09-20T10:00:01Z')",
        "insert into trades (id, product_id, side, size, price, size_usd, order_id, status, filled_at) values"
        " (2, 'BTC-USD', 'SELL', 0.1, 120.0, 12.0, 'o2', 'filled', '2025-09-20 11:00:00')",
    )
    assert not move.check().ok

    done = move.run()
    assert (done.taken_back, move.check().wrong) == (1, ())
    held = move.check().pnl["BTC-USD"]
    assert (held.open_quantity, held.fees) == (Decimal("0.4"), Decimal("0.3"))
    assert held.realized == Decimal(12) - (Decimal("0.5") * 101 + Decimal("0.3")) / 5
    assert move.run() == run.Done(0, 0, done.archive)
    move.proven()


def test_a_row_that_changes_is_asked_about(engine: Engine, tmp_path: Path) -> None:
    """An id that says something else than when it was imported is quarantined; what was imported stands until replaced."""
    legacy = make_legacy(tmp_path / "legacy.db", 4, 0, 5)
    write(
        legacy.path,
        "insert into trades (id, product_id, side, size, price, size_usd, status, filled_at) values"
        " (1, 'BTC-USD', 'BUY', 2.0, 100.0, 200.0, 'filled', '2025-09-20 10:00:00')",
    )
    move = move_of(engine, legacy, tmp_path, "mine")
    move.run()
    write(legacy.path, "update trades set price = 90.0, size_usd = 180.0")
    assert move.run().imported == 0
    checked = move.check()
    assert (checked.ok, checked.rows["trades"].quarantined) == (True, 1)
    assert checked.pnl["BTC-USD"].open_cost == Decimal(200)

    assert move.run({"trades": {"1": {"action": "replace"}}}).taken_back == 1
    checked = move.check()
    assert (checked.ok, checked.rows["trades"].quarantined) == (True, 0)
    assert checked.pnl["BTC-USD"].open_cost == Decimal(180)
    assert move.run().imported == 0
    write(legacy.path, "delete from trades")
    assert move.run().taken_back == 0, "a row that is gone is no reason to forget what happened"
    move.proven()


def test_decisions_bring_quarantined_rows_in(engine: Engine, tmp_path: Path) -> None:
    """What no arithmetic can tell is decided in a file, remembered, and shown in the event."""
    legacy = make_legacy(tmp_path / "legacy.db", 4, 0, 5)
    rows = (
        "(1, 'BTC-USD', null, 2.0, 100.0, 200.0, 'filled')",
        "(2, 'BTC-USD', 'BUY', 100.0, 100.0, null, 'filled')",
        "(3, 'BTC-USD', 'BUY', 1.0, 100.0, 100.0, 'filled')",
    )
    insert = "insert into trades (id, product_id, side, size, price, size_usd, status, filled_at) select *, '2025-09-20' from"
    write(legacy.path, f"{insert} (values {', '.join(rows)})")
    move = move_of(engine, legacy, tmp_path, "mine")
    move.run()
    assert move.check().rows["trades"].quarantined == 2
    move.run({"trades": {"1": {"side": "sell"}, "2": {"unit": "quote"}, "3": {"action": "archive"}}})
    checked = move.check()
    assert (checked.ok, checked.rows["trades"].quarantined) == (True, 0)
    assert move.trades() == {("BTC-USD", "sell", "2", "100", "0"): 1, ("BTC-USD", "buy", "1", "100", "0"): 2}
    # The archived one is taken back; at one time the row with the smaller id comes first, so the sale found nothing.
    assert checked.pnl["BTC-USD"].open_quantity == Decimal(1)
    assert checked.pnl["BTC-USD"].unmatched_proceeds == Decimal(200)


def test_a_rollback_leaves_a_thousand_later_trades(engine: Engine, tmp_path: Path) -> None:
    """After the rollback only what came after the import counts, as if nothing else had ever been there."""
    legacy = make_legacy(tmp_path / "legacy.db", 9, 25, 5)
    move = move_of(engine, legacy, tmp_path, "mine")
    move.run()
    trade_later(move, times=100)
    done = move.roll_back()
    assert (done.later, done.closed) == (201, False)
    # Each turn buys two at 50 and sells one at 150; first in, first out, every one sold had cost 50.
    assert move.worth() == ("6000", {"BTC": "10000"})
    move.proven()
    with pytest.raises(WrongPortfolio, match="rolled back"):
        move.run()


def test_a_rollback_without_anything_later_closes_the_portfolio(engine: Engine, tmp_path: Path) -> None:
    """Nothing is left of it but its history."""
    legacy = make_legacy(tmp_path / "legacy.db", 9, 20, 5)
    move = move_of(engine, legacy, tmp_path, "mine")
    move.run()
    assert move.roll_back().closed
    assert move.worth() == ("0", {})
    assert move.roll_back().closed is False
    move.proven()


def test_a_portfolio_that_no_import_opened_is_left_alone(engine: Engine, tmp_path: Path) -> None:
    """An import needs a portfolio of its own, and a rollback touches no other."""
    legacy = make_legacy(tmp_path / "legacy.db", 9, 5, 5)
    move = move_of(engine, legacy, tmp_path, "mine")
    story = Story("mine")
    story.portfolio_id = move.portfolio_id
    move.store.book.record(move.portfolio_id, story.opened())
    with pytest.raises(WrongPortfolio, match="own"):
        move.run()
    with pytest.raises(WrongPortfolio, match="not opened by an import"):
        move.roll_back()


def write(path: Path, *statements: str) -> None:
    """The legacy system writes to its file."""
    with closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


# ── planted mistakes ─────────────────────────────────────────────────────────────────────────────────────────────────


def planted(engine: Engine, folder: Path) -> Checked:
    """A database with every quirk, imported under a mistake and checked by what a test looks at."""
    legacy = make_legacy(folder / "legacy.db", 24, 60, 5)
    move = move_of(engine, legacy, folder, "mine")
    move.run()
    checked = move.check()
    assert checked.ok
    assert move.trades() == legacy.happened
    return checked


def test_without_a_planted_mistake_all_is_well(engine: Engine, tmp_path: Path) -> None:
    """The database that the mistakes below are planted into is imported whole, and its figures differ in every way."""
    formulas = planted(engine, tmp_path).total.formulas.values()
    told = {name for one in formulas for name, value in one.causes.items() if value}
    assert told >= set(CAUSES) - {"order", "unexplained"}


@pytest.mark.parametrize(
    ("room", "name", "mistake"),
    [
        (rows, "_near", lambda one, other: one <= other),  # units are guessed
        (orders, "_same_execution", lambda _bot_row, _synced: []),  # one execution twice
        (orders, "_fees", lambda fills, *_: {one.key: (Decimal(0), "none") for one in fills}),  # fees are forgotten
        (pnl, "_in_log", lambda *_: (one for one in list[object]())),  # the ledger holds nothing
    ],
    ids=["unit", "duplicate", "fee", "ledger"],
)
def test_a_planted_mistake_is_found(
    room: object, name: str, mistake: Alter, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is decided wrongly, forgotten or left unexplained, the check or the truth does not agree."""
    monkeypatch.setattr(room, name, mistake)
    with pytest.raises(AssertionError):
        planted(engine, tmp_path)


def test_a_lost_event_is_found(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: one trade of the import never reaches the log; a row is unaccounted for and its worth unexplained."""
    legacy = make_legacy(tmp_path / "legacy.db", 24, 60, 5)
    move = move_of(engine, legacy, tmp_path, "mine")

    def forgetful(store: Store, portfolio_id: UUID, events: Iterator[PendingEvent]) -> int:
        kept = list(events)
        lost = next(one for one in reversed(kept) if one.type == "TradeExecuted")
        return importing.append_many(store, portfolio_id, [one for one in kept if one is not lost])

    monkeypatch.setattr(run, "append_many", forgetful)
    move.run()
    checked = move.check()
    assert sum(one.unaccounted for one in checked.rows.values()) > 0
    assert not all(map(explained, checked.pnl.values()))
    assert not checked.ok


def test_an_id_that_is_fresh_each_time_is_found(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planted: event ids do not derive from the rows; the second run imports everything once more."""
    legacy = make_legacy(tmp_path / "legacy.db", 24, 20, 5)
    move = move_of(engine, legacy, tmp_path, "mine")
    move.run()
    monkeypatch.setattr("migrations.legacy.translate.outcomes.MAPPING", 7)
    assert move.run().imported > 0


def test_a_rollback_that_forgets_is_found(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: the rollback takes the last of its events not along; cash and gains are not those of what came later."""
    legacy = make_legacy(tmp_path / "legacy.db", 9, 25, 5)
    move = move_of(engine, legacy, tmp_path, "mine")
    move.run()
    trade_later(move)
    append = PostgresBook.append_encoded
    monkeypatch.setattr(PostgresBook, "append_encoded", lambda book, one, events: append(book, one, events[:-1]))
    roll_back(move.store, move.portfolio_id, move.name, move.clock())
    assert move.worth() != LATER_WORTH
