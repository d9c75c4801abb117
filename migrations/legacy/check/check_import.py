"""The check: every row of the source accounted for, every figure explained, the stored figures those of the events."""

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
from migrations.legacy.read.schema import TRANSLATED
from migrations.legacy.read.source import columns_of, quoted


@dataclass(frozen=True, slots=True)
class Accounted:
    """The rows of a table. `imported` counts those kept in the archive too; the last four add up to `source`."""

    source: int
    imported: int
    merged: int
    quarantined: int

    @property
    def unaccounted(self) -> int:
        return self.source - self.imported - self.merged - self.quarantined


@dataclass(frozen=True, slots=True)
class Checked:
    """`wrong` are sentences about what does not hold; the import is proven when there are none."""

    rows: dict[str, Accounted]
    pnl: dict[str, ProductPnl]
    total: ProductPnl
    wrong: tuple[str, ...]

    @property
    def ok(self) -> bool:
        return not self.wrong


def check_import(store: Store, found: Prepared) -> Checked:
    """What the log, the archive and the views hold of the source, against the source itself. Nothing is written."""
    assert found.stage.context.sightings, "the figures are compared by what the legacy system saw"
    rows = _accounted(found)
    pnl = compared(found.stage, found.wanted.portfolio_id, found.base)
    wrong = [
        f"{name}: {one.unaccounted} of {one.source} rows are accounted for nowhere"
        for name, one in rows.items()
        if one.unaccounted
    ]
    wrong += [f"{name}: the causes do not add up to the difference" for name, one in pnl.items() if not explained(one)]
    stale = sum(map(len, found.stale.values()))
    wrong += [f"{stale} imported trades are no longer called for: run the import again"] if stale else []
    for portfolio_id in (found.wanted.portfolio_id, found.wanted.paper_id):
        wrong += control_totals_differing(found.stage, portfolio_id)
    wrong += _stored_otherwise(store, found, pnl)
    return Checked(rows, pnl, total_of(pnl), tuple(wrong))


Totals = dict[tuple[str, str, str], tuple[int, Decimal, Decimal, Decimal]]
"""Count, quantity, notional and fee by product, side and day (UTC)."""


def control_totals(stage: Stage, portfolio_id: UUID, *, of_log: bool) -> Totals:
    """The totals of the staged trades, or of those in the log."""
    table, standing = ("log", "and reversed_by is null") if of_log else ("events", "")
    found: Totals = {}
    with closing(stage.connection.cursor()) as cursor:
        cursor.execute(
            "select product, json_extract(payload, '$.side'), date(at / 1000000, 'unixepoch'),"
            " json_extract(payload, '$.quantity'), json_extract(payload, '$.price'),"
            f" json_extract(payload, '$.fees[0].amount') from {table} where portfolio = ? and type = ? {standing}",
            (str(portfolio_id), TradeExecuted.type),
        )
        for product, side, day, quantity_text, price, fee in cursor:
            count, quantity, notional, fees = found.get((product, side, day), (0, ZERO, ZERO, ZERO))
            size = Decimal(quantity_text)
            told = (count + 1, quantity + size, notional + size * Decimal(price), fees + Decimal(fee or "0"))
            found[(product, side, day)] = told
    return found


def control_totals_differing(stage: Stage, portfolio_id: UUID) -> list[str]:
    """A sentence for each product, side and day whose totals in the log are not those of the source."""
    wanted, found = (control_totals(stage, portfolio_id, of_log=of_log) for of_log in (False, True))
    return [
        f"{' '.join(name)}: the control totals of the log are not those of the source"
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
    """The fates of a table's rows, as far as the log and the archive bear them out."""
    counts: Counter[str] = Counter()
    with closing(stage.connection.cursor()) as cursor:
        # An id that no staged event with a position has is in no log.
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
    """The ids (or places) of rows that the newest archive does not hold just so."""
    connection, archive = found.source.connection, newest_archive(found.wanted.folder)
    named = "id" if "id" in found.source.tables[table].columns else "row_number() over ()"
    everything = f"select {named} from main.{quoted(table)}"
    if archive is None:
        return {str(one) for (one,) in connection.execute(everything)}
    connection.execute("attach ? as archive", (str(archive),))
    try:
        there = connection.execute("select 1 from archive.sqlite_master where type = 'table' and name = ?", (table,))
        if there.fetchone() is None:
            return {str(one) for (one,) in connection.execute(everything)}
        columns = ", ".join(map(quoted, found.source.tables[table].columns))
        if set(columns_of(connection, f"archive.{quoted(table)}")) != set(found.source.tables[table].columns):
            return {str(one) for (one,) in connection.execute(everything)}
        gone = connection.execute(
            f"select {columns} from main.{quoted(table)} except select {columns} from archive.{quoted(table)}"
        )
        place = found.source.tables[table].columns.index("id") if named == "id" else None
        return {str(row[place]) if place is not None else str(number) for number, row in enumerate(gone)}
    finally:
        connection.execute("detach archive")


def _stored_otherwise(store: Store, found: Prepared, pnl: dict[str, ProductPnl]) -> list[str]:
    """Where nothing else moved value in the portfolio, its stored holdings say what the comparison says."""
    portfolio_id = found.wanted.portfolio_id
    held = found.held[portfolio_id]
    if not held.exists or held.later:
        return []
    with store.book.reading(portfolio_id) as reading:
        if reading.stopped is not None:
            return [f"the views stopped before position {reading.stopped.position}: {reading.stopped.reason}"]
        stored = {f"{one.asset}-{found.base}": one for one in reading.rows.where(Holding)}
    wrong = []
    for name in sorted(pnl.keys() | stored.keys()):
        one, holding = pnl.get(name), stored.get(name)
        told = (one.realized, one.open_cost) if one else (ZERO, ZERO)
        there = (holding.realized_pnl, holding.cost_basis) if holding else (ZERO, ZERO)
        if told != there:
            wrong.append(f"{name}: the stored holding is not what the imported events give")
    return wrong
