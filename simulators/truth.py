"""Ground truth of a run, for tests and scores only: what really became of every segment."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from simulators.calender import Roll
from simulators.nature import Nature
from simulators.web import Floats, Web


@dataclass(frozen=True, slots=True)
class Truth:
    """Segments and gauge readings of one run; arrays of equal length per table."""

    segments: dict[str, NDArray[np.generic]]
    """By column; NaN (or 0 for times) where it has not happened."""
    readings: dict[str, NDArray[np.generic]]
    """Gauge, time, value sent and true position under the gauge."""

    def write(self, folder: Path) -> None:
        """Write `segments.parquet` and `readings.parquet`; each file is whole at any moment."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, columns in (("segments", self.segments), ("readings", self.readings)):
            part = folder / f".{name}.parquet.part"
            arrays = {key: pa.array(value) for key, value in columns.items()}
            pq.write_table(pa.table(arrays), part)
            os.replace(part, folder / f"{name}.parquet")


class ReadingLog:
    """Readings of all gauges, kept as plain columns."""

    def __init__(self) -> None:
        self._gauge: list[str] = []
        self._time: list[int] = []
        self._value: list[float] = []
        self._position: list[float] = []

    def add(self, gauge: str, time_ns: int, value: float, position: float) -> None:
        """One reading with the coated position that was truly under the gauge [m]."""
        self._gauge.append(gauge)
        self._time.append(time_ns)
        self._value.append(value)
        self._position.append(position)

    def columns(self) -> dict[str, NDArray[np.generic]]:
        """All readings so far."""
        return {
            "gauge": np.array(self._gauge, dtype=np.str_),
            "time": np.array(self._time, dtype=np.int64),
            "value": np.array(self._value),
            "position": np.array(self._position),
        }


def segment_columns(
    web: Web,
    segment: float,
    start_ns: int,
    rolls: list[Roll],
    nature: Nature,
    metres: float | None,
) -> dict[str, NDArray[np.generic]]:
    """Segments of `segment` metres from the web's cells.

    Thicknesses in um, loading in g/m^2, fractions as fractions, adhesion in N/m, line load in N/mm.
    """
    per = round(segment / web.length)
    count = web.closed // per
    if metres is not None:
        count = min(count, int(metres / segment + 1e-6))

    def mean(column: Floats) -> Floats:
        rows: Floats = column[: count * per].reshape(count, per).mean(axis=1)
        return rows

    def stamps(column: Floats) -> NDArray[np.int64]:
        offsets = mean(column)
        return np.where(np.isnan(offsets), 0, start_ns + np.nan_to_num(offsets)).astype(np.int64)

    mass, solvent, volume = mean(web.mass), mean(web.solvent), mean(web.volume)
    thickness, pressed = mean(web.thickness), mean(web.nip_thickness)
    density = nature.recipe.skeletal_density
    dried = ~np.isnan(thickness)
    position = (np.arange(count) + 0.5) * segment
    roll = np.zeros(count, np.int64)
    metre = np.full(count, np.nan)
    for item in rolls:
        inside = (position >= item.start) & (position < item.end)
        roll[inside] = item.number
        metre[inside] = position[inside] - item.start
    with np.errstate(invalid="ignore", divide="ignore"):
        calendered_adhesion = mean(web.nip_adhesion)
        return {
            "segment": np.arange(count, dtype=np.int64),
            "position": position,
            "roll": roll,
            "metre": metre,
            "wet_thickness": volume * 1e6,
            "mass_loading": mass * 1e3,
            "solids": mean(web.solids),
            "web_temperature": mean(web.exit_temperature) - 273.15,
            "residual_solvent": np.where(dried, solvent / mass, np.nan),
            "dry_thickness": thickness * 1e6,
            "dry_porosity": 1.0 - mass / (density * thickness),
            "adhesion": np.where(
                np.isnan(calendered_adhesion), mean(web.adhesion), calendered_adhesion
            ),
            "calendered_thickness": pressed * 1e6,
            "porosity": 1.0 - mass / (density * pressed),
            "line_load": mean(web.line_load) / 1e3,
            "foil_deviation": mean(web.foil) * 1e6,
            "coated": stamps(web.coated_ns),
            "calendered": stamps(web.calendered_ns),
        }
