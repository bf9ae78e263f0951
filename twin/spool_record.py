"""A record of the spool: samples, laboratory values and events in bytes that prove themselves.

A record is a header and four columns, little-endian, 24 bytes a sample, then laboratory values and
events as JSON. The checksum covers all behind it, so that half a record is never taken for a whole
one, and the mark lets a reader find the next record behind damage.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass
from typing import Final

import numpy as np

from twin.ports import Event
from twin.samples import OfflineMeasurement, SampleBatch

MOST: Final = 50_000
"""Samples of a record."""
HEAD: Final = 36
"""Bytes before the columns."""
_MARK: Final = b"\xf1LTR"
_HEAD: Final = struct.Struct("<4sIQqIII")
_CHECKED_FROM: Final = 8
_WIDTH: Final = 24


@dataclass(frozen=True, slots=True)
class Record:
    """A record as it was found."""

    start: int
    """Where it begins in what was searched, and where it ends, bytes."""
    end: int
    first: int
    """Number of its first row; a row is a sample, a laboratory value or an event."""
    kept: int
    """When it was written, ns since the epoch."""
    table: int
    """Which tag table its tags are numbered by."""
    batch: SampleBatch
    events: tuple[Event, ...]

    @property
    def rows(self) -> int:
        """How many rows it holds."""
        return rows(self.batch, self.events)


def rows(batch: SampleBatch, events: Sequence[Event]) -> int:
    """Samples, laboratory values and events together."""
    return len(batch) + len(batch.offline) + len(events)


def encode(
    batch: SampleBatch, events: Sequence[Event], first: int, kept: int, table: int
) -> Iterator[bytes]:
    """The records that hold a batch and events; `first`, `kept` and `table` as in `Record`."""
    offline: tuple[OfflineMeasurement, ...] = batch.offline
    for start in range(0, max(1, len(batch)), MOST):
        part = batch.between(start, start + MOST)
        extra = _extra(offline, events)
        columns = (
            part.tag.astype("<i4"),
            part.time.astype("<i8"),
            part.value.astype("<f8"),
            part.quality.astype("<u4"),
        )
        body = b"".join(column.tobytes() for column in columns) + extra
        head = _HEAD.pack(_MARK, 0, first, kept, len(part), len(extra), table)
        check = zlib.crc32(body, zlib.crc32(head[_CHECKED_FROM:]))
        yield head[:4] + check.to_bytes(4, "little") + head[_CHECKED_FROM:]
        yield body
        first += rows(part, events) + len(offline)
        offline, events = (), ()


def find(data: bytes, start: int) -> Record | None:
    """The first whole record at or behind `start`."""
    while (start := data.find(_MARK, start)) >= 0:
        if len(data) - start < _HEAD.size:
            return None
        _, check, first, kept, count, extra, table = _HEAD.unpack_from(data, start)
        columns = start + _HEAD.size
        tail = columns + _WIDTH * count
        end = tail + extra
        if end <= len(data) and zlib.crc32(data[start + _CHECKED_FROM : end]) == check:
            offline, events = _read_extra(data[tail:end])
            batch = SampleBatch(
                np.frombuffer(data, "<i4", count, columns),
                np.frombuffer(data, "<i8", count, columns + 4 * count),
                np.frombuffer(data, "<f8", count, columns + 12 * count),
                np.frombuffer(data, "<u4", count, columns + 20 * count),
                offline,
            )
            return Record(start, end, first, kept, table, batch, events)
        start += 1
    return None


def written(head: bytes) -> int | None:
    """When a record was written, ns since the epoch, from its first `HEAD` bytes."""
    if len(head) < _HEAD.size or not head.startswith(_MARK):
        return None
    return int(_HEAD.unpack_from(head)[3])


def _extra(offline: Sequence[OfflineMeasurement], events: Sequence[Event]) -> bytes:
    if not offline and not events:
        return b""
    return json.dumps(
        {
            "offline": [astuple(entry) for entry in offline],
            "events": [astuple(event) for event in events],
        }
    ).encode()


def _read_extra(data: bytes) -> tuple[tuple[OfflineMeasurement, ...], tuple[Event, ...]]:
    if not data:
        return (), ()
    found = json.loads(data)
    return (
        tuple(OfflineMeasurement(*values) for values in found["offline"]),
        tuple(Event(*values) for values in found["events"]),
    )
