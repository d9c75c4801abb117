"""Parsing of a venue client's results: texts, decimals, times, orders and trades. Raises OddAnswer."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Final, Literal

from execution.exchanges.exchange import VenueOrder, VenueTrade
from ledger.errors import DaybookError
from ledger.events.fields import Fee
from ledger.values import ZERO, Asset, Instrument, Side, exact_decimal

Row = Mapping[str, object]

_STATES: Final[dict[str, Literal["open", "filled", "expired", "cancelled"]]] = {
    "open": "open",
    "canceling": "open",
    "closed": "filled",
    "canceled": "cancelled",
    "rejected": "cancelled",
    "expired": "expired",
}
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class OddAnswer(DaybookError, ValueError):
    """A reply without the expected content."""


def rows_of(answer: object) -> list[Row]:
    """Return the rows of a list. Raises OddAnswer for anything else."""
    if not isinstance(answer, Sequence) or isinstance(answer, str):
        raise OddAnswer(f"expected a list, got {type(answer).__name__}")
    return [row_of(each) for each in answer]


def row_of(answer: object) -> Row:
    """Return the object. Raises OddAnswer for anything else."""
    if not isinstance(answer, Mapping):
        raise OddAnswer(f"expected an object, got {type(answer).__name__}")
    return answer


def section(row: Row, name: str) -> Row:
    """Return a field that is an object."""
    return row_of(row.get(name))


def flag(row: Row, name: str) -> bool:
    """Return a boolean field. Raises OddAnswer for anything else."""
    found = row.get(name)
    if not isinstance(found, bool):
        raise OddAnswer(f"{name} is {str(found)[:40]!r}")
    return found


def text(row: Row, name: str) -> str:
    """Return a text field (integers as text). Raises OddAnswer when it is empty or missing."""
    found = row.get(name)
    if isinstance(found, bool) or not isinstance(found, str | int) or found == "":
        raise OddAnswer(f"{name} is {str(found)[:40]!r}")
    return str(found)


def number(row: Row, name: str) -> Decimal:
    """Return a decimal field. Raises OddAnswer for a float, for other text, and when it is missing."""
    found = text(row, name)
    try:
        return exact_decimal(Decimal(found))
    except (InvalidOperation, ValueError):
        raise OddAnswer(f"{name} is {found[:40]!r}") from None


def number_or_none(row: Row, name: str) -> Decimal | None:
    """Return a decimal field, or None when it is empty or missing."""
    return None if row.get(name) in (None, "") else number(row, name)


def time(row: Row, name: str) -> datetime:
    """Return a time given in milliseconds since 1970, in UTC."""
    return _EPOCH + timedelta(milliseconds=int(number(row, name)))


def milliseconds(at: datetime) -> int:
    """Return milliseconds since 1970."""
    return (at - _EPOCH) // timedelta(milliseconds=1)


def symbol_of(instrument: Instrument) -> str:
    """Return ccxt's symbol of BTC-USD: BTC/USD."""
    return instrument.replace("-", "/")


def instrument_of(symbol: str) -> Instrument:
    """Return the instrument of BTC/USD: BTC-USD. Raises OddAnswer for a symbol that is not a pair."""
    try:
        return Instrument(symbol.replace("/", "-"))
    except ValueError as error:
        raise OddAnswer(str(error)) from None


def order_of(row: Row) -> VenueOrder:
    """Parse an order in ccxt's unified format."""
    status = text(row, "status")
    if status not in _STATES:
        raise OddAnswer(f"status is {status[:40]!r}")
    return VenueOrder(
        venue_order_id=text(row, "id"),
        client_order_id=_or_none(row, "clientOrderId"),
        instrument=instrument_of(text(row, "symbol")),
        side=Side(text(row, "side")),
        state=_STATES[status],
        filled=number(row, "filled"),
        placed_at=time(row, "timestamp") if row.get("timestamp") is not None else None,
    )


def trade_of(row: Row) -> VenueTrade:
    """Parse an own trade in ccxt's unified format, with the fees that ccxt reports."""
    return VenueTrade(
        venue_trade_id=text(row, "id"),
        venue_order_id=text(row, "order"),
        client_order_id=None,
        instrument=instrument_of(text(row, "symbol")),
        side=Side(text(row, "side")),
        quantity=number(row, "amount"),
        price=number(row, "price"),
        fees=_fees(row),
        occurred_at=time(row, "timestamp"),
    )


def fee(asset: str, amount: Decimal) -> tuple[Fee, ...]:
    """Return the fee as a tuple, empty for an amount of 0."""
    return (Fee(asset=Asset(asset), amount=amount),) if amount else ()


def _fees(row: Row) -> tuple[Fee, ...]:
    reported = rows_of(row.get("fees") or []) or ([section(row, "fee")] if row.get("fee") else [])
    named = [(one, number_or_none(one, "cost") or ZERO) for one in reported]
    return tuple(each for one, amount in named if amount for each in fee(text(one, "currency"), amount))


def _or_none(row: Row, name: str) -> str | None:
    return text(row, name) if row.get(name) not in (None, "") else None
