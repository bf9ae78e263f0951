"""Passages: what a machine did to every segment, and what a gauge read on it.

Segment n is the web between n and n + 1 segment lengths of the coated web. Its row is given when
its last edge has left the station.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from twin.readings import Condition, Readings
from twin.samples import Bools, Floats, Ints
from twin.signal import HeldSignal
from twin.snapshot import Snapshot
from twin.web import Thread, Web

MOST_OPEN: Final = 1000
"""Unfinished segments of a gauge beyond which the oldest are given up (cut web, torn web)."""


@dataclass(frozen=True, slots=True)
class Column:
    """A quantity of every segment: a machine's signal that acted on it, or a gauge's reading."""

    name: str
    tag: int
    web: str
    start: float
    """Station's entry on the web path, m."""
    end: float
    """Station's exit, the same for a point."""
    kind: Literal["input", "gauge"]


@dataclass(frozen=True, slots=True)
class Passage:
    """Segments that have passed a column's station, in the order of passing."""

    column: Column
    segments: Ints
    time: Ints
    """When each had passed, ns."""
    value: Floats
    """Mean of the input over the segment's stay or length, or of the gauge's readings; SI."""
    spread: Floats
    """Standard error of a gauge's mean, SI; 0 for inputs."""

    def where(self, mask: Bools) -> Passage:
        """The segments of the mask."""
        return Passage(
            self.column,
            self.segments[mask],
            self.time[mask],
            self.value[mask],
            self.spread[mask],
        )


class Station:
    """A column's place in the web, and a gauge's readings of unfinished segments.

    Args:
        column: what is wanted of every segment.
        web: the web on which it acts or reads.
        segment: length of a segment, m.
    """

    def __init__(self, column: Column, web: Web, segment: float) -> None:
        self.column = column
        self.web = web
        self._segment = segment
        self._entry = web.distance(column.start)
        """Encoder travel to the station's entry, m."""
        self._leave = web.distance(column.end)
        self._thread: Thread | None = None
        """The thread whose material is at the exit."""
        self._next: int | None = None
        """The segment that will pass next; None at the start of a thread."""
        self._unread: list[tuple[Ints, Floats]] = []
        self._sums: dict[int, tuple[float, float, float]] = {}
        """Sum, sum of squares and count of the readings per segment."""
        self._readings = Readings(column.tag)
        self.conditions: list[Condition] = []
        """What was found to be wrong with the gauge, until somebody takes it."""

    def read(self, time: Ints, value: Floats) -> None:
        """Take a gauge's readings."""
        use = np.isfinite(value) & self.web.position.known(time)
        time, value = time[use], value[use]
        if not len(time) or not len(self.web.position):
            return
        self._unread.append((time, value))

    def advance(self, encoder: float, signal: HeldSignal | None) -> Passage | None:
        """Give the segments that have passed by an encoder reading; None if there are none.

        Args:
            encoder: the web's length at the frontier, m.
            signal: the machine's value; None for a gauge.
        """
        if self.column.kind == "gauge":
            self._settle()
        parts = []
        thread = self._thread or (self.web.threads[0] if self.web.threads else None)
        while thread is not None:
            self._thread, after = thread, thread.next
            reach = encoder - self._leave
            end = math.inf if after is None else after.start
            segments = self._passed(thread, min(reach, end))
            if len(segments):
                parts.append(self._value(thread, segments, signal))
            if reach <= end:
                break
            thread, self._next = after, None
        if not parts:
            return None
        segments, time, value, spread = (
            np.concatenate(columns) for columns in zip(*parts, strict=True)
        )
        return Passage(self.column, segments.astype(np.int64), time.astype(np.int64), value, spread)

    def _settle(self) -> None:
        """Put a gauge's readings on the segments that were under it."""
        for time, value in self._unread:
            position = self.web.locate(self.web.position.at(time) - self._leave)
            found = np.isfinite(position)
            if not found.any():
                continue
            time, position, value = time[found], position[found], value[found]
            spike, conditions = self._readings.follow(time, value, position)
            self.conditions += conditions
            segments = np.floor(position[~spike] / self._segment).astype(np.int64)
            value = value[~spike]
            if not len(segments):
                continue
            low = int(segments.min())
            sums = np.zeros((3, int(segments.max()) - low + 1))
            for segment in np.unique(segments).tolist():
                sums[:, segment - low] = self._sums.get(segment, (0.0, 0.0, 0.0))
            # one addition after the other, so that the cut into batches leaves no trace
            np.add.at(sums[0], segments - low, value)
            np.add.at(sums[1], segments - low, value * value)
            np.add.at(sums[2], segments - low, 1.0)
            for segment in np.unique(segments).tolist():
                total, squares, count = sums[:, segment - low].tolist()
                self._sums[segment] = (total, squares, count)
        self._unread.clear()

    def _passed(self, thread: Thread, reach: float) -> Ints:
        """Whole segments of a thread whose last edge has passed, in the order of passing."""
        position = thread.position(reach)
        if math.isnan(position) or reach < thread.start:
            return np.empty(0, np.int64)
        if thread.slope > 0:
            if self._next is None:
                self._next = math.ceil(thread.origin / self._segment)
            segments = np.arange(self._next, math.floor(position / self._segment))
        else:
            if self._next is None:
                self._next = math.floor(thread.origin / self._segment) - 1
            low = math.ceil(max(position, thread.low) / self._segment)
            segments = np.arange(self._next, low - 1, -1)
        if len(segments):
            self._next = int(segments[-1]) + (1 if thread.slope > 0 else -1)
        return segments

    def _value(
        self, thread: Thread, segments: Ints, signal: HeldSignal | None
    ) -> tuple[Ints, Ints, Floats, Floats]:
        first, last = (segments, segments + 1) if thread.slope > 0 else (segments + 1, segments)
        first_edge, last_edge = (
            thread.encoder(edge.astype(np.float64) * self._segment) for edge in (first, last)
        )
        passed = self.web.position.reached(last_edge + self._leave)
        if self.column.kind == "gauge":
            sums = np.array([self._sums.pop(n, (0.0, 0.0, 0.0)) for n in segments.tolist()])
            count = sums[:, 2]
            with np.errstate(invalid="ignore", divide="ignore"):
                value = sums[:, 0] / count
                variance = np.maximum(sums[:, 1] / count - value**2, 0.0)
                return segments, passed, value, np.sqrt(variance / count)
        if signal is None or not len(signal):
            value = np.full(len(segments), np.nan)
        elif self.column.start == self.column.end:
            entered = self.web.position.reached(first_edge + self._entry)
            value = signal.mean_over_length(entered, passed, self.web.position)
        else:
            middle = 0.5 * (first_edge + last_edge)
            entered = self.web.position.reached(middle + self._entry)
            value = signal.mean_over_time(entered, self.web.position.reached(middle + self._leave))
        return segments, passed, value, np.zeros(len(segments))

    def forget(self) -> None:
        """Give up the oldest unfinished segments of a gauge."""
        if len(self._sums) > MOST_OPEN:
            for segment in sorted(self._sums)[: -MOST_OPEN // 2]:
                del self._sums[segment]

    def needs_from(self, encoder: float) -> float:
        """The encoder reading at which the next segment to pass came in, m."""
        thread = self._thread or (self.web.threads[0] if self.web.threads else None)
        entered = encoder - self._leave
        if thread is not None and not math.isnan(thread.origin):
            entered = thread.start
            if self._next is not None:
                edge = self._next if thread.slope > 0 else self._next + 1
                entered = float(thread.encoder(np.array([edge * self._segment]))[0])
        return entered + self._entry

    def snapshot(self) -> Snapshot:
        """What it waits for."""
        threads = self.web.threads
        place = next((i for i, thread in enumerate(threads) if thread is self._thread), None)
        times, values = [time for time, _ in self._unread], [value for _, value in self._unread]
        return {
            "thread": place,
            # of a thread that is forgotten nothing more can pass
            "next": None if place is None else self._next,
            "time": np.concatenate([np.empty(0, np.int64), *times]),
            "value": np.concatenate([np.empty(0), *values]),
            "segments": np.array(list(self._sums), np.int64),
            "sums": np.array(list(self._sums.values())).reshape(-1, 3),
            "readings": self._readings.snapshot(),
        }

    def restore(self, state: Snapshot) -> None:
        """Take what another gave."""
        place = state["thread"]
        self._thread = None if place is None else self.web.threads[place]
        self._next = state["next"]
        if len(state["time"]):
            self._unread = [(state["time"], state["value"])]
        self._readings.restore(state["readings"])
        self._sums = {
            segment: (total, squares, count)
            for segment, (total, squares, count) in zip(
                state["segments"].tolist(), state["sums"].tolist(), strict=True
            )
        }
