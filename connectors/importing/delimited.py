"""Text files of rows and columns: CSV and its like."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pcsv

from connectors.importing.cells import Cells
from connectors.importing.mapping import SourceMapping
from connectors.importing.problems import DataError, DataProblem, refuse
from connectors.importing.table import DELIMITERS, NAMED, Table


def read_text(file: Path, encoding: str) -> str:
    """The whole of a text file.

    Raises:
        DataError: a character is not of the encoding, or the file is empty.
        OSError: the file cannot be read.
    """
    raw = file.read_bytes()
    if not raw.strip():
        raise refuse(file, "the file is empty", "export it again", 1)
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        encoding = "utf-16"
    elif encoding.lower().replace("_", "-") in ("utf-8", "utf8"):
        encoding = "utf-8-sig"
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError as error:
        before = raw[: error.start]
        start = before.rfind(b"\n") + 1
        said = encoding.removesuffix("-sig")
        raise DataError(
            [
                DataProblem(
                    file,
                    before.count(b"\n") + 1,
                    f"character {error.start - start + 1}",
                    f"the byte 0x{raw[error.start]:02x} is not {said}",
                    "write the encoding in the mapping, e.g. 'encoding: cp1252'"
                    if said == "utf-8"
                    else "write another encoding in the mapping, e.g. 'encoding: utf-8'",
                )
            ]
        ) from error


@dataclass(frozen=True, slots=True)
class _Text:
    """A text of rows, and how it is cut up."""

    file: Path
    text: str
    delimiter: str
    header: int | None
    first: int
    """Line of the first values, from 1."""

    def rows(self) -> Iterator[tuple[int, list[str]]]:
        """Rows with the number of their last line; those without content are left out."""
        if self.delimiter == " ":
            lines = enumerate(self.text.splitlines(), 1)
            yield from ((number, cells) for number, line in lines if (cells := line.split()))
            return
        reader = csv.reader(
            io.StringIO(self.text, newline=""), delimiter=self.delimiter, strict=True
        )
        start = 1
        try:
            for cells in reader:
                if cells and (len(cells) > 1 or cells[0].strip()):
                    yield start, cells
                start = reader.line_num + 1
        except csv.Error as error:
            raise DataError([self._broken(start, error)]) from error

    def _broken(self, line: int, error: csv.Error) -> DataProblem:
        if "unexpected end of data" in str(error):
            what, remedy = "a quote opens and never closes", "close it, or export the file again"
        else:
            what, remedy = f"the row is broken: {error}", "quote cells that hold quotes"
        lines = self.text.splitlines()
        cells = lines[line - 1].split(self.delimiter)
        place = next((at for at, cell in enumerate(cells) if cell.count('"') % 2), 0)
        names = [] if self.header in (None, line) else lines[self.header - 1].split(self.delimiter)
        column = names[place].strip('" ') if place < len(names) else f"number {place + 1}"
        return DataProblem(self.file, line, column, what, remedy)

    def line_of(self, index: int) -> int:
        """The line of a row of values; of the header for -1."""
        if index < 0:
            return self.header or self.first
        values = (line for line, _ in self.rows() if line >= self.first)
        return next(line for number, line in enumerate(values) if number == index)


def open_delimited(file: Path, source: SourceMapping) -> Table:
    """Cut a text into columns, in one go where no value is quoted, else row by row.

    Raises:
        DataError: it is empty, of another encoding, or a row is cut wrong.
        OSError: the file cannot be read.
    """
    content = read_text(file, source.encoding)
    if "\n" not in content:
        content = content.replace("\r", "\n")
    header = None if source.header == "none" or source.transposed else source.header
    first = source.first_row or (1 if header is None else header + 1)
    delimiter = source.delimiter or _find_delimiter(content, header or first)
    text = _Text(file, content, delimiter, header, first)
    understood = {"delimiter": NAMED.get(delimiter, delimiter), "encoding": source.encoding}
    if source.transposed:
        return _turned(text, understood, named=source.header != "none")
    head, offset = _skip(content, header, first)
    if delimiter == " " or content.find('"', offset) >= 0 or (head or "").count('"') % 2:
        return _slowly(text, understood)
    names = next(csv.reader([head], delimiter=delimiter), []) if head is not None else None
    width = content[offset:].split("\n", 1)[0].count(delimiter) + 1 if names is None else len(names)
    encoded = memoryview(content.encode())[len(content[:offset].encode()) :]
    try:
        columns = pcsv.read_csv(
            pa.BufferReader(pa.py_buffer(encoded)),
            read_options=pcsv.ReadOptions(column_names=[str(n) for n in range(width)]),
            parse_options=pcsv.ParseOptions(delimiter=delimiter, quote_char=False),
            convert_options=pcsv.ConvertOptions(
                column_types={str(n): pa.string() for n in range(width)}, strings_can_be_null=False
            ),
        )
    except pa.ArrowInvalid:
        return _slowly(text, understood)
    trimmed = [name.strip() for name in names or map(str, range(1, width + 1))]

    def read(place: int) -> Cells:
        return Cells(columns.column(place).combine_chunks())

    return Table(file, trimmed, columns.num_rows, understood, read, text.line_of)


def _skip(content: str, header: int | None, first: int) -> tuple[str | None, int]:
    """The line of the names, and where the values begin."""
    head, offset = None, 0
    for number in range(1, first):
        end = content.find("\n", offset)
        end = len(content) if end < 0 else end + 1
        if number == header:
            head = content[offset:end].rstrip("\r\n")
        offset = end
    return head, offset


def _find_delimiter(content: str, line: int) -> str:
    lines = [each for each in content[:65_536].splitlines()[line - 1 :] if each.strip()][:5]
    for delimiter in DELIMITERS:
        counts = {each.count(delimiter) for each in lines[: max(1, len(lines) - 1)]}
        if counts and 0 not in counts and (len(counts) == 1 or delimiter != ","):
            return delimiter
    if lines and not any(each in lines[0] for each in DELIMITERS) and len(lines[0].split()) > 1:
        return " "
    return next((each for each in DELIMITERS if lines and each in lines[0]), ",")


def _slowly(text: _Text, understood: dict[str, str]) -> Table:
    """Cut row by row: quotes, blanks between cells, and rows that are cut wrong."""
    lines, values, head = _cut(text)
    width = len(values[0] if head is None else head)
    _check_widths(text, lines, values, width, head or [])
    columns = list(zip(*values, strict=True))
    names = [name.strip() for name in head or map(str, range(1, width + 1))]

    def line_of(index: int) -> int:
        return lines[index] if index >= 0 else text.header or text.first

    def read(place: int) -> Cells:
        return Cells(pa.array(columns[place], pa.string()))

    return Table(text.file, names, len(values), understood, read, line_of)


def _turned(text: _Text, understood: dict[str, str], named: bool) -> Table:
    """Rows that are columns, whose names stand in the first cells or nowhere."""
    lines, values, _ = _cut(text)
    _check_widths(text, lines, values, len(values[0]), [])
    names = [row[0].strip() for row in values] if named else map(str, range(1, len(values) + 1))
    columns = [row[1:] if named else row for row in values]

    def read(place: int) -> Cells:
        return Cells(pa.array(columns[place], pa.string()))

    return Table(
        text.file, list(names), len(columns[0]), understood, read, lines.__getitem__, turned=True
    )


def _cut(text: _Text) -> tuple[list[int], list[list[str]], list[str] | None]:
    """Lines and cells of the rows of values, and the names."""
    rows = list(text.rows())
    head = next((cells for line, cells in rows if line == text.header), None)
    rows = [(line, cells) for line, cells in rows if line >= text.first]
    if not rows or (text.header is not None and head is None):
        raise refuse(text.file, "it has no rows of values", "export it again", text.header or 1)
    return [line for line, _ in rows], [cells for _, cells in rows], head


def _check_widths(
    text: _Text, lines: list[int], values: list[list[str]], width: int, head: list[str]
) -> None:
    for line, cells in zip(lines, values, strict=True):
        if len(cells) == width:
            continue
        missing = head[len(cells)] if len(cells) < len(head) else None
        column = missing or f"number {min(len(cells), width) + 1}"
        what = f"the row has {len(cells)} cells, not {width}"
        remedy = _width_remedy(len(cells), width, text.delimiter)
        if len(cells) > width and not any(cells[width:]):
            remedy = "the row ends with a delimiter and the header does not: add one there"
        raise DataError([DataProblem(text.file, line, column, what, remedy)])


def _width_remedy(found: int, wanted: int, delimiter: str) -> str:
    if delimiter == "," and found > wanted:
        return (
            "quote cells that hold a comma; where numbers have decimal commas, export with "
            "semicolons and write \"decimal: ','\""
        )
    if wanted == 1 or found == 1:
        return "write the right delimiter in the mapping, or say where the header stands"
    return "put the row right, or say with 'header' and 'first_row' where the values begin"
