"""Legacy imports in tests, without a process per command."""

from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from uuid import UUID

from sqlalchemy import Engine

from ledger.events import TradeExecuted
from ledger.imports.run import Store
from ledger.postgres.book import PostgresBook
from ledger.projections.holdings import Holding
from ledger.projections.portfolio import cash_of
from ledger.replay.verify import rebuild_portfolio, verify_portfolio
from ledger.values import ZERO, Asset, Clock, decimal_text, derived_id
from migrations.legacy.check.check_import import Checked, check_import
from migrations.legacy.load.run import Done, Wanted, prepared, run_import
from migrations.legacy.rollback import RolledBack, roll_back
from migrations.legacy.translate.decisions import UNDECIDED, Decisions
from tests.support.events import SteppingClock
from tests.support.legacy.databases import Happened, Legacy


@dataclass(frozen=True, slots=True)
class Move:
    """The import of one legacy database into one portfolio."""

    engine: Engine
    url: str
    name: str
    folder: Path
    clock: Clock
    base: str | None = "USD"

    @property
    def store(self) -> Store:
        return Store(PostgresBook(self.engine, self.clock), partial(rebuild_portfolio, self.engine))

    @property
    def portfolio_id(self) -> UUID:
        return derived_id("portfolio", self.name)

    def wanted(self, decisions: Decisions = UNDECIDED) -> Wanted:
        base = Asset(self.base) if self.base else None
        return Wanted(self.url, self.name, self.portfolio_id, self.folder / self.name, decisions, base)

    def run(self, decisions: Decisions = UNDECIDED) -> Done:
        with prepared(self.store, self.wanted(decisions), origins=True) as found:
            return run_import(self.store, found)

    def check(self) -> Checked:
        with prepared(self.store, self.wanted(), comparison=True) as found:
            return check_import(self.store, found)

    def roll_back(self) -> RolledBack:
        return roll_back(self.store, self.portfolio_id, self.name, self.clock())

    def verified_state(self) -> str:
        """Verify the portfolio by replay and return its state hash."""
        found = verify_portfolio(self.engine, self.portfolio_id)
        assert found.broken is None
        assert found.differences == ()
        return found.state_hash

    def events(self) -> int:
        """Length of the portfolio's log."""
        return self.store.book.log.head(self.portfolio_id).position

    def trades(self) -> Counter[Happened]:
        """Trades in the portfolio's log."""
        found: Counter[Happened] = Counter()
        for envelope in self.store.book.log.read(self.portfolio_id):
            event = envelope.event
            if isinstance(event, TradeExecuted):
                fee = sum((fee.amount for fee in event.fees), ZERO)
                texts = map(decimal_text, (event.quantity, event.price, fee))
                found[(str(event.instrument), event.side.value, *texts)] += 1  # type: ignore[index]
        return found

    def worth(self) -> tuple[str, dict[str, str]]:
        """Cash, and realised P&L by asset."""
        with self.store.book.reading(self.portfolio_id) as reading:
            held = {
                one.asset: decimal_text(one.realized_pnl) for one in reading.rows.where(Holding) if one.realized_pnl
            }
            return decimal_text(cash_of(reading.rows, "USD")), held


def move_of(engine: Engine, legacy: Legacy | Path | str, folder: Path, name: str) -> Move:
    """Return the import of a database into the portfolio of this name."""
    url = str(legacy.path if isinstance(legacy, Legacy) else legacy)
    return Move(engine, url, name, folder, SteppingClock())
