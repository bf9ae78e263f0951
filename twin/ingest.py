"""Ingest: every sample is judged once, counted by reason, and kept with its quality."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twin import samples
from twin.samples import Bools, Ints, OfflineMeasurement, SampleBatch, severity
from twin.snapshot import Renumbering, Snapshot
from twin.tags import TagTable

NANOSECONDS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Judged:
    """What ingest makes of a batch."""

    kept: SampleBatch
    """Every sample of a known tag, with the quality that it deserves: for the historian."""
    usable: SampleBatch
    """Samples at a credible time, bad values as NaN: for the tracker."""
    arrived: int | Ints
    """When each usable one arrived, line time, ns."""
    rejected: Counter[str]
    """Samples that must not be used, by reason."""


class Ingest:
    """Judges samples by tag, time, range and status.

    Args:
        tags: the line's tags with their plausible ranges, SI.
        tolerance: how far in the future a source time may lie, s.
        oldest: how far in the past, s. A setpoint, an actual value or a counter may be older: it is
            still the machine's last word when nothing has changed since.
    """

    def __init__(self, tags: TagTable, tolerance: float, oldest: float) -> None:
        self._low = np.array([tag.low for tag in tags])
        self._high = np.array([tag.high for tag in tags])
        self._may_be_old = np.array([tag.role in ("setpoint", "actual", "counter") for tag in tags])
        self._tolerance = int(tolerance * NANOSECONDS)
        self._oldest = int(oldest * NANOSECONDS)
        self._last = np.full(len(tags), np.iinfo(np.int64).min, np.int64)

    def judge(self, batch: SampleBatch, now: int | Ints) -> Judged:
        """Judge a batch that arrived at `now`, or each row at its own (line time, ns)."""
        rejected: Counter[str] = Counter()
        known = (batch.tag >= 0) & (batch.tag < len(self._low))
        if not known.all():
            rejected["unknown tag"] = int((~known).sum())
            batch = batch.where(known)
            now = now if isinstance(now, int) else now[known]
        tag, time, value = batch.tag, batch.time, batch.value
        quality = batch.quality
        good = severity(quality) == 0
        future = time > now + self._tolerance
        past = time < now - self._oldest
        if past.any():
            past &= ~self._excused(tag, time, past, future)
        finite = np.isfinite(value)
        with np.errstate(invalid="ignore"):
            outside = finite & ((value < self._low[tag]) | (value > self._high[tag]))
        if not (good.all() and finite.all()) or outside.any() or future.any() or past.any():
            quality = quality.copy()
            for reason, mask, status in (
                ("bad quality", ~good, None),
                ("not a number", good & ~finite, samples.BAD_NO_DATA),
                ("out of range", good & outside, samples.BAD_OUT_OF_RANGE),
                ("time in the future", good & future, samples.BAD_INVALID_TIMESTAMP),
                ("time in the past", good & past, samples.BAD_INVALID_TIMESTAMP),
            ):
                count = int((mask & good).sum()) if status is not None else int(mask.sum())
                if count:
                    rejected[reason] += count
                if status is not None:
                    quality[mask & good] = status
                    good &= ~mask
            kept = SampleBatch(tag, time, value, quality, batch.offline)
            credible = ~(future | past)
            usable = SampleBatch(
                tag, time, np.where(good, value, np.nan), quality, batch.offline
            ).where(credible)
            now = now if isinstance(now, int) else now[credible]
        else:
            kept = usable = batch
        if len(usable):
            np.maximum.at(self._last, usable.tag, usable.time)
        return Judged(kept, usable, now, rejected)

    def _excused(self, tag: NDArray[np.int32], time: Ints, past: Bools, future: Bools) -> Bools:
        """Old samples that are their machine's last word: none newer of their tag came before."""
        excused = np.zeros(len(tag), np.bool_)
        for each in np.unique(tag[past & self._may_be_old[tag]]).tolist():
            last = int(self._last[each])
            for row in np.flatnonzero((tag == each) & ~future).tolist():
                if time[row] >= last:
                    last, excused[row] = int(time[row]), True
                elif not past[row]:
                    last = max(last, int(time[row]))
        return excused

    def objection(self, measurement: OfflineMeasurement, now: int) -> str:
        """Why a laboratory value that arrived at `now` must not be used; empty if it may be.

        However old its sample is, it belongs to its material.
        """
        if measurement.sampled > now + self._tolerance:
            return "time in the future"
        if not math.isfinite(measurement.value):
            return "not a number"
        if not self._low[measurement.tag] <= measurement.value <= self._high[measurement.tag]:
            return "out of range"
        return ""

    def snapshot(self) -> Snapshot:
        """The last time of every tag."""
        return {"last": self._last.copy()}

    def restore(self, state: Snapshot, renumber: Renumbering) -> None:
        """Take what another gave."""
        renumber.move(state["last"], self._last)
