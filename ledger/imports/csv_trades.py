"""One row of a trade file becomes a trade, or a sentence that says why it cannot."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Final
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, ConfigDict, StringConstraints, TypeAdapter, ValidationError

from ledger.events import TradeExecuted
from ledger.events.fields import Fee, Name, Source
from ledger.imports.facts import BadRow, StatedFee, StatedFill, must_be_possible, sentences
from ledger.log.envelope import NewEvent
from ledger.values import ZERO, Asset, Instrument, Money, Price, Quantity, Side, UtcTime, decimal_text, round18

VENUE: Final = "file"
"""What stands for the venue of trades in our own format: their account tells them apart."""


@dataclass(frozen=True, slots=True)
class JsonNumber:
    """A number of a JSON file with its digits as written: it never becomes binary floating point."""

    text: str


@dataclass(frozen=True, slots=True)
class FileTrade:
    """A trade as a file states it. `number` is its place among the rows; equal content is equal, wherever it stands.

    `instrument` is the text exactly as given. `note` says what the file states but the event cannot carry.
    """

    id: str
    time: datetime
    instrument: str
    event: TradeExecuted
    stated: tuple[object, ...]
    number: int = field(compare=False)
    note: str = field(default="", compare=False)

    def new_event(self, event_id: UUID, actor: str) -> NewEvent:
        """The trade as an event that is not in a log yet, first of its own story."""
        return NewEvent(self.event, event_id, self.time, actor, event_id)


def trade_of(fields: Mapping[str, object], number: int, base: Asset) -> FileTrade:
    """The trade that the row says; an instrument without a quote is quoted in `base`. Raises BadRow."""
    columns = _columns(fields)
    try:
        instrument = instrument_of(columns.instrument, base)
    except ValueError as error:
        raise BadRow(f"instrument: {error}") from None
    must_be_possible(columns.time)
    fees, fee_note = _fees(columns, instrument, base)
    source, source_note = _source(columns.triggered_by)
    note = "; ".join(filter(None, (fee_note, source_note)))
    try:
        event = _event(columns, instrument, fees, source)
    except ValidationError as error:
        raise BadRow(sentences(error)) from None
    return FileTrade(columns.id, columns.time, columns.instrument, event, columns.stated(), number, note)


def fill_of(fields: Mapping[str, object], base: Asset) -> StatedFill:
    """The trade that the row says, for a portfolio kept in `base`: nothing it says is left out. Raises BadRow."""
    columns = _columns(fields)
    try:
        instrument = instrument_of(columns.instrument, base)
    except ValueError as error:
        raise BadRow(f"instrument: {error}") from None
    source, note = _source(columns.triggered_by)
    if note:
        raise BadRow(note.removesuffix(": it is left out"))
    fee = StatedFee(columns.fee_asset or instrument.quote, columns.fee, columns.fee_value)
    return StatedFill(
        id=columns.id,
        time=columns.time,
        venue=VENUE,
        account=columns.account,
        instrument=instrument,
        side=columns.side,
        quantity=columns.quantity,
        price=columns.price,
        fees=(fee,) if columns.fee else (),
        quote_rate=columns.quote_rate,
        triggered_by=source or "import",
        order_id=columns.order_id,
    )


def file_trade(fill: StatedFill, number: int) -> FileTrade:
    """The trade of an export, for a report in its quote currency. Raises BadRow."""
    inside = (fill.instrument.base, fill.instrument.quote)
    must_be_possible(fill.time)
    try:
        event = TradeExecuted(
            account=fill.account,
            venue=fill.venue,
            venue_trade_id=fill.id,
            instrument=fill.instrument,
            side=fill.side,
            quantity=fill.quantity,
            price=fill.price,
            fees=tuple(Fee(asset=fee.asset, amount=fee.amount) for fee in fill.fees if fee.asset in inside),
            quote_rate=Decimal(1),
            triggered_by=fill.triggered_by,
        )
    except ValidationError as error:
        raise BadRow(sentences(error)) from None
    outside = [fee for fee in fill.fees if fee.asset not in inside]
    note = "; ".join(_unvalued(fee.amount, fee.asset, fill.instrument) for fee in outside)
    return FileTrade(fill.id, fill.time, str(fill.instrument), event, (fill,), number, note)


def instrument_of(text: str, base: Asset) -> Instrument:
    """`BTC-USD` and `BTC/USD` as they are, a bare `AAPL` quoted in `base`. Raises ValueError."""
    return Instrument(text.replace("/", "-", 1) if "/" in text or "-" in text else f"{text}-{base}")


def shown(value: object) -> str:
    """A cell as it may be repeated in a report: text that every terminal and file can hold, at most 100 characters."""
    text = value.text if isinstance(value, JsonNumber) else value if isinstance(value, str) else ""
    return text.strip()[:100].encode("utf-8", "replace").decode()


def _side(value: object) -> Side:
    try:
        return Side(str(value).lower())
    except ValueError:
        raise ValueError(f"{str(value)[:40]!r} is neither buy nor sell") from None


class _Columns(BaseModel):
    """The columns of a trade file; all others are ignored."""

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
    triggered_by: str | None = None
    quote_rate: Price | None = None
    fee_value: Money | None = None

    def stated(self) -> tuple[object, ...]:
        """Everything the row says, as values: 1.0 and 1.00 say the same."""
        return tuple(getattr(self, name) for name in COLUMNS)


COLUMNS: Final = tuple(_Columns.model_fields)
REQUIRED: Final = tuple(name for name, column in _Columns.model_fields.items() if column.is_required())
OPTIONAL: Final = tuple(name for name in COLUMNS if name not in REQUIRED)
IDS: Final = ("id", "order_id")
_SOURCE: Final[TypeAdapter[str | None]] = TypeAdapter(Source | None)


def _columns(fields: Mapping[str, object]) -> _Columns:
    given = {name: _cell(name, fields[name]) for name in COLUMNS if name in fields}
    present = {name: value for name, value in given.items() if value not in (None, "")}
    missing = [name for name in REQUIRED if name not in present]
    if missing:
        raise BadRow("; ".join(f"{name} is missing" for name in missing))
    try:
        return _Columns.model_validate(present)
    except ValidationError as error:
        raise BadRow(sentences(error)) from None


def _cell(name: str, value: object) -> str | None:
    """The cell as text. Ids may be whole JSON numbers; nothing else may be a number, so that no digit is lost."""
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
        raise BadRow(f"{name}: text is needed, not {_json_name(value)}")
    return None


def _json_name(value: object) -> str:
    return "true or false" if isinstance(value, bool) else "a list" if isinstance(value, list) else "an object"


def _fees(columns: _Columns, instrument: Instrument, base: Asset) -> tuple[tuple[Fee, ...], str]:
    """The fee, or none and a note where nothing says what a third asset was worth."""
    asset = columns.fee_asset or instrument.quote
    if not columns.fee:
        return (), ""
    if asset in (instrument.base, instrument.quote):
        return (Fee(asset=asset, amount=columns.fee),), ""
    rate = columns.quote_rate or (Decimal(1) if instrument.quote == base else None)
    if columns.fee_value is not None and rate is not None:
        return (Fee(asset=instrument.quote, amount=round18(columns.fee_value / rate)),), ""
    return (), _unvalued(columns.fee, asset, instrument)


def _unvalued(amount: Decimal, asset: Asset, instrument: Instrument) -> str:
    return (
        f"the fee of {decimal_text(amount)} {asset} has no stated value in {instrument.quote}: "
        "the trade is computed without it"
    )


def _source(stated: str | None) -> tuple[str | None, str]:
    """Who triggered the trade, or None and a note: attribution never decides a figure, so it never stops a trade."""
    try:
        return _SOURCE.validate_python(stated), ""
    except ValidationError:
        return None, f"triggered_by: {shown(stated)!r} is not manual, sync, import, bot:… or exit:…: it is left out"


def _event(columns: _Columns, instrument: Instrument, fees: tuple[Fee, ...], source: str | None) -> TradeExecuted:
    return TradeExecuted(
        account=columns.account,
        venue=VENUE,
        venue_trade_id=columns.id,
        instrument=instrument,
        side=columns.side,
        quantity=columns.quantity,
        price=columns.price,
        fees=fees,
        quote_rate=Decimal(1),
        triggered_by=source,
    )
