"""Reports of plan and check: as values for JSON, as lines of text, and as an HTML page."""

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from html import escape
from itertools import groupby
from typing import Any, Final

from ledger.values import ZERO, decimal_text
from migrations.legacy.check.check_import import Checked, control_totals
from migrations.legacy.check.pnl import Difference, ProductPnl
from migrations.legacy.load.run import Prepared
from migrations.legacy.read.schema import TRANSLATED

SHOWN: Final = 10
"""Maximum number of rows listed per reason in a text report."""

CENT: Final = Decimal("0.01")

Report = dict[str, Any]


def plan_report(found: Prepared) -> Report:
    """Report the plan, with the fate of each row of the translated tables."""
    source = found.source
    tables = {
        name: {
            "rows": table.rows,
            "columns": list(table.columns),
            "unknown_columns": list(table.unknown),
            "missing_columns": list(table.missing),
            "known": name in TRANSLATED or bool(table.missing) or not table.unknown,
        }
        for name, table in source.tables.items()
    }
    rows = [
        {"table": table, "key": key, "fate": word, "reason": reason, "flags": json.loads(flags)}
        for table, key, word, reason, flags in _fates(found)
    ]
    new = {str(one): _new(found, str(one)) for one in (found.wanted.portfolio_id, found.wanted.paper_id)}
    return {
        "source": source.label,
        "sha256": source.sha256,
        "generation": source.generation,
        "portfolio": found.wanted.name,
        "base_currency": str(found.base),
        "tables": tables,
        "fates": _counts(found),
        "new_events": new[str(found.wanted.portfolio_id)],
        "new_paper_events": new[str(found.wanted.paper_id)],
        "taken_back": sum(map(len, found.stale.values())),
        "control_totals": _totals(found),
        "rows": rows,
    }


def check_report(checked: Checked) -> Report:
    """Report the check; figures are text, differences are ledger - legacy."""
    return {
        "rows": {
            name: {
                "source": one.source,
                "imported": one.imported,
                "merged": one.merged,
                "quarantined": one.quarantined,
                "unaccounted": one.unaccounted,
            }
            for name, one in checked.rows.items()
        },
        "pnl": {name: _pnl(one) for name, one in checked.pnl.items()},
        "total": _pnl(checked.total),
        "wrong": list(checked.wrong),
        "ok": checked.ok,
    }


def plan_lines(found: Prepared) -> Iterator[str]:
    """Format the plan as text."""
    source = found.source
    yield f"{source.label}: {source.generation}"
    yield f"  sha256 {source.sha256}"
    yield ""
    yield f"  {'table':<28}{'rows':>9}{'imported':>10}{'merged':>9}{'archived':>10}{'quarantined':>13}"
    counts = _counts(found)
    for name, table in source.tables.items():
        of_table = counts.get(name, {"archived": table.rows})
        figures = "".join(f"{of_table.get(word, 0):>{width}}" for word, width in _WIDTHS)
        yield f"  {name:<28}{table.rows:>9}{figures}"
        if table.unknown:
            yield f"    unknown columns, archived: {', '.join(table.unknown)}"
    yield ""
    yield from _reasons(found)
    yield from _totals_lines(found)
    stale = sum(map(len, found.stale.values()))
    if stale:
        yield f"{stale} trades of an earlier run would be reversed: the source changed"


def check_lines(checked: Checked) -> Iterator[str]:
    """Format the check as text."""
    yield f"  {'table':<28}{'source':>9}{'imported':>10}{'merged':>9}{'quarantined':>13}{'unaccounted':>13}"
    for name, one in checked.rows.items():
        yield f"  {name:<28}{one.source:>9}{one.imported:>10}{one.merged:>9}{one.quarantined:>13}{one.unaccounted:>13}"
    everything = {**checked.pnl, "in total": checked.total} if len(checked.pnl) > 1 else checked.pnl
    for name, product in everything.items():
        yield ""
        yield from _pnl_lines(name, product)
    yield ""
    yield from checked.wrong
    if checked.ok:
        yield "Every row is accounted for, and every difference is explained to the last digit"


def html_page(title: str, lines: Iterator[str] | list[str]) -> str:
    """Return a self-contained HTML page."""
    text = escape("\n".join(lines))
    style = "body{font:14px/1.5 ui-monospace,monospace;margin:2rem;max-width:110ch}h1{font-size:1.2rem}"
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{style}</style></head><body><h1>{escape(title)}</h1><pre>{text}</pre></body></html>\n"
    )


_WIDTHS: Final = (("imported", 10), ("merged", 9), ("archived", 10), ("quarantined", 13))


def _fates(found: Prepared) -> Iterator[tuple[str, str, str, str, str]]:
    with closing(found.stage.connection.cursor()) as cursor:
        cursor.execute("select tbl, key, word, reason, flags from fates order by tbl, cast(key as integer), key")
        yield from cursor


def _counts(found: Prepared) -> dict[str, dict[str, int]]:
    counted = found.stage.connection.execute("select tbl, word, count(*) from fates group by 1, 2 order by 1, 2")
    counts: dict[str, dict[str, int]] = {name: {} for name in TRANSLATED if name in found.source.tables}
    for table, word, count in counted.fetchall():
        counts.setdefault(table, {})[word] = count
    return counts


def _new(found: Prepared, portfolio_id: str) -> int:
    (count,) = found.stage.connection.execute(
        "select count(*) from events where portfolio = ? and position is null", (portfolio_id,)
    ).fetchone()
    return int(count)


def _reasons(found: Prepared) -> Iterator[str]:
    """List flagged, merged and quarantined rows by table and reason, with the first row keys."""
    counts: Counter[tuple[str, str, str]] = Counter()
    first: dict[tuple[str, str, str], list[str]] = {}
    for table, key, word, reason, flags in _fates(found):
        notices = [(table, "flagged", flag) for flag in json.loads(flags)]
        if word in ("quarantined", "merged"):
            notices.append((table, word, reason))
        for notice in notices:
            counts[notice] += 1
            if counts[notice] <= SHOWN:
                first.setdefault(notice, []).append(key)
    for table, word, reason in sorted(counts):
        keys, count = first[table, word, reason], counts[table, word, reason]
        yield f"{word} in {table}: {reason}"
        yield f"    rows {', '.join(keys)}" + (f" and {count - SHOWN} more" if count > SHOWN else "")
    if counts:
        yield ""


def _totals(found: Prepared) -> list[dict[str, object]]:
    totals = control_totals(found.stage, found.wanted.portfolio_id, of_log=False)
    return [
        {
            "product_id": product,
            "side": side,
            "day": day,
            "count": count,
            "quantity": decimal_text(quantity),
            "notional": decimal_text(notional),
            "fee": decimal_text(fee),
        }
        for (product, side, day), (count, quantity, notional, fee) in sorted(totals.items())
    ]


def _totals_lines(found: Prepared) -> Iterator[str]:
    totals = control_totals(found.stage, found.wanted.portfolio_id, of_log=False)
    if totals:
        yield f"  {'control totals':<20}{'count':>8}{'quantity':>24}{'notional':>24}{'fees':>16}"
    for (product, side), days in groupby(sorted(totals), key=lambda one: one[:2]):
        figures = [totals[day] for day in days]
        quantity, notional, fee = (f"{sum((one[at] for one in figures), ZERO):,.8f}" for at in (1, 2, 3))
        count = sum(one[0] for one in figures)
        yield f"  {product + ' ' + side:<20}{count:>8}{quantity:>24}{notional:>24}{fee:>16}"


def _pnl(product: ProductPnl) -> Report:
    return {
        **_difference(product.headline),
        "legacy": {name: decimal_text(one.legacy) for name, one in product.formulas.items()},
        "formulas": {name: _difference(one) for name, one in product.formulas.items()},
        "realized": decimal_text(product.realized),
        "unrealized": decimal_text(product.unrealized),
        "open_quantity": None if product.open_quantity is None else decimal_text(product.open_quantity),
        "open_cost": decimal_text(product.open_cost),
        "fees": decimal_text(product.fees),
        "unmatched_proceeds": decimal_text(product.unmatched_proceeds),
    }


def _difference(one: Difference) -> Report:
    return {
        "legacy": decimal_text(one.legacy),
        "ledger": decimal_text(one.ledger),
        "difference": decimal_text(one.difference),
        "causes": {name: decimal_text(value) for name, value in one.causes.items()},
    }


def _pnl_lines(name: str, product: ProductPnl) -> Iterator[str]:
    """Format a product: a column per formula with its legacy figure, the causes, and the ledger's figure."""
    columns = list(product.formulas.items())
    yield f"  {name:<18}" + "".join(f"{formula:>18}" for formula, _ in columns)
    yield f"  {'as recorded':<18}" + "".join(f"{one.legacy:>18,.2f}" for _, one in columns)
    for cause in next(iter(product.formulas.values())).causes:
        if any(one.causes[cause] for _, one in columns):
            changes = "".join(f"{_change(one.causes[cause]):>18}" for _, one in columns)
            yield f"    {cause:<16}{changes}".rstrip()
    yield f"  {'in the ledger':<18}" + "".join(f"{one.ledger:>18,.2f}" for _, one in columns)


def _change(value: Decimal) -> str:
    """Format a change with its sign, to the cent, smaller ones in scientific notation; "" for 0."""
    if not value:
        return ""
    return f"{value:+,.2f}" if abs(value) >= CENT else f"{value:+.0e}"
