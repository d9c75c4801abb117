"""Coinbase: the transactions report (with its lines above the header, all forms since 2021) and the fills of Pro and Advanced."""

import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Final, Literal

from ledger.imports.facts import BadRow, Fact, IncomeKind, Movement, StatedFee, StatedFill, price_of
from ledger.imports.formats.format import (
    Export,
    Group,
    Left,
    Line,
    asset,
    decimal_of,
    number,
    number_or_none,
    pair,
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


def transaction(group: Group) -> Sequence[Fact] | Left:
    """Signs differ between the years of this report, so the type decides what came and what went."""
    (line,) = group
    kind = line.text("transaction type").lower()
    if kind in TRADES:
        return (_trade(line, TRADES[kind]),)
    if kind == "convert":
        return _converted(line)
    if kind in OWN_ACCOUNTS:
        return Left(f"moved between accounts of one's own ({kind})")
    if kind in INCOMES:
        return (_moved(line, "income", INCOMES[kind]),)
    if kind in DEPOSITS:
        return (_moved(line, "deposit"),)
    if kind in WITHDRAWALS:
        return (_moved(line, "withdrawal"),)
    raise BadRow(f"transaction type: {line.text('transaction type')[:60]!r} is not one that is understood")


def fill(group: Group) -> Sequence[Fact]:
    """A row of fills.csv. Its ids count for each product by itself."""
    (line,) = group
    base, _, quote = line.text("product").partition("-")
    instrument = pair(base, quote, "product")
    charged = number(line, "fee")
    return (
        StatedFill(
            id=line.text("trade id") or line.row_id,
            time=utc(line, "created at"),
            venue=VENUE,
            account=f"{VENUE} {line.text('portfolio') or 'default'}",
            instrument=instrument,
            side=_side(line.text("side")),
            quantity=number(line, "size"),
            price=number(line, "price"),
            fees=(StatedFee(asset(line.text("price/fee/total unit"), "price/fee/total unit"), charged),)
            if charged
            else (),
        ),
    )


def _side(text: str) -> Side:
    try:
        return Side(text.lower())
    except ValueError:
        raise BadRow(f"side: {text[:40]!r} is neither BUY nor SELL") from None


def _currency(line: Line) -> Asset:
    """What the amounts are in; the oldest form has it in the names of its columns."""
    return asset(line.text(*CURRENCIES) or "USD", CURRENCIES[0])


def _trade(line: Line, side: Side) -> StatedFill:
    base, currency = asset(line.text("asset"), "asset"), _currency(line)
    market = _MARKET.search(line.text("notes"))
    if market is not None and market[2] != currency:
        raise BadRow(
            f"the trade was in {market[2]} but its amounts are told in {currency}: "
            "take this trade from the fills report instead"
        )
    quantity, charged = abs(number(line, "quantity transacted")), abs(number_or_none(line, *FEES) or ZERO)
    paid = abs(number(line, *SUBTOTALS))
    return _fill(line, base, currency, side, quantity, price_of(quantity, number(line, *PRICES), paid), charged)


def _converted(line: Line) -> Sequence[Fact]:
    """A conversion is a sale for money and a purchase with it: the lots of both coins stay those of the money."""
    found = _CONVERTED.match(line.text("notes"))
    if found is None:
        raise BadRow("notes: a conversion must say 'Converted … to …' there")
    sold, currency, bought = asset(line.text("asset"), "asset"), _currency(line), asset(found[2], "notes")
    given, taken = abs(number(line, "quantity transacted")), decimal_of(found[1], "notes")
    charged = abs(number_or_none(line, *FEES) or ZERO)
    net = min(abs(number(line, *SUBTOTALS)), abs(number(line, *TOTALS)))
    if not given or not taken:
        raise BadRow("quantity transacted: a conversion needs amounts greater than 0")
    return (
        _fill(line, sold, currency, Side.SELL, given, round18((net + charged) / given), ZERO),
        _fill(line, bought, currency, Side.BUY, taken, round18(net / taken), charged),
    )


def _fill(
    line: Line, base: Asset, quote: Asset, side: Side, quantity: Decimal, price: Decimal, charged: Decimal
) -> StatedFill:
    return StatedFill(
        id=line.text("id") or line.row_id,
        time=utc(line, "timestamp"),
        venue=VENUE,
        account=VENUE,
        instrument=pair(base, quote, "asset"),
        side=side,
        quantity=quantity,
        price=price,
        fees=(StatedFee(quote, charged),) if charged else (),
    )


def _moved(line: Line, kind: Literal["deposit", "withdrawal", "income"], income: IncomeKind = "other") -> Movement:
    """A deposit's cost stays unknown: what coins were worth when they came says nothing of what they had cost."""
    value = number_or_none(line, *SUBTOTALS) if kind == "income" else None
    return Movement(
        kind,
        id=line.text("id") or line.row_id,
        time=utc(line, "timestamp"),
        venue=VENUE,
        account=VENUE,
        asset=asset(line.text("asset"), "asset"),
        quantity=abs(number(line, "quantity transacted")),
        value=None if value is None else abs(value),
        income=income,
        value_currency=_currency(line) if kind == "income" else None,
    )


TRANSACTIONS: Final = Export(
    "coinbase transactions", frozenset({"timestamp", "transaction type", "asset", "quantity transacted"}), transaction
)
FILLS: Final = Export(
    "coinbase fills",
    frozenset({"trade id", "product", "side", "created at", "size", "price", "fee", "price/fee/total unit"}),
    fill,
)
