"""Parses rows of `trades` and `raw_trades`, with the first reason why a row is unusable."""

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
"""The one status counted by the legacy figures, case-sensitive."""
SIDES: Final[Mapping[str, Side]] = {"buy": Side.BUY, "sell": Side.SELL}
MOCK: Final = re.compile(r"mock-\d+-[0-9a-f]{8}", re.IGNORECASE)
PAPER_MODES: Final = frozenset(("paper", "mock", "simulation", "simulated", "test"))
DELETED: Final = ("deleted_at", "is_deleted", "deleted")
"""Columns of no known generation that mark rows as deleted by hand."""
TOLERANCE: Final = Decimal("0.01")
"""Relative difference up to which two figures of a row are equal."""


class Undecided(DaybookError):
    """A row that needs the user's decision. The text gives the reason."""


@dataclass(frozen=True, slots=True)
class TradeRow:
    """A row of `trades`. With a `problem` it is unusable and its figures are invalid.

    `size` is in base or quote (see `quantity_of`); `usd` is size_usd. `fee` is the column fee, else commission, as in
    `fee_source`. `decided` is the decision on the row.
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
        """The fee in the legacy figures: the commission, else the fee."""
        try:
            return number(self.row, "commission") or number(self.row, "fee") or ZERO
        except Unreadable:
            return ZERO

    @property
    def scored(self) -> bool:
        """`True` if the row contains a bot's score. Without one its bot is a guess of the sync."""
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
    """Parse a row of `trades` after applying the decision on it."""
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
    """Replace columns of the row by those decided."""
    return {**given, **{name: text for name, text in decided.items() if name not in PSEUDO}} if decided else given


def place_of(row: Row, decided: Mapping[str, str]) -> tuple[str, str, str, datetime | None]:
    """Return order id, product, side and time of a row of `trades`, as far as they are readable."""
    row = with_decided(row, decided)
    return word(row, "order_id"), word(row, "product_id").upper(), word(row, "side").lower(), _or_none(row)


def raw_of(key: str, given: Row, decided: Mapping[str, str]) -> RawRow | str:
    """Parse a row of `raw_trades` to a fill, or return why it is unusable. The exchange's own flag gives the unit of its size."""
    row = with_decided(given, decided)
    try:
        size, price = _positive(row, "size"), _positive(row, "price")
        side = _side(row)
        fill_id = word(row, "fill_id")
        if not fill_id:
            raise Undecided("fill_id is missing: the fill cannot be distinguished from others")
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
"""Keys of a decision that are not columns."""


@lru_cache(maxsize=10_000)
def instrument_of(text: str) -> Instrument | None:
    """Parse an instrument; None if the text is not one."""
    try:
        return Instrument(text)
    except ValueError:
        return None


def quantity_of(trade: TradeRow) -> tuple[Decimal, str, tuple[str, ...]]:
    """Return base quantity, unit of the size, and flags. Raises Undecided.

    The unit is base if size * price equals size_usd, and quote if size does.
    """
    unit = trade.decided.get("unit")
    flags: tuple[str, ...] = ()
    if unit is None:
        if trade.usd is None or trade.usd <= 0:
            unit = trade.decided.get(ELSE)
            if unit is None:
                raise Undecided("size_usd and fills are missing: the size may be in base or quote")
            return _in_base(trade, unit), unit, ("unit decided for all rows of the table",)
        in_base, in_quote = _near(trade.size * trade.price, trade.usd), _near(trade.size, trade.usd)
        if not in_base and not in_quote:
            raise Undecided(
                "size_usd is neither size * price (base) nor size (quote): the size may be in base or quote"
            )
        unit = "base" if in_base else "quote"
        flags = ("both units are possible: base is used",) if in_base and in_quote else ()
    return _in_base(trade, unit), unit, flags


def _in_base(trade: TradeRow, unit: str) -> Decimal:
    return trade.size if unit == "base" else _not_nothing(round18(trade.size / trade.price))


def same_quantity(one: Decimal, other: Decimal) -> bool:
    """Compare two quantities within the tolerance."""
    return _near(one, other)


def _near(one: Decimal, other: Decimal) -> bool:
    return abs(one - other) <= TOLERANCE * abs(other)


def _id(row: Row) -> int:
    found = row.get("id")
    return found if isinstance(found, int) else 0


def _side(row: Row) -> Side:
    text = word(row, "side")
    if not text:
        raise Undecided("side is missing")
    side = SIDES.get(text.lower())
    if side is None:
        raise Undecided(f"side: {shown(text)} is neither buy nor sell")
    return side


def _positive(row: Row, column: str) -> Decimal:
    value = number(row, column)
    if value is None:
        raise Undecided(f"{column} is missing")
    if value <= 0:
        raise Undecided(f"{column}: {shown(row.get(column))} must be greater than 0")
    return _not_nothing(round18(value)) if value != round18(value) else value


def _not_nothing(value: Decimal) -> Decimal:
    if not value:
        raise Undecided("the quantity rounds to 0 at 18 decimal places")
    return value


def _product(row: Row) -> str:
    text = word(row, "product_id").upper()
    if instrument_of(text) is None:
        raise Undecided(f"product_id: {shown(text)} is not an instrument such as BTC-USD")
    return text


def _fee(row: Row, product: str) -> tuple[Decimal, str]:
    currency = word(row, "fee_currency").upper()
    for column in ("fee", "commission"):
        value = number(row, column)
        if value:
            if currency and currency != product.rpartition("-")[2]:
                raise Undecided(f"{column}: paid in {currency[:20]}, without its value in the quote currency")
            return round18(value), column
    return ZERO, "none"


def _time(row: Row, *columns: str) -> datetime:
    for column in columns:
        found = moment(row, column)
        if found is not None:
            return found
    raise Undecided(f"{' and '.join(columns)}: no time")


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
            return f"{column} marks the row as deleted: it may not have happened"
    return ""
