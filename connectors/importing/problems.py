"""What is wrong with foreign data, said so that whoever exported it can put it right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class DataProblem:
    """One mistake in a file of data."""

    file: Path
    row: int | None
    """Line or row of the file, from 1; None where it is the whole file."""
    column: str | None
    """Name of the column, field or series."""
    what: str
    """What is wrong, without a full stop."""
    remedy: str
    """What to do."""

    def __str__(self) -> str:
        places = [str(self.file)]
        if self.row is not None:
            places.append(f"row {self.row}")
        if self.column is not None:
            places.append(f"column {self.column!r}")
        return f"{', '.join(places)}: {self.what}; {self.remedy}"


class DataError(Exception):
    """Data that cannot be imported, with the first mistake of every column."""

    def __init__(self, problems: Sequence[DataProblem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = tuple(problems)


class BadCellError(Exception):
    """A cell that cannot be read; whoever knows the file adds where it stands."""

    def __init__(self, index: int, what: str, remedy: str) -> None:
        super().__init__(what)
        self.index = index
        """Of the cell in its column, from 0."""
        self.what = what
        self.remedy = remedy


def refuse(file: Path, what: str, remedy: str, row: int | None = None) -> DataError:
    """The error of a file that cannot be read at all."""
    return DataError([DataProblem(file, row, None, what, remedy)])
