"""Kraken: trades.csv and ledgers.csv. A ledger holds the trades too, under the same ids, so one of the two is enough."""

import re
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from typing import Final, Literal

from ledger.imports.facts import BadRow, Fact, Movement, StatedFee, StatedFill, price_of
from ledger.imports.formats.format import Export, Group, Left, Line, asset, number, number_or_none, pair, utc
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
"""Which of two assets is the price's: the first that is here."""

_HELD_ELSEWHERE: Final = re.compile(r"([A-Z0-9]*?[A-Z])\d*\.(?:S|M|F|B|P|T|HOLD)")
_REWARDS: Final = {("staking", ""), ("earn", "reward"), ("reward", ""), ("earn", "airdrop"), ("dividend", "")}
_EARN_MOVES: Final = ("allocation", "deallocation", "autoallocation", "autodeallocation", "migration")


def trade(group: Group) -> Sequence[Fact]:
    """A row of trades.csv. Its fee is in what the pair is priced in."""
    (line,) = group
    if number_or_none(line, "margin"):
        raise BadRow("margin: a trade on margin cannot be booked from its row alone: record it by hand")
    instrument = instrument_of(line.text("pair"))
    quantity, charged = number(line, "vol"), number(line, "fee")
    side = line.text("type").lower()
    if side not in ("buy", "sell"):
        raise BadRow(f"type: {side[:40]!r} is neither buy nor sell")
    return (
        StatedFill(
            id=line.text("txid") or line.row_id,
            time=utc(line, "time"),
            venue=VENUE,
            account=VENUE,
            instrument=instrument,
            side=Side(side),
            quantity=quantity,
            price=price_of(quantity, number(line, "price"), number(line, "cost")),
            fees=(StatedFee(instrument.quote, charged),) if charged else (),
        ),
    )


def instrument_of(market: str) -> Instrument:
    """XXBTZUSD, XBTUSD and BTC/USD are all BTC-USD. Raises BadRow."""
    name = market.strip().upper()
    if "/" in name:
        base, _, quote = name.partition("/")
        return pair(asset_of(base), asset_of(quote), "pair")
    if len(name) == 8 and all(_is_legacy(part) or part == "USDT" for part in (name[:4], name[4:])):
        return pair(asset_of(name[:4]), asset_of(name[4:]), "pair")
    for quote in QUOTES:
        if name.endswith(quote) and len(name) > len(quote):
            return pair(asset_of(name.removesuffix(quote)), asset_of(quote), "pair")
    raise BadRow(f"pair: {market[:40]!r} cannot be told apart into what was traded and what it was priced in")


def asset_of(name: str) -> Asset:
    """Kraken's name as everybody writes it: XXBT is BTC, ZUSD is USD, and DOT.S, DOT28.S are DOT held elsewhere."""
    name = name.strip().upper()
    elsewhere = _HELD_ELSEWHERE.fullmatch(name)
    name = elsewhere[1] if elsewhere else "ETH" if name == "ETH2" else name
    return asset(NAMES.get(name, name[1:] if LEGACY.fullmatch(name) else name), "asset")


def _is_legacy(name: str) -> bool:
    return name in NAMES or LEGACY.fullmatch(name) is not None


def entries(lines: Iterable[Line]) -> Iterator[Group]:
    """Both sides of a trade, and a withdrawal and its end, share a reference and may stand apart; all else stands alone."""
    sides: dict[str, list[Line]] = {}
    for line in lines:
        kind = line.text("type").lower()
        settled_withdrawal = kind == "withdrawal" and bool(line.text("txid"))
        if (kind in ("trade", "spend", "receive") or settled_withdrawal) and not line.flaw:
            sides.setdefault(line.text("refid") or line.text("txid"), []).append(line)
        else:
            yield (line,)
    yield from sides.values()


def entry(group: Group) -> Sequence[Fact] | Left:
    """A row of ledgers.csv, or the rows of one trade."""
    line = group[0]
    kind, subtype = line.text("type").lower(), line.text("subtype").lower()
    if kind in ("trade", "spend", "receive"):
        return (_exchanged(group),)
    if not line.text("txid"):
        return Left("not settled yet (the ledger lists it again when it is)")
    if kind == "transfer" or (kind == "earn" and subtype in _EARN_MOVES):
        return Left(f"moved between accounts of one's own ({f'{kind} {subtype}'.strip()})")
    if (kind, subtype) in _REWARDS:
        return (_rewarded(line, kind),)
    if kind == "deposit":
        return _moved(line, "deposit")
    if kind == "withdrawal":
        return _withdrawn(group)
    raise BadRow(f"type: {kind[:40]!r} (subtype {subtype[:40]!r}) is not one that is understood")


def _exchanged(group: Group) -> StatedFill:
    """What went out and what came in, as a trade for the one of the two that prices are told in."""
    amounts = [(asset_of(line.text("asset")), number(line, "amount")) for line in group]
    if len(group) != 2 or amounts[0][1] * amounts[1][1] >= 0 or amounts[0][0] == amounts[1][0]:
        raise BadRow(f"refid: {group[0].text('refid')} needs one row of what went out and one of what came in")
    (base, bought), (quote, paid) = sorted(amounts, key=lambda one: -_rank(one[0]))
    quantity, cost = abs(bought), abs(paid)
    fees = ((_charged_in(line), number_or_none(line, "fee") or ZERO) for line in group)
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


def _charged_in(line: Line) -> Asset:
    """What the row's fee was paid in: the row's own asset, unless a newer ledger names another one."""
    return asset_of(line.text("feecurrency") or line.text("asset"))


def _own_fee(line: Line) -> Decimal:
    """The row's fee in its own asset. Raises BadRow for one in another asset."""
    charged = number_or_none(line, "fee") or ZERO
    if charged and _charged_in(line) != asset_of(line.text("asset")):
        raise BadRow(
            f"feecurrency: a fee in {line.text('feecurrency')[:40]} beside another asset: record the row by hand"
        )
    return charged


def _withdrawn(group: Group) -> Sequence[Fact] | Left:
    """What left. A withdrawal that was given back comes in two rows that undo each other."""
    changes = [number(line, "amount") - _own_fee(line) for line in group]
    if len(group) > 1 and not sum(changes, ZERO):
        return Left("a withdrawal that was given back")
    if any(change > 0 for change in changes):
        raise BadRow("amount: a withdrawal that comes back, but not all of it in this file: record it by hand")
    return [fact for line in group for fact in _moved(line, "withdrawal")]


def _rewarded(line: Line, kind: str) -> Movement:
    """The newer ledgers say what the amount, before the fee, was worth in US dollars."""
    worth, amount = number_or_none(line, "amountusd"), number(line, "amount")
    quantity = amount - _own_fee(line)
    if worth is not None and quantity != amount:
        worth = share18(worth, quantity, amount)
    return Movement(
        "income",
        id=line.text("txid"),
        time=utc(line, "time"),
        venue=VENUE,
        account=VENUE,
        asset=asset_of(line.text("asset")),
        quantity=quantity,
        value=worth,
        income="dividend" if kind == "dividend" else "staking",
        value_currency=None if worth is None else Asset("USD"),
    )


def _moved(line: Line, kind: Literal["deposit", "withdrawal"]) -> Sequence[Fact]:
    """The fee lessens what arrives, and leaves together with what is sent: the net change of the balance is what moved."""
    amount, charged = number(line, "amount"), _own_fee(line)
    net: Decimal = amount - charged if kind == "deposit" else abs(amount) + charged
    return (
        Movement(
            kind,
            id=line.text("txid"),
            time=utc(line, "time"),
            venue=VENUE,
            account=VENUE,
            asset=asset_of(line.text("asset")),
            quantity=net,
        ),
    )


TRADES: Final = Export(
    "kraken trades", frozenset({"txid", "pair", "time", "type", "price", "cost", "fee", "vol"}), trade
)
LEDGERS: Final = Export(
    "kraken ledgers", frozenset({"txid", "refid", "time", "type", "asset", "amount", "fee"}), entry, entries
)
