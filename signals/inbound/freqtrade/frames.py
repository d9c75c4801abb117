"""Frames of a pair from freqtrade's JSON: rows with entries, exits, tags and FreqAI predictions.

Imports nothing of freqtrade, and validates all of its data: an invalid frame raises BadFrame.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from ledger.errors import DaybookError
from ledger.values import utc_time
from signals.inbound.signals import six_places
from signals.market.candle import timeframe_of

SIDES: Final[Mapping[str, int]] = {"enter_long": 1, "exit_long": -1, "enter_short": -1, "exit_short": 1}
"""The signal columns and their direction: +1 is buy."""

MOST_ROWS: Final = 5000
MOST_OUTPUTS: Final = 50
_LARGEST: Final = Decimal(10) ** 12


class BadFrame(DaybookError, ValueError):
    """The data is not a frame of candles."""


@dataclass(frozen=True, slots=True)
class Row:
    """One candle with the strategy's signals. `signals` are the set columns of `SIDES`; `opened_at` is UTC.

    `predicted` is FreqAI's do_predict (None without FreqAI), `outputs` its numbers and `labels` its texts by column.
    """

    opened_at: datetime
    signals: frozenset[str]
    tags: tuple[tuple[str, str], ...] = ()
    predicted: bool | None = None
    outputs: tuple[tuple[str, Decimal], ...] = ()
    labels: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Frame:
    """Rows of one pair in one timeframe, in order of arrival."""

    pair: str
    timeframe: timedelta
    rows: tuple[Row, ...]


def read_json(text: str | bytes) -> Any:
    """Parse JSON with fractions as decimals. Raises BadFrame for invalid JSON, NaN and infinity."""
    try:
        return json.loads(text, parse_float=Decimal, parse_constant=_refuse)
    except (ValueError, ArithmeticError, RecursionError) as error:
        raise BadFrame(f"it is not JSON: {str(error)[:100]}") from None


def frame_of_message(data: object) -> Frame:
    """Read the data of an `analyzed_df` message: key, and a table in the split orientation of pandas.

    Raises BadFrame.
    """
    if not isinstance(data, dict):
        raise BadFrame("the message has no data")
    key, table = data.get("key"), data.get("df")
    if not isinstance(key, list) or len(key) != 3 or not all(isinstance(part, str) for part in key):
        raise BadFrame("its key is not pair, timeframe and candle type")
    if isinstance(table, dict):
        table = table.get("__value__")
    if not isinstance(table, str):
        raise BadFrame("its df is not a table")
    return _frame(key[0], key[1], read_json(table))


def frame_of_candles(answer: object) -> Frame:
    """Read the answer of POST /pair_candles. Raises BadFrame."""
    if not isinstance(answer, dict) or not all(isinstance(answer.get(name), str) for name in ("pair", "timeframe")):
        raise BadFrame("the answer names no pair and timeframe")
    return _frame(answer["pair"], answer["timeframe"], answer)


def _frame(pair: str, timeframe: str, table: object) -> Frame:
    columns = table.get("columns") if isinstance(table, dict) else None
    data = table.get("data") if isinstance(table, dict) else None
    if not isinstance(columns, list) or not isinstance(data, list) or not all(isinstance(one, str) for one in columns):
        raise BadFrame("it has no columns and data")
    if len(data) > MOST_ROWS:
        raise BadFrame(f"it has {len(data)} rows (limit: {MOST_ROWS})")
    if "date" not in columns:
        raise BadFrame("it has no column 'date'")
    if any(not isinstance(row, list) or len(row) != len(columns) for row in data):
        raise BadFrame("a row does not have a value for each column")
    try:
        length = timeframe_of(timeframe)
    except ValueError as error:
        raise BadFrame(str(error)) from None
    wanted = _Columns.of(columns)
    return Frame(pair, length, tuple(wanted.row(row) for row in data))


@dataclass(frozen=True, slots=True)
class _Columns:
    """Positions of the columns with signals, tags and predictions; indicators are ignored."""

    date: int
    sides: tuple[tuple[str, int], ...]
    tags: tuple[tuple[str, int], ...]
    predicted: int | None
    outputs: tuple[tuple[str, int], ...]

    @classmethod
    def of(cls, columns: Sequence[str]) -> "_Columns":
        place = {name: number for number, name in enumerate(columns)}
        outputs = sorted((name, number) for name, number in place.items() if name.startswith("&"))
        return cls(
            # freqtrade's HTTP answers also have the time in milliseconds, whatever the format of the date.
            place.get("__date_ts", place["date"]),
            tuple((name, place[name]) for name in SIDES if name in place),
            tuple((name, place[name]) for name in ("enter_tag", "exit_tag") if name in place),
            place.get("do_predict"),
            tuple((printable(name, 100), number) for name, number in outputs[:MOST_OUTPUTS]),
        )

    def row(self, values: Sequence[object]) -> Row:
        """Read one row. Raises BadFrame for an invalid date."""
        numbers = ((name, _number(values[place])) for name, place in self.outputs)
        texts = ((name, values[place]) for name, place in (*self.tags, *self.outputs))
        shown = {name: printable(text, 200) for name, text in texts if isinstance(text, str) and text}
        tags = dict(self.tags)
        return Row(
            _time(values[self.date]),
            frozenset(name for name, place in self.sides if _set(values[place])),
            tuple((name, text) for name, text in shown.items() if name in tags),
            None if self.predicted is None else _set(values[self.predicted]),
            tuple((name, number) for name, number in numbers if number is not None),
            tuple((name, text) for name, text in shown.items() if name not in tags),
        )


def _set(value: object) -> bool:
    """`True` for a value equal to 1; `False` for empty cells and text."""
    return isinstance(value, bool | int | Decimal) and value == 1


def _number(value: object) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        return None
    number = Decimal(value)
    return None if abs(number) > _LARGEST else six_places(number)


def _time(value: object) -> datetime:
    """Parse milliseconds since 1970 or ISO-8601 text to whole seconds in UTC."""
    try:
        if isinstance(value, int) and not isinstance(value, bool):
            return datetime.fromtimestamp(value // 1000, UTC)
        return utc_time(value).replace(microsecond=0)
    except (ValueError, OverflowError, OSError):
        raise BadFrame(f"{str(value)[:40]!r} is not the date of a candle") from None


def printable(text: str, longest: int) -> str:
    """The first characters of the text, with unprintable ones replaced by "?"."""
    plain = text.encode("utf-8", "replace").decode()
    return "".join(letter if letter.isprintable() else "?" for letter in plain)[:longest]


def _refuse(name: str) -> object:
    raise ValueError(f"{name} is not a JSON number")
