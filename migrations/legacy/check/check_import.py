"""Checks an import: all rows accounted for, all differences explained, stored figures equal to the events."""

from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from decimal import Decimal
from uuid import UUID

from ledger.events import TradeExecuted
from ledger.imports.run import Store
from ledger.projections.holdings import Holding
from ledger.values import ZERO
from migrations.legacy.check.pnl import ProductPnl, compared, explained, total_of
from migrations.legacy.load.run import Prepared, newest_archive
from migrations.legacy.load.stage import Stage
from migrations.legacy.read.schema import TRANSLATED, quoted


@dataclass(frozen=True, slots=True)
class Accounted:
    """Rows of a table. `imported` includes archived ones. The last three and `unaccounted` add up to `source`."""

    source: int
    imported: int
    merged: int
    quarantined: int

    @property
    def unaccounted(self) -> int:
        return self.source - self.imported - self.merged - self.quarantined


@dataclass(frozen=True, slots=True)
class Checked:
    """Result of a check. `wrong` lists failures; the import is verified if it is empty."""

    rows: dict[str, Accounted]
    pnl: dict[str, ProductPnl]
    total: ProductPnl
    wrong: tuple[str, ...]

    @property
    def ok(self) -> bool:
        return not self.wrong


def check_import(store: Store, found: Prepared) -> Checked:
    """Compare the log, the archive and the views with the source. Nothing is written."""
    assert found.stage.context.comparison, "the comparison needs the trades as the legacy figures counted them"
    rows = _accounted(found)
    pnl = compared(found.stage, found.wanted.portfolio_id, found.base)
    wrong = [
        f"{name}: {one.unaccounted} of {one.source} rows are unaccounted for"
        for name, one in rows.items()
        if one.unaccounted
    ]
    wrong += [f"{name}: the causes do not add up to the difference" for name, one in pnl.items() if not explained(one)]
    stale = sum(map(len, found.stale.values()))
    wrong += [f"{stale} imported trades are no longer in the source: run the import again"] if stale else []
    for portfolio_id in (found.wanted.portfolio_id, found.wanted.paper_id):
        wrong += control_totals_differing(found.stage, portfolio_id)
    wrong += _differing_holdings(store, found, pnl)
    return Checked(rows, pnl, total_of(pnl), tuple(wrong))


Totals = dict[tuple[str, str, str], tuple[int, Decimal, Decimal, Decimal]]
"""Count, quantity, notional and fee by product, side and day (UTC)."""


def control_totals(stage: Stage, portfolio_id: UUID, *, of_log: bool) -> Totals:
    """Return the totals of the staged trades, or of those in the log."""
    table, condition = ("log", "and reversed_by is null") if of_log else ("events", "")
    found: Totals = {}
    with closing(stage.connection.cursor()) as cursor:
        cursor.execute(
            "select product, json_extract(payload, '$.side'), date(at / 1000000, 'unixepoch'),"
            " json_extract(payload, '$.quantity'), json_extract(payload, '$.price'),"
            f" json_extract(payload, '$.fees[0].amount') from {table} where portfolio = ? and type = ? {condition}",
            (str(portfolio_id), TradeExecuted.type),
        )
        for product, side, day, quantity_text, price, fee in cursor:
            count, quantity, notional, fees = found.get((product, side, day), (0, ZERO, ZERO, ZERO))
            size = Decimal(quantity_text)
            notional += size * Decimal(price)
            found[(product, side, day)] = (count + 1, quantity + size, notional, fees + Decimal(fee or "0"))
    return found


def control_totals_differing(stage: Stage, portfolio_id: UUID) -> list[str]:
    """Describe each product, side and day whose totals differ between log and source."""
    wanted, found = (control_totals(stage, portfolio_id, of_log=of_log) for of_log in (False, True))
    return [
        f"{' '.join(name)}: the control totals of log and source differ"
        for name in sorted(wanted.keys() | found.keys())
        if wanted.get(name) != found.get(name)
    ]


def _accounted(found: Prepared) -> dict[str, Accounted]:
    lost = {name: _not_archived(found, name) for name in found.source.tables}
    rows: dict[str, Accounted] = {}
    for name, table in found.source.tables.items():
        if name in TRANSLATED:
            counts = _counted(found.stage, name, lost[name])
            rows[name] = Accounted(table.rows, counts["imported"], counts["merged"], counts["quarantined"])
        else:
            rows[name] = Accounted(table.rows, table.rows - len(lost[name]), 0, 0)
    return rows


def _counted(stage: Stage, table: str, lost: set[str]) -> Counter[str]:
    """Count the fates of a table's rows that the log and the archive confirm."""
    counts: Counter[str] = Counter()
    with closing(stage.connection.cursor()) as cursor:
        # Only staged events with a position are in the log.
        cursor.execute(
            "select key, word, (select count(*) from json_each(fates.events) one where not exists"
            " (select 1 from events where events.id = one.value and position is not null)) from fates where tbl = ?",
            (table,),
        )
        for key, word, missing in cursor:
            if word == "archived":
                counts["imported"] += key.partition("#")[0] not in lost
            else:
                counts[word] += not missing
    return counts


def _not_archived(found: Prepared, table: str) -> set[str]:
    """Return the ids (or row numbers) of rows missing or different in the newest archive."""
    connection, columns = found.source.connection, found.source.tables[table].columns
    names = ", ".join(map(quoted, columns))
    query = f"select {names} from main.{quoted(table)}"
    connection.execute("attach ? as archive", (str(newest_archive(found.wanted.folder) or ":memory:"),))
    try:
        described = connection.execute("select name from pragma_table_xinfo(?, 'archive') where hidden <> 1", (table,))
        if {name for (name,) in described} == set(columns):
            query += f" except select {names} from archive.{quoted(table)}"
        place = columns.index("id") if "id" in columns else None
        return {str(number if place is None else row[place]) for number, row in enumerate(connection.execute(query))}
    finally:
        connection.execute("detach archive")


def _differing_holdings(store: Store, found: Prepared, pnl: dict[str, ProductPnl]) -> list[str]:
    """Compare the stored holdings with the comparison, unless the portfolio has later value events."""
    portfolio_id = found.wanted.portfolio_id
    log = found.logs[portfolio_id]
    if not log.exists or log.later:
        return []
    with store.book.reading(portfolio_id) as reading:
        if reading.stopped is not None:
            return [f"the views stopped before position {reading.stopped.position}: {reading.stopped.reason}"]
        stored = {f"{one.asset}-{found.base}": one for one in reading.rows.where(Holding)}
    wrong = []
    for name in sorted(pnl.keys() | stored.keys()):
        one, holding = pnl.get(name), stored.get(name)
        expected = (one.realized, one.open_cost) if one else (ZERO, ZERO)
        actual = (holding.realized_pnl, holding.cost_basis) if holding else (ZERO, ZERO)
        if expected != actual:
            wrong.append(f"{name}: the stored holding differs from the imported events")
    return wrong
