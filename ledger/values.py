"""Decimals, times, assets, instruments, ids and clocks. Each is validated where it is created, and nowhere after."""

import decimal
import re
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import ROUND_FLOOR, ROUND_HALF_EVEN, Decimal
from enum import StrEnum
from typing import Annotated, Any, Final, Self
from uuid import UUID

from pydantic import BeforeValidator, GetCoreSchemaHandler, PlainSerializer
from pydantic_core import CoreSchema, core_schema
from uuid_utils.compat import uuid5, uuid7

DECIMAL_PLACES: Final = 18
INTEGER_DIGITS: Final = 20  # 38 digits in all
ZERO: Final = Decimal(0)
SMALLEST: Final = Decimal(1).scaleb(-DECIMAL_PLACES)
_LIMIT: Final = Decimal(10) ** INTEGER_DIGITS
_PLAIN_DECIMAL: Final = re.compile(r"[+-]?(\d{1,60}(\.\d{0,60})?|\.\d{1,60})", re.ASCII)

# At this precision products of two 38-digit numbers with 18 more places are exact. Mixing a float with a Decimal raises.
# The default context serves threads that start later, the current one serves this thread.
for _context in (decimal.DefaultContext, decimal.getcontext()):
    _context.prec = 120
    _context.traps[decimal.FloatOperation] = True


def exact_decimal(value: object) -> Decimal:
    """Parse a Decimal or its text: finite, at most 20 + 18 digits, never rounded.

    Raises ValueError for floats and ints (a JSON number has already been through binary floating point), for text that
    is not a plain decimal, and for numbers with more than 20 integer digits or 18 decimal places.
    """
    if isinstance(value, bool | int | float):
        raise ValueError(f"{value!r} is a number: write it as text in quotes, so that no digit is lost")
    if isinstance(value, str):
        if not _PLAIN_DECIMAL.fullmatch(value):
            raise ValueError(f"{_shortened(value)} is not a plain decimal number")
        value = Decimal(value)
    if not isinstance(value, Decimal):
        raise ValueError(f"expected a decimal number, got {type(value).__name__}")
    if not value.is_finite():
        raise ValueError(f"{value} is not a finite number")
    if abs(value) >= _LIMIT or value != value.quantize(SMALLEST):
        raise ValueError(f"{value} needs more than {INTEGER_DIGITS} digits and {DECIMAL_PLACES} decimal places")
    return value if value else ZERO


def _shortened(text: str) -> str:
    """Quote the text; a long one by its beginning and length."""
    return repr(text) if len(text) <= 60 else f"{text[:60]!r}… ({len(text)} characters)"


def decimal_text(value: Decimal) -> str:
    """Format a decimal canonically: plain digits, no exponent, no trailing zeros, no minus zero."""
    text = format(value, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text in ("", "-0") else text


def round18(value: Decimal) -> Decimal:
    """Round half to even at 18 decimal places: applied once, when quantity times price becomes money."""
    return value.quantize(SMALLEST, rounding=ROUND_HALF_EVEN)


def floor18(value: Decimal) -> Decimal:
    """The largest 18-place decimal that is not above `value`."""
    return value.quantize(SMALLEST, rounding=ROUND_FLOOR)


def share18(total: Decimal, part: Decimal, whole: Decimal) -> Decimal:
    """Return the share of `total` for the first `part` of `whole`: floor18(total * part / whole), `total` at the end.

    Differences of such shares split `total` without losing a digit, whatever the steps.
    """
    if part == whole:
        return total
    units, rest = divmod((total * part).scaleb(DECIMAL_PLACES), whole)
    if rest < 0:  # Decimal truncates toward zero; below zero the floor is one unit further down
        units -= 1
    return units.scaleb(-DECIMAL_PLACES)


def _positive(value: Decimal) -> Decimal:
    if value <= 0:
        raise ValueError(f"{decimal_text(value)} must be greater than 0")
    return value


def _not_negative(value: Decimal) -> Decimal:
    if value < 0:
        raise ValueError(f"{decimal_text(value)} must not be negative")
    return value


_AS_TEXT = PlainSerializer(decimal_text, return_type=str)
Money = Annotated[Decimal, BeforeValidator(exact_decimal), _AS_TEXT]
Quantity = Annotated[Decimal, BeforeValidator(lambda v: _positive(exact_decimal(v))), _AS_TEXT]
Price = Annotated[Decimal, BeforeValidator(lambda v: _positive(exact_decimal(v))), _AS_TEXT]
Amount = Annotated[Decimal, BeforeValidator(lambda v: _not_negative(exact_decimal(v))), _AS_TEXT]


def utc_time(value: object) -> datetime:
    """Convert a datetime or its ISO-8601 text to UTC. Raises ValueError, also for a time without a zone."""
    if isinstance(value, str):
        value = _parsed_time(value)
    if not isinstance(value, datetime):
        raise ValueError(f"expected an ISO-8601 timestamp, got {type(value).__name__}")
    if value.tzinfo is None or value.utcoffset() is None:
        raise ValueError(f"the time {value.isoformat()} has no zone: append Z for UTC, or an offset")
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise ValueError(f"the time {value.isoformat()} is outside the years 1 to 9999 in UTC") from None


def _parsed_time(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text[:40]!r} is not an ISO-8601 time such as 2026-01-31T12:00:00Z") from None


def time_text(value: datetime) -> str:
    """Format a time as ISO-8601 in UTC with Z; microseconds only when not 0."""
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")


UtcTime = Annotated[datetime, BeforeValidator(utc_time), PlainSerializer(time_text, return_type=str)]


class _CheckedText(str):
    """Text validated against a pattern; plain text in JSON."""

    __slots__ = ()
    _pattern: re.Pattern[str]
    _wanted: str

    def __new__(cls, value: str) -> Self:
        if not cls._pattern.fullmatch(value):
            raise ValueError(f"{value[:40]!r} is not {cls._wanted}")
        return super().__new__(cls, value)

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: type[Any], _handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(cls, core_schema.str_schema(strict=True))


class Asset(_CheckedText):
    """The symbol of a currency, coin or share, in upper case: "USD", "BTC", "BRK.B"."""

    __slots__ = ()
    _pattern = re.compile(r"[A-Z0-9][A-Z0-9.]{0,19}")
    _wanted = "an asset symbol such as BTC or USD (upper-case letters, digits and dots)"


class Instrument(_CheckedText):
    """A trading pair: "BTC-USD" is BTC (the base) priced in USD (the quote)."""

    __slots__ = ()
    _pattern = re.compile(r"([A-Z0-9][A-Z0-9.]{0,19})-([A-Z0-9][A-Z0-9.]{0,19})")
    _wanted = "an instrument such as BTC-USD (base and quote in upper case)"

    def __new__(cls, value: str) -> Self:
        made = super().__new__(cls, value)
        if made.base == made.quote:
            raise ValueError(f"{value!r} trades an asset against itself")
        return made

    @property
    def base(self) -> Asset:
        return str.__new__(Asset, self.partition("-")[0])  # validated as part of the pair

    @property
    def quote(self) -> Asset:
        return str.__new__(Asset, self.partition("-")[2])


class Side(StrEnum):
    BUY = "buy"
    SELL = "sell"


Clock = Callable[[], datetime]
"""Returns the current time, aware and in UTC."""

NAMESPACE: Final = UUID("6d1f3f0a-5c52-5d0e-9a3a-1f0c8f1c8b27")


def system_clock() -> datetime:
    """Return the current time in UTC by the machine's clock."""
    return datetime.now(UTC)


def new_id() -> UUID:
    """Return a new UUIDv7: later ids sort later."""
    return uuid7()


def derived_id(*parts: object) -> UUID:
    """Return the UUIDv5 of these parts, so that a repeated request gets the same id."""
    return uuid5(NAMESPACE, "\x1f".join(str(part) for part in parts))
