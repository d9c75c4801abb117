"""Files of trades, CSV or JSON, read without losing a digit or a row: what cannot be read is told, the rest is used."""

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from ledger.trade_rows import REQUIRED, BadRow, FileTrade, JsonNumber, shown, trade_of
from ledger.values import Asset


class BadFile(Exception):
    """A file cannot be used at all; the text names it and says what to do."""


class FileError(TypedDict):
    """One sentence about one trade of a file; `id` and `instrument` are empty where the row has none."""

    id: str
    instrument: str
    error: str


@dataclass(frozen=True, slots=True)
class TradeFile:
    """`trades` in order of their times, equal times as they stand in the file; each id is there once.

    `errors` tell of every row that was not used as it stands; `unreadable` counts those that could not be read at all.
    """

    trades: tuple[FileTrade, ...]
    errors: tuple[FileError, ...]
    unreadable: int


def read_trades(path: Path, base: str = "USD") -> TradeFile:
    """The trades of the file. Instruments without a quote are quoted in `base`.

    Raises BadFile when the file as a whole cannot be used, ValueError when `base` is not an asset.
    """
    quote = Asset(base)
    text = _text(path)
    is_json = path.suffix.lower() == ".json" or text.lstrip()[:1] in ("[", "{")
    return _trade_file(_json_rows(path, text) if is_json else _csv_rows(path, text), quote)


@dataclass(frozen=True, slots=True)
class _Row:
    """A row before it is understood. `flaw` says why its fields cannot be trusted, if they cannot."""

    place: str
    fields: Mapping[str, object]
    flaw: str = ""


def _trade_file(rows: Iterator[_Row], base: Asset) -> TradeFile:
    trades: dict[str, FileTrade] = {}
    errors: list[FileError] = []
    unreadable = 0
    for number, row in enumerate(rows):
        try:
            trade = _trade(row, number, base)
        except BadRow as bad:
            unreadable += 1
            errors.append(_error(shown(row.fields.get("id")), shown(row.fields.get("instrument")), row, str(bad)))
            continue
        first = trades.setdefault(trade.id, trade)
        if first != trade:
            sentence = "this id was already used with other content: the first one stands, this row is left out"
            errors.append(_error(trade.id, trade.instrument, row, sentence))
        elif first is trade and trade.note:
            errors.append(_error(trade.id, trade.instrument, row, trade.note))
    in_order = sorted(trades.values(), key=lambda trade: (trade.time, trade.number))
    return TradeFile(tuple(in_order), tuple(errors), unreadable)


def _trade(row: _Row, number: int, base: Asset) -> FileTrade:
    if row.flaw:
        raise BadRow(row.flaw)
    return trade_of(row.fields, number, base)


def _error(trade_id: str, instrument: str, row: _Row, sentence: str) -> FileError:
    return {"id": trade_id, "instrument": instrument, "error": f"{row.place}: {sentence}"}


def _text(path: Path) -> str:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise BadFile(f"{path} does not exist: check the path") from None
    except IsADirectoryError:
        raise BadFile(f"{path} is a folder: name a CSV or JSON file of trades") from None
    except OSError as error:
        raise BadFile(f"{path} cannot be read ({error.strerror}): check the path and who may read it") from None
    if b"\0" in content:
        raise BadFile(f"{path} is not a text file: export the trades as CSV or JSON in UTF-8")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise BadFile(f"{path} is not UTF-8 text: save it again with the encoding UTF-8") from None
    if not text.strip():
        raise BadFile(f"{path} is empty: it needs a header line and trades, or a JSON list of trades")
    return text


def _csv_rows(path: Path, text: str) -> Iterator[_Row]:
    """The rows below the header. Places are the lines where they begin."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    header: list[str] | None = None
    line = 1
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                if header is None:
                    header = _header(path, cells)
                else:
                    yield _csv_row(f"line {line}", header, cells)
            line = reader.line_num + 1
    except csv.Error as error:
        raise BadFile(f"{path} is not a CSV file: line {line}: {error}: correct that line or export it again") from None


def _header(path: Path, cells: Sequence[str]) -> list[str]:
    header = [cell.strip().lower() for cell in cells]
    missing = [name for name in REQUIRED if name not in header]
    if missing:
        raise BadFile(
            f"{path} has no column {', '.join(missing)}: the first line must name the columns {','.join(REQUIRED)} "
            "(and fee, fee_asset, order_id, account, triggered_by where they are known), separated by commas"
        )
    twice = sorted({name for name in header if name and header.count(name) > 1})
    if twice:
        raise BadFile(f"{path} names the column {', '.join(twice)} twice: keep one of them")
    return header


def _csv_row(place: str, header: Sequence[str], cells: Sequence[str]) -> _Row:
    fields = dict(zip(header, cells, strict=False))
    if len(cells) > len(header):
        flaw = f"{len(cells)} cells stand under {len(header)} columns: put a text that holds a comma in quotes"
        return _Row(place, fields, flaw)
    return _Row(place, fields)


class _Entry(dict[str, object]):
    """A JSON object that remembers which names it was given twice."""

    twice: Sequence[str] = ()


def _entry(pairs: list[tuple[str, object]]) -> _Entry:
    entry = _Entry(pairs)
    names = [name for name, _ in pairs]
    if len(names) != len(entry):
        entry.twice = sorted({name for name in names if names.count(name) > 1})
    return entry


def _json_rows(path: Path, text: str) -> Iterator[_Row]:
    """The entries of the list. Places are their indexes, counted from 0."""
    try:
        found = json.loads(
            text, parse_int=JsonNumber, parse_float=JsonNumber, parse_constant=JsonNumber, object_pairs_hook=_entry
        )
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}: {error.msg}"
        raise BadFile(f"{path} is not JSON: {where}: correct it or export the file again") from None
    except RecursionError:
        raise BadFile(f"{path} is nested too deeply: it must be a list of trades, each a flat object") from None
    if not isinstance(found, list):
        raise BadFile(f"{path} must be a JSON list of trades: put the trades between [ and ]")
    for index, entry in enumerate(found):
        yield _json_row(f"index {index}", entry)


def _json_row(place: str, entry: object) -> _Row:
    if not isinstance(entry, _Entry):
        return _Row(place, {}, "a trade must be an object with names and values")
    if entry.twice:
        return _Row(place, entry, f"{', '.join(shown(name) for name in entry.twice)} is given twice: keep one of them")
    return _Row(place, entry)
