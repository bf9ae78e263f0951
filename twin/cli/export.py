"""`twin export`: stored samples as Parquet or CSV, in the tags' own units."""

from __future__ import annotations

import json
import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq
import typer

from twin.app.line import read_line
from twin.app.stores import open_stored
from twin.cli.terminal import Json, out
from twin.configuration import bundled
from twin.configuration.models import LineConfiguration
from twin.units import to_si


def _nanoseconds(moment: datetime | None, default: int) -> int:
    return default if moment is None else int(moment.replace(tzinfo=UTC).timestamp() * 1e9)


def export_samples(
    line: LineConfiguration,
    folder: Path,
    output: Path,
    names: list[str] | None,
    start: datetime | None,
    end: datetime | None,
) -> int:
    """Write samples with columns tag, time, value, unit, quality; how many.

    Args:
        folder: of the store, where the samples are in a file.

    Raises:
        HistorianError: the store cannot be read.
        ValueError: no such store or tag, or a file type that is not written.
    """
    if output.suffix not in (".parquet", ".csv"):
        raise ValueError(f"{output}: name a .parquet or .csv file")
    tags = line.tag_table()
    unknown = [name for name in names or () if name not in tags]
    if unknown:
        raise ValueError(f"no tag {unknown[0]}; `twin check` says how many there are")
    indices = [tags.index(name) for name in names] if names else list(range(len(tags)))
    with closing(open_stored(line, folder)) as store:
        samples = store.read(indices, _nanoseconds(start, 0), _nanoseconds(end, 2**62))
    conversions = np.array([to_si(tag.unit) for tag in tags])
    scale, offset = conversions[samples.tag].T
    table = pa.table(
        {
            "tag": pa.DictionaryArray.from_arrays(
                pa.array(samples.tag), pa.array([tag.name for tag in tags])
            ).cast(pa.string()),
            "time": pa.array(samples.time, pa.timestamp("ns", "UTC")),
            "value": (samples.value - offset) / scale,
            "unit": pa.array(np.array([tag.unit for tag in tags])[samples.tag]),
            "quality": samples.quality,
        }
    )
    if output.suffix == ".csv":
        pc.write_csv(table, output)
    else:
        pq.write_table(table, output, compression="zstd")
    return len(samples)


def export(
    output: Annotated[Path, typer.Argument(help="File to write: .parquet or .csv.")],
    data: Annotated[Path, typer.Option(help="Folder of the stopped service.")] = Path("var"),
    config: Annotated[Path | None, typer.Option(help="Line configuration.")] = None,
    tag: Annotated[list[str] | None, typer.Option(help="Tags; all without one.")] = None,
    start: Annotated[datetime | None, typer.Option(help="UTC.")] = None,
    end: Annotated[datetime | None, typer.Option(help="UTC.")] = None,
    as_json: Json = False,
) -> None:
    """Export stored samples in their own units."""
    line = read_line(config or bundled("line.yaml"))
    began = time.monotonic()
    rows = export_samples(line, data, output, tag, start, end)
    if as_json:
        typer.echo(json.dumps({"file": str(output), "rows": rows}))
    else:
        out.print(f"{rows:,} samples in {output} after {time.monotonic() - began:.1f} s")
