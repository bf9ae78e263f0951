"""One file of foreign data, read by its mapping: values per tag, in SI, with time and quality."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from connectors.importing.cells import Cells, read_numbers, read_qualities
from connectors.importing.found import FileRead, Laboratory, Piece, Qualities
from connectors.importing.influx import (
    Series,
    check_numeric,
    read_annotated_csv,
    read_line_protocol,
)
from connectors.importing.mapping import Layout, SignalMapping, SourceMapping
from connectors.importing.problems import BadCellError, DataError, DataProblem, refuse
from connectors.importing.series import key_of
from connectors.importing.table import Table
from connectors.importing.tables import open_table
from connectors.importing.times import read_times, regular_times
from connectors.unit_names import pint_name
from twin.configuration.models import LineConfiguration
from twin.samples import BAD_NO_DATA, Floats, Ints, OfflineMeasurement
from twin.units import same_dimension, to_si

_CONSTANT: Final = "(constant)"


def layout_of(file: Path, source: SourceMapping) -> Layout:
    """The layout that the mapping says, or that follows from it and the beginning of the file.

    Raises:
        OSError: the file cannot be read.
    """
    if source.layout is not None:
        return source.layout
    if source.kind == "columns":
        return "wide"
    if source.kind == "names":
        return "long"
    with file.open("rb") as stream:
        start = stream.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip()
    annotated = start.startswith((b"#datatype", b"#group", b"#default")) or file.suffix == ".csv"
    return "annotated csv" if annotated else "line protocol"


def read_file(
    file: Path,
    source: SourceMapping,
    line: LineConfiguration,
    done: int,
    progress: Callable[[float], None],
) -> FileRead:
    """Read a file.

    Args:
        file: of any layout.
        source: how it is read.
        line: whose tags the mapping names.
        done: rows that files of the same kind had before, for times from start and every.
        progress: is told the share that is done.

    Raises:
        DataError: it cannot be used; with the first mistake of every column.
    """
    try:
        layout = layout_of(file, source)
        reader = _Reader(file, source, line, progress)
        if layout == "wide":
            found = reader.wide(open_table(file, source), done)
        elif layout == "long":
            found = reader.long(open_table(file, source), done)
        else:
            found = reader.influx(layout)
    except OSError as error:
        said = error.strerror or str(error)
        raise refuse(file, f"it cannot be read: {said}", "give a readable file") from error
    if reader.problems:
        raise DataError(reader.problems)
    _add_constants(found, source, line)
    return found


def _add_constants(found: FileRead, source: SourceMapping, line: LineConfiguration) -> None:
    if not source.constants or not found.pieces:
        return
    first = found.pieces[0].time
    same = all(piece.time is first for piece in found.pieces)
    times = first if same else np.unique(np.concatenate([each.time for each in found.pieces]))
    for name, constant in source.constants.items():
        unit = constant.unit or line.tags[name].unit
        scale, offset = to_si(pint_name(unit))
        at = times if constant.at == "every row" else times[[int(np.argmin(times))]]
        value = np.full(len(at), constant.value * scale + offset)
        quality = np.zeros(len(at), np.uint32)
        delay = round(source.time.delay * 1e9)
        found.pieces.append(Piece(name, _CONSTANT, unit, at, value, quality, delay))


class _Reader:
    """Reads one file and collects what is wrong with it."""

    def __init__(
        self,
        file: Path,
        source: SourceMapping,
        line: LineConfiguration,
        progress: Callable[[float], None],
    ) -> None:
        self.problems: list[DataProblem] = []
        self._file = file
        self._source = source
        self._line = line
        self._progress = progress
        self._delay = round(source.time.delay * 1e9)

    def wide(self, table: Table, done: int) -> FileRead:
        """A column per signal."""
        source = self._source
        qualities = {each.quality for each in source.columns.values() if each.quality}
        self._check_columns(table, [*source.time.column, *source.columns, *sorted(qualities)])
        times = self._times(table, done)
        found = self._found("wide", table.understood, table.rows, times)
        for number, (name, signal) in enumerate(source.columns.items()):
            column = name
            try:
                values, missing = read_numbers(table.cells(name), source)
                column = signal.quality or name
                said = None if signal.quality is None else table.cells(column)
                quality = self._quality(missing, said)
            except BadCellError as error:
                self._note(table, error, column)
            except DataError as error:
                self.problems += error.problems
            else:
                unit = signal.unit or self._line.tags[signal.tag].unit
                value = self._in_si(values, unit)
                found.pieces.append(
                    Piece(signal.tag, name, unit, times, value, quality, self._delay)
                )
            self._progress((number + 1) / len(source.columns))
        return found

    def long(self, table: Table, done: int) -> FileRead:
        """A row per value, with the name of its signal."""
        source = self._source
        long, material = source.long, source.laboratory
        assert long is not None
        wanted = [*source.time.column, long.name, long.value, long.unit, long.quality]
        if material is not None:
            wanted += [material.roll, material.metre, material.batch, material.known]
        self._check_columns(table, [name for name in wanted if name is not None])
        times = self._times(table, done)
        found = self._found("long", table.understood, table.rows, times)
        names = table.cells(long.name).words().dictionary_encode()
        codes = np.asarray(names.indices.to_numpy(zero_copy_only=False))
        order = np.argsort(codes, kind="stable")
        ends = np.searchsorted(codes[order], np.arange(len(names.dictionary)), "right")
        value_cells = table.cells(long.value)
        unit_cells = None if long.unit is None else table.cells(long.unit)
        quality_cells = None if long.quality is None else table.cells(long.quality)
        start = 0
        for number, (name, end) in enumerate(zip(names.dictionary.to_pylist(), ends, strict=True)):
            rows, start = order[start:end], int(end)
            self._progress((number + 1) / len(ends))
            signal = source.names.get(name)
            if signal is None:
                self._note_unknown(table, name, int(rows[0]))
                continue
            column = long.value
            try:
                values, missing = read_numbers(value_cells.take(rows), source)
                column = long.unit or column
                unit, value = self._converted(
                    signal, values, None if unit_cells is None else unit_cells.take(rows)
                )
                column = long.quality or column
                quality = self._quality(
                    missing, None if quality_cells is None else quality_cells.take(rows)
                )
            except BadCellError as error:
                self._note(table, error, column, rows)
                continue
            if material is None:
                piece = Piece(signal.tag, name, unit, times[rows], value, quality, self._delay)
                found.pieces.append(piece)
            else:
                found.laboratory.append(
                    self._laboratory(table, name, unit, rows, times[rows], value)
                )
        return found

    def influx(self, layout: Layout) -> FileRead:
        """Series of measurement, tags and field."""
        source = self._source
        read = read_annotated_csv if layout == "annotated csv" else read_line_protocol
        series = read(self._file, source)
        if not any(each.values for each in series):
            raise refuse(self._file, "it has no values", "export it again", 1)
        keys = {pattern: key_of(pattern) for pattern in source.series}
        ignored = [key_of(pattern) for pattern in source.ignore if " " in pattern]
        taken: dict[str, Series] = {}
        found = self._found(layout, {}, 0, np.empty(0, np.int64))
        lines: set[int] = set()
        for number, each in enumerate(series):
            self._progress((number + 1) / len(series))
            matching = [pattern for pattern, key in keys.items() if key.covers(each.key)]
            if not matching:
                if source.rest == "error" and not any(key.covers(each.key) for key in ignored):
                    self._note_series(
                        each,
                        0,
                        "the series is not in the mapping",
                        "name it under series or ignore, or write 'rest: ignore'",
                    )
                continue
            other = taken.setdefault(matching[0], each)
            if len(matching) > 1 or other is not each:
                also = matching[1] if len(matching) > 1 else str(other.key)
                self._note_series(
                    each,
                    0,
                    f"{matching[0]!r} in the mapping matches this series, and so does {also!r}"
                    if len(matching) > 1
                    else f"{matching[0]!r} in the mapping matches this series and {also!r}",
                    "name under series the tag in which they differ",
                )
                continue
            try:
                found.pieces.append(self._piece(each, source.series[matching[0]], layout))
                lines.update(each.lines)
            except BadCellError as error:
                self._note_series(each, error.index, error.what, error.remedy)
        found.rows = len(lines)
        found.out_of_order = sum(rows_out_of_order(piece.time) for piece in found.pieces)
        return found

    def _piece(self, series: Series, signal: SignalMapping, layout: Layout) -> Piece:
        source = self._source
        check_numeric(series, source.missing)
        usual = "ns" if layout == "line protocol" else "iso"
        times = read_times([Cells(pa.array(series.times, pa.string()))], source.time, usual)
        point = source.model_copy(update={"decimal": ".", "thousands": None})
        values, missing = read_numbers(Cells(pa.array(series.values, pa.string())), point)
        unit, value = self._converted(signal, values, None)
        quality = self._quality(missing)
        return Piece(signal.tag, str(series.key), unit, times, value, quality, self._delay)

    def _found(
        self, layout: Layout, understood: dict[str, str], rows: int, times: Ints
    ) -> FileRead:
        zone = self._source.time.zone or "as the times say"
        if self._source.time.format in ("s", "ms", "us", "ns") or layout == "line protocol":
            zone = "UTC"
        return FileRead(self._file, layout, understood, zone, rows, rows_out_of_order(times))

    def _times(self, table: Table, done: int) -> Ints:
        rule = self._source.time
        try:
            if rule.start is not None:
                return regular_times(rule, done, table.rows)
            return read_times([table.cells(name) for name in rule.column], rule)
        except BadCellError as error:
            column = rule.column[0] if rule.column else "start"
            raise DataError(
                [table.problem(error.index, column, error.what, error.remedy)]
            ) from error

    def _check_columns(self, table: Table, wanted: Iterable[str]) -> None:
        """Refuses columns that are missing, and those that nobody has mapped."""
        known = list(wanted)
        problems = [table.missing(name) for name in known if name not in table.names]
        others = [name for name in table.names if name not in (*known, *self._source.ignore)]
        if others and self._source.rest == "error" and not problems:
            several = f"columns {', '.join(map(repr, others[:12]))} are"
            if len(others) > 12:
                several = f"{len(others)} columns, such as {', '.join(map(repr, others[:6]))}, are"
            what = several if len(others) > 1 else f"the column {others[0]!r} is"
            problems.append(
                table.problem(
                    None,
                    others[0],
                    f"{what} not in the mapping",
                    "map or list under 'ignore' what the file has, or write 'rest: ignore'",
                )
            )
        if problems:
            raise DataError(problems)

    def _note(
        self, table: Table, error: BadCellError, column: str, rows: Ints | None = None
    ) -> None:
        index = error.index if rows is None else int(rows[error.index])
        self.problems.append(table.problem(index, column, error.what, error.remedy))

    def _note_unknown(self, table: Table, name: str, row: int) -> None:
        source = self._source
        if source.rest == "ignore" or name in source.ignore:
            return
        assert source.long is not None
        what = f"the name {name!r} is not in the mapping"
        remedy = "name it under names or ignore, or write 'rest: ignore'"
        self.problems.append(table.problem(row, source.long.name, what, remedy))

    def _note_series(self, series: Series, index: int, what: str, remedy: str) -> None:
        row = series.lines[index]
        self.problems.append(DataProblem(self._file, row, str(series.key), what, remedy))

    def _in_si(self, values: Floats, unit: str) -> Floats:
        scale, offset = to_si(pint_name(unit))
        return values * scale + offset if (scale, offset) != (1.0, 0.0) else values

    def _converted(
        self, signal: SignalMapping, values: Floats, units: Cells | None
    ) -> tuple[str, Floats]:
        """The unit as the file says it, and the values in SI."""
        usual = signal.unit or self._line.tags[signal.tag].unit
        if units is None:
            return usual, self._in_si(values, usual)
        words = units.words().dictionary_encode()
        codes = np.asarray(words.indices.to_numpy(zero_copy_only=False))
        found = np.full(len(values), math.nan)
        for code, word in enumerate(words.dictionary.to_pylist()):
            rows = codes == code
            try:
                to_si(pint_name(word))
            except ValueError:
                what, remedy = f"unknown unit {word!r}", f"write it as in {usual!r}"
                raise BadCellError(int(np.argmax(rows)), what, remedy) from None
            if not same_dimension(pint_name(word), usual):
                raise BadCellError(
                    int(np.argmax(rows)),
                    f"{word!r} is of another dimension than {usual!r}, the unit of {signal.tag!r}",
                    "correct the unit, or map the name to another tag",
                )
            found[rows] = self._in_si(values[rows], word)
        return ", ".join(words.dictionary.to_pylist()), found

    def _quality(self, missing: NDArray[np.bool_], cells: Cells | None = None) -> Qualities:
        if cells is None:
            return np.where(missing, np.uint32(BAD_NO_DATA), np.uint32(0))
        said = read_qualities(cells, self._source.qualities, self._source.missing)
        return np.where(missing & (said == 0), np.uint32(BAD_NO_DATA), said)

    def _laboratory(
        self, table: Table, name: str, unit: str, rows: Ints, sampled: Ints, values: Floats
    ) -> Laboratory:
        """Values with their material; one that is missing is none."""
        source = self._source
        material = source.laboratory
        assert material is not None
        tag = source.names[name].tag
        number = list(self._line.tags).index(tag)
        given = ~np.isnan(values)
        rolls = self._numbers(table, material.roll, rows, given, whole=True)
        metres = self._numbers(table, material.metre, rows, given)
        batches = self._numbers(table, material.batch, rows, given, whole=True)
        known = sampled
        if material.known is not None:
            try:
                known = read_times([table.cells(material.known).take(rows)], source.time)
            except BadCellError as error:
                self._note(table, error, material.known, rows)
        measurements = [
            OfflineMeasurement(
                number,
                int(sampled[row]),
                float(values[row]),
                None if rolls is None else int(rolls[row]),
                None if metres is None else float(metres[row]),
                None if batches is None else int(batches[row]),
                int(known[row]) + self._delay,
            )
            for row in np.flatnonzero(given)
            if not self.problems
        ]
        return Laboratory(tag, name, unit, measurements, int(np.count_nonzero(~given)))

    def _numbers(
        self,
        table: Table,
        column: str | None,
        rows: Ints,
        needed: NDArray[np.bool_],
        whole: bool = False,
    ) -> Floats | None:
        """A column that says of which material values are."""
        if column is None:
            return None
        try:
            values, missing = read_numbers(table.cells(column).take(rows), self._source)
            lacking = np.flatnonzero(missing & needed)
            if len(lacking):
                raise BadCellError(
                    int(lacking[0]), "the value says not of which material", "fill the cell"
                )
            broken = np.flatnonzero(~missing & (values != np.rint(values)))
            if whole and len(broken):
                raise BadCellError(
                    int(broken[0]), f"{values[broken[0]]} is no whole number", "correct the cell"
                )
        except BadCellError as error:
            self._note(table, error, column, rows)
            return None
        return values


def rows_out_of_order(times: Ints) -> int:
    """How many rows are older than one before them."""
    if len(times) < 2 or bool(np.all(times[1:] >= times[:-1])):
        return 0
    return int(np.count_nonzero(times < np.maximum.accumulate(times)))


def unseen(source: SourceMapping, found: Sequence[FileRead]) -> list[str]:
    """Names and series of the mapping that no file has."""
    seen = {piece.origin for read in found for piece in read.pieces}
    seen |= {each.origin for read in found for each in read.laboratory}
    if source.kind != "series":
        return [name for name in source.signals if name not in seen]
    there = [key_of(origin) for origin in seen if origin != _CONSTANT and " " in origin]
    return [
        pattern
        for pattern in source.series
        if not any(key_of(pattern).covers(key) for key in there)
    ]
