"""Binance: the spot trade history in its two forms. Neither has ids, so a row's content stands for it."""

import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Final

from ledger.imports.facts import BadRow, Fact, StatedFee, StatedFill, price_of
from ledger.imports.formats.format import Export, Group, asset, decimal_of, number, pair, utc
from ledger.values import Instrument, Side

VENUE: Final = "binance"
QUOTES: Final = (
    "FDUSD", "USDT", "BUSD", "USDC", "TUSD", "USDP", "IDRT", "BIDR", "BVND", "DOGE", "BTC", "ETH", "BNB", "TRX", "XRP", "DOT",
    "SOL", "DAI", "PAX", "UST", "AUD", "BRL", "EUR", "GBP", "NGN", "RUB", "TRY", "UAH", "ZAR", "JPY", "PLN", "RON", "ARS",
    "MXN", "CZK", "USD", "VAI",
)  # fmt: skip
"""What coins are priced in there, longer names first."""

_FIGURE: Final = re.compile(r"[\d.,]+(?:[eE]-?\d+)?", re.ASCII)
_AMOUNT: Final = re.compile(r"([\d.,]+)\s*([A-Z][A-Z0-9]*)", re.ASCII)


def with_units(group: Group) -> Sequence[Fact]:
    """The newer form: Executed, Amount and Fee carry their unit, such as 0.5BTC."""
    (line,) = group
    executed, amount = line.text("executed"), line.text("amount")
    instrument = _traded(line.text("pair"), executed, amount)
    quantity = decimal_of(executed.removesuffix(instrument.base), "executed")
    cost = decimal_of(amount.removesuffix(instrument.quote), "amount")
    charged, charged_in = _fee(line.text("fee"), instrument)
    return (_fill(group, instrument, line.text("side"), quantity, cost, charged, charged_in),)


def with_columns(group: Group) -> Sequence[Fact]:
    """The older form: the market, plain numbers, and the coin of the fee in a column of its own."""
    (line,) = group
    instrument = _by_quote(line.text("market"), "market")
    charged_in = line.text("fee coin")
    return (
        _fill(
            group,
            instrument,
            line.text("type"),
            number(line, "amount"),
            number(line, "total"),
            number(line, "fee"),
            charged_in,
        ),
    )


def _fill(
    group: Group, instrument: Instrument, side: str, quantity: Decimal, cost: Decimal, charged: Decimal, charged_in: str
) -> StatedFill:
    (line,) = group
    if side.upper() not in ("BUY", "SELL"):
        raise BadRow(f"side: {side[:40]!r} is neither BUY nor SELL")
    return StatedFill(
        id=line.row_id,
        time=utc(line, "date(utc)"),
        venue=VENUE,
        account=VENUE,
        instrument=instrument,
        side=Side(side.lower()),
        quantity=quantity,
        price=price_of(quantity, number(line, "price"), cost),
        fees=(StatedFee(asset(charged_in, "fee coin"), charged),) if charged else (),
    )


def _traded(market: str, executed: str, amount: str) -> Instrument:
    """BTCUSDT as BTC-USDT: split where both parts are units of the row's amounts, or else by the known quotes."""
    name = _plain(market)
    for end in range(1, len(name)):
        base, quote = name[:end], name[end:]
        if executed.endswith(base) and amount.endswith(quote):
            left = executed.removesuffix(base), amount.removesuffix(quote)
            if all(_FIGURE.fullmatch(figure.strip()) for figure in left):
                return pair(base, quote, "pair")
    return _by_quote(market, "pair")


def _by_quote(market: str, column: str) -> Instrument:
    name = _plain(market)
    for quote in QUOTES:
        if name.endswith(quote) and len(name) > len(quote):
            return pair(name.removesuffix(quote), quote, column)
    raise BadRow(f"{column}: {market[:40]!r} cannot be told apart into what was traded and what it was priced in")


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
