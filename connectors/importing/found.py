"""What one file holds: values per tag, in SI, with time and quality."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from connectors.importing.mapping import Layout
from twin.samples import Floats, Ints, OfflineMeasurement

Qualities = NDArray[np.uint32]
"""OPC UA status codes."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Values of one tag from one file, in the order of the file."""

    tag: str
    origin: str
    """Column, name or series in the file."""
    unit: str
    """In the file."""
    time: Ints
    """Source time, ns since the epoch (UTC)."""
    value: Floats
    """SI; NaN is missing."""
    quality: Qualities
    delay: int
    """From source to arrival, ns."""


@dataclass(frozen=True, slots=True)
class Laboratory:
    """Values of one laboratory tag from one file."""

    tag: str
    origin: str
    unit: str
    values: list[OfflineMeasurement]
    missing: int


@dataclass(slots=True)
class FileRead:
    """What one file holds."""

    file: Path
    layout: Layout
    understood: dict[str, str]
    """What was found out about the file, by the key of the mapping that would say it."""
    zone: str
    """Of its times."""
    rows: int
    out_of_order: int
    """Rows older than one before them."""
    pieces: list[Piece] = field(default_factory=list)
    laboratory: list[Laboratory] = field(default_factory=list)
