"""Luno: the transactions of a wallet. Each wallet is a file of its own; a trade is taken from the wallet of its coin."""

import re
from collections.abc import Iterable, Iterator, Sequence
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


def with_fees(lines: Iterable[Line]) -> Iterator[Group]:
    """The fee of a trade is the row behind it."""
    held: list[Line] = []
    for line in lines:
        if held and len(held) == 1 and line.text("description") == "Trading fee" and not line.flaw:
            held.append(line)
            continue
        if held:
            yield held
            held = []
        if _TRADE.match(line.text("description")):
            held = [line]
        else:
            yield (line,)
    if held:
        yield held


def transaction(group: Group) -> Sequence[Fact] | Left:
    """Each row is a change of one wallet's balance; its description says why."""
    line = group[0]
    said = line.text("description").replace("\u00a0", " ")
    if _TRADE.match(said):
        return _trade(group, said)
    if said == "Trading fee" or _SEND_FEE.fullmatch(said):
        return (_moved(line, "fee"),)
    if _OWN.fullmatch(said):
        return Left("moved between wallets of one's own")
    return (_changed(line, said),) if _delta(line) else Left("changes no balance")


def _changed(line: Line, said: str) -> Movement:
    """What came in or went out. Customers may put their own words in place of Received or Sent, so the sign is asked too."""
    if _delta(line) > 0:
        if _INTEREST.fullmatch(said):
            return _moved(line, "income", "interest")
        if _REWARD.fullmatch(said):
            return _moved(line, "income", "reward")
        if _IN.fullmatch(said) or line.text("cryptocurrency transaction id"):
            return _moved(line, "deposit")
    elif _OUT.fullmatch(said) or line.text("cryptocurrency transaction id"):
        return _moved(line, "withdrawal")
    raise BadRow(f"description: {said[:60]!r} is not one that is understood")


def _trade(group: Group, said: str) -> Sequence[Fact] | Left:
    line = group[0]
    side, instrument, price, cost = _described(said)
    quantity, wallet = abs(_delta(line)), _asset(line)
    if wallet == instrument.quote:
        if len(group) == 1:
            return Left(f"the other side of a trade that the {instrument.base} wallet tells")
        return (_moved(group[1], "fee"),)
    if wallet != instrument.base or not quantity:
        raise BadRow(f"description: {said[:60]!r} is no trade of this wallet's {wallet}")
    fees = [(_asset(one), -_delta(one)) for one in group[1:]]
    return (
        StatedFill(
            id=_id(line),
            time=utc(line, "timestamp (utc)"),
            venue=VENUE,
            account=VENUE,
            instrument=instrument,
            side=side,
            quantity=quantity,
            price=price if cost is None else price_of(quantity, ZERO, cost),
            fees=tuple(StatedFee(charged_in, charged) for charged_in, charged in fees if charged),
        ),
    )


def _described(said: str) -> tuple[Side, Instrument, Decimal, Decimal | None]:
    """Side, instrument, price and, where only that is told, the whole cost."""
    if found := _TRADED.fullmatch(said):
        price = decimal_of(found[5], "description")
        return _side(found[1]), pair(_name(found[3]), _name(found[4]), "description"), price, None
    if found := _AT_ONCE.fullmatch(said):
        quote = found[4] or SIGNS.get(found[5], found[5])
        instrument = pair(_name(found[2]), _name(quote), "description")
        return _side(found[1]), instrument, ZERO, decimal_of(found[6], "description")
    raise BadRow(f"description: {said[:60]!r} is not a trade that is understood")


def _moved(
    line: Line, kind: Literal["deposit", "withdrawal", "income", "fee"], income: IncomeKind = "other"
) -> Movement:
    """A deposit's cost stays unknown; income and fees are worth what the row says."""
    value = number_or_none(line, "value amount") if kind in ("income", "fee") else None
    return Movement(
        kind,
        id=_id(line),
        time=utc(line, "timestamp (utc)"),
        venue=VENUE,
        account=VENUE,
        asset=_asset(line),
        quantity=abs(_delta(line)),
        value=None if value is None else abs(value),
        income=income,
        value_currency=None if value is None else asset(_name(line.text("value currency")), "value currency"),
    )


def _id(line: Line) -> str:
    """Rows are counted within their wallet, and keep their number in every later export."""
    return f"{line.text('wallet id')}-{line.text('row')}"


def _delta(line: Line) -> Decimal:
    return number(line, "balance delta")


def _asset(line: Line) -> Asset:
    return asset(_name(line.text("currency")), "currency")


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
