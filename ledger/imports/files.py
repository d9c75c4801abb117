"""Files of trades, CSV or JSON, read without losing a digit or a row: what cannot be read is told, the rest is used."""

import csv
import io
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypedDict

from ledger.errors import DaybookError
from ledger.imports.csv_trades import OPTIONAL, REQUIRED, FileTrade, JsonNumber, file_trade, shown, trade_of
from ledger.imports.facts import BadRow, Movement, StatedFill
from ledger.imports.formats.format import Export, Ignored, Line, Stated, Unusable, found_in
from ledger.imports.formats.registry import NAMES as EXPORT_NAMES
from ledger.imports.formats.registry import columns_of, export_of
from ledger.values import Asset

_ENCODING: Final = "utf-8-sig"
_PREAMBLE: Final = 12
"""So many lines may stand above the header of an export."""


class BadFile(DaybookError):
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


@dataclass(frozen=True, slots=True)
class Row:
    """A row before it is understood, at a line (or, in JSON, an index). `flaw` says why its fields cannot be trusted."""

    number: int
    fields: Mapping[str, object]
    flaw: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """A file whose format is known: our own when `export` is None. `header` is as the file writes it; JSON has none."""

    path: Path
    content: bytes
    export: Export | None
    header: tuple[str, ...]

    @property
    def is_json(self) -> bool:
        return not self.header

    @property
    def format(self) -> str:
        own = "daybook JSON" if self.is_json else "daybook CSV"
        return self.export.name if self.export else own

    def place(self, number: int) -> str:
        """Where a row stands, in words."""
        return f"index {number}" if self.is_json else f"line {number}"

    def rows(self) -> Iterator[Row]:
        """The rows below the header. Raises BadFile where the file breaks off being CSV or JSON."""
        if self.is_json:
            return _json_rows(self.path, self.content.decode(_ENCODING))
        names = columns_of(self.header)
        return (csv_row(line, names, cells) for line, cells in self.cells())

    def cells(self) -> Iterator[tuple[int, list[str]]]:
        """The rows below the header as the file writes them, with the lines where they begin."""
        below = False
        for line, cells in _csv_cells(self.path, self.content):
            if below:
                yield line, cells
            below = below or tuple(cells) == self.header


def read_trades(path: Path, base: str = "USD") -> TradeFile:
    """The trades of the file, ours or an exchange's. Instruments without a quote are quoted in `base`.

    Raises BadFile when the file as a whole cannot be used, ValueError when `base` is not an asset.
    """
    quote = Asset(base)
    table = open_table(path)
    return _trade_file(table, quote) if table.export is None else _export_trades(table, table.export)


def open_table(path: Path) -> Table:
    """The file, its format known by its header. Raises BadFile."""
    return table_of(path, read_bytes(path))


def table_of(path: Path, content: bytes) -> Table:
    """The same for what was read before (`path` only names it). Raises BadFile."""
    start = _checked_start(path, content)
    if path.suffix.lower() == ".json" or start in ("[", "{"):
        return Table(path, content, None, ())
    first: list[str] = []
    for number, (_, cells) in enumerate(_csv_cells(path, content)):
        first = first or cells
        if number == 0 and set(REQUIRED) <= set(columns_of(cells)):
            break
        export = export_of(cells)
        if export is not None:
            return Table(path, content, export, tuple(cells))
        if number == _PREAMBLE:
            break
    _check_header(path, first)
    return Table(path, content, None, tuple(first))


def lines_of(table: Table) -> Iterator[Line]:
    """The rows of an export."""
    for row in table.rows():
        yield Line(row.number, {name: str(cell) for name, cell in row.fields.items()}, row.flaw)


def _trade_file(table: Table, base: Asset) -> TradeFile:
    trades: dict[str, FileTrade] = {}
    errors: list[FileError] = []
    unreadable = 0
    for number, row in enumerate(table.rows()):
        place = table.place(row.number)
        try:
            if row.flaw:
                raise BadRow(row.flaw)
            trade = trade_of(row.fields, number, base)
        except BadRow as bad:
            unreadable += 1
            errors.append(_error(shown(row.fields.get("id")), shown(row.fields.get("instrument")), place, str(bad)))
            continue
        first = trades.setdefault(trade.id, trade)
        if first != trade:
            sentence = "this id was already used with other content: the first one stands, this row is left out"
            errors.append(_error(trade.id, trade.instrument, place, sentence))
        elif first is trade and trade.note:
            errors.append(_error(trade.id, trade.instrument, place, trade.note))
    return _in_order(trades.values(), errors, unreadable)


def _export_trades(table: Table, export: Export) -> TradeFile:
    """The trades alone: what else the export tells is counted and named, for lots of single instruments need no more."""
    trades: dict[tuple[str, str], FileTrade] = {}
    errors: list[FileError] = []
    others: Counter[str] = Counter()
    unreadable = 0
    for number, found in enumerate(found_in(export, lines_of(table))):
        if isinstance(found, Ignored):
            others[found.why] += 1
            continue
        if isinstance(found, Stated) and isinstance(found.fact, Movement):
            others[f"no trade ({found.fact.kind})"] += 1
            continue
        try:
            trade = _export_trade(found, number)
        except BadRow as bad:
            unreadable += 1
            row_id = found.id if isinstance(found, Unusable) else ""
            errors.append(_error(row_id, "", table.place(found.lines[0]), str(bad)))
            continue
        first = trades.setdefault((trade.instrument, trade.id), trade)
        if first is trade and trade.note:
            errors.append(_error(trade.id, trade.instrument, table.place(found.lines[0]), trade.note))
    for why, count in sorted(others.items()):
        left_out = "1 row is not" if count == 1 else f"{count} rows are not"
        errors.append(_error("", "", f"{left_out} in this report", why))
    return _in_order(trades.values(), errors, unreadable)


def _export_trade(found: Stated | Unusable, number: int) -> FileTrade:
    if isinstance(found, Unusable):
        raise BadRow(found.why)
    assert isinstance(found.fact, StatedFill)
    return file_trade(found.fact, number)


def _in_order(trades: Iterable[FileTrade], errors: Sequence[FileError], unreadable: int) -> TradeFile:
    in_order = sorted(trades, key=lambda trade: (trade.time, trade.number))
    return TradeFile(tuple(in_order), tuple(errors), unreadable)


def _error(trade_id: str, instrument: str, place: str, sentence: str) -> FileError:
    return {"id": trade_id, "instrument": instrument, "error": f"{place}: {sentence}"}


def read_bytes(path: Path) -> bytes:
    """What is in the file. Raises BadFile."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise BadFile(f"{path} does not exist: check the path") from None
    except IsADirectoryError:
        raise BadFile(f"{path} is a folder: name a CSV or JSON file of trades") from None
    except OSError as error:
        raise BadFile(f"{path} cannot be read ({error.strerror}): check the path and who may read it") from None


def _checked_start(path: Path, content: bytes) -> str:
    """The first character that is no space of a file that is text. Raises BadFile."""
    if b"\0" in content:
        raise BadFile(f"{path} is not a text file: export the trades as CSV or JSON in UTF-8")
    try:
        text = content.decode(_ENCODING)
    except UnicodeDecodeError:
        raise BadFile(f"{path} is not UTF-8 text: save it again with the encoding UTF-8") from None
    start = text.lstrip()[:1]
    if not start:
        raise BadFile(f"{path} is empty: it needs a header line and trades, or a JSON list of trades")
    return start


def _csv_cells(path: Path, content: bytes) -> Iterator[tuple[int, list[str]]]:
    """The rows that are not empty, with the lines where they begin."""
    # Decoded as it is read: the whole text as Python holds it would be four times as large.
    reader = csv.reader(io.TextIOWrapper(io.BytesIO(content), _ENCODING, newline=""), strict=True)
    line = 1
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield line, cells
            line = reader.line_num + 1
    except csv.Error as error:
        raise BadFile(f"{path} is not a CSV file: line {line}: {error}: correct that line or export it again") from None


def _check_header(path: Path, cells: Sequence[str]) -> None:
    header = columns_of(cells)
    missing = [name for name in REQUIRED if name not in header]
    if missing and len(cells) == 1 and cells[0].count(";") >= 2:
        raise BadFile(
            f"{path} has no column {', '.join(missing)}: its cells stand between semicolons; save it again with commas"
        )
    if missing:
        raise BadFile(
            f"{path} has no column {', '.join(missing)}: the first line must name the columns {','.join(REQUIRED)} "
            f"(and {', '.join(OPTIONAL)} where they are known), separated by commas, "
            f"or the file must be one of these exports: {EXPORT_NAMES}"
        )
    twice = sorted({name for name in header if name and header.count(name) > 1})
    if twice:
        raise BadFile(f"{path} names the column {', '.join(twice)} twice: keep one of them")


def csv_row(line: int, header: Sequence[str], cells: Sequence[str]) -> Row:
    """The cells under the names of the columns."""
    fields = dict(zip(header, cells, strict=False))
    if len(cells) > len(header):
        flaw = f"{len(cells)} cells stand under {len(header)} columns: put a text that holds a comma in quotes"
        return Row(line, fields, flaw)
    return Row(line, fields)


class _Entry(dict[str, object]):
    """A JSON object that remembers which names it was given twice."""

    twice: Sequence[str] = ()


def _entry(pairs: list[tuple[str, object]]) -> _Entry:
    entry = _Entry(pairs)
    names = [name for name, _ in pairs]
    if len(names) != len(entry):
        entry.twice = sorted({name for name in names if names.count(name) > 1})
    return entry


def _json_rows(path: Path, text: str) -> Iterator[Row]:
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
        yield _json_row(index, entry)


def _json_row(index: int, entry: object) -> Row:
    if not isinstance(entry, _Entry):
        return Row(index, {}, "a trade must be an object with names and values")
    if entry.twice:
        return Row(index, entry, f"{', '.join(shown(name) for name in entry.twice)} is given twice: keep one of them")
    return Row(index, entry)
