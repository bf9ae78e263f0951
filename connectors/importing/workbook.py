"""Workbooks: Excel and OpenDocument."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime, time, timedelta
from pathlib import Path

import pyarrow as pa
from python_calamine import CalamineError, CalamineWorkbook, PasswordError

from connectors.importing.cells import Cells
from connectors.importing.mapping import SourceMapping
from connectors.importing.problems import DataError, DataProblem, refuse
from connectors.importing.table import Table
from twin.configuration.problems import one_of


def open_workbook(file: Path, source: SourceMapping) -> Table:
    """Read one sheet; a formula counts as the value that was saved with it.

    Raises:
        DataError: it is no workbook, has no such sheet, or cells of the header are merged.
        OSError: the file cannot be read.
    """
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
