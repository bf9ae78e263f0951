"""Line protocol: how InfluxDB and VictoriaMetrics are told of samples, laboratory values, events.

Line protocol knows neither NaN nor infinity, and a field that a later line leaves out keeps its old
value. So every sample writes the field `quality`, which alone says what the sample is: its OPC UA
status code, plus 2^32 times `MISSING`, `PLUS_INFINITY` or `MINUS_INFINITY` where it has no finite
value. A finite value stands in `value` where its quality is good, else in `doubtful`: whoever draws
`value` draws good values only, and a missing one is nowhere a number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from twin.samples import Floats, Ints, SampleBatch, severity

SAMPLES: Final = "linetwin"
LABORATORY: Final = "linetwin_laboratory"
EVENTS: Final = "linetwin_event"

GOOD_LIMIT: Final = 1 << 30
"""`quality` below it is a finite value of good quality."""
MISSING: Final = 1
PLUS_INFINITY: Final = 2
MINUS_INFINITY: Final = 3

_FIELDS: Final = pa.array([b"i,value=", b"i,doubtful=", b"i"])


@dataclass(frozen=True, slots=True)
class Lines:
    """Lines, each with its line feed, one after another."""

    text: bytes
    ends: Ints
    """(n + 1,) where each line starts, and where the last one ends."""

    def __len__(self) -> int:
        return len(self.ends) - 1

    def between(self, start: int, end: int) -> bytes:
        """The lines from `start` up to `end`."""
        return self.text[self.ends[start] : self.ends[end]]

    @staticmethod
    def of(lines: Sequence[str]) -> Lines:
        """From lines without line feeds."""
        encoded = [line.encode() + b"\n" for line in lines]
        return Lines(b"".join(encoded), np.cumsum([0, *map(len, encoded)], dtype=np.int64))


def key(measurement: str, labels: Mapping[str, str]) -> str:
    """What comes before the fields: a measurement and its labels; empty labels are left out.

    Raises:
        ValueError: a label that cannot be written, as the dialects do not agree on it.
    """
    return measurement + "".join(
        f",{name}={_label(value)}" for name, value in labels.items() if value
    )


def _label(text: str) -> str:
    if any(each in text for each in "\\\n\r"):
        raise ValueError(f"{text!r} holds a backslash or a line break, which line protocol mangles")
    return escaped(text)


def escaped(text: str) -> str:
    """A text as a label; backslashes and line breaks are left as they are."""
    return text.replace(",", "\\,").replace("=", "\\=").replace(" ", "\\ ")


def quoted(text: str) -> str:
    """A text as a field."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def sample_lines(keys: Sequence[str], batch: SampleBatch) -> Lines:
    """A line per sample.

    Args:
        keys: what comes before the fields, by tag index.
        batch: named samples; times in the precision that the store is told.
    """
    prefixes = pa.array([f"{each} quality=".encode() for each in keys])
    finite = np.isfinite(batch.value)
    field = np.where(finite, np.where(severity(batch.quality) == 0, 0, 1), 2).astype(np.int8)
    values = pc.cast(pa.array(batch.value), pa.string())
    lines = pc.binary_join_element_wise(
        prefixes.take(pa.array(batch.tag)),
        _text(pa.array(coded_quality(batch))),
        _FIELDS.take(pa.array(field)),
        pc.if_else(pa.array(finite), values, "").cast(pa.binary()),
        b" ",
        _text(pa.array(batch.time)),
        b"\n",
        b"",
    )
    _, offsets, text = lines.buffers()
    ends = np.frombuffer(offsets, np.int32, len(lines) + 1).astype(np.int64)
    return Lines(text.to_pybytes() if text is not None else b"", ends)


def _text(numbers: pa.Array) -> pa.Array:
    return numbers.cast(pa.string()).cast(pa.binary())


def coded_quality(batch: SampleBatch) -> Ints:
    """What the field `quality` says of every sample."""
    state = np.zeros(len(batch), np.int64)
    state[np.isnan(batch.value)] = MISSING
    state[batch.value == np.inf] = PLUS_INFINITY
    state[batch.value == -np.inf] = MINUS_INFINITY
    return batch.quality | state << 32


def decoded(
    tag: NDArray[np.int32], time: Ints, value: Floats, doubtful: Floats, quality: Ints
) -> SampleBatch:
    """Samples from the fields that a store gave, NaN where it has none."""
    status = (quality & 0xFFFF_FFFF).astype(np.uint32)
    known = np.where(severity(status) == 0, value, doubtful)
    numbers = np.choose(quality >> 32, [known, np.nan, np.inf, -np.inf])
    return SampleBatch(tag, time, numbers, status)
