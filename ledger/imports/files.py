"""Trade files: CSV or JSON, our own format or an export, split into rows without losing a digit."""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ledger.errors import DaybookError
from ledger.imports.csv_trades import OPTIONAL, REQUIRED, JsonNumber, printable, stated
from ledger.imports.formats.format import Export, Found, Row, facts_of
from ledger.imports.formats.registry import NAMES as EXPORT_NAMES
from ledger.imports.formats.registry import columns_of, export_of
from ledger.values import Asset

_ENCODING: Final = "utf-8-sig"
_PREAMBLE: Final = 12
"""Lines that may precede the header of an export."""


class BadFile(DaybookError):
    """A file cannot be used at all. The text names it and what to do."""


@dataclass(frozen=True, slots=True)
class Table:
    """A file of a known format, our own if `export` is None. `header` is as written; JSON has none."""

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
        """The row's place, for messages."""
        return f"index {number}" if self.is_json else f"line {number}"

    def rows(self) -> Iterator[Row]:
        """The rows below the header. Raises BadFile at the first syntax error."""
        if self.is_json:
            return _json_rows(self.path, self.content.decode(_ENCODING))
        names = columns_of(self.header)
        return (csv_row(line, names, cells) for line, cells in self.cells())

    def cells(self) -> Iterator[tuple[int, list[str]]]:
        """The cells of the rows below the header, with the line where each row begins."""
        below = False
        for line, cells in _csv_cells(self.path, self.content):
            if below:
                yield line, cells
            below = below or tuple(cells) == self.header


def table_of(path: Path, content: bytes) -> Table:
    """The format of the file at `path`, whose bytes are `content`, by its header. Raises BadFile."""
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


def found_in(table: Table, base: Asset) -> Iterator[Found]:
    """The facts of the file. In our own format, an instrument without a quote currency is quoted in `base`."""
    if table.export is not None:
        return facts_of(table.export, table.rows())
    return (stated(row, base) for row in table.rows())


def read_bytes(path: Path) -> bytes:
    """Read the file. Raises BadFile."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise BadFile(f"{path} does not exist: check the path") from None
    except IsADirectoryError:
        raise BadFile(f"{path} is a folder: name a CSV or JSON file of trades") from None
    except OSError as error:
        raise BadFile(f"{path} cannot be read ({error.strerror}): check the path and who may read it") from None


def _checked_start(path: Path, content: bytes) -> str:
    """The first character of the text that is not white space. Raises BadFile for a file that is not text."""
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
    """The cells of each row that is not empty, with the line where the row begins."""
    # Decoding the whole text at once would need up to four times its size.
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
            f"{path} has no column {', '.join(missing)}: its cells are separated by semicolons; save it again with commas"
        )
    if missing:
        raise BadFile(
            f"{path} has no column {', '.join(missing)}: the first line must name the columns {','.join(REQUIRED)} "
            f"(and {', '.join(OPTIONAL)} where known), separated by commas, "
            f"or the file must be one of these exports: {EXPORT_NAMES}"
        )
    twice = sorted({name for name in header if name and header.count(name) > 1})
    if twice:
        raise BadFile(f"{path} names the column {', '.join(twice)} twice: keep one of them")


def csv_row(line: int, header: Sequence[str], cells: Sequence[str]) -> Row:
    """The cells by column name."""
    fields = dict(zip(header, cells, strict=False))
    if len(cells) > len(header):
        flaw = f"{len(cells)} cells in {len(header)} columns: put a text that holds a comma in quotes"
        return Row(line, fields, flaw)
    return Row(line, fields)


class _Entry(dict[str, object]):
    """A JSON object and the names it holds twice."""

    twice: Sequence[str] = ()


def _entry(pairs: list[tuple[str, object]]) -> _Entry:
    entry = _Entry(pairs)
    names = [name for name, _ in pairs]
    if len(names) != len(entry):
        entry.twice = sorted({name for name in names if names.count(name) > 1})
    return entry


def _json_rows(path: Path, text: str) -> Iterator[Row]:
    """The entries of the list, numbered from 0. Raises BadFile."""
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
        return Row(
            index, entry, f"{', '.join(printable(name) for name in entry.twice)} is given twice: keep one of them"
        )
    return Row(index, entry)
