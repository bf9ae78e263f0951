"""Files of rows and columns of any kind."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from connectors.importing.delimited import open_delimited
from connectors.importing.mapping import SourceMapping
from connectors.importing.parquet import open_parquet
from connectors.importing.problems import DataError, refuse
from connectors.importing.table import Table
from connectors.importing.workbook import open_workbook

_WORKBOOKS: Final = (".xlsx", ".xlsm", ".xlsb", ".xls", ".ods")


def open_table(file: Path, source: SourceMapping) -> Table:
    """Open a file of rows and columns; its suffix says which kind it is.

    Raises:
        DataError: it is broken, empty, or its columns have no names that tell them apart.
    """
    try:
        if file.suffix.lower() in _WORKBOOKS:
            table = open_workbook(file, source)
        elif file.suffix.lower() in (".parquet", ".pq"):
            table = open_parquet(file)
        else:
            table = open_delimited(file, source)
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
