"""What InfluxDB writes: line protocol and annotated CSV, as series of values."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from connectors.importing.delimited import read_text
from connectors.importing.mapping import SourceMapping
from connectors.importing.problems import BadCellError, DataError, DataProblem
from connectors.importing.series import Key, head_of, plain, until

_NUMBER: Final = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?\d+[iu]")
_BOOLEANS: Final = {
    **dict.fromkeys(("t", "T", "true", "True", "TRUE"), "1"),
    **dict.fromkeys(("f", "F", "false", "False", "FALSE"), "0"),
}
_NUMERIC: Final = ("double", "long", "unsignedLong", "boolean")
_ANNOTATIONS: Final = ("#datatype", "#group", "#default")


@dataclass(frozen=True, slots=True)
class Series:
    """The values of one series as texts of numbers, in the order of the file."""

    key: Key
    times: list[str] = field(default_factory=list)
    values: list[str] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    """Of the file, from 1."""
    strange: list[tuple[int, str]] = field(default_factory=list)
    """Values that are no numbers, by index, and why; refused only where the series is used."""


def read_line_protocol(file: Path, source: SourceMapping) -> list[Series]:
    """The series of a file of line protocol.

    Raises:
        DataError: a line is not of line protocol.
        OSError: the file cannot be read.
    """
    found: dict[Key, Series] = {}
    written: dict[tuple[str, str], Series] = {}
    heads: dict[str, tuple[str, tuple[tuple[str, str], ...]]] = {}
    for number, line in enumerate(read_text(file, source.encoding).split("\n"), 1):
        line = line.strip(" \r")
        if not line or line[0] == "#":
            continue
        try:
            head, fields, time = _parts(line)
            if head not in heads:
                heads[head] = head_of(head)
            for name, value in fields:
                series = written.get((head, name))
                if series is None:
                    key = Key(*heads[head], plain(name, ",= "))
                    series = written[head, name] = found.setdefault(key, Series(key))
                _add(series, number, time, value)
        except ValueError as error:
            what, _, remedy = str(error).partition("; ")
            column = line if len(line) <= 40 else line[:37] + "..."
            raise DataError([DataProblem(file, number, column, what, remedy)]) from error
    return list(found.values())


def _add(series: Series, number: int, time: str, value: str) -> None:
    """A value of line protocol."""
    if value in _BOOLEANS:
        value = _BOOLEANS[value]
    elif not _NUMBER.fullmatch(value):
        if value[0] != '"':
            raise ValueError(
                f"the field {series.key.field!r} has the value {value}, which is of no type; put "
                "texts in double quotes, write numbers as 1.5, 3i or 3u"
            )
        text = re.sub(r'\\(["\\])', r"\1", value[1:-1])
        series.strange.append((len(series.values), f"{text!r} is a text, not a number"))
        value = text
    elif value[-1] in "iu":
        value = value[:-1]
    series.times.append(time)
    series.values.append(value)
    series.lines.append(number)


def _parts(line: str) -> tuple[str, list[tuple[str, str]], str]:
    """Measurement with tags, fields with their values as written, and the timestamp."""
    if "\\" not in line and '"' not in line:
        parts = line.split(" ")
        if len(parts) == 3 and parts[2].lstrip("-").isdecimal():
            fields = [_field(pair, pair.partition("=")) for pair in parts[1].split(",")]
            return parts[0], fields, parts[2]
    head, place = until(line, 0, " ")
    if place >= len(line):
        raise ValueError("there are no fields; write measurement,tag=value field=1.5 timestamp")
    fields = []
    while True:
        name, place = until(line, place + 1, "=, ")
        if not name or place >= len(line) or line[place] != "=":
            raise ValueError(
                f"the field {name!r} has no value; write field=1.5, and \\ before a blank, comma "
                "or = in names"
            )
        value, place = _value(line, place + 1)
        fields.append(_field(f"{name}={value}", (name, "=", value)))
        if place >= len(line) or line[place] == " ":
            break
    time = line[place + 1 :].strip()
    if not time:
        raise ValueError("the line has no timestamp; export it with timestamps")
    if not time.lstrip("-").isdecimal():
        raise ValueError(
            f"the timestamp {time!r} is no whole number; write a \\ before blanks in names and "
            "put texts in double quotes"
        )
    return head, fields, time


def _field(pair: str, parts: tuple[str, str, str]) -> tuple[str, str]:
    name, _, value = parts
    if not name or not value or ("=" in value and value[0] != '"'):
        raise ValueError(f"{pair!r} is no field with a value; write field=1.5")
    return name, value


def _value(line: str, start: int) -> tuple[str, int]:
    if line[start : start + 1] != '"':
        return until(line, start, ", ")
    place = start + 1
    while place < len(line) and line[place] != '"':
        place += 2 if line[place] == "\\" else 1
    if place >= len(line):
        raise ValueError("a text opens with a quote that never closes; close it in the same line")
    if line[place + 1 : place + 2] not in ("", ",", " "):
        raise ValueError("something follows the quote of a text; write a \\ before quotes in it")
    return line[start : place + 1], place + 1


class _Annotated:
    """The columns of one table of annotated CSV."""

    def __init__(self, annotations: Mapping[str, Sequence[str]], names: Sequence[str]) -> None:
        self.names = names
        self.types = list(annotations["#datatype"])
        self.defaults = list(annotations.get("#default", ()))
        self.place = {name: place for place, name in enumerate(names) if name}
        self.tags = [
            name
            for name in self.place
            if not name.startswith("_") and name not in ("result", "table")
        ]

    def record(self, cells: Sequence[str]) -> dict[str, str]:
        """The cells by name, defaults filled in."""
        return {
            name: cells[place] or (self.defaults[place] if place < len(self.defaults) else "")
            for name, place in self.place.items()
        }


def read_annotated_csv(file: Path, source: SourceMapping) -> list[Series]:
    """The series of a file of annotated CSV.

    Raises:
        DataError: a table has no annotations, lacks a column, or a row is cut wrong.
        OSError: the file cannot be read.
    """
    found: dict[Key, Series] = {}
    annotations: dict[str, list[str]] = {}
    table: _Annotated | None = None
    for line, cells in _rows(file, source):
        if not any(cells):
            annotations, table = {}, None
        elif cells[0].startswith("#"):
            if table is not None:
                annotations, table = {}, None
            if cells[0] in _ANNOTATIONS:
                annotations[cells[0]] = cells
        elif table is None:
            table = _table(file, line, cells, annotations)
        else:
            if len(cells) != len(table.names):
                what = f"the row has {len(cells)} cells, not {len(table.names)}"
                column = table.names[-1]
                raise DataError(
                    [DataProblem(file, line, column, what, "put the row right, or export it again")]
                )
            _add_record(found, table, line, table.record(cells))
    return list(found.values())


def _rows(file: Path, source: SourceMapping) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(io.StringIO(read_text(file, source.encoding), newline=""), strict=True)
    start = 1
    try:
        for cells in reader:
            yield start, cells
            start = reader.line_num + 1
    except csv.Error as error:
        raise DataError(
            [DataProblem(file, start, None, f"the row is broken: {error}", "close every quote")]
        ) from error


def _table(
    file: Path, line: int, names: list[str], annotations: Mapping[str, Sequence[str]]
) -> _Annotated:
    def refuse(column: str, what: str, remedy: str) -> DataError:
        return DataError([DataProblem(file, line, column, what, remedy)])

    if "error" in names and "_value" not in names:
        raise refuse("error", "this is an error that InfluxDB answered", "put the query right")
    if "#datatype" not in annotations:
        raise refuse(
            "#datatype",
            "no row of #datatype stands before this table",
            "export with the annotations datatype, group and default, or give columns in the "
            "mapping to read it as a wide CSV",
        )
    if len(annotations["#datatype"]) != len(names):
        raise refuse(
            "#datatype",
            f"the table has {len(names)} columns and {len(annotations['#datatype'])} datatypes",
            "export it again",
        )
    for name in ("_time", "_value", "_field", "_measurement"):
        if name not in names:
            raise refuse(
                name,
                f"the table has no column {name!r}",
                "keep it in the query, and leave out pivot()",
            )
    return _Annotated(annotations, names)


def _add_record(
    found: dict[Key, Series], table: _Annotated, line: int, record: dict[str, str]
) -> None:
    tags = tuple(sorted((name, record[name]) for name in table.tags if record[name]))
    key = Key(record["_measurement"], tags, record["_field"])
    series = found.setdefault(key, Series(key))
    value = record["_value"]
    kind = table.types[table.place["_value"]]
    if kind == "boolean":
        value = _BOOLEANS.get(value, value)
    elif kind not in _NUMERIC and value:
        series.strange.append((len(series.values), f"{value!r} is of the type {kind}"))
    series.times.append(record["_time"])
    series.values.append(value)
    series.lines.append(line)


def check_numeric(series: Series, missing: Sequence[str]) -> None:
    """Raises BadCellError where a value is a text that does not stand for a missing one."""
    for index, what in series.strange:
        if series.values[index] not in missing:
            raise BadCellError(
                index,
                what,
                "map another field, leave this one out under 'ignore', or write the word under "
                "'missing'",
            )
