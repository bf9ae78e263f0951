"""Bulk data as Arrow IPC stream, CSV or JSON: by `format`, else by the Accept header."""

from __future__ import annotations

import io
import re
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc
from fastapi import Depends, Query, Request
from pydantic import BeforeValidator, Field

from twin.api.problems import documented
from twin.desk.trends import Series, Trend
from twin.desk.views import RollMap, View
from twin.ingest import NANOSECONDS
from twin.samples import SampleBatch
from twin.tags import TagTable

Format = Literal["json", "arrow", "csv"]
ARROW: Final = "application/vnd.apache.arrow.stream"
CSV: Final = "text/csv"
_OF_MEDIA: Final[dict[str, Format]] = {ARROW: "arrow", CSV: "csv", "application/json": "json"}


def format_of(
    request: Request,
    format: Annotated[  # noqa: A002  # the name in the URL
        Format | None, Query(description="instead of the Accept header")
    ] = None,
) -> Format:
    """What a request asks for: the first that is offered, by weight; JSON if it does not care."""
    if format is not None:
        return format
    wanted: list[tuple[float, int, Format]] = []
    for index, part in enumerate(request.headers.get("accept", "").split(",")):
        media, *parameters = (each.strip().lower() for each in part.split(";"))
        weight = 1.0
        for parameter in parameters:
            if parameter.startswith("q="):
                try:
                    weight = float(parameter[2:])
                except ValueError:
                    weight = 0.0
        if media in _OF_MEDIA and weight > 0:
            wanted.append((-weight, index, _OF_MEDIA[media]))
    return min(wanted)[2] if wanted else "json"


TheFormat = Annotated[Format, Depends(format_of)]
SAMPLES: Final = pa.schema(
    [
        ("series", pa.string()),
        ("time", pa.timestamp("ns", "UTC")),
        ("value", pa.float64()),
        ("unit", pa.string()),
        ("quality", pa.uint32()),
    ]
)
"""Of stored samples; the quality is an OPC UA status code."""
ROLL: Final = pa.schema(
    [
        ("parameter", pa.string()),
        ("unit", pa.string()),
        *((name, pa.float64()) for name in ("metre", "predicted", "measured", "residual")),
    ]
)
TEXT: Final = {"schema": {"type": "string"}}
BYTES: Final = {"schema": {"type": "string", "format": "binary"}}


def bulk(*problems: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of an operation with bulk data, besides JSON."""
    return {200: {"content": {ARROW: BYTES, CSV: TEXT}}, **documented(*problems)}


def _in_words(value: object) -> object:
    """Only ISO 8601: pydantic would take a number, of seconds or of milliseconds, as a time."""
    if isinstance(value, datetime) or (isinstance(value, str) and ISO.match(value)):
        return value
    raise ValueError("write a time such as 2026-11-21T10:15:00Z")


Moment = Annotated[
    datetime, BeforeValidator(_in_words), Field(description="ISO 8601; UTC without a zone")
]
ISO: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d")


def nanoseconds(time: datetime) -> int:
    """A time as ns since the epoch; without a zone it is UTC."""
    time = time.replace(tzinfo=UTC) if time.tzinfo is None else time
    passed = time - datetime(1970, 1, 1, tzinfo=UTC)
    return (passed.days * 86_400 + passed.seconds) * NANOSECONDS + passed.microseconds * 1000


class SeriesView(View):
    """A series downsampled: equally long columns, one row per bucket that has values."""

    name: str
    unit: str
    at: tuple[float, ...]
    """ms since the epoch (UTC), or m along the coated web."""
    minimum: tuple[float, ...]
    mean: tuple[float, ...]
    maximum: tuple[float, ...]
    count: tuple[int, ...]


class TrendView(View):
    """Series over one stretch of time."""

    along: Literal["time", "web"]
    series: tuple[SeriesView, ...]


def trend_view(trend: Trend) -> TrendView:
    """A trend for JSON."""
    return TrendView(
        along=trend.along,
        series=tuple(_series_view(each, trend.along == "time") for each in trend.series),
    )


def _series_view(series: Series, time: bool) -> SeriesView:
    return SeriesView(
        name=series.name,
        unit=series.unit,
        at=tuple((series.at / 1e6 if time else series.at).tolist()),
        minimum=tuple(series.minimum.tolist()),
        mean=tuple(series.mean.tolist()),
        maximum=tuple(series.maximum.tolist()),
        count=tuple(series.count.tolist()),
    )


def trend_table(trend: Trend) -> pa.Table:
    """A trend as a table: series, unit, time (or position, m), minimum, mean, maximum, count."""
    time = trend.along == "time"
    at = [each.at for each in trend.series]
    lengths = [len(each) for each in at]
    joined = np.concatenate(at) if at else np.empty(0)
    return pa.table(
        {
            "series": _repeated([each.name for each in trend.series], lengths),
            "unit": _repeated([each.unit for each in trend.series], lengths),
            "time" if time else "position": (
                pa.array(joined.astype(np.int64), pa.timestamp("ns", "UTC"))
                if time
                else pa.array(joined.astype(np.float64))
            ),
            **{
                name: pa.array(np.concatenate([getattr(each, name) for each in trend.series]))
                for name in ("minimum", "mean", "maximum", "count")
            },
        }
    )


def _repeated(names: list[str], lengths: list[int]) -> pa.Array:
    index = np.repeat(np.arange(len(names), dtype=np.int32), lengths)
    words = pa.array(names, pa.string())
    return pa.DictionaryArray.from_arrays(pa.array(index), words).cast(pa.string())


def roll_table(found: RollMap) -> pa.Table:
    """A roll map as a table: one row per segment and parameter."""
    columns: dict[str, list[Any]] = {name: [] for name in ROLL.names}
    for each in found.parameters:
        count = len(each.metre)
        columns["parameter"] += [each.name] * count
        columns["unit"] += [each.unit] * count
        for name in ("metre", "predicted", "measured", "residual"):
            columns[name] += getattr(each, name)
    kinds = {
        name: pa.string() if name in ("parameter", "unit") else pa.float64() for name in columns
    }
    return pa.table({name: pa.array(values, kinds[name]) for name, values in columns.items()})


def cuts_table(found: RollMap) -> pa.Table:
    """What to cut out of a roll, for the slitter: one row per stretch."""
    return pa.table(
        {
            "roll": pa.array([found.roll.number] * len(found.outside), pa.int64()),
            "from_m": pa.array([each.begin for each in found.outside], pa.float64()),
            "to_m": pa.array([each.end for each in found.outside], pa.float64()),
            "parameter": pa.array([each.parameter for each in found.outside], pa.string()),
            "worst": pa.array([each.worst for each in found.outside], pa.float64()),
            "low": pa.array([each.limits[0] for each in found.outside], pa.float64()),
            "high": pa.array([each.limits[1] for each in found.outside], pa.float64()),
            "unit": pa.array([each.unit for each in found.outside], pa.string()),
        }
    )


def as_csv(table: pa.Table, header: bool = True) -> bytes:
    """A table as CSV."""
    sink = io.BytesIO()
    pc.write_csv(table, sink, pc.WriteOptions(include_header=header))
    return sink.getvalue()


def as_arrow(table: pa.Table) -> bytes:
    """A table as an Arrow IPC stream."""
    stream = ArrowStream(table.schema)
    return stream.write(table) + stream.end()


class ArrowStream:
    """An Arrow IPC stream, piece by piece; all tables have the schema."""

    def __init__(self, schema: pa.Schema) -> None:
        self._sink = io.BytesIO()
        self._writer = pa.ipc.new_stream(self._sink, schema)

    def write(self, table: pa.Table) -> bytes:
        """The next piece."""
        self._writer.write_table(table)
        return self._taken()

    def end(self) -> bytes:
        """The last piece."""
        self._writer.close()
        return self._taken()

    def _taken(self) -> bytes:
        piece = self._sink.getvalue()
        self._sink.seek(0)
        self._sink.truncate()
        return piece


def sample_table(batch: SampleBatch, tags: TagTable) -> pa.Table:
    """Samples in the units of their tags."""
    index, codes = np.unique(batch.tag, return_inverse=True)
    value = batch.value.copy()
    for code, tag in enumerate(index.tolist()):
        rows = codes == code
        value[rows] = tags[tag].in_unit(value[rows])
    named = [tags[tag] for tag in index.tolist()]

    def column(texts: list[str]) -> pa.Array:
        words = pa.array(texts, pa.string())
        return pa.DictionaryArray.from_arrays(pa.array(codes), words).cast(pa.string())

    return pa.table(
        [
            column([tag.name for tag in named]),
            pa.array(batch.time, pa.timestamp("ns", "UTC")),
            pa.array(value),
            column([tag.unit for tag in named]),
            pa.array(batch.quality),
        ],
        schema=SAMPLES,
    )
