"""Events as bytes: the hashed fields as COPY sends them, verified and decoded without building event objects."""

import re
from collections.abc import Iterable, Iterator
from datetime import datetime
from hashlib import sha256
from typing import Final, NamedTuple
from uuid import UUID

from ledger.log.envelope import Envelope
from ledger.log.event_log import Head, genesis_hash
from ledger.replay.fast.lines import datetime_of, time_of, units_in

RawEvent = bytes
"""One event as COPY BINARY sends it: the number of fields, the hashed body (each field after its 4-byte length, as the
hash is defined), and the hash after its length."""

FIELDS: Final = (14).to_bytes(2, "big")
_HASH_LENGTH: Final = (32).to_bytes(4, "big")


class Unverified(Exception):
    """The hash chain breaks at `position`. `ledger/log/event_log.py` reports the reason."""

    def __init__(self, portfolio_id: UUID, position: int) -> None:
        super().__init__(f"portfolio {portfolio_id}, position {position}")
        self.position = position


def verified_raw(portfolio_id: UUID, raws: Iterable[RawEvent], start: Head | None = None) -> Iterator[RawEvent]:
    """Yield the events, verifying the hash chain and the positions. Raises Unverified."""
    position, previous = (start.position, start.hash) if start else (0, genesis_hash(portfolio_id))
    for raw in raws:
        position += 1
        previous = sha256(previous + raw[2:-36]).digest()
        if raw[-36:] != _HASH_LENGTH + previous or raw[39:47] != position.to_bytes(8, "big") or raw[:2] != FIELDS:
            raise Unverified(portfolio_id, position)
        yield raw


def type_of(raw: RawEvent) -> str:
    """The event's type."""
    return raw[71 : 71 + int.from_bytes(raw[67:71], "big")].decode()


def position_of(raw: RawEvent) -> int:
    """The event's position in the log."""
    return int.from_bytes(raw[39:47], "big")


def id_of(raw: RawEvent) -> bytes:
    """The 16 bytes of the event's id."""
    return raw[51:67]


def occurred_us(raw: RawEvent) -> int:
    """The time of occurrence in microseconds since 1970-01-01 UTC."""
    place = 81 + int.from_bytes(raw[67:71], "big")
    return int.from_bytes(raw[place : place + 8], "big", signed=True)


def envelope_of(raw: RawEvent) -> Envelope:
    """Decode the event."""
    fields: list[bytes] = []
    place = 2
    while place < len(raw):
        length = int.from_bytes(raw[place : place + 4], "big")
        fields.append(raw[place + 4 : place + 4 + length])
        place += 4 + length
    _, portfolio_id, position, event_id, kind, version, occurred_at, recorded_at, actor, correlation_id = fields[:10]
    causation_id, payload, metadata, link = fields[10:]
    return Envelope(
        portfolio_id=UUID(bytes=portfolio_id),
        position=int.from_bytes(position, "big"),
        event_id=UUID(bytes=event_id),
        type=kind.decode(),
        version=int.from_bytes(version, "big", signed=True),
        occurred_at=_time(occurred_at),
        recorded_at=_time(recorded_at),
        actor=actor.decode(),
        correlation_id=UUID(bytes=correlation_id),
        causation_id=UUID(bytes=causation_id) if causation_id else None,
        payload=payload.decode(),
        metadata=metadata.decode(),
        hash=link,
    )


def _time(field: bytes) -> datetime:
    return datetime_of(int.from_bytes(field, "big", signed=True))


class PlainTrade(NamedTuple):
    """A TradeExecuted in its most common form: texts need no escaping, and numbers have no redundant digits.

    `quantity`, `price` and `fee` (in quote or base currency) are integers in units of 10^-18; `quantity_text` and
    `price_text` are the texts of the payload. `occurred_at` is in microseconds since 1970-01-01 UTC.
    """

    position: int
    event_id: str
    occurred_at: int
    time: str
    account: str
    venue: str
    venue_trade_id: str
    base: str
    quote: str
    is_buy: bool
    quantity: int
    quantity_text: str
    price: int
    price_text: str
    quote_rate: str
    fee: int
    fee_asset: str
    order_id: str | None
    triggered_by: str | None


# The fields of TradeExecuted, restricted to characters that need no escaping; the event class decodes all other payloads.
_NAME: Final = r"([ !#-\[\]-~]{1,100})"
_NUMBER: Final = r"((?:0|[1-9][0-9]{0,19})(?:\.[0-9]{0,17}[1-9])?)"
_SYMBOL: Final = r"([A-Z0-9][A-Z0-9.]{0,19})"
_ID: Final = r"([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})"
_SOURCE: Final = r"(bot:[ !#-\[\]-~]{1,100}|manual|sync|import|exit:[ !#-\[\]-~]{1,60})"
_TRADE: Final = re.compile(
    rf'\{{"account":"{_NAME}","fees":\[(?:\{{"amount":"(-?){_NUMBER}","asset":"{_SYMBOL}"\}})?\],'
    rf'"instrument":"{_SYMBOL}-{_SYMBOL}"(?:,"order_id":"{_ID}")?,"price":"{_NUMBER}","quantity":"{_NUMBER}",'
    rf'"quote_rate":"{_NUMBER}","side":"(buy|sell)"(?:,"triggered_by":"{_SOURCE}")?,'
    rf'"venue":"{_NAME}","venue_trade_id":"{_NAME}"\}}'
)
_TRADE_TYPE: Final = b"\0\0\0\x0dTradeExecuted\0\0\0\2\0\1"


def plain_trade(raw: RawEvent) -> PlainTrade | None:
    """Decode a trade; None if the event is not a trade or needs the event class."""
    if raw[67:90] != _TRADE_TYPE:
        return None
    place = 138 + int.from_bytes(raw[114:118], "big")
    place += 4 + int.from_bytes(raw[place : place + 4], "big")
    end = place + 4 + int.from_bytes(raw[place : place + 4], "big")
    found = _TRADE.fullmatch(raw[place + 4 : end].decode())
    if found is None:
        return None
    account, minus, fee, fee_asset, base, quote, order_id, price, quantity, rate, side, source, venue, trade = (
        found.groups()
    )
    fee_units = 0 if fee is None else units_in(fee)
    quantity_units, price_units = units_in(quantity), units_in(price)
    if base == quote or not quantity_units or not price_units or rate == "0":
        return None
    if fee_asset not in (None, base, quote) or (fee_asset == base and fee_units >= quantity_units):
        return None
    occurred_at, name = occurred_us(raw), id_of(raw).hex()
    return PlainTrade(
        position_of(raw),
        f"{name[:8]}-{name[8:12]}-{name[12:16]}-{name[16:20]}-{name[20:]}",
        occurred_at,
        time_of(occurred_at),
        account,
        venue,
        trade,
        base,
        quote,
        side == "buy",
        quantity_units,
        quantity,
        price_units,
        price,
        rate,
        -fee_units if minus else fee_units,
        fee_asset or quote,
        order_id,
        source,
    )
