"""Merges the rows of one execution: by fills where they are known, else by time and quantity. Pure."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Final

from ledger.values import ZERO, round18, share18
from migrations.legacy.read.cells import Unreadable, moment
from migrations.legacy.translate.comparison import DUPLICATE, QUARANTINED, seen_as_fill, seen_trade
from migrations.legacy.translate.executions import Execution, attributed, event_for, translated_alone
from migrations.legacy.translate.outcomes import (
    Context,
    Fate,
    Staged,
    Translation,
    event_id,
    event_of_row,
    merged_into,
    origin,
)
from migrations.legacy.translate.rows import RawRow, TradeRow, Undecided, quantity_of, same_quantity

WINDOW: Final = timedelta(seconds=120)
"""Maximum time between rows of one execution without fills."""
SAME_PRICE: Final = Decimal("0.02")
"""Maximum relative difference of their prices."""

ALONE: Final = ("import", "archive")
"""Decided actions that keep a row from being merged."""

Fees = Mapping[str, tuple[Decimal, str]]


def translated_order(context: Context, fills: Sequence[RawRow], trades: Sequence[TradeRow]) -> Translation:
    """Translate an order with known fills; the rows of `trades` on it are merged into them.

    A row with the id of a fill as order_id (written by the sync) is merged into that fill, one with the id of the order
    (written by the bot) into all of them. Unusable, failed and paper rows are translated alone.
    """
    about = [one for one in trades if _merges(one)]
    of_fill = {fill.key: [one for one in about if one.order_id == fill.fill_id] for fill in fills}
    names = {fill.fill_id for fill in fills}
    of_order = [one for one in about if one.order_id not in names]
    fees = _fees(fills, of_fill, of_order)
    found = Translation()
    sound: list[RawRow] = []
    for fill in fills:
        rows = of_fill[fill.key]
        try:
            _add(found, _translated_fill(context, fill, rows, of_order, fees[fill.key]))
        except Undecided as undecided:
            found.fates.append(Fate("raw_trades", fill.key, "quarantined", str(undecided)))
            found.fates += [Fate("trades", one.key, "quarantined", str(undecided)) for one in rows]
            found.seen += [seen for one in rows for seen in seen_trade(context, one, until=QUARANTINED)]
            continue
        sound.append(fill)
        if rows:
            found.seen += seen_trade(context, rows[0], fill.quantity, [(fill.quantity, fill.price)])
        elif not of_order or any(of_fill.values()):
            found.seen += seen_as_fill(context, fill)
        found.seen += [seen for one in rows[1:] for seen in seen_trade(context, one, until=DUPLICATE)]
    _merge_into(context, found, sound, of_order, counted=any(of_fill.values()))
    for one in trades:
        if not _merges(one):
            _add(found, translated_alone(context, one))
    return found


def _merges(trade: TradeRow) -> bool:
    return not trade.problem and trade.success and not trade.paper and trade.decided.get("action") not in ALONE


def _translated_fill(
    context: Context, fill: RawRow, rows: Sequence[TradeRow], of_order: Sequence[TradeRow], fee: tuple[Decimal, str]
) -> Translation:
    about = [*rows, *of_order]
    attribution = attributed(about, context)
    done = Execution(fill.product, fill.side, fill.quantity, fill.price, fee[0], fill.fill_id, fill.at)
    event = event_for(context, done, attribution)
    flags = _flags(fill, about)
    metadata = origin(
        context,
        "raw_trades",
        fill.key,
        fill.row,
        order_id=fill.order_id,
        fee_source=fee[1],
        flags=flags,
        decided=dict(fill.decided),
        merged=merged_into(context, [(one.key, one.row) for one in about]),
        **attribution.metadata(),
    )
    id_ = event_id(context.portfolio_id, "raw_trades", fill.key)
    ready = event_of_row(event, id_, fill.at, metadata, "raw_trades", fill.key)
    legacy_fee = rows[0].legacy_fee if rows else ZERO
    return Translation(
        [
            Fate("raw_trades", fill.key, "imported", flags=flags, events=(id_,)),
            *(Fate("trades", one.key, "merged", "its fill is known", events=(id_,)) for one in rows),
        ],
        [Staged("raw_trades", fill.key, fill.id, context.portfolio_id, fill.product, ready, legacy_fee)],
    )


def _merge_into(
    context: Context, found: Translation, fills: Sequence[RawRow], of_order: Sequence[TradeRow], *, counted: bool
) -> None:
    """Merge the rows on the whole order into its fills. The first is compared with them unless rows on fills are (`counted`)."""
    ids = tuple(event_id(context.portfolio_id, "raw_trades", fill.key) for fill in fills)
    total = sum((fill.quantity for fill in fills), ZERO)
    for number, one in enumerate(of_order):
        if not fills:
            found.fates.append(Fate("trades", one.key, "quarantined", "none of its fills is usable"))
            found.seen += seen_trade(context, one, until=QUARANTINED)
            continue
        flags = () if not number else ("several rows are on this order",)
        quantity = _readable(one) or total
        if not same_quantity(quantity, total):
            flags = (*flags, "its fills add up to another quantity")
        found.fates.append(Fate("trades", one.key, "merged", "its fills are known", flags, ids))
        if counted or number:
            found.seen += seen_trade(context, one, until=DUPLICATE)
            continue
        found.seen += seen_trade(context, one, quantity, [(fill.quantity, fill.price) for fill in fills])
        _set_legacy_fee(found, one.legacy_fee)


def _set_legacy_fee(found: Translation, fee: Decimal) -> None:
    """Set the fee of the order's row on its first event, as at the stage before."""
    for place, staged in enumerate(found.staged):
        if staged.table == "raw_trades":
            found.staged[place] = staged._replace(fee=fee)
            return


def _fees(fills: Sequence[RawRow], of_fill: Mapping[str, Sequence[TradeRow]], of_order: Sequence[TradeRow]) -> Fees:
    """Return fee and fee source by fill: the fee of its row, that row's commission, or the fill's own commission.

    The fee of a row on the whole order is shared among the fills by quantity, exactly.
    """
    whole = next((one for one in of_order if one.fee), None) if not any(of_fill.values()) else None
    total = sum((fill.quantity for fill in fills), ZERO)
    found: dict[str, tuple[Decimal, str]] = {}
    before = ZERO
    for fill in fills:
        row = next((one for one in of_fill[fill.key] if one.fee), None)
        after = before + fill.quantity
        if row is not None:
            found[fill.key] = (row.fee, f"trades.{row.fee_source}")
        elif whole is not None:
            fee = share18(whole.fee, after, total) - share18(whole.fee, before, total)
            found[fill.key] = (fee, f"trades.{whole.fee_source}, shared by quantity")
        else:
            found[fill.key] = (round18(fill.commission or ZERO), "raw_trades.commission" if fill.commission else "none")
        before = after
    return found


def _flags(fill: RawRow, about: Sequence[TradeRow]) -> tuple[str, ...]:
    flags = []
    try:
        if moment(fill.row, "synced_at") == fill.at:
            flags.append("its time is the time of the sync")
    except Unreadable:
        flags.append("synced_at is not a time")
    if any(one.product != fill.product or one.side != fill.side for one in about):
        flags.append("a row has another side or product: the fill is used")
    return tuple(flags)


# --- without fills ----------------------------------------------------------------------------------------------------


def translated_cluster(context: Context, trades: Sequence[TradeRow]) -> Translation:
    """Translate rows without fills: of one product and side, close together, in order of time.

    Rows are one execution if the quantity of a `filled` row (written by the sync), or of all within the window, equals that
    of a `completed` row (written by the bot) at about its price; or if they are equal and have the same order id. Merged
    rows are flagged, since only arithmetic supports it.
    """
    found = Translation()
    left = list(trades)
    twins = _repeats(left)
    left = [one for one in left if not any(one is twin for some in twins.values() for twin in some)]
    for bot_row in [one for one in left if _sound(one) and one.status == "completed"]:
        synced = [one for one in left if _sound(one) and one.status == "filled" and _close(one, bot_row)]
        same = _same_execution(bot_row, synced)
        if same:
            left = [one for one in left if one is not bot_row]
            twins.setdefault(same[0].key, []).append(bot_row)
            taken = {one.key for one in same}
            for one in [one for one in left if one.key in taken]:
                _add(found, translated_alone(context, one, twins.get(one.key, ())))
            left = [one for one in left if one.key not in taken]
    for place, one in enumerate(left):
        like = next((two for two in left[:place] if _alike(one, two)), None)
        flags = (f"similar to row {like.key}, but not proven to be the same",) if like else ()
        _add(found, translated_alone(context, one, twins.get(one.key, ()), flags))
    return found


def _alike(one: TradeRow, other: TradeRow) -> bool:
    same = (one.size, one.price, one.status) == (other.size, other.price, other.status)
    return same and _sound(one) and _sound(other) and _close(one, other)


def _sound(trade: TradeRow) -> bool:
    return _merges(trade) and _readable(trade) is not None


def _repeats(trades: Sequence[TradeRow]) -> dict[str, list[TradeRow]]:
    """Return rows equal to an earlier one with the same order id, by the earlier one's key."""
    first: dict[tuple[object, ...], TradeRow] = {}
    found: dict[str, list[TradeRow]] = {}
    for one in trades:
        if not _sound(one) or not one.order_id:
            continue
        content = (one.order_id, one.status, one.product, one.side, one.size, one.price, one.usd, one.at)
        earlier = first.setdefault(content, one)
        if earlier is not one:
            found.setdefault(earlier.key, []).append(one)
    return found


def _same_execution(bot_row: TradeRow, synced: Sequence[TradeRow]) -> Sequence[TradeRow]:
    """Return the synced rows of the bot's order, empty if there are none."""
    wanted = _readable(bot_row)
    quantities = [(_readable(one) or ZERO, one) for one in synced]
    if wanted is None or not quantities:
        return []
    single = [one for quantity, one in quantities if same_quantity(quantity, wanted)]
    if single:
        return [min(single, key=lambda one: (abs(_apart(one, bot_row)), one.id, one.key))]
    total = sum((quantity for quantity, _ in quantities), ZERO)
    return synced if len(synced) > 1 and same_quantity(total, wanted) else []


def _close(one: TradeRow, other: TradeRow) -> bool:
    return abs(one.price - other.price) <= SAME_PRICE * other.price and abs(_apart(one, other)) <= WINDOW


def _apart(one: TradeRow, other: TradeRow) -> timedelta:
    assert one.at is not None, "only sound rows are compared"
    assert other.at is not None, "only sound rows are compared"
    return one.at - other.at


def _readable(trade: TradeRow) -> Decimal | None:
    try:
        return quantity_of(trade)[0]
    except Undecided:
        return None


def _add(found: Translation, more: Translation) -> None:
    found.fates += more.fates
    found.staged += more.staged
    found.seen += more.seen
