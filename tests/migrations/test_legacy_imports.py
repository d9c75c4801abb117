"""Imports of dirty legacy databases of every generation: complete, idempotent, verified, and reversible."""

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
from ledger.postgres.database import connected
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
from tests.support.legacy.databases import GENERATIONS, Legacy, make_legacy
from tests.support.legacy.imports import Move, move_of

Alter = Callable[..., object]


@pytest.fixture
def other_engine(empty_database_url: str) -> Iterator[Engine]:
    """A second database, so that the same portfolio can have the same ids."""
    with connected(empty_database_url) as engine:
        yield engine


def checked_import(move: Move, legacy: Legacy) -> Checked:
    """Check an import: nothing lost, nothing invented, all differences explained."""
    checked = move.check()
    assert checked.wrong == ()
    assert all(one.unaccounted == 0 for one in checked.rows.values())
    assert {name: one.source for name, one in checked.rows.items() if one.source} == dict(legacy.rows)
    for product in [*checked.pnl.values(), checked.total]:
        for one in product.formulas.values():
            assert sum(one.causes.values(), Decimal(0)) == one.ledger - one.legacy
            assert one.causes["unexplained"] == 0
    return checked


def check_life(engine: Engine, folder: Path, seed: int, executions: int) -> None:
    """Import a generated database, repeat the import, trade on, and roll it back."""
    legacy = make_legacy(folder / f"{seed}.db", seed, executions)
    before = file_hash(legacy.path)
    move = move_of(engine, legacy, folder, f"legacy {seed}")

    first = move.run()
    checked_import(move, legacy)
    if not first.imported:
        return
    assert move.trades() == legacy.happened
    state, length = move.verified_state(), move.events()
    assert [move.run().imported for _ in range(2)] == [0, 0]
    assert (move.verified_state(), move.events()) == (state, length)

    trade_later(move)
    checked_import(move, legacy)
    done = move.roll_back()
    assert done.reversed == sum(legacy.happened.values())
    assert move.worth() == LATER_WORTH
    move.verified_state()
    assert move.roll_back().reversed == 0
    assert file_hash(legacy.path) == before


LATER_WORTH = ("1050", {"BTC": "100"})
"""Cash and gains of `trade_later` alone."""


def trade_later(move: Move, times: int = 1) -> None:
    """Deposit after the import, then buy two coins and sell one, `times` times."""
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
def test_dirty_database_is_imported_completely_and_rolled_back(seed: int, engine: Engine, tmp_path: Path) -> None:
    """Rows are accounted for, executions imported once, differences explained, runs idempotent, the source unchanged; the
    rollback leaves later trades as if nothing else had happened."""
    check_life(engine, tmp_path, seed, executions=30)


@pytest.mark.nightly
@pytest.mark.parametrize("seeds", [range(start, start + 25) for start in range(100, 500, 25)], ids=str)
def test_hundreds_of_dirty_databases_are_imported_completely(seeds: range, engine: Engine, tmp_path: Path) -> None:
    """Four hundred databases of up to a few hundred rows."""
    for seed in seeds:
        check_life(engine, tmp_path, seed, executions=random.Random(seed).choice([0, 1, 5, 40, 120]))


@pytest.mark.parametrize("generation", range(GENERATIONS))
def test_each_generation_is_imported(generation: int, engine: Engine, tmp_path: Path) -> None:
    """Values that a generation did not store need a decision; they are not guessed."""
    legacy = make_legacy(tmp_path / "legacy.db", 1000 + generation, 40, generation)
    move = move_of(engine, legacy, tmp_path, "mine")
    move.run()
    checked = checked_import(move, legacy)
    if generation < 3:
        assert checked.rows["trades"].quarantined > 0
        move.run({"trades": {"*": {"unit": "base"}}})
        decided = checked_import(move, legacy)
        assert decided.rows["trades"].quarantined < checked.rows["trades"].quarantined
        assert decided.rows["trades"].imported > checked.rows["trades"].imported


def test_empty_database_creates_no_portfolio(engine: Engine, tmp_path: Path) -> None:
    legacy = make_legacy(tmp_path / "legacy.db", 3, 0, 0)
    move = move_of(engine, legacy, tmp_path, "mine")
    assert move.run().imported == 0
    assert move.check().ok
    with pytest.raises(NoSuchPortfolio):
        move.roll_back()


class Death(BaseException):
    """Stands for a killed process."""


@pytest.mark.parametrize("seed", range(2))
def test_interrupted_run_ends_in_the_state_of_an_undisturbed_one(
    seed: int, engine: Engine, other_engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupted at random, before a batch or after it was stored."""
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
    checked_import(move, legacy)
    assert move.verified_state() == alone.verified_state()


def test_next_run_imports_rows_written_since(engine: Engine, tmp_path: Path) -> None:
    """The trade of a bot's row is reversed and replaced once its fill is synced."""
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
    assert (done.reversed, move.check().wrong) == (1, ())
    figures = move.check().pnl["BTC-USD"]
    assert (figures.open_quantity, figures.fees) == (Decimal("0.4"), Decimal("0.3"))
    assert figures.realized == Decimal(12) - (Decimal("0.5") * 101 + Decimal("0.3")) / 5
    assert move.run() == run.Done(0, 0, done.archive)
    move.verified_state()


def test_changed_row_is_quarantined_until_a_decision_replaces_its_trade(engine: Engine, tmp_path: Path) -> None:
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

    assert move.run({"trades": {"1": {"action": "replace"}}}).reversed == 1
    checked = move.check()
    assert (checked.ok, checked.rows["trades"].quarantined) == (True, 0)
    assert checked.pnl["BTC-USD"].open_cost == Decimal(180)
    assert move.run().imported == 0
    write(legacy.path, "delete from trades")
    assert move.run().reversed == 0, "trades of deleted rows stay"
    move.verified_state()


def test_quarantined_rows_are_imported_after_decisions(engine: Engine, tmp_path: Path) -> None:
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
    # The archived one is reversed. Simultaneous rows are ordered by id, so the sale comes first and finds no lot.
    assert checked.pnl["BTC-USD"].open_quantity == Decimal(1)
    assert checked.pnl["BTC-USD"].unmatched_proceeds == Decimal(200)


def test_rollback_keeps_later_trades(engine: Engine, tmp_path: Path) -> None:
    """Their figures are those without the import."""
    legacy = make_legacy(tmp_path / "legacy.db", 9, 25, 5)
    move = move_of(engine, legacy, tmp_path, "mine")
    move.run()
    trade_later(move, times=100)
    done = move.roll_back()
    assert (done.later, done.closed) == (201, False)
    # Each turn buys two at 50 and sells one at 150; by FIFO, each sold one cost 50.
    assert move.worth() == ("6000", {"BTC": "10000"})
    move.verified_state()
    with pytest.raises(WrongPortfolio, match="rolled back"):
        move.run()


def test_rollback_closes_the_portfolio_when_no_later_events_exist(engine: Engine, tmp_path: Path) -> None:
    legacy = make_legacy(tmp_path / "legacy.db", 9, 20, 5)
    move = move_of(engine, legacy, tmp_path, "mine")
    move.run()
    assert move.roll_back().closed
    assert move.worth() == ("0", {})
    assert move.roll_back().closed is False
    move.verified_state()


def test_portfolio_not_opened_by_an_import_is_refused(engine: Engine, tmp_path: Path) -> None:
    """By the import and by the rollback."""
    legacy = make_legacy(tmp_path / "legacy.db", 9, 5, 5)
    move = move_of(engine, legacy, tmp_path, "mine")
    story = Story("mine")
    story.portfolio_id = move.portfolio_id
    move.store.book.record(move.portfolio_id, story.opened())
    with pytest.raises(WrongPortfolio, match="choose a new name"):
        move.run()
    with pytest.raises(WrongPortfolio, match="not opened by an import"):
        move.roll_back()


def write(path: Path, *statements: str) -> None:
    """Change the file as the legacy system does."""
    with closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


# ── planted mistakes ─────────────────────────────────────────────────────────────────────────────────────────────────


def planted(engine: Engine, folder: Path) -> Checked:
    """Import a database with every quirk, and check it as the tests do."""
    legacy = make_legacy(folder / "legacy.db", 24, 60, 5)
    move = move_of(engine, legacy, folder, "mine")
    move.run()
    checked = move.check()
    assert checked.ok
    assert move.trades() == legacy.happened
    return checked


def test_planted_database_is_correct_without_a_planted_mistake(engine: Engine, tmp_path: Path) -> None:
    """Its figures differ for each cause."""
    formulas = planted(engine, tmp_path).total.formulas.values()
    causes = {name for one in formulas for name, value in one.causes.items() if value}
    assert causes >= set(CAUSES) - {"order", "unexplained"}


@pytest.mark.parametrize(
    ("module", "name", "mistake"),
    [
        (rows, "_near", lambda one, other: one <= other),  # units are guessed
        (orders, "_same_execution", lambda _bot_row, _synced: []),  # one execution twice
        (orders, "_fees", lambda fills, *_: {one.key: (Decimal(0), "none") for one in fills}),  # fees are forgotten
        (pnl, "_in_log", lambda *_: (one for one in list[object]())),  # the ledger holds nothing
    ],
    ids=["unit", "duplicate", "fee", "ledger"],
)
def test_planted_mistake_is_found(
    module: object, name: str, mistake: Alter, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the check, or by comparison with the generated executions."""
    monkeypatch.setattr(module, name, mistake)
    with pytest.raises(AssertionError):
        planted(engine, tmp_path)


def test_lost_event_is_found(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: one trade never reaches the log. A row is unaccounted for and a difference unexplained."""
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


def test_unstable_event_ids_are_found(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: ids differ in the second run, which imports everything again."""
    legacy = make_legacy(tmp_path / "legacy.db", 24, 20, 5)
    move = move_of(engine, legacy, tmp_path, "mine")
    move.run()
    monkeypatch.setattr("migrations.legacy.translate.outcomes.MAPPING", 7)
    assert move.run().imported > 0


def test_incomplete_rollback_is_found(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: the rollback omits its last event. Cash and gains are not those of the later trades."""
    legacy = make_legacy(tmp_path / "legacy.db", 9, 25, 5)
    move = move_of(engine, legacy, tmp_path, "mine")
    move.run()
    trade_later(move)
    append = PostgresBook.append_encoded
    monkeypatch.setattr(PostgresBook, "append_encoded", lambda book, one, events: append(book, one, events[:-1]))
    roll_back(move.store, move.portfolio_id, move.name, move.clock())
    assert move.worth() != LATER_WORTH
