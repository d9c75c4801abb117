"""Luno: the transactions of a wallet, one file each. A trade is read from the wallet of its base asset."""

import re
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from typing import Final, Literal

from ledger.imports.facts import BadRow, Fact, IncomeKind, Movement, StatedFee, StatedFill, price_of
from ledger.imports.formats.format import (
    Export,
    Group,
    Ignored,
    Row,
    asset,
    decimal_of,
    number,
    number_or_none,
    pair,
    utc,
)
from ledger.values import ZERO, Asset, Instrument, Side

VENUE: Final = "luno"
SIGNS: Final = {"£": "GBP", "€": "EUR", "$": "USD", "R": "ZAR", "RM": "MYR", "₦": "NGN", "Rp": "IDR"}

_TRADED: Final = re.compile(r"(Bought|Sold) ([\d.,]+) ([A-Z0-9]+)/([A-Z0-9]+) @ ([\d.,]+)")
_AT_ONCE: Final = re.compile(r"(Bought|Sold) ([A-Z0-9]+)\s([\d.,]+) for (?:([A-Z0-9]+)\s|(\D{1,2}?)\s?)([\d.,]+)")
_TRADE: Final = re.compile(r"(Bought|Sold) .*(@| for )")
_SEND_FEE: Final = re.compile(r".* send fee")
_OWN: Final = re.compile(r"Transferred (from|to) .*")
_IN: Final = re.compile(r"Received .*|Deposit.*")
_OUT: Final = re.compile(r"Sent .*|Payment sent.*|Withdrawal.*")
_INTEREST: Final = re.compile(r"Interest .*|Savings interest.*")
_REWARD: Final = re.compile(r"(?:.* )?(?:[Rr]eward|[Pp]romo|[Rr]eferral)\b.*")


def with_fees(rows: Iterable[Row]) -> Iterator[Group]:
    """A trade grouped with its fee, the row after it; other rows alone."""
    trade: list[Row] = []
    for row in rows:
        if len(trade) == 1 and row.text("description") == "Trading fee" and not row.flaw:
            trade.append(row)
            continue
        if trade:
            yield trade
            trade = []
        if _TRADE.match(row.text("description")):
            trade = [row]
        else:
            yield (row,)
    if trade:
        yield trade


def transaction(group: Group) -> Sequence[Fact] | Ignored:
    """A change of the wallet's balance; its description states the reason."""
    row = group[0]
    text = row.text("description").replace("\u00a0", " ")
    if _TRADE.match(text):
        return _trade(group, text)
    if text == "Trading fee" or _SEND_FEE.fullmatch(text):
        return (_moved(row, "fee"),)
    if _OWN.fullmatch(text):
        return Ignored("moved between wallets of one's own")
    return (_changed(row, text),) if _delta(row) else Ignored("changes no balance")


def _changed(row: Row, text: str) -> Movement:
    """Income, deposit or withdrawal. Customers may replace the description, so the sign decides the direction."""
    if _delta(row) > 0:
        if _INTEREST.fullmatch(text):
            return _moved(row, "income", "interest")
        if _REWARD.fullmatch(text):
            return _moved(row, "income", "reward")
        if _IN.fullmatch(text) or row.text("cryptocurrency transaction id"):
            return _moved(row, "deposit")
    elif _OUT.fullmatch(text) or row.text("cryptocurrency transaction id"):
        return _moved(row, "withdrawal")
    raise BadRow(f"description: {text[:60]!r} is not supported: record the row by hand")


def _trade(group: Group, text: str) -> Sequence[Fact] | Ignored:
    row = group[0]
    side, instrument, price, cost = _described(text)
    quantity, wallet = abs(_delta(row)), _asset(row)
    if wallet == instrument.quote:
        if len(group) == 1:
            return Ignored(f"the other side of a trade that the {instrument.base} wallet tells")
        return (_moved(group[1], "fee"),)
    if wallet != instrument.base or not quantity:
        raise BadRow(f"description: {text[:60]!r} does not trade this wallet's {wallet}")
    fees = [(_asset(one), -_delta(one)) for one in group[1:]]
    return (
        StatedFill(
            id=_id(row),
            time=utc(row, "timestamp (utc)"),
            venue=VENUE,
            account=VENUE,
            instrument=instrument,
            side=side,
            quantity=quantity,
            price=price if cost is None else price_of(quantity, ZERO, cost),
            fees=tuple(StatedFee(charged_in, charged) for charged_in, charged in fees if charged),
        ),
    )


def _described(text: str) -> tuple[Side, Instrument, Decimal, Decimal | None]:
    """Side, instrument, price and, where it is stated instead of a price, the total cost."""
    if found := _TRADED.fullmatch(text):
        price = decimal_of(found[5], "description")
        return _side(found[1]), pair(_name(found[3]), _name(found[4]), "description"), price, None
    if found := _AT_ONCE.fullmatch(text):
        quote = found[4] or SIGNS.get(found[5], found[5])
        instrument = pair(_name(found[2]), _name(quote), "description")
        return _side(found[1]), instrument, ZERO, decimal_of(found[6], "description")
    raise BadRow(f"description: {text[:60]!r} is not a supported trade: record the row by hand")


def _moved(row: Row, kind: Literal["deposit", "withdrawal", "income", "fee"], income: IncomeKind = "other") -> Movement:
    """A movement. Income and fees have the row's value; a deposit's cost stays unknown."""
    value = number_or_none(row, "value amount") if kind in ("income", "fee") else None
    return Movement(
        kind,
        id=_id(row),
        time=utc(row, "timestamp (utc)"),
        venue=VENUE,
        account=VENUE,
        asset=_asset(row),
        quantity=abs(_delta(row)),
        value=None if value is None else abs(value),
        income=income,
        value_currency=None if value is None else asset(_name(row.text("value currency")), "value currency"),
    )


def _id(row: Row) -> str:
    """The wallet and row number, which stay the same in every later export."""
    return f"{row.text('wallet id')}-{row.text('row')}"


def _delta(row: Row) -> Decimal:
    return number(row, "balance delta")


def _asset(row: Row) -> Asset:
    return asset(_name(row.text("currency")), "currency")


def _name(text: str) -> str:
    return "BTC" if text.strip() == "XBT" else text.strip()


def _side(word: str) -> Side:
    return Side.BUY if word == "Bought" else Side.SELL


TRANSACTIONS: Final = Export(
    "luno transactions",
    frozenset({"wallet id", "row", "timestamp (utc)", "description", "currency", "balance delta"}),
    transaction,
    with_fees,
)
