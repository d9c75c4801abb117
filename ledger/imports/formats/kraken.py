"""Kraken: trades.csv and ledgers.csv. The ledger holds the trades too, under the same ids: either file will do."""

import re
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from typing import Final, Literal

from ledger.imports.facts import BadRow, Fact, Movement, StatedFee, StatedFill, price_of
from ledger.imports.formats.format import (
    Export,
    Group,
    Ignored,
    Row,
    asset,
    fee_of,
    number,
    number_or_none,
    pair,
    side_of,
    split_market,
    utc,
)
from ledger.values import ZERO, Asset, Instrument, Side, share18

VENUE: Final = "kraken"
NAMES: Final = {"XBT": "BTC", "XXBT": "BTC", "XDG": "DOGE", "XXDG": "DOGE"}
LEGACY: Final = re.compile(r"X(ETH|ETC|LTC|XRP|XLM|XMR|ZEC|REP|MLN|ICN|NMC|XVN|DAO)|Z(USD|EUR|GBP|JPY|CAD|AUD|KRW)")
"""Kraken's old four-letter names: X before a coin, Z before a currency."""
QUOTES: Final = (
    "USDT", "USDC", "PYUSD", "RLUSD", "EURQ", "USD", "EUR", "GBP", "JPY", "CAD", "AUD", "CHF", "AED", "XBT", "BTC", "ETH",
    "DAI", "DOT", "SOL",
)  # fmt: skip
MONEY: Final = ("USD", "EUR", "GBP", "JPY", "CAD", "AUD", "CHF", "AED", "USDT", "USDC", "DAI", "PYUSD", "BTC", "ETH")
"""Of two assets exchanged, the first in this list is the quote currency."""

_HELD_ELSEWHERE: Final = re.compile(r"([A-Z0-9]*?[A-Z])\d*\.(?:S|M|F|B|P|T|HOLD)")
_REWARDS: Final = {("staking", ""), ("earn", "reward"), ("reward", ""), ("earn", "airdrop"), ("dividend", "")}
_EARN_MOVES: Final = ("allocation", "deallocation", "autoallocation", "autodeallocation", "migration")


def trade(group: Group) -> Sequence[Fact]:
    """A row of trades.csv. Its fee is in the quote currency."""
    (row,) = group
    if number_or_none(row, "margin"):
        raise BadRow("margin: a margin trade needs more than its row: record it by hand")
    instrument = instrument_of(row.text("pair"))
    quantity = number(row, "vol")
    return (
        StatedFill(
            id=row.text("txid") or row.row_id,
            time=utc(row, "time"),
            venue=VENUE,
            account=VENUE,
            instrument=instrument,
            side=side_of(row.text("type"), "type"),
            quantity=quantity,
            price=price_of(quantity, number(row, "price"), number(row, "cost")),
            fees=fee_of(number(row, "fee"), instrument.quote, "fee"),
        ),
    )


def instrument_of(market: str) -> Instrument:
    """The instrument of a pair: XXBTZUSD, XBTUSD and BTC/USD are all BTC-USD. Raises BadRow."""
    name = market.strip().upper()
    if "/" in name:
        base, _, quote = name.partition("/")
    elif len(name) == 8 and all(_is_legacy(half) or half == "USDT" for half in (name[:4], name[4:])):
        base, quote = name[:4], name[4:]
    else:
        base, quote = split_market(name, QUOTES, "pair")
    return pair(asset_of(base), asset_of(quote), "pair")


def asset_of(name: str) -> Asset:
    """The asset of a Kraken name: XXBT is BTC, ZUSD is USD, staked DOT.S and DOT28.S are DOT. Raises BadRow."""
    name = name.strip().upper()
    elsewhere = _HELD_ELSEWHERE.fullmatch(name)
    name = elsewhere[1] if elsewhere else "ETH" if name == "ETH2" else name
    return asset(NAMES.get(name, name[1:] if LEGACY.fullmatch(name) else name), "asset")


def _is_legacy(name: str) -> bool:
    return name in NAMES or LEGACY.fullmatch(name) is not None


def entries(rows: Iterable[Row]) -> Iterator[Group]:
    """Rows of a trade or of a withdrawal grouped by their reference, which may be far apart; other rows alone."""
    sides: dict[str, list[Row]] = {}
    for row in rows:
        kind = row.text("type").lower()
        settled_withdrawal = kind == "withdrawal" and bool(row.text("txid"))
        if (kind in ("trade", "spend", "receive") or settled_withdrawal) and not row.flaw:
            sides.setdefault(row.text("refid") or row.text("txid"), []).append(row)
        else:
            yield (row,)
    yield from sides.values()


def entry(group: Group) -> Sequence[Fact] | Ignored:
    """A row of ledgers.csv, or the rows that share a reference."""
    row = group[0]
    kind, subtype = row.text("type").lower(), row.text("subtype").lower()
    if kind in ("trade", "spend", "receive"):
        return (_exchanged(group),)
    if not row.text("txid"):
        return Ignored("not settled yet (the ledger lists it again when it is)")
    if kind == "transfer" or (kind == "earn" and subtype in _EARN_MOVES):
        return Ignored(f"moved between accounts of one's own ({f'{kind} {subtype}'.strip()})")
    if (kind, subtype) in _REWARDS:
        return (_rewarded(row, kind),)
    if kind == "deposit":
        return _moved(row, "deposit")
    if kind == "withdrawal":
        return _withdrawn(group)
    raise BadRow(f"type: {kind[:40]!r} (subtype {subtype[:40]!r}) is not supported: record the row by hand")


def _exchanged(group: Group) -> StatedFill:
    """A trade from its two rows; the quote currency is chosen by `MONEY`."""
    amounts = [(asset_of(row.text("asset")), number(row, "amount")) for row in group]
    if len(group) != 2 or amounts[0][1] * amounts[1][1] >= 0 or amounts[0][0] == amounts[1][0]:
        raise BadRow(f"refid: {group[0].text('refid')} needs one row with a negative and one with a positive amount")
    (base, bought), (quote, paid) = sorted(amounts, key=lambda one: -_rank(one[0]))
    quantity, cost = abs(bought), abs(paid)
    fees = ((_charged_in(row), number_or_none(row, "fee") or ZERO) for row in group)
    return StatedFill(
        id=group[0].text("refid"),
        time=utc(group[0], "time"),
        venue=VENUE,
        account=VENUE,
        instrument=pair(base, quote, "asset"),
        side=Side.BUY if bought > 0 else Side.SELL,
        quantity=quantity,
        price=price_of(quantity, ZERO, cost),
        fees=tuple(StatedFee(charged_in, charged) for charged_in, charged in fees if charged),
    )


def _rank(one: Asset) -> int:
    return MONEY.index(one) if one in MONEY else len(MONEY)


def _charged_in(row: Row) -> Asset:
    """Asset of the row's fee: the row's own asset, unless a newer ledger names another."""
    return asset_of(row.text("feecurrency") or row.text("asset"))


def _own_fee(row: Row) -> Decimal:
    """The row's fee in its own asset. Raises BadRow for one in another asset."""
    charged = number_or_none(row, "fee") or ZERO
    if charged and _charged_in(row) != asset_of(row.text("asset")):
        raise BadRow(
            f"feecurrency: the fee is in {row.text('feecurrency')[:40]}, not in the row's asset: record the row by hand"
        )
    return charged


def _withdrawn(group: Group) -> Sequence[Fact] | Ignored:
    """A withdrawal. One that was given back has two rows that cancel each other."""
    changes = [number(row, "amount") - _own_fee(row) for row in group]
    if len(group) > 1 and not sum(changes, ZERO):
        return Ignored("a withdrawal that was given back")
    if any(change > 0 for change in changes):
        raise BadRow("amount: a withdrawal was given back only in part in this file: record it by hand")
    return [fact for row in group for fact in _moved(row, "withdrawal")]


def _rewarded(row: Row, kind: str) -> Movement:
    """Income. Newer ledgers state the value of the amount, before the fee, in US dollars."""
    worth, amount = number_or_none(row, "amountusd"), number(row, "amount")
    quantity = amount - _own_fee(row)
    if worth is not None and quantity != amount:
        worth = share18(worth, quantity, amount)
    return Movement(
        "income",
        id=row.text("txid"),
        time=utc(row, "time"),
        venue=VENUE,
        account=VENUE,
        asset=asset_of(row.text("asset")),
        quantity=quantity,
        value=worth,
        income="dividend" if kind == "dividend" else "staking",
        value_currency=None if worth is None else Asset("USD"),
    )


def _moved(row: Row, kind: Literal["deposit", "withdrawal"]) -> Sequence[Fact]:
    """Deposit or withdrawal. Its quantity is the net change of the balance, fee included."""
    amount, charged = number(row, "amount"), _own_fee(row)
    net: Decimal = amount - charged if kind == "deposit" else abs(amount) + charged
    return (
        Movement(
            kind,
            id=row.text("txid"),
            time=utc(row, "time"),
            venue=VENUE,
            account=VENUE,
            asset=asset_of(row.text("asset")),
            quantity=net,
        ),
    )


TRADES: Final = Export(
    "kraken trades", frozenset({"txid", "pair", "time", "type", "price", "cost", "fee", "vol"}), trade
)
LEDGERS: Final = Export(
    "kraken ledgers", frozenset({"txid", "refid", "time", "type", "asset", "amount", "fee"}), entry, entries
)
