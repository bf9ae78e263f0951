"""A file of rows and columns, opened."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import pyarrow.compute as pc

from connectors.importing.cells import Cells
from connectors.importing.problems import DataError, DataProblem
from twin.configuration.problems import one_of

DELIMITERS: Final = (";", "\t", "|", ",")
"""That files are often separated by."""
NAMED: Final = {"\t": "tab", " ": "whitespace"}
"""Words for delimiters that nobody sees."""


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
            seen = [each for each in DELIMITERS if each in self.names[0]]
            if seen:
                shown = NAMED.get(seen[0], seen[0])
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
