"""Reading what a venue's client returns: texts, decimals, times, orders and trades, or OddAnswer."""

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
    """An answer that does not say what such an answer has to say."""


def rows_of(answer: object) -> list[Row]:
    """The rows of a list. Raises OddAnswer when it is not one."""
    if not isinstance(answer, Sequence) or isinstance(answer, str):
        raise OddAnswer(f"a list was expected, not {type(answer).__name__}")
    return [row_of(each) for each in answer]


def row_of(answer: object) -> Row:
    """The answer, which has named parts. Raises OddAnswer when it has not."""
    if not isinstance(answer, Mapping):
        raise OddAnswer(f"an object was expected, not {type(answer).__name__}")
    return answer


def section(row: Row, name: str) -> Row:
    """A part that has parts itself."""
    return row_of(row.get(name))


def flag(row: Row, name: str) -> bool:
    """A part that is true or false. Raises OddAnswer when it is neither."""
    found = row.get(name)
    if not isinstance(found, bool):
        raise OddAnswer(f"{name} is {str(found)[:40]!r}")
    return found


def text(row: Row, name: str) -> str:
    """A part that is a text (or a whole number, as text). Raises OddAnswer when it is empty or missing."""
    found = row.get(name)
    if isinstance(found, bool) or not isinstance(found, str | int) or found == "":
        raise OddAnswer(f"{name} is {str(found)[:40]!r}")
    return str(found)


def number(row: Row, name: str) -> Decimal:
    """A part that is a decimal. Raises OddAnswer when it is none, is a float or is missing."""
    found = text(row, name)
    try:
        return exact_decimal(Decimal(found))
    except (InvalidOperation, ValueError):
        raise OddAnswer(f"{name} is {found[:40]!r}") from None


def number_or_none(row: Row, name: str) -> Decimal | None:
    """A part that is a decimal, or None where there is none."""
    return None if row.get(name) in (None, "") else number(row, name)


def time(row: Row, name: str) -> datetime:
    """A part that is a time in milliseconds since 1970, in UTC."""
    return _EPOCH + timedelta(milliseconds=int(number(row, name)))


def milliseconds(at: datetime) -> int:
    """Milliseconds since 1970."""
    return (at - _EPOCH) // timedelta(milliseconds=1)


def symbol_of(instrument: Instrument) -> str:
    """BTC-USD as ccxt writes it: BTC/USD."""
    return instrument.replace("-", "/")


def instrument_of(symbol: str) -> Instrument:
    """BTC/USD as we write it: BTC-USD. Raises OddAnswer for a symbol that is no pair."""
    try:
        return Instrument(symbol.replace("/", "-"))
    except ValueError as error:
        raise OddAnswer(str(error)) from None


def order_of(row: Row) -> VenueOrder:
    """An order in ccxt's own form."""
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
    """An own trade in ccxt's own form, with the fees that ccxt tells."""
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
    """The fee, or nothing when there is none."""
    return (Fee(asset=Asset(asset), amount=amount),) if amount else ()


def _fees(row: Row) -> tuple[Fee, ...]:
    told = rows_of(row.get("fees") or []) or ([section(row, "fee")] if row.get("fee") else [])
    named = [(one, number_or_none(one, "cost") or ZERO) for one in told]
    return tuple(each for one, amount in named if amount for each in fee(text(one, "currency"), amount))


def _or_none(row: Row, name: str) -> str | None:
    return text(row, name) if row.get(name) not in (None, "") else None
