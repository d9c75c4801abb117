"""The values everything is made of: decimals, times, assets, instruments, ids, clocks.

Each of them refuses a wrong value where it is made, so nothing behind it has to ask again.
"""

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

# Products of two 38-digit numbers and 18 more places are exact at this precision; a float that reaches a Decimal
# raises.
# The default context serves threads that start later, the current one serves this thread.
for _context in (decimal.DefaultContext, decimal.getcontext()):
    _context.prec = 120
    _context.traps[decimal.FloatOperation] = True


def exact_decimal(value: object) -> Decimal:
    """The decimal that `value` (a Decimal or its text) says: finite, at most 20 + 18 digits, never rounded.

    Raises ValueError for floats and whole numbers (a JSON number has already been through binary floating point),
    for text that is not a plain decimal, and for numbers outside 38 digits with 18 places.
    """
    if isinstance(value, bool | int | float):
        raise ValueError(f"{value!r} is a number: write it as text in quotes, so that no digit is lost")
    if isinstance(value, str):
        if not _PLAIN_DECIMAL.fullmatch(value):
            raise ValueError(f"{_told(value)} is not a plain decimal number")
        value = Decimal(value)
    if not isinstance(value, Decimal):
        raise ValueError(f"a decimal number is needed, not {type(value).__name__}")
    if not value.is_finite():
        raise ValueError(f"{value} is not a finite number")
    if abs(value) >= _LIMIT or value != value.quantize(SMALLEST):
        raise ValueError(f"{value} needs more than {INTEGER_DIGITS} digits and {DECIMAL_PLACES} decimal places")
    return value if value else ZERO


def _told(text: str) -> str:
    """The text in quotes; of a long one the beginning and its length."""
    return repr(text) if len(text) <= 60 else f"{text[:60]!r}… ({len(text)} characters)"


def decimal_text(value: Decimal) -> str:
    """The one way a decimal is written: plain digits, no exponent, no trailing zeros, no minus zero."""
    text = format(value, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text in ("", "-0") else text


def round18(value: Decimal) -> Decimal:
    """`value` at 18 decimal places, half to even: how a product of quantity and price becomes money, once."""
    return value.quantize(SMALLEST, rounding=ROUND_HALF_EVEN)


def floor18(value: Decimal) -> Decimal:
    """The largest 18-place decimal that is not above `value`."""
    return value.quantize(SMALLEST, rounding=ROUND_FLOOR)


def share18(total: Decimal, part: Decimal, whole: Decimal) -> Decimal:
    """What the first `part` of `whole` carries of `total`: floor18(total * part / whole), exactly `total` at the end.

    Taking differences of two such numbers splits `total` without losing a digit, whatever the steps.
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
    """The same instant in UTC. Raises ValueError for a time without a zone and for anything but a datetime or its text."""
    if isinstance(value, str):
        value = _parsed_time(value)
    if not isinstance(value, datetime):
        raise ValueError(f"a time is needed as ISO-8601 text, not {type(value).__name__}")
    if value.tzinfo is None or value.utcoffset() is None:
        raise ValueError(f"the time {value.isoformat()} has no zone: add Z for UTC, or an offset")
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise ValueError(f"the time {value.isoformat()} lies outside the years 1 to 9999 in UTC") from None


def _parsed_time(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text[:40]!r} is not an ISO-8601 time such as 2026-01-31T12:00:00Z") from None


def time_text(value: datetime) -> str:
    """ISO-8601 in UTC with Z; microseconds only where there are any."""
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")


UtcTime = Annotated[datetime, BeforeValidator(utc_time), PlainSerializer(time_text, return_type=str)]


class _CheckedText(str):
    """Text that matches a pattern, checked where it is made; in JSON it is plain text."""

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
    """What is traded against what: "BTC-USD" is BTC (the base) priced in USD (the quote)."""

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
        return str.__new__(Asset, self.partition("-")[0])  # checked with the whole

    @property
    def quote(self) -> Asset:
        return str.__new__(Asset, self.partition("-")[2])


class Side(StrEnum):
    BUY = "buy"
    SELL = "sell"


Clock = Callable[[], datetime]
"""Handed in wherever "now" is needed; the answer is an aware UTC time."""

NewId = Callable[[], UUID]
"""Handed in wherever a fresh id is needed."""

NAMESPACE: Final = UUID("6d1f3f0a-5c52-5d0e-9a3a-1f0c8f1c8b27")


def system_clock() -> datetime:
    """Now, in UTC, by the machine's clock."""
    return datetime.now(UTC)


def new_id() -> UUID:
    """A fresh UUIDv7: ids made later sort later."""
    return uuid7()


def derived_id(*parts: object) -> UUID:
    """The UUIDv5 that always belongs to these parts, so that repeating an act repeats its id."""
    return uuid5(NAMESPACE, "\x1f".join(str(part) for part in parts))
