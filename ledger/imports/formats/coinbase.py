"""Coinbase: the transactions report (with lines above its header, all forms since 2021) and the fills of Pro and Advanced."""

import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Final, Literal

from ledger.imports.facts import BadRow, Fact, IncomeKind, Movement, StatedFill, price_of
from ledger.imports.formats.format import (
    Export,
    Group,
    Ignored,
    Row,
    asset,
    decimal_of,
    fee_of,
    number,
    number_or_none,
    pair,
    side_of,
    utc,
)
from ledger.values import ZERO, Asset, Side, round18

VENUE: Final = "coinbase"

TRADES: Final = {
    **dict.fromkeys(("buy", "advanced trade buy", "advance trade buy"), Side.BUY),
    **dict.fromkeys(("sell", "advanced trade sell", "advance trade sell"), Side.SELL),
}
INCOMES: Final[dict[str, IncomeKind]] = {
    "staking income": "staking",
    "inflation reward": "staking",
    "rewards income": "reward",
    "reward income": "reward",
    "learning reward": "reward",
    "coinbase earn": "reward",
    "incentives rewards payout": "reward",
    "subscription rebate": "reward",
    "interest payout": "interest",
}
DEPOSITS: Final = ("receive", "deposit")
WITHDRAWALS: Final = ("send", "withdrawal")
OWN_ACCOUNTS: Final = (
    "pro deposit",
    "pro withdrawal",
    "exchange deposit",
    "exchange withdrawal",
    "retail staking transfer",
    "retail unstaking transfer",
    "staking transfer",
    "unstaking transfer",
    "vault deposit",
    "vault withdrawal",
)
TOTALS: Final = (
    "total (inclusive of fees and/or spread)",
    "total (inclusive of fees)",
    "usd total (inclusive of fees)",
)
FEES: Final = ("fees and/or spread", "fees", "usd fees")
SUBTOTALS: Final = ("subtotal", "usd subtotal")
PRICES: Final = ("price at transaction", "spot price at transaction", "usd spot price at transaction")
CURRENCIES: Final = ("price currency", "spot price currency")

_CONVERTED: Final = re.compile(r"Converted [\d.,]+ \S+ to ([\d.,]+) ([A-Z0-9.]*[A-Z0-9])")
_MARKET: Final = re.compile(r" on ([A-Z0-9.]+)-([A-Z0-9.]+) at ")


def transaction(group: Group) -> Sequence[Fact] | Ignored:
    """A row of the transactions report. Signs differ between its years, so the type decides the direction."""
    (row,) = group
    kind = row.text("transaction type").lower()
    if kind in TRADES:
        return (_trade(row, TRADES[kind]),)
    if kind == "convert":
        return _converted(row)
    if kind in OWN_ACCOUNTS:
        return Ignored(f"moved between accounts of one's own ({kind})")
    if kind in INCOMES:
        return (_moved(row, "income", INCOMES[kind]),)
    if kind in DEPOSITS:
        return (_moved(row, "deposit"),)
    if kind in WITHDRAWALS:
        return (_moved(row, "withdrawal"),)
    raise BadRow(f"transaction type: {row.text('transaction type')[:60]!r} is not supported: record the row by hand")


def fill(group: Group) -> Sequence[Fact]:
    """A row of fills.csv. Its trade ids are unique within a product."""
    (row,) = group
    base, _, quote = row.text("product").partition("-")
    instrument = pair(base, quote, "product")
    unit = "price/fee/total unit"
    return (
        StatedFill(
            id=row.text("trade id") or row.row_id,
            time=utc(row, "created at"),
            venue=VENUE,
            account=f"{VENUE} {row.text('portfolio') or 'default'}",
            instrument=instrument,
            side=side_of(row.text("side"), "side"),
            quantity=number(row, "size"),
            price=number(row, "price"),
            fees=fee_of(number(row, "fee"), row.text(unit), unit),
        ),
    )


def _currency(row: Row) -> Asset:
    """Currency of the amounts. The oldest form has it in the names of its columns."""
    return asset(row.text(*CURRENCIES) or "USD", CURRENCIES[0])


def _trade(row: Row, side: Side) -> StatedFill:
    base, currency = asset(row.text("asset"), "asset"), _currency(row)
    market = _MARKET.search(row.text("notes"))
    if market is not None and market[2] != currency:
        raise BadRow(
            f"the trade was in {market[2]} but its amounts are in {currency}: take this trade from the fills report"
        )
    quantity, charged = abs(number(row, "quantity transacted")), abs(number_or_none(row, *FEES) or ZERO)
    paid = abs(number(row, *SUBTOTALS))
    return _fill(row, base, currency, side, quantity, price_of(quantity, number(row, *PRICES), paid), charged)


def _converted(row: Row) -> Sequence[Fact]:
    """A conversion, as a sale for its currency and a purchase with it."""
    found = _CONVERTED.match(row.text("notes"))
    if found is None:
        raise BadRow("notes: expected 'Converted … to …' for a conversion")
    sold, currency, bought = asset(row.text("asset"), "asset"), _currency(row), asset(found[2], "notes")
    given, taken = abs(number(row, "quantity transacted")), decimal_of(found[1], "notes")
    charged = abs(number_or_none(row, *FEES) or ZERO)
    net = min(abs(number(row, *SUBTOTALS)), abs(number(row, *TOTALS)))
    if not given or not taken:
        raise BadRow("quantity transacted: a conversion needs amounts greater than 0")
    return (
        _fill(row, sold, currency, Side.SELL, given, round18((net + charged) / given), ZERO),
        _fill(row, bought, currency, Side.BUY, taken, round18(net / taken), charged),
    )


def _fill(
    row: Row, base: Asset, quote: Asset, side: Side, quantity: Decimal, price: Decimal, charged: Decimal
) -> StatedFill:
    return StatedFill(
        id=row.text("id") or row.row_id,
        time=utc(row, "timestamp"),
        venue=VENUE,
        account=VENUE,
        instrument=pair(base, quote, "asset"),
        side=side,
        quantity=quantity,
        price=price,
        fees=fee_of(charged, quote, "asset"),
    )


def _moved(row: Row, kind: Literal["deposit", "withdrawal", "income"], income: IncomeKind = "other") -> Movement:
    """Deposit, withdrawal or income. A deposit's cost stays unknown: its value on arrival is not its cost."""
    value = number_or_none(row, *SUBTOTALS) if kind == "income" else None
    return Movement(
        kind,
        id=row.text("id") or row.row_id,
        time=utc(row, "timestamp"),
        venue=VENUE,
        account=VENUE,
        asset=asset(row.text("asset"), "asset"),
        quantity=abs(number(row, "quantity transacted")),
        value=None if value is None else abs(value),
        income=income,
        value_currency=_currency(row) if kind == "income" else None,
    )


TRANSACTIONS: Final = Export(
    "coinbase transactions", frozenset({"timestamp", "transaction type", "asset", "quantity transacted"}), transaction
)
FILLS: Final = Export(
    "coinbase fills",
    frozenset({"trade id", "product", "side", "created at", "size", "price", "fee", "price/fee/total unit"}),
    fill,
)
