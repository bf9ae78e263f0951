"""What flows: columnar samples with their quality."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

GOOD = 0x00000000
UNCERTAIN = 0x40000000
UNCERTAIN_LAST_USABLE_VALUE = 0x40900000
BAD = 0x80000000
BAD_NO_COMMUNICATION = 0x80310000
BAD_OUT_OF_RANGE = 0x803C0000
BAD_TYPE_MISMATCH = 0x80740000
BAD_INVALID_TIMESTAMP = 0x80230000
BAD_NO_DATA = 0x809B0000


class Quality(IntEnum):
    """The severity of an OPC UA status code: its two top bits (OPC 10000-4, 7.39)."""

    GOOD = 0
    UNCERTAIN = 1
    BAD = 2


@dataclass(frozen=True, slots=True)
class OfflineMeasurement:
    """A laboratory value and its material: a metre of a roll, or a slurry batch."""

    tag: int
    """Index in the tag table."""
    sampled: int
    """When the sample was cut or drawn, ns since the epoch."""
    value: float
    """SI."""
    roll: int | None = None
    metre: float | None = None
    """Position in the roll as it was wound, m from its inner end."""
    batch: int | None = None
    known: int = 0
    """When it became known, ns since the epoch; 0 is when it arrives."""


@dataclass(frozen=True, slots=True)
class SampleBatch:
    """Samples that arrived together; rows of four equally long columns, in order of arrival.

    A missing value is a sample of its own: value NaN and a bad quality, never 0 and never a gap.
    Laboratory values arrive in the same stream, so that a recording keeps one order of arrival.
    """

    tag: NDArray[np.int32]
    """Index in the tag table; -1 is a signal that no tag names."""
    time: Ints
    """Source time, ns since the epoch (UTC)."""
    value: Floats
    """SI; NaN is missing."""
    quality: NDArray[np.uint32]
    """OPC UA status code."""
    offline: tuple[OfflineMeasurement, ...] = ()

    def __len__(self) -> int:
        return len(self.tag)

    def where(self, mask: Bools) -> SampleBatch:
        """The rows of the mask, in the same order."""
        return SampleBatch(
            self.tag[mask], self.time[mask], self.value[mask], self.quality[mask], self.offline
        )

    def rows(self, order: Ints) -> SampleBatch:
        """The rows at these positions, in their order."""
        return SampleBatch(
            self.tag[order], self.time[order], self.value[order], self.quality[order], self.offline
        )

    def one_per_time(self) -> SampleBatch:
        """The named samples by tag, then time; of several at one time the one that came last."""
        known = self.tag >= 0
        batch = self if known.all() else self.where(known)
        batch = batch.rows(np.argsort(batch.tag.astype(np.uint16), kind="stable"))
        step = np.diff(batch.tag)
        if (step >= 0).all() and ((step > 0) | (np.diff(batch.time) > 0)).all():
            return batch
        batch = batch.rows(np.lexsort((batch.time, batch.tag)))
        repeated = (batch.tag[1:] == batch.tag[:-1]) & (batch.time[1:] == batch.time[:-1])
        return batch.where(np.append(~repeated, True))

    def between(self, start: int, end: int) -> SampleBatch:
        """The rows from `start` up to `end`, without laboratory values."""
        rows = slice(start, end)
        return SampleBatch(self.tag[rows], self.time[rows], self.value[rows], self.quality[rows])

    @staticmethod
    def of(
        tag: Iterable[int],
        time: Iterable[int],
        value: Iterable[float],
        quality: Iterable[int] | None = None,
    ) -> SampleBatch:
        """A batch from plain sequences; quality good where none is given."""
        tags = np.asarray(list(tag), np.int32)
        return SampleBatch(
            tags,
            np.asarray(list(time), np.int64),
            np.asarray(list(value), np.float64),
            np.zeros(len(tags), np.uint32)
            if quality is None
            else np.asarray(list(quality), np.uint32),
        )

    @staticmethod
    def concatenate(batches: Iterable[SampleBatch]) -> SampleBatch:
        """One batch with the rows of all, in order."""
        parts = list(batches)
        if len(parts) == 1:
            return parts[0]
        if not parts:
            return SampleBatch.of([], [], [])
        return SampleBatch(
            np.concatenate([part.tag for part in parts]),
            np.concatenate([part.time for part in parts]),
            np.concatenate([part.value for part in parts]),
            np.concatenate([part.quality for part in parts]),
            tuple(measurement for part in parts for measurement in part.offline),
        )


def severity(quality: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """`Quality` of every status code, as integers."""
    return quality >> np.uint32(30)
