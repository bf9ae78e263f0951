"""Files with rows and columns: CSV and its like, workbooks, Parquet."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pcsv
import pyarrow.parquet as pq
from python_calamine import CalamineError, CalamineWorkbook, PasswordError

from connectors.importing.cells import Cells
from connectors.importing.mapping import SourceMapping
from connectors.importing.problems import DataError, DataProblem, refuse
from twin.configuration.problems import one_of

WORKBOOKS: Final = (".xlsx", ".xlsm", ".xlsb", ".xls", ".ods")
_DELIMITERS: Final = (";", "\t", "|", ",")
_NAMED: Final = {"\t": "tab", " ": "whitespace"}


class Table:
    """A file of rows and columns, opened; columns are read when they are asked for.

    Attributes:
        file: where it lies.
        names: of its columns, in order.
        rows: how many follow the header.
        understood: what was found out about the file, in words, by the key of the mapping.
    """

    def __init__(
        self,
        file: Path,
        names: Sequence[str],
        rows: int,
        understood: dict[str, str],
        read: Callable[[int], Cells],
        line_of: Callable[[int], int],
        turned: bool = False,
    ) -> None:
        self.file = file
        self.names = tuple(names)
        self.rows = rows
        self.understood = understood
        self._read = read
        self._line_of = line_of
        self._turned = turned

    def cells(self, name: str) -> Cells:
        """The cells of a column.

        Raises:
            DataError: there is no such column, or it is of a type that holds no values.
        """
        if name not in self.names:
            raise DataError([self.missing(name)])
        return self._read(self.names.index(name))

    def drop_empty_end(self) -> None:
        """Forget a last column without name and values: rows that end with a delimiter."""
        if len(self.names) > 1 and not self.names[-1]:
            words = self._read(len(self.names) - 1).words()
            if pc.all(pc.equal(words, "")).as_py():
                self.names = self.names[:-1]

    def missing(self, name: str) -> DataProblem:
        """The problem of a column that is not there."""
        remedy = one_of(name, self.names, "column")
        if len(self.names) == 1:
            seen = [each for each in _DELIMITERS if each in self.names[0]]
            if seen:
                shown = _NAMED.get(seen[0], seen[0])
                remedy = f"the file has one column only; write \"delimiter: '{shown}'\""
        return self.problem(None, name, f"there is no column {name!r}", remedy)

    def problem(self, index: int | None, column: str, what: str, remedy: str) -> DataProblem:
        """A problem of a cell, or of a whole column, that of its header."""
        if self._turned:
            line = self._line_of(self.names.index(column)) if column in self.names else 1
            where = column if index is None else f"{column}, field {index + 1}"
            return DataProblem(self.file, line, where, what, remedy)
        line = self._line_of(-1 if index is None else index)
        return DataProblem(self.file, line, column, what, remedy)


def open_table(file: Path, source: SourceMapping) -> Table:
    """Open a file of rows and columns; its suffix says which kind it is.

    Raises:
        DataError: it is broken, empty, or its columns have no names that tell them apart.
    """
    try:
        if file.suffix.lower() in WORKBOOKS:
            table = _open_workbook(file, source)
        elif file.suffix.lower() in (".parquet", ".pq"):
            table = _open_parquet(file)
        else:
            table = _open_text(file, source)
    except OSError as error:
        raise refuse(
            file, f"it cannot be read: {error.strerror or error}", "give a readable file"
        ) from error
    if not table.rows:
        raise refuse(file, "it has no rows of values", "export it again", 1)
    table.drop_empty_end()
    _check_names(table)
    return table


def _check_names(table: Table) -> None:
    problems = []
    for place, name in enumerate(table.names, 1):
        if not name:
            problems.append(
                table.problem(
                    None,
                    f"number {place}",
                    "the column has no name",
                    "give every column a name in one row; take merged cells of a header apart, or "
                    "say with 'header' in which line the names stand",
                )
            )
        elif name in table.names[: place - 1]:
            problems.append(
                table.problem(
                    None,
                    name,
                    f"columns {table.names.index(name) + 1} and {place} have the same name",
                    "give one of them another name",
                )
            )
    if problems:
        raise DataError(problems)


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


def _open_text(file: Path, source: SourceMapping) -> Table:
    content = read_text(file, source.encoding)
    if "\n" not in content:
        content = content.replace("\r", "\n")
    header = None if source.header == "none" or source.transposed else source.header
    first = source.first_row or (1 if header is None else header + 1)
    delimiter = source.delimiter or _find_delimiter(content, header or first)
    text = _Text(file, content, delimiter, header, first)
    understood = {"delimiter": _NAMED.get(delimiter, delimiter), "encoding": source.encoding}
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
    for delimiter in _DELIMITERS:
        counts = {each.count(delimiter) for each in lines[: max(1, len(lines) - 1)]}
        if counts and 0 not in counts and (len(counts) == 1 or delimiter != ","):
            return delimiter
    if lines and not any(each in lines[0] for each in _DELIMITERS) and len(lines[0].split()) > 1:
        return " "
    return next((each for each in _DELIMITERS if lines and each in lines[0]), ",")


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


def _open_workbook(file: Path, source: SourceMapping) -> Table:
    try:
        book = CalamineWorkbook.from_path(str(file))
        if source.sheet is not None and source.sheet not in book.sheet_names:
            raise refuse(
                file,
                f"there is no sheet {source.sheet!r}",
                one_of(source.sheet, book.sheet_names, "sheet"),
            )
        sheet = book.get_sheet_by_name(source.sheet or book.sheet_names[0])
        rows = sheet.to_python(skip_empty_area=False)
        merged = sheet.merged_cell_ranges or []
    except PasswordError as error:
        raise refuse(file, "it has a password", "save it without one") from error
    except (CalamineError, IndexError) as error:
        raise refuse(
            file, f"this is no workbook that can be read: {error}", "save it as .xlsx again"
        ) from error
    header = None if source.header == "none" else source.header
    first = source.first_row or (1 if header is None else header + 1)
    for (top, left), (bottom, right) in merged:
        if header is not None and top < header <= bottom + 1:
            merged_names = [str(cell) for cell in rows[top][left : right + 1] if cell != ""]
            raise DataError(
                [
                    DataProblem(
                        file,
                        header,
                        ", ".join(merged_names) or _letter(left),
                        f"cells {_letter(left)}{top + 1}:{_letter(right)}{bottom + 1} of the "
                        "header are merged",
                        "take them apart and give every column a name in one row",
                    )
                ]
            )
    values = rows[first - 1 :]
    while values and all(cell == "" for cell in values[-1]):
        values.pop()
    if header is not None and len(rows) >= header:
        names = [str(cell).strip() for cell in rows[header - 1]]
        while names and not names[-1] and all(row[len(names) - 1] == "" for row in values):
            names.pop()
    else:
        names = [str(number) for number in range(1, len(rows[0]) + 1 if rows else 1)]

    def read(place: int) -> Cells:
        return _cells_of(file, [row[place] for row in values])

    understood = {"sheet": sheet.name}
    return Table(
        file,
        names,
        len(values),
        understood,
        read,
        lambda index: first + index if index >= 0 else header or first,
    )


def _letter(place: int) -> str:
    """The name of a column in a workbook, from its place, from 0."""
    name = ""
    place += 1
    while place:
        place, letter = divmod(place - 1, 26)
        name = chr(ord("A") + letter) + name
    return name


def _cells_of(file: Path, values: Iterable[object]) -> Cells:
    """Cells of a workbook, by their kind."""
    texts: list[str | None] = []
    numbers: list[float | None] = []
    moments: list[datetime | None] = []
    for value in values:
        moment = value if isinstance(value, datetime) else None
        number = float(value) if isinstance(value, int | float) else None
        if isinstance(value, date) and moment is None:
            moment = datetime(value.year, value.month, value.day)
        if isinstance(value, timedelta):
            value = (datetime(1970, 1, 1) + value).time()
        texts.append(
            value.isoformat()
            if isinstance(value, time)
            else str(value)
            if number is None and moment is None
            else None
        )
        numbers.append(number)
        moments.append(moment)
    try:
        dates = pa.array(moments, pa.timestamp("us")).cast(pa.timestamp("ns"))
    except pa.ArrowInvalid as error:
        raise refuse(file, f"a date lies outside 1678 to 2262: {error}", "correct it") from error
    text = pa.array(texts, pa.string())
    number_column = pa.array(numbers, pa.float64())
    count = len(texts)
    return Cells(
        None if text.null_count == count else text,
        None if number_column.null_count == count else number_column,
        None if dates.null_count == count else dates,
    )


def _open_parquet(file: Path) -> Table:
    try:
        parquet = pq.ParquetFile(file)
        schema, rows = parquet.schema_arrow, parquet.metadata.num_rows
    except pa.ArrowInvalid as error:
        raise refuse(
            file,
            f"this is no whole Parquet file: {str(error).splitlines()[0]}",
            "copy or export it again",
        ) from error

    def line_of(index: int) -> int:
        return max(index, 0) + 1

    def read(place: int) -> Cells:
        try:
            column = parquet.read([schema.names[place]]).column(0).combine_chunks()
        except (pa.ArrowInvalid, OSError) as error:
            raise refuse(
                file, f"column {schema.names[place]!r} is damaged: {error}", "copy it again"
            ) from error
        return _cells_of_arrow(table, schema.names[place], column)

    table = Table(file, schema.names, rows, {}, read, line_of)
    return table


def _cells_of_arrow(table: Table, name: str, column: pa.Array) -> Cells:
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.dictionary_decode()
        kind = column.type
    if pa.types.is_floating(kind) or pa.types.is_integer(kind):
        return Cells(number=column)
    if pa.types.is_boolean(kind):
        return Cells(number=column.cast(pa.int8()))
    if pa.types.is_decimal(kind):
        return Cells(number=column.cast(pa.float64()))
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return Cells(text=column.cast(pa.string()).fill_null(""))
    if pa.types.is_null(kind):
        return Cells(text=pa.array([""] * len(column), pa.string()))
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        zone = "UTC" if pa.types.is_timestamp(kind) and kind.tz else None
        try:
            return Cells(moment=column.cast(pa.timestamp("ns", zone)))
        except pa.ArrowInvalid as error:
            raise DataError(
                [table.problem(0, name, f"a time lies outside 1678 to 2262: {error}", "correct it")]
            ) from error
    raise DataError(
        [
            table.problem(
                0,
                name,
                f"the column is of the type {kind}, which holds no values",
                "export it as numbers, texts or timestamps, or leave it out under 'ignore'",
            )
        ]
    )
