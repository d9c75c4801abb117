"""Rows of `trades` and `raw_trades` as values: what each says, and the first reason why it cannot be used."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from typing import Final

from ledger.errors import DaybookError
from ledger.values import ZERO, Instrument, Side, round18
from migrations.legacy.read.cells import Row, Unreadable, json_object, moment, number, shown, truth, word
from migrations.legacy.translate.decisions import ELSE

SUCCESS: Final = frozenset(("completed", "filled"))
COUNTED: Final = "filled"
"""The one status that the legacy system's own figures counted, written just so."""
SIDES: Final[Mapping[str, Side]] = {"buy": Side.BUY, "sell": Side.SELL}
MOCK: Final = re.compile(r"mock-\d+-[0-9a-f]{8}", re.IGNORECASE)
PAPER_MODES: Final = frozenset(("paper", "mock", "simulation", "simulated", "test"))
DELETED: Final = ("deleted_at", "is_deleted", "deleted")
"""Columns of no known generation in which hands marked rows as deleted."""
TOLERANCE: Final = Decimal("0.01")
"""How far two figures of one row may lie apart, as a share, and still say the same."""


class Undecided(DaybookError):
    """A row cannot be translated without somebody's decision; the text says why."""


@dataclass(frozen=True, slots=True)
class TradeRow:
    """A row of `trades`. `problem` says why it cannot be used; the figures of such a row mean nothing.

    `size` is in the unit that `unit` names once it is decided; `usd` is size_usd. `fee` and `fee_source` follow the order
    fee, commission. `decided` is what a decision changed.
    """

    key: str
    row: Row
    id: int
    status: str
    product: str
    side: Side | None
    size: Decimal
    price: Decimal
    usd: Decimal | None
    fee: Decimal
    fee_source: str
    at: datetime | None
    order_id: str
    bot_id: str
    decided: Mapping[str, str]
    paper: bool
    problem: str = ""

    @property
    def success(self) -> bool:
        return self.status in SUCCESS

    @property
    def legacy_fee(self) -> Decimal:
        """What the legacy figures took as the fee: the commission, or else the fee."""
        try:
            return number(self.row, "commission") or number(self.row, "fee") or ZERO
        except Unreadable:
            return ZERO

    @property
    def scored(self) -> bool:
        """Whether the row holds a bot's score: only then is its bot more than a guess of the sync."""
        score = self.row.get("combined_signal_score")
        return (isinstance(score, int | float) and score != 0) or bool(json_object(self.row, "signal_scores")[0])


@dataclass(frozen=True, slots=True)
class RawRow:
    """A row of `raw_trades`: one fill. `quantity` is in the base asset."""

    key: str
    row: Row
    id: int
    fill_id: str
    order_id: str
    product: str
    side: Side
    quantity: Decimal
    price: Decimal
    commission: Decimal | None
    at: datetime
    decided: Mapping[str, str]
    problem: str = ""


def trade_of(key: str, given: Row, decided: Mapping[str, str]) -> TradeRow:
    """The row, with what was decided in the place of what it says."""
    row = with_decided(given, decided)
    product, order_id = word(row, "product_id").upper(), word(row, "order_id")
    side, size, price, usd, fee, source = None, ZERO, ZERO, None, ZERO, "none"
    try:
        of_row = _fee(row, product)
        found = (_side(row), _positive(row, "size"), _positive(row, "price"), number(row, "size_usd"), *of_row)
        at: datetime | None = _time(row, "filled_at", "created_at")
        _product(row)
        problem = _deleted(row) if decided.get("action") != "import" else ""
        side, size, price, usd, fee, source = found
    except (Unreadable, Undecided) as error:
        problem, at = str(error), _or_none(row)
    return TradeRow(
        key=key,
        row=row,
        id=_id(row),
        status=word(row, "status").lower(),
        product=product,
        side=side,
        size=size,
        price=price,
        usd=usd,
        fee=fee,
        fee_source=source,
        at=at,
        order_id=order_id,
        bot_id=word(row, "bot_id"),
        decided=decided,
        paper=bool(MOCK.fullmatch(order_id)) or word(row, "trading_mode").lower() in PAPER_MODES,
        problem=problem,
    )


def with_decided(given: Row, decided: Mapping[str, str]) -> Row:
    """The row, with what was decided in the place of what it says."""
    return {**given, **{name: text for name, text in decided.items() if name not in PSEUDO}} if decided else given


def place_of(row: Row, decided: Mapping[str, str]) -> tuple[str, str, str, datetime | None]:
    """The order id of a row of `trades`, its product, its side and its time, as far as they can be read: where it stands."""
    row = with_decided(row, decided)
    return word(row, "order_id"), word(row, "product_id").upper(), word(row, "side").lower(), _or_none(row)


def raw_of(key: str, given: Row, decided: Mapping[str, str]) -> RawRow | str:
    """The fill, or why the row is none. Its flag says in which unit its size is: the exchange's own word."""
    row = with_decided(given, decided)
    try:
        size, price = _positive(row, "size"), _positive(row, "price")
        side = _side(row)
        fill_id = word(row, "fill_id")
        if not fill_id:
            raise Undecided("fill_id is missing: the fill cannot be told from others")
        return RawRow(
            key=key,
            row=row,
            id=_id(row),
            fill_id=fill_id,
            order_id=word(row, "order_id"),
            product=_product(row),
            side=side,
            quantity=_not_nothing(round18(size / price)) if truth(row, "size_in_quote") else size,
            price=price,
            commission=number(row, "commission"),
            at=_time(row, "created_at"),
            decided=decided,
        )
    except (Unreadable, Undecided) as error:
        return str(error)


PSEUDO: Final = frozenset(("action", "unit", ELSE))
"""What a decision may say that is no column."""


@lru_cache(maxsize=10_000)
def instrument_of(text: str) -> Instrument | None:
    """The instrument of this name, None where it is no name of one."""
    try:
        return Instrument(text)
    except ValueError:
        return None


def quantity_of(trade: TradeRow) -> tuple[Decimal, str, tuple[str, ...]]:
    """The base quantity of the row, the unit of its size, and flags. Raises Undecided.

    Both readings are tried against size_usd: base when size * price gives it, quote when size itself does.
    """
    unit = trade.decided.get("unit")
    flags: tuple[str, ...] = ()
    if unit is None:
        if trade.usd is None or trade.usd <= 0:
            unit = trade.decided.get(ELSE)
            if unit is None:
                raise Undecided(
                    "size_usd is missing and no fill is known: whether the size is in base or quote is open"
                )
            return _in_base(trade, unit), unit, ("its unit was decided for all such rows",)
        in_base, in_quote = _near(trade.size * trade.price, trade.usd), _near(trade.size, trade.usd)
        if not in_base and not in_quote:
            raise Undecided("the size fits size_usd neither as base (size * price) nor as quote: its unit is open")
        unit = "base" if in_base else "quote"
        flags = ("both units fit: taken as base",) if in_base and in_quote else ()
    return _in_base(trade, unit), unit, flags


def _in_base(trade: TradeRow, unit: str) -> Decimal:
    return trade.size if unit == "base" else _not_nothing(round18(trade.size / trade.price))


def same_quantity(one: Decimal, other: Decimal) -> bool:
    """Whether two quantities are the same but for rounding."""
    return _near(one, other)


def _near(one: Decimal, other: Decimal) -> bool:
    return abs(one - other) <= TOLERANCE * abs(other)


def _id(row: Row) -> int:
    found = row.get("id")
    return found if isinstance(found, int) else 0


def _side(row: Row) -> Side:
    text = word(row, "side")
    if not text:
        raise Undecided("side is missing: whether it was a buy or a sell is open")
    side = SIDES.get(text.lower())
    if side is None:
        raise Undecided(f"side: {shown(text)} is neither buy nor sell")
    return side


def _positive(row: Row, column: str) -> Decimal:
    value = number(row, column)
    if value is None:
        raise Undecided(f"{column} is missing")
    if value <= 0:
        raise Undecided(f"{column}: {shown(row.get(column))} moves nothing: it must be greater than 0")
    return _not_nothing(round18(value)) if value != round18(value) else value


def _not_nothing(value: Decimal) -> Decimal:
    if not value:
        raise Undecided("the quantity is smaller than a ledger keeps (18 places)")
    return value


def _product(row: Row) -> str:
    text = word(row, "product_id").upper()
    if instrument_of(text) is None:
        raise Undecided(f"product_id: {shown(text)} is no instrument such as BTC-USD")
    return text


def _fee(row: Row, product: str) -> tuple[Decimal, str]:
    currency = word(row, "fee_currency").upper()
    for column in ("fee", "commission"):
        value = number(row, column)
        if value:
            if currency and currency != product.rpartition("-")[2]:
                raise Undecided(f"{column}: paid in {currency[:20]}, and what it was worth is not told")
            return round18(value), column
    return ZERO, "none"


def _time(row: Row, *columns: str) -> datetime:
    for column in columns:
        found = moment(row, column)
        if found is not None:
            return found
    raise Undecided(f"{' and '.join(columns)}: no time is told")


def _or_none(row: Row) -> datetime | None:
    for column in ("filled_at", "created_at"):
        try:
            found = moment(row, column)
        except Unreadable:
            found = None
        if found is not None:
            return found
    return None


def _deleted(row: Row) -> str:
    for column in DELETED:
        if word(row, column).lower() not in ("", "0", "false", "f", "no"):
            return f"{column} marks the row as deleted: whether it happened is open"
    return ""
