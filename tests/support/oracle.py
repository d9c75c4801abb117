"""An independent lot matcher in exact fractions, naive on purpose, without code of the ledger; and random trades for it.

A trade is a row of a trade file: column names to texts.
"""

from dataclasses import dataclass, field
from datetime import date, timedelta
from fractions import Fraction
from random import Random

from hypothesis import strategies as st

TradeRow = dict[str, str]

INSTRUMENTS = ("BTC-USD", "ETH/USDT", "AAPL", "SOL-BTC")
TOLERANCE = Fraction(1, 10**12)


@dataclass
class OracleLot:
    """The open rest of a purchase at an exact unit cost."""

    lot_id: str
    quantity: Fraction
    unit_cost: Fraction


@dataclass
class OracleMatch:
    lot_id: str
    quantity: Fraction
    proceeds: Fraction
    cost_basis: Fraction


@dataclass
class OracleSell:
    id: str
    quantity: Fraction
    matches: list[OracleMatch] = field(default_factory=list)
    unmatched_quantity: Fraction = Fraction(0)
    unmatched_proceeds: Fraction = Fraction(0)


@dataclass
class OracleBook:
    """Lots, sales and sums of one instrument."""

    lots: list[OracleLot] = field(default_factory=list)
    sells: list[OracleSell] = field(default_factory=list)
    bought: Fraction = Fraction(0)
    fees: Fraction = Fraction(0)


def matched_by(method: str, rows: list[TradeRow]) -> dict[str, OracleBook]:
    """Return the books of all instruments after the rows, in order of time (equal times: in the order given).

    fifo closes the oldest lot first, lifo the newest, hifo the one with the highest unit cost (of equals, the oldest).
    """
    books: dict[str, OracleBook] = {}
    for row in sorted(rows, key=lambda one: one["time"]):
        _take(books.setdefault(row["instrument"], OracleBook()), row, method)
    return books


def _take(book: OracleBook, row: TradeRow, method: str) -> None:
    quantity, price, fee = Fraction(row["quantity"]), Fraction(row["price"]), Fraction(row["fee"])
    worth = round(quantity * price, 18)  # half to even: the only rounding that 18 decimal places require
    sign = 1 if row["side"] == "buy" else -1
    if row["fee_asset"] and row["instrument"].startswith(row["fee_asset"]):
        moved, book.fees = quantity - sign * fee, book.fees + fee * price
    else:
        moved, worth, book.fees = quantity, worth + sign * fee, book.fees + fee
    if sign > 0:
        book.bought += moved
        book.lots.append(OracleLot(row["id"], moved, worth / moved))
    else:
        book.sells.append(_sell(book, OracleSell(row["id"], moved), worth / moved, method))


def _sell(book: OracleBook, sell: OracleSell, unit_proceeds: Fraction, method: str) -> OracleSell:
    rest = sell.quantity
    while rest and book.lots:
        lot = _next(book.lots, method)
        taken = min(rest, lot.quantity)
        sell.matches.append(OracleMatch(lot.lot_id, taken, taken * unit_proceeds, taken * lot.unit_cost))
        lot.quantity, rest = lot.quantity - taken, rest - taken
        if not lot.quantity:
            book.lots.remove(lot)
    sell.unmatched_quantity, sell.unmatched_proceeds = rest, rest * unit_proceeds
    return sell


def _next(lots: list[OracleLot], method: str) -> OracleLot:
    """Return the lot to close. Of equals max returns the first, which is the oldest."""
    if method == "hifo":
        return max(lots, key=lambda lot: lot.unit_cost)
    return lots[-1] if method == "lifo" else lots[0]


def plain_rows(seed: int, count: int) -> list[TradeRow]:
    """Return trades that other tools accept: one instrument, ten days apart, 8 decimals, fees but no rebates, no oversells."""
    dice = Random(seed)
    position, rows = Fraction(0), list[TradeRow]()
    for number in range(count):
        units = dice.randrange(1, 10 ** dice.randrange(3, 13))
        in_base = dice.random() < 0.3
        row = {
            "id": f"t{number}",
            "time": noon_after(10 * number),
            "instrument": INSTRUMENTS[0],
            "side": dice.choice(("buy", "sell")),
            "quantity": decimal(units, 8),
            "price": decimal(dice.randrange(10**4, 10**10), dice.choice((2, 4))),
            "fee": decimal(dice.randrange(0, units // 10 + 1), 8) if in_base else decimal(dice.randrange(0, 50), 4),
            "fee_asset": asset_of(INSTRUMENTS[0]) if in_base else "",
        }
        if position + _change(row) < 0 or _worth_less_than_its_fee(row):
            row |= {"side": "buy"}
        position += _change(row)
        rows.append(row)
    return rows


def noon_after(days: int) -> str:
    """Return noon of the day `days` after 2020-01-01."""
    return f"{(date(2020, 1, 1) + timedelta(days=days)).isoformat()}T12:00:00Z"


def _worth_less_than_its_fee(row: TradeRow) -> bool:
    return not row["fee_asset"] and Fraction(row["quantity"]) * Fraction(row["price"]) <= Fraction(row["fee"])


def random_rows(seed: int, count: int, *, oversells: bool = True) -> list[TradeRow]:
    """Return `count` trades by seed: several instruments, fees of every kind, many shared timestamps, up to 18 decimals."""
    dice = Random(seed)
    position = dict.fromkeys(INSTRUMENTS, Fraction(0))
    rows: list[TradeRow] = []
    for number in range(count):
        instrument = dice.choice(INSTRUMENTS)
        row = _random_row(dice, number, instrument)
        change = _change(row)
        if position[instrument] + change < 0 and not oversells:
            row["side"] = "buy"
            change = _change(row)
        position[instrument] = max(Fraction(0), position[instrument] + change)
        rows.append(row)
    return rows


def _random_row(dice: Random, number: int, instrument: str) -> TradeRow:
    places = dice.choice((0, 2, 8, 18))
    units = dice.randrange(1, 10 ** dice.randrange(1, places + 4))
    in_base = dice.random() < 0.2
    quantity = decimal(units, places)
    fee = _part(dice, units, places) if in_base else decimal(dice.randrange(-50, 500), 4)
    return {
        "id": f"t{number}",
        "time": f"2024-01-01T00:{number // 7 // 60:02}:{number // 7 % 60:02}Z",
        "instrument": instrument,
        "side": dice.choice(("buy", "buy", "sell")),
        "quantity": quantity,
        "price": decimal(dice.randrange(1, 10**12), dice.choice((2, 8))),
        "fee": fee,
        "fee_asset": asset_of(instrument) if in_base else "",
    }


def _part(dice: Random, units: int, places: int) -> str:
    """Return a fee in the traded asset of at most a tenth of the quantity, or a rebate."""
    return decimal(dice.randrange(-(units // 20), units // 10 + 1), places)


def _change(row: TradeRow) -> Fraction:
    fee = Fraction(row["fee"]) if row["fee_asset"] else Fraction(0)
    return Fraction(row["quantity"]) - fee if row["side"] == "buy" else -Fraction(row["quantity"]) - fee


def asset_of(instrument: str) -> str:
    return instrument.replace("/", "-").split("-")[0]


def decimal(units: int, places: int) -> str:
    """Format `units` of the last decimal place as plain text: decimal(-5, 2) is -0.05."""
    digits = str(abs(units)).rjust(places + 1, "0")
    text = f"{digits[: len(digits) - places]}.{digits[len(digits) - places :]}" if places else digits
    return f"-{text}" if units < 0 else text


def trade_rows(maximum: int = 30) -> st.SearchStrategy[list[TradeRow]]:
    """Lists of trades that shrink: few instruments, few times, awkward quantities, some oversells."""
    return st.lists(_one_trade(), min_size=1, max_size=maximum).map(_numbered)


@st.composite
def _one_trade(draw: st.DrawFn) -> TradeRow:
    places = draw(st.sampled_from((0, 1, 8, 18)))
    units = draw(st.integers(1, 10 ** min(places + 3, 19)))
    instrument = draw(st.sampled_from(INSTRUMENTS))
    in_base = draw(st.booleans())
    fee_units = (
        draw(st.integers(-(units - 1) // 2, (units - 1) // 2)) if in_base else draw(st.integers(-(10**6), 10**8))
    )
    return {
        "time": f"2024-01-01T00:00:{draw(st.integers(0, 9)):02}Z",
        "instrument": instrument,
        "side": draw(st.sampled_from(("buy", "sell"))),
        "quantity": decimal(units, places),
        "price": decimal(draw(st.integers(1, 10**14)), draw(st.sampled_from((0, 2, 8)))),
        "fee": decimal(fee_units, places if in_base else 6),
        "fee_asset": asset_of(instrument) if in_base else "",
    }


def _numbered(rows: list[TradeRow]) -> list[TradeRow]:
    return [{"id": f"t{number}", **row} for number, row in enumerate(rows)]
