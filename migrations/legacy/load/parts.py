"""Parts of a source, translated: rows as the work file keeps them become what the work file is told of them. Pure.

Parts are independent of one another, so that several processes can work on them; in their order they give the whole.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from migrations.legacy.read.cells import Cell, Cells, Row
from migrations.legacy.translate.bots import translated_signal
from migrations.legacy.translate.decisions import Decisions, decision_of
from migrations.legacy.translate.orders import translated_cluster, translated_order
from migrations.legacy.translate.outcomes import RANKS, Context, Fate, Seen, Staged, Translation, micros
from migrations.legacy.translate.rows import RawRow, TradeRow, place_of, raw_of, trade_of

_compact: Final = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode

Values = tuple[object, ...]
Kept = tuple[str, str]
"""A row's key and its packed cells."""
Read = tuple[str, Cells]
"""A row's key and its cells as they were read."""
Order = tuple[Sequence[Kept], Sequence[Kept]]
"""The fills of an order, and the rows of `trades` that tell of it."""
Columns = Mapping[str, Sequence[str]]
"""The names of the columns, which all rows of a table share."""


class Told(NamedTuple):
    """Rows for the tables `fates`, `events` and `seen` of the work file."""

    fates: list[Values]
    events: list[Values]
    seen: list[Values]


class FillRead(NamedTuple):
    """A row for the table `fills`, or what becomes of a row that is no usable fill."""

    values: Values = ()
    fate: Fate | None = None


def told(found: Iterable[Translation]) -> Told:
    """What the work file is told of the translations."""
    rows = Told([], [], [])
    for one in found:
        rows.fates.extend(map(_fate_row, one.fates))
        rows.events.extend(_event_row(staged, place) for place, staged in enumerate(one.staged))
        rows.seen.extend(map(_seen_row, one.seen))
    return rows


def fills_read(decisions: Decisions, columns: Columns, rows: Sequence[Read]) -> list[FillRead]:
    """The rows of `raw_trades`, each with what it says, so that those that say the same can be told."""
    names = columns["raw_trades"]
    return [_fill_read(key, names, cells, decision_of(decisions, "raw_trades", key)) for key, cells in rows]


def trades_placed(decisions: Decisions, columns: Columns, rows: Sequence[Read]) -> list[Values]:
    """The rows of `trades`, to be found by their order and in order of time; what else they say is read in their turn."""
    found: list[Values] = []
    for key, cells in rows:
        row = _row(columns["trades"], cells)
        ref, product, side, at = place_of(row, decision_of(decisions, "trades", key))
        found.append((key, _packed(cells), ref or None, product, side, None if at is None else micros(at)))
    return found


def orders_told(context: Context, columns: Columns, orders: Sequence[Order]) -> Told:
    """Every order of which fills are known, with the rows that tell of it or of one of them."""

    def translations() -> Iterator[Translation]:
        for fills, trades in orders:
            of_order = [fill for kept in fills if isinstance(fill := _fill(context, columns, kept), RawRow)]
            yield translated_order(context, of_order, [_trade(context, columns, kept) for kept in trades])

    return told(translations())


def others_told(context: Context, columns: Columns, clusters: Sequence[Sequence[Kept]]) -> Told:
    """The rows of which no fill is known, those that may tell of one execution together."""
    return told(translated_cluster(context, [_trade(context, columns, kept) for kept in one]) for one in clusters)


def signals_told(context: Context, columns: Columns, rows: Sequence[Read]) -> Told:
    """The signal history."""
    table = "bot_signal_history"
    return told(
        translated_signal(context, key, _row(columns[table], cells), decision_of(context.decisions, table, key))
        for key, cells in rows
    )


def _fill_read(key: str, names: Sequence[str], cells: Cells, decided: Mapping[str, str]) -> FillRead:
    if decided.get("action") == "archive":
        return FillRead(fate=Fate("raw_trades", key, "archived", "decided: it did not happen"))
    fill = raw_of(key, _row(names, cells), decided)
    if isinstance(fill, str):
        return FillRead(fate=Fate("raw_trades", key, "quarantined", fill))
    said = repr((fill.order_id, fill.product, fill.side, fill.quantity, fill.price, fill.commission, fill.at))
    # A fill without an order stands for itself.
    ref = f"order {fill.order_id}" if fill.order_id else f"fill {key}"
    return FillRead((fill.fill_id, key, _packed(cells), said, ref, fill.order_id, fill.id))


def _packed(cells: Cells) -> str:
    return _compact([cell.hex() if isinstance(cell, bytes) else cell for cell in cells])


def _row(names: Sequence[str], cells: Sequence[Cell]) -> Row:
    return dict(zip(names, cells, strict=True))


def _trade(context: Context, columns: Columns, kept: Kept) -> TradeRow:
    key, cells = kept
    return trade_of(key, _row(columns["trades"], json.loads(cells)), decision_of(context.decisions, "trades", key))


def _fill(context: Context, columns: Columns, kept: Kept) -> RawRow | str:
    key, cells = kept
    return raw_of(
        key, _row(columns["raw_trades"], json.loads(cells)), decision_of(context.decisions, "raw_trades", key)
    )


def _texts(texts: Sequence[str]) -> str:
    return _compact(texts) if texts else "[]"


def _fate_row(one: Fate) -> Values:
    return (one.table, one.key, one.word, one.reason, _texts(one.flags), _texts([*map(str, one.events)]))


def _event_row(one: Staged, place: int) -> Values:
    made = one.ready
    rank, named = RANKS[one.table], f"{one.table} {one.key}"
    at = (micros(made.time), rank, one.id, place)
    texts = (made.payload, made.metadata, named, format(one.fee, "f"))
    return (str(made.event_id), str(one.portfolio_id), one.product, made.type, made.version, *at, *texts)


def _seen_row(one: Seen) -> Values:
    usd = None if one.usd is None else format(one.usd, "f")
    size, price, fee = (format(figure, "f") for figure in (one.size, one.price, one.fee))
    place = (one.first, one.last, one.strict, micros(one.at), one.id, one.bot, one.side)
    return (one.product, *place, size, usd, price, fee)
