"""Binance: the spot trade history in its two forms. Neither has ids, so a row is identified by its content."""

import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Final

from ledger.imports.facts import BadRow, Fact, StatedFill, price_of
from ledger.imports.formats.format import (
    Export,
    Group,
    decimal_of,
    fee_of,
    number,
    pair,
    side_of,
    split_market,
    utc,
)
from ledger.values import Instrument

VENUE: Final = "binance"
QUOTES: Final = (
    "FDUSD", "USDT", "BUSD", "USDC", "TUSD", "USDP", "IDRT", "BIDR", "BVND", "DOGE", "BTC", "ETH", "BNB", "TRX", "XRP", "DOT",
    "SOL", "DAI", "PAX", "UST", "AUD", "BRL", "EUR", "GBP", "NGN", "RUB", "TRY", "UAH", "ZAR", "JPY", "PLN", "RON", "ARS",
    "MXN", "CZK", "USD", "VAI",
)  # fmt: skip
"""Quote currencies, longer names before those they end with."""

_FIGURE: Final = re.compile(r"[\d.,]+(?:[eE]-?\d+)?", re.ASCII)
_AMOUNT: Final = re.compile(r"([\d.,]+)\s*([A-Z][A-Z0-9]*)", re.ASCII)


def with_units(group: Group) -> Sequence[Fact]:
    """A trade of the newer form, whose Executed, Amount and Fee carry their unit, such as 0.5BTC."""
    (row,) = group
    executed, amount = row.text("executed"), row.text("amount")
    instrument = _traded(row.text("pair"), executed, amount)
    quantity = decimal_of(executed.removesuffix(instrument.base), "executed")
    cost = decimal_of(amount.removesuffix(instrument.quote), "amount")
    charged, charged_in = _fee(row.text("fee"), instrument)
    return (_fill(group, instrument, row.text("side"), quantity, cost, charged, charged_in),)


def with_columns(group: Group) -> Sequence[Fact]:
    """A trade of the older form, with plain numbers and the fee's asset in a column of its own."""
    (row,) = group
    instrument = _by_quote(row.text("market"), "market")
    quantity, cost, charged = (number(row, name) for name in ("amount", "total", "fee"))
    return (_fill(group, instrument, row.text("type"), quantity, cost, charged, row.text("fee coin")),)


def _fill(
    group: Group, instrument: Instrument, side: str, quantity: Decimal, cost: Decimal, charged: Decimal, charged_in: str
) -> StatedFill:
    (row,) = group
    return StatedFill(
        id=row.row_id,
        time=utc(row, "date(utc)"),
        venue=VENUE,
        account=VENUE,
        instrument=instrument,
        side=side_of(side, "side"),
        quantity=quantity,
        price=price_of(quantity, number(row, "price"), cost),
        fees=fee_of(charged, charged_in, "fee coin"),
    )


def _traded(market: str, executed: str, amount: str) -> Instrument:
    """BTCUSDT as BTC-USDT: split where both parts are units of the row's amounts, else at a known quote currency."""
    name = _plain(market)
    for end in range(1, len(name)):
        base, quote = name[:end], name[end:]
        if executed.endswith(base) and amount.endswith(quote):
            left = executed.removesuffix(base), amount.removesuffix(quote)
            if all(_FIGURE.fullmatch(figure.strip()) for figure in left):
                return pair(base, quote, "pair")
    return _by_quote(market, "pair")


def _by_quote(market: str, column: str) -> Instrument:
    return pair(*split_market(_plain(market), QUOTES, column), column)


def _plain(market: str) -> str:
    return market.upper().replace("/", "").replace("-", "").replace("_", "")


def _fee(text: str, instrument: Instrument) -> tuple[Decimal, str]:
    for unit in (instrument.base, instrument.quote):
        if text.endswith(unit) and _FIGURE.fullmatch(text.removesuffix(unit).strip()):
            return decimal_of(text.removesuffix(unit), "fee"), unit
    found = _AMOUNT.fullmatch(text)
    if found is None:
        raise BadRow(f"fee: {text[:60]!r} is not an amount with its unit, such as 0.01BNB")
    return decimal_of(found[1], "fee"), found[2]


TRADES: Final = Export(
    "binance trades", frozenset({"date(utc)", "pair", "side", "price", "executed", "amount", "fee"}), with_units
)
OLD_TRADES: Final = Export(
    "binance trades (older form)",
    frozenset({"date(utc)", "market", "type", "price", "amount", "total", "fee", "fee coin"}),
    with_columns,
)
