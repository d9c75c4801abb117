"""Rows as lines of text in PostgreSQL's COPY format, with decimals computed as integers in units of 10^-18.

A line holds the fields of its row in order, without portfolio and generation. `text_of` converts it to `row_text`, from
which the state hash is computed.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from operator import itemgetter
from typing import Final, get_args, get_type_hints

from ledger.rows import Row, field_names
from ledger.values import DECIMAL_PLACES, decimal_text

UNITS: Final = 10**DECIMAL_PLACES
NULL: Final = r"\N"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_ESCAPES: Final = str.maketrans(
    {"\\": r"\\", "\b": r"\b", "\f": r"\f", "\n": r"\n", "\r": r"\r", "\t": r"\t", "\v": r"\v"}
)
_ESCAPE: Final = re.compile(r"\\.", re.DOTALL)
_ESCAPED: Final = {r"\b": "\b", r"\f": "\f", r"\n": "\n", r"\r": "\r", r"\t": "\t", r"\v": "\v"}


def line_of(row: Row) -> str:
    """Return the row as a line."""
    return "\t".join(_field_text(getattr(row, name)) for name in field_names(type(row)))


def decimal_of(units: int) -> str:
    """Return units of 10^-18 as text, in the form of `decimal_text`."""
    text = str(units) if units >= 0 else str(-units)
    if len(text) <= DECIMAL_PLACES:
        text = text.zfill(DECIMAL_PLACES + 1)
    fraction = text[-DECIMAL_PLACES:].rstrip("0")
    text = f"{text[:-DECIMAL_PLACES]}.{fraction}" if fraction else text[:-DECIMAL_PLACES]
    return text if units >= 0 else f"-{text}"


def units_in(text: str) -> int:
    """Return a decimal text of at most 18 places in units of 10^-18."""
    whole, _, fraction = text.partition(".")
    return int(whole + fraction.ljust(DECIMAL_PLACES, "0"))


def units_of(value: Decimal) -> int:
    """Return `value` in units of 10^-18. Raises ValueError for more than 18 decimal places."""
    units = int(value.scaleb(DECIMAL_PLACES))
    if Decimal(units).scaleb(-DECIMAL_PLACES) != value:
        raise ValueError(f"{value} has more than {DECIMAL_PLACES} decimal places")
    return units


def rounded(product: int) -> int:
    """Return the product of two numbers of units in units, rounded half to even like `round18`."""
    units, rest = divmod(product, UNITS)
    return units + (rest * 2 > UNITS or (rest * 2 == UNITS and units & 1))


def time_of(microseconds: int) -> str:
    """Return microseconds since 1970-01-01 UTC as PostgreSQL writes the time in UTC."""
    day, rest = divmod(microseconds, 86_400_000_000)
    second, fraction = divmod(rest, 1_000_000)
    if not fraction:
        return f"{_day(day)} {_CLOCK[second]}+00"
    return f"{_day(day)} {_CLOCK[second]}.{str(fraction).zfill(6).rstrip('0')}+00"


@lru_cache(maxsize=100_000)
def _day(number: int) -> str:
    return str(_EPOCH.date() + timedelta(days=number))


def microseconds_of(time: datetime) -> int:
    """Return the microseconds since 1970-01-01 UTC."""
    return (time - _EPOCH) // timedelta(microseconds=1)


def datetime_of(microseconds: int) -> datetime:
    """Return the time at these microseconds since 1970-01-01 UTC."""
    return _EPOCH + timedelta(microseconds=microseconds)


_CLOCK: Final = tuple(
    f"{hour:02}:{minute:02}:{second:02}" for hour in range(24) for minute in range(60) for second in range(60)
)


def escaped(text: str) -> str:
    """Return the text escaped for a line."""
    return text.translate(_ESCAPES)


def unescaped(field: str) -> str:
    """Return the text of a field, the inverse of `escaped`."""
    return _ESCAPE.sub(lambda found: _ESCAPED.get(found.group(), found.group()[1:]), field) if "\\" in field else field


def text_of(kind: type[Row], line: str) -> str:
    """Return the `row_text` of the row in `line`."""
    pattern = _PATTERNS.get(kind) or _PATTERNS.setdefault(kind, _pattern(kind))
    fields = line.split("\t")
    letters = line.replace("\t", "").replace(NULL, "")
    if '"' in letters or "\\" in letters or not letters.isprintable():
        for place in pattern.texts:
            fields[place] = _json_inside(fields[place])
    for place, convert in pattern.conversions:
        fields[place] = convert(fields[place])
    return pattern.template % pattern.chosen(fields)


Convert = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class _Pattern:
    """Converts a line to `row_text`: some fields are converted, and the `chosen` ones fill the template."""

    template: str
    chosen: Callable[[list[str]], tuple[str, ...]]
    conversions: tuple[tuple[int, Convert], ...]
    texts: tuple[int, ...]


_PATTERNS: Final[dict[type[Row], _Pattern]] = {}


def _pattern(kind: type[Row]) -> _Pattern:
    types = get_type_hints(kind)
    names = field_names(kind)
    chosen = sorted(name for name in names if not name.endswith("position"))
    conversions = {names.index(name): convert for name in chosen if (convert := _conversion(types[name]))}
    parts = [f'"{name}":' + ("%s" if _bare(types[name]) else '"%s"') for name in chosen]
    return _Pattern(
        f'["{kind.table}",{{{",".join(parts)}}}]',
        itemgetter(*map(names.index, chosen)),
        tuple(conversions.items()),
        tuple(names.index(name) for name in chosen if str in (types[name], *get_args(types[name]))),
    )


def _bare(kind: object) -> bool:
    """Return True if the template puts no quotes around the field."""
    return kind in (int, bool) or type(None) in get_args(kind)


def _conversion(kind: object) -> Convert | None:
    """Return the conversion of a field of this type, or None if its text is the same in both."""
    inner = [one for one in get_args(kind) if one is not type(None)]
    if inner:
        convert = _conversion(inner[0]) or (lambda field: field)
        quote = "" if _bare(inner[0]) else '"'
        return lambda field: "null" if field == NULL else f"{quote}{convert(field)}{quote}"
    if kind is bool:
        return lambda field: "true" if field == "t" else "false"
    return _json_time if kind is datetime else None


@lru_cache(maxsize=10_000)
def _json_time(field: str) -> str:
    """Return PostgreSQL's text of a time in the form of `time_text`."""
    day, _, rest = field.partition(" ")
    clock, _, fraction = rest.removesuffix("+00").partition(".")
    return f"{day}T{clock}.{fraction.ljust(6, '0')}Z" if fraction else f"{day}T{clock}Z"


def _json_inside(field: str) -> str:
    """Return the field escaped for a JSON string, without quotes."""
    if field == NULL:
        return field
    return json.dumps(unescaped(field), ensure_ascii=False)[1:-1]


def _field_text(value: object) -> str:
    match value:
        case None:
            return NULL
        case bool():
            return "t" if value else "f"
        case Decimal():
            return decimal_text(value)
        case datetime():
            return time_of(microseconds_of(value))
        case _:
            return escaped(str(value))
