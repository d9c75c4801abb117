"""Daybook's own format: one trade for each row of a CSV or JSON file."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, StringConstraints, ValidationError

from ledger.events.fields import Name
from ledger.imports.facts import BadRow, StatedFee, StatedFill, sentences
from ledger.imports.formats.format import InvalidRow, Row, Stated
from ledger.values import ZERO, Asset, Instrument, Money, Price, Quantity, Side, UtcTime

VENUE: Final = "file"
"""Venue of the trades of our own format; their account distinguishes them."""


@dataclass(frozen=True, slots=True)
class JsonNumber:
    """A number of a JSON file as written, never converted to binary floating point."""

    text: str


def stated(row: Row, base: Asset) -> Stated | InvalidRow:
    """The trade of a row; an instrument without a quote currency is quoted in `base`."""
    try:
        if row.flaw:
            raise BadRow(row.flaw)
        return Stated((row.number,), fill_of(row.fields, base))
    except BadRow as bad:
        instrument = printable(row.fields.get("instrument"))
        return InvalidRow((row.number,), printable(row.fields.get("id")), str(bad), instrument=instrument)


def fill_of(fields: Mapping[str, object], base: Asset) -> StatedFill:
    """The trade that the fields state; an instrument without a quote currency is quoted in `base`. Raises BadRow."""
    columns = _columns(fields)
    try:
        instrument = instrument_of(columns.instrument, base)
    except ValueError as error:
        raise BadRow(f"instrument: {error}") from None
    return StatedFill(
        id=columns.id,
        time=columns.time,
        venue=VENUE,
        account=columns.account,
        instrument=instrument,
        side=columns.side,
        quantity=columns.quantity,
        price=columns.price,
        fees=(StatedFee(columns.fee_asset or instrument.quote, columns.fee, columns.fee_value),) if columns.fee else (),
        quote_rate=columns.quote_rate,
        triggered_by=columns.triggered_by,
        order_id=columns.order_id,
        symbol=columns.instrument,
    )


def instrument_of(text: str, base: Asset) -> Instrument:
    """`BTC-USD` and `BTC/USD` as BTC-USD, a bare `AAPL` quoted in `base`. Raises ValueError."""
    return Instrument(text.replace("/", "-", 1) if "/" in text or "-" in text else f"{text}-{base}")


def printable(value: object) -> str:
    """The cell in a form that every terminal and file can hold, at most 100 characters."""
    text = value.text if isinstance(value, JsonNumber) else value if isinstance(value, str) else ""
    return text.strip()[:100].encode("utf-8", "replace").decode()


def _side(value: object) -> Side:
    try:
        return Side(str(value).lower())
    except ValueError:
        raise ValueError(f"{str(value)[:40]!r} is neither buy nor sell") from None


class _Columns(BaseModel):
    """The columns of a trade file. All others are ignored."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")
    id: Name
    time: UtcTime
    instrument: Annotated[str, StringConstraints(strict=True, max_length=41)]
    side: Annotated[Side, BeforeValidator(_side)]
    quantity: Quantity
    price: Price
    fee: Money = ZERO
    fee_asset: Asset | None = None
    order_id: Name | None = None
    account: Name = "file"
    triggered_by: str = "import"
    quote_rate: Price | None = None
    fee_value: Money | None = None


COLUMNS: Final = tuple(_Columns.model_fields)
REQUIRED: Final = tuple(name for name, column in _Columns.model_fields.items() if column.is_required())
OPTIONAL: Final = tuple(name for name in COLUMNS if name not in REQUIRED)
IDS: Final = ("id", "order_id")


def _columns(fields: Mapping[str, object]) -> _Columns:
    present = {name: text for name in COLUMNS if name in fields and (text := _cell(name, fields[name]))}
    missing = [name for name in REQUIRED if name not in present]
    if missing:
        raise BadRow("; ".join(f"{name} is missing" for name in missing))
    try:
        return _Columns.model_validate(present)
    except ValidationError as error:
        raise BadRow(sentences(error)) from None


def _cell(name: str, value: object) -> str | None:
    """The text of the cell. Only ids may be whole JSON numbers, so that no digit is lost. Raises BadRow."""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, JsonNumber):
        if name in IDS and value.text.isdigit():
            return value.text
        if value.text in ("NaN", "Infinity", "-Infinity"):
            raise BadRow(f"{name}: {value.text} is not a finite number")
        if len(value.text) > 60:
            raise BadRow(f"{name}: a JSON number of {len(value.text)} characters: write it as text, in quotes")
        raise BadRow(f'{name}: {value.text} is a JSON number: write it as text, "{value.text}"')
    if value is not None:
        kind = "true or false" if isinstance(value, bool) else "a list" if isinstance(value, list) else "an object"
        raise BadRow(f"{name}: expected text, got {kind}")
    return None
