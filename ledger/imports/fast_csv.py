"""A fast parser for plain rows of our own CSV: writes their stored text without building an event."""

import re
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Final, NamedTuple
from uuid import UUID

import uuid_utils

from ledger.events import TradeExecuted
from ledger.imports.csv_trades import COLUMNS, VENUE, instrument_of
from ledger.imports.pending import Origin, PendingEvent
from ledger.values import NAMESPACE, Asset, Side

_IDS: Final = uuid_utils.UUID(bytes=NAMESPACE.bytes)
_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/+=-]{0,99}", re.ASCII)
_FIGURE: Final = re.compile(r"(?:0|[1-9][0-9]{0,19})(?:\.[0-9]{1,18})?", re.ASCII)
_TIME: Final = re.compile(
    r"(?:19|2[0-9])[0-9]{2}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{3}|\.[0-9]{6})?(?:Z|\+00:00)",
    re.ASCII,
)
_SIDES: Final = {written: str(side) for side in Side for written in (side.value, side.value.upper())}
_SOURCES: Final = {"": "import", "import": "import", "manual": "manual", "sync": "sync"}
_TYPE, _VERSION = TradeExecuted.type, TradeExecuted.version


class _Market(NamedTuple):
    """The text around the figures, shared by all trades of an instrument, account and source."""

    base: str
    quote: str
    start: str
    before_price: str
    before_side: str
    before_id: str
    named: str


class FastParser:
    """Parses rows priced in the portfolio's base currency whose fee, if any, is in the traded asset or the quote.

    Id, time, payload and metadata are exactly those of the general parser.
    """

    def __init__(self, header: Sequence[str], portfolio_id: UUID, base: Asset, origin: Origin) -> None:
        width = len(header)
        self._width = width
        # A missing column is read from the empty cell appended to the row.
        at = {name: header.index(name) if name in header else width for name in COLUMNS}
        self._figures = (at["id"], at["time"], at["side"], at["quantity"], at["price"], at["fee"], at["fee_asset"])
        self._market_at = (at["instrument"], at["account"], at["triggered_by"])
        self._careful_at = (at["order_id"], at["quote_rate"], at["fee_value"])
        self._portfolio_id, self._base, self._origin = portfolio_id, base, origin
        self._markets: dict[tuple[str, str, str], _Market | None] = {}

    def parse(self, cells: Sequence[str], line: int) -> PendingEvent | None:
        """The event of the row, None if the general parser must read it."""
        if len(cells) != self._width:
            return None
        row = (*cells, "")
        at_id, at_time, at_side, at_quantity, at_price, at_fee, at_fee_asset = self._figures
        order_id, quote_rate, fee_value = self._careful_at
        if row[order_id] or row[quote_rate] or row[fee_value]:
            return None
        instrument, account, source = self._market_at
        name = (row[instrument], row[account], row[source])
        market = self._markets[name] if name in self._markets else self._markets.setdefault(name, self._market(*name))
        trade_id, time_text, side = row[at_id], row[at_time], _SIDES.get(row[at_side])
        quantity, price = row[at_quantity], row[at_price]
        if market is None or side is None or not (_ID.fullmatch(trade_id) and _TIME.fullmatch(time_text)):
            return None
        if not (_FIGURE.fullmatch(quantity) and _FIGURE.fullmatch(price)):
            return None
        quantity, price = _plain(quantity), _plain(price)
        fees = _fees(row[at_fee], row[at_fee_asset], quantity, market)
        if fees is None or quantity == "0" or price == "0":
            return None
        try:
            time = datetime.fromisoformat(time_text)
        except ValueError:
            return None
        return PendingEvent(
            # Equals derived_id, in a third of its time.
            UUID(int=uuid_utils.uuid5(_IDS, market.named + trade_id).int),
            _TYPE,
            _VERSION,
            time,
            f"{market.start}{fees}{market.before_price}{price}"
            f'","quantity":"{quantity}{market.before_side}{side}{market.before_id}{trade_id}"}}',
            self._origin.metadata(line),
            line,
            trade_id,
        )

    def accounts(self) -> dict[str, str]:
        """The accounts of the parsed rows, with their venue."""
        return {account or "file": VENUE for (_, account, _), market in self._markets.items() if market is not None}

    def _market(self, text: str, account: str, source: str) -> _Market | None:
        try:
            instrument = instrument_of(text, self._base)
        except ValueError:
            return None
        account = account or "file"
        if instrument.quote != self._base or not _ID.fullmatch(account) or source not in _SOURCES or len(text) > 41:
            return None
        return _Market(
            base=str(instrument.base),
            quote=str(instrument.quote),
            start=f'{{"account":"{account}","fees":[',
            before_price=f'],"instrument":"{instrument}","price":"',
            before_side='","quote_rate":"1","side":"',
            before_id=f'","triggered_by":"{_SOURCES[source]}","venue":"{VENUE}","venue_trade_id":"',
            named="\x1f".join(("trade", str(self._portfolio_id), VENUE, account, instrument, "")),
        )


def _fees(fee: str, fee_asset: str, quantity: str, market: _Market) -> str | None:
    """The JSON inside the list of fees; None if the general parser must read it."""
    if fee_asset and fee_asset not in (market.quote, market.base):
        return None
    if not fee:
        return ""
    if not _FIGURE.fullmatch(fee):
        return None
    fee = _plain(fee)
    if fee == "0":
        return ""
    if fee_asset == market.base and Decimal(quantity) <= Decimal(fee):
        return None
    return f'{{"amount":"{fee}","asset":"{fee_asset or market.quote}"}}'


def _plain(figure: str) -> str:
    """The figure without trailing zeros."""
    return figure.rstrip("0").rstrip(".") if "." in figure else figure
