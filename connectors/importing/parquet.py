"""Parquet files."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from connectors.importing.cells import Cells
from connectors.importing.problems import DataError, refuse
from connectors.importing.table import Table


def open_parquet(file: Path) -> Table:
    """Open a file whose columns are read one by one; rows count from 1.

    Raises:
        DataError: it is damaged; later, from a column: its type holds no values.
        OSError: the file cannot be read.
    """
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
